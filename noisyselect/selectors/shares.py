"""How many samples to keep where a rule has to be told, and the answer where none stands out."""

from __future__ import annotations

import warnings

import numpy as np

from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selectors.gmm import GMMSelector


def check_clean_rate(clean_rate: float | None) -> None:
    """Raise ValueError unless `clean_rate` is a share of samples, or None."""
    if clean_rate is not None and not 0 < clean_rate <= 1:
        raise ValueError(f"`clean_rate` must lie in (0, 1], got {clean_rate!r}.")


def given_or_estimated(clean_rate: float | None, log: TrainingLog, method: str) -> float:
    """Return `clean_rate`, or for None the share that `GMMSelector` keeps on the last epoch."""
    if clean_rate is not None:
        return clean_rate
    if log.losses is None:
        raise MissingEvidenceError(
            f"{method} needs `losses` to estimate how many samples to keep, but this log has only "
            f"{', '.join(log.columns)}. Record them with bank.record(ids, losses=...), or pass "
            "`clean_rate`."
        )
    return float(GMMSelector().select(log).clean.mean())


def require_epochs(log: TrainingLog, method: str, n_epochs: int) -> None:
    """Raise MissingEvidenceError unless `log` has `n_epochs` epochs."""
    if log.n_epochs < n_epochs:
        raise MissingEvidenceError(
            f"{method} needs at least {n_epochs} epochs, got {log.n_epochs}. Record more, and keep "
            "them: `window` of the bank."
        )


def forget_rate(epoch: int, noise_rate: float, n_gradual: int, exponent: float = 1.0) -> float:
    r"""Return the share of samples to leave out at `epoch`: Co-teaching's schedule.

    Parameters
    ----------
    epoch : int >= 0
        Number of the epoch.
    noise_rate : float in [0, 1]
        Share :math:`\tau` of wrong labels.
    n_gradual : int >= 0
        Number of first epochs in which the share rises linearly from 0 to :math:`\tau^c`, both
        ends included. It is :math:`\tau` from then on.
    exponent : float > 0, default=1.0
        :math:`c`.

    Examples
    --------
    >>> [forget_rate(epoch, 0.5, n_gradual=3) for epoch in range(5)]
    [0.0, 0.25, 0.5, 0.5, 0.5]
    """
    if epoch >= n_gradual:
        return noise_rate
    return float(np.linspace(0, noise_rate**exponent, n_gradual)[epoch])


def keep_all(log: TrainingLog, method: str, why: str, depth: int = 0) -> Selection:
    """Return all samples of `log` with score 1, and warn: nothing speaks against any label.

    The warning names the line that called `select`; `depth` counts the functions between this one
    and the selector's `_select`.
    """
    text = f"{method}: {why}; every label is kept."
    warnings.warn(text, DegenerateWarning, stacklevel=6 + depth)
    everything = np.ones(log.n_samples, dtype=bool)
    return Selection(
        clean=everything,
        score=everything,
        reason=np.full(log.n_samples, "nothing speaks against it"),
    )


def warn(method: str, text: str) -> None:
    """Warn, from its `_select`, that the evidence of `method` is degenerate."""
    warnings.warn(f"{method}: {text}.", DegenerateWarning, stacklevel=6)
