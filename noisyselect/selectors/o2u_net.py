"""O2U-Net's ranking: losses summed up while the learning rate swings."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest, midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import check_clean_rate, given_or_estimated, keep_all, warn

# A cycle starts where the rate at least doubles. A linear warm-up does so at its second epoch at
# most, which loses no more than the epochs before.
_RESTART = 2.0


@dataclass(frozen=True, repr=False)
class O2UNetSelector(Selector, needs=("losses",)):
    r"""Keep the share of samples with the smallest sum of losses under a cyclic learning rate.

    A cyclic rate drives the network from overfitting to underfitting again and again; wrong labels
    lose what was learnt of them each time. Where the rates are recorded, the sum runs from the
    first start of a cycle on, which is where the rate at least doubles; without a start, or without
    rates, over all epochs read. A `peer` is not read.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of samples to keep. By default the share that `GMMSelector` keeps on
        the last epoch of the same log.
    window : int, default=250
        Number of last epochs read, at most.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all sums are equal: then nothing speaks against any label, and all are kept with score 1.
        Also if the share is less than one sample.

    Notes
    -----
    The second stage of [1]_, over its epochs t:

    .. math:: s_i = \sum_t \big( \ell_i^t - \operatorname{mean}_j \ell_j^t \big), \qquad
              \{x_i : s_i \text{ among the } (1 - \tau) N \text{ smallest}\}.

    The means are the same for all samples and cannot change the order, so they are left out here.
    `score` is 1 minus the rank of the sum; of equal sums those of smaller last loss come first.

    Departures: the paper sums the losses of the training steps, as they come, and the log's may be
    measured after the epoch; the number kept is rounded, not cut off. What is kept is trained on
    from the start again in the paper, which is the trainer's matter.

    Defaults: the noise rate is told in the paper and estimated here. In its code the cyclic stage
    has 250 epochs on CIFAR-10 and CIFAR-100, in cycles of 10 in which the rate falls linearly from
    0.01 to 0.001.

    Cost: O(n_samples n_epochs) and one sort.

    Fails where the rate never swings and most epochs come before anything was learnt: their losses
    are the larger ones and outweigh those that tell.

    References
    ----------
    .. [1] Huang, Qu, Jia and Zhao, "O2U-Net: A simple noisy label detection approach for deep
       neural networks", ICCV 2019.

    Examples
    --------
    The loss of the second sample is small at the end of each cycle only.

    >>> losses = [[9, 9, 0], [0.2, 1.5, 0.3], [0.1, 0.1, 0.2], [0.2, 1.4, 0.3], [0.1, 0.1, 0.2]]
    >>> log = TrainingLog(labels=[0, 1, 1], losses=losses, lr=[0.001, 0.01, 0.001, 0.01, 0.001])
    >>> O2UNetSelector(clean_rate=0.67).select(log).clean
    array([ True, False,  True])
    """

    clean_rate: float | None = None
    window: int = 250

    def __post_init__(self) -> None:
        check_clean_rate(self.clean_rate)
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        method, losses = type(self).__name__, log.losses[-self.window :]
        start = 0 if log.lr is None else _first_restart(log.lr[-self.window :])
        total = losses[start:].sum(axis=0, dtype=np.float64)
        if total.min() == total.max():
            return keep_all(log, method, "all losses are equal")
        rate = given_or_estimated(self.clean_rate, log, method)
        clean = lowest(total, round(rate * log.n_samples), ties=losses[-1])
        if not clean.any():
            warn(method, f"a share of {rate:.3g} is less than one sample; no label is kept")
        return Selection(
            clean=clean,
            score=1 - midranks(total),
            reason=np.where(clean, "small loss over a cycle", "large loss over a cycle"),
        )


def _first_restart(lr: FloatArray) -> int:
    """Return the position of the first epoch of the cyclic stage, 0 where there is none."""
    starts = np.flatnonzero((lr[1:] > lr[:-1]) & (lr[1:] >= _RESTART * lr[:-1])) + 1
    return int(starts[0]) if starts.size else 0
