"""Variance ranking of loss variation: what is learnt steadily is probably clean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest, quick_midranks
from noisyselect.selection import Reasons, Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import given_or_estimated


@dataclass(frozen=True, repr=False)
class LossVariationSelector(Selector, needs=("losses",)):
    r"""Keep the share of samples whose rank of the loss change varies least over the last epochs.

    Parameters
    ----------
    window : int, default=5
        Number :math:`\tau` of loss changes, which need :math:`\tau + 1` epochs. The paper gives no
        value.
    clean_rate : float in (0, 1], optional
        Share :math:`\rho` of samples to keep. By default the share that `GMMSelector` keeps on the
        last epoch of the same log.
    change : {"signed", "absolute"}, default="signed"
        What is ranked: :math:`\ell_{t-1} - \ell_t` or its absolute value.
    short_history : {"error", "shrink"}, default="error"
        What to do with fewer than `window` + 1 epochs: refuse, or use those there are (at least
        3; a single change has no variance).

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses, or too few epochs.

    Notes
    -----
    Equations 3 and 4 of [1]_:

    .. math:: \mathrm{var}_i = \frac{1}{\tau} \sum_t (S_i^t - \bar S_i)^2, \qquad
              V_c = \{x_i : \mathrm{var}_i \text{ among the } \rho N \text{ smallest}\}.

    Departures: of equal variances, as losses that reached 0 have, those of smaller last loss come
    first. :math:`S_i^t` is printed as an argsort, which is a permutation and no rank; here it
    is the rank, ties sharing their mean, divided by N - 1. The sum is printed from 1 to
    :math:`t + \tau`; here it has :math:`\tau` terms. `score` is 1 minus the rank of the variance.
    From 131,072 samples on all ranks are counted, to within 0.0005.

    Cost: O(`window` n_samples log n_samples), one sort for each change; O(`window` n_samples) from
    131,072 samples on, where a log that a bank made ranks only the changes that are new.

    Fails where wrong labels are not learnt at all: their losses stay high and steady, and what does
    not change does not vary.

    References
    ----------
    .. [1] Wang, Jiang, Tu and Ding, "VRLVMix: Combating noisy labels with sample selection based
       on loss variation".

    Examples
    --------
    The third sample is learnt in jumps, the others steadily.

    >>> losses = [[1.0, 1.1, 3.0], [0.8, 0.85, 3.1], [0.6, 0.65, 1.2], [0.4, 0.42, 1.3]]
    >>> log = TrainingLog(labels=[0, 1, 1], losses=losses)
    >>> LossVariationSelector(window=3, clean_rate=0.67).select(log).clean
    array([ True,  True, False])
    """

    window: int = 5
    clean_rate: float | None = None
    change: Literal["signed", "absolute"] = "signed"
    short_history: Literal["error", "shrink"] = "error"

    def __post_init__(self) -> None:
        if not isinstance(self.window, Integral) or self.window < 2:
            raise ValueError(f"`window` must be at least 2 epochs, got {self.window!r}.")
        if self.clean_rate is not None and not 0 < self.clean_rate <= 1:
            raise ValueError(f"`clean_rate` must lie in (0, 1], got {self.clean_rate!r}.")
        if self.change not in ("signed", "absolute"):
            raise ValueError(f"`change` must be 'signed' or 'absolute', got {self.change!r}.")
        if self.short_history not in ("error", "shrink"):
            raise ValueError(
                f"`short_history` must be 'error' or 'shrink', got {self.short_history!r}."
            )

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads."""
        return self.window + 1

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        needed = self.history if self.short_history == "error" else 3
        if log.n_epochs < needed:
            raise MissingEvidenceError(
                f"LossVariationSelector needs {needed} epochs of losses (`window` + 1), got "
                f"{log.n_epochs}. Record more (and keep them: `window` of the bank), make `window` "
                "smaller, or pass short_history='shrink'."
            )
        assert log.losses is not None
        variance = log.rank_variance(self.window, self.change)
        rate = given_or_estimated(self.clean_rate, log, type(self).__name__)
        clean = lowest(variance, round(rate * log.n_samples), ties=log.losses[-1])
        if not clean.any():
            warnings.warn(
                f"LossVariationSelector: a share of {rate:.3g} of {log.n_samples} samples is none; "
                "no label is kept.",
                DegenerateWarning,
                stacklevel=5,
            )
        return Selection(
            clean=clean,
            score=1 - quick_midranks(variance),
            reason=Reasons.either(clean, "stable loss", "varying loss"),
        )
