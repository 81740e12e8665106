"""What selectors see of a run at the end of each epoch, held in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from threading import Lock

from noisyselect.log import TrainingLog
from noisyselect.selector import Selector
from noisyselect.store import Run


class Pairs:
    """The logs of a network and its peer at the end of any epoch; threads may share them.

    All columns are read at once, but class probabilities, of either view, when an epoch is asked
    for: of the `probability_window` of the selectors. Those of the last epochs asked for are kept.

    Parameters
    ----------
    run : Run
    networks : iterable of str
        Of which the pairs are wanted. The peer of a network is the next one, as in `Run.logs`.
    selectors : iterable of Selector
    until : int, optional
        Read the epochs before this number only.

    Attributes
    ----------
    logs : dict of str to TrainingLog
        Of the networks and their peers, without class probabilities.

    Raises
    ------
    DamagedRunError, MissingEvidenceError, ValueError
        As `Run.log` does.

    Warns
    -----
    NonFiniteWarning
        If losses are NaN or infinite.
    """

    def __init__(
        self,
        run: Run,
        networks: Iterable[str],
        selectors: Iterable[Selector],
        until: int | None = None,
    ) -> None:
        self._networks = run.networks
        self.logs = {name: run.log(name, until, probability_window=0) for name in networks}
        for name in map(self._peer, list(self.logs)):
            if name not in self.logs:
                self.logs[name] = run.log(name, until, probability_window=0)
        window = max((each.probability_window for each in selectors), default=1)
        self._reading = Lock()
        # Two networks at two epochs: a thread may be at the next epoch already.
        self._shown = lru_cache(maxsize=4)(partial(_show, run, self.logs, window))

    def at(self, network: str, epoch: int) -> tuple[TrainingLog, TrainingLog | None]:
        """Return what `Selector.select` takes: the logs up to and including an epoch.

        Raises
        ------
        DamagedRunError
            If its class probabilities are damaged.
        """
        peer = self._peer(network)
        with self._reading:
            log = self._shown(network, epoch)
            return log, None if peer == network else self._shown(peer, epoch)

    def all_valid(self, network: str) -> bool:
        """Return whether the network and its peer have a valid record of every sample and epoch."""
        return all(self.logs[name].valid.all() for name in (network, self._peer(network)))

    def _peer(self, network: str) -> str:
        """Return the next network; the same one where there is no other."""
        place = self._networks.index(network)
        return self._networks[(place + 1) % len(self._networks)]


# No method, for its cache would keep the logs from being freed.
def _show(
    run: Run, logs: Mapping[str, TrainingLog], window: int, network: str, epoch: int
) -> TrainingLog:
    log = logs[network].until(epoch + 1)
    return log.with_probabilities(**run.views(epoch, window, network))
