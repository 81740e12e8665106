"""NLNL's split: the labels that a network believes after learning what samples are not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector


@dataclass(frozen=True, repr=False)
class NLNLSelector(Selector, needs=("losses",)):
    r"""Keep the samples whose given label was predicted with one half or more on average.

    For the log of a network trained by negative learning; of one trained on the labels themselves,
    before they are memorised. NLNL has one network; a `peer` is not read.

    Parameters
    ----------
    window : int, default=10
        Number of last epochs whose probability of the given label is averaged; fewer where the log
        has fewer.
    threshold : float in [0, 1] or "chance", default=0.5
        Least average probability of a clean sample. ``"chance"`` is 1 / n_classes, that of the
        stage before, selective negative learning.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If nothing is kept.

    Notes
    -----
    The selective stages of [1]_. With :math:`\ell_i^t` the cross-entropy of the given label at
    epoch t, sample i is clean when

    .. math:: \bar p_i = \frac{1}{T} \sum_t e^{-\ell_i^t} \ge \gamma, \qquad
              \gamma = \tfrac12 \text{ or } \tfrac1C,

    over the last T epochs. `score` is :math:`\bar p_i`. The threshold is absolute: equal losses are
    all kept or all dropped.

    Departures: the code records the output in training mode, on augmented images; here it is what
    the log has. JNPL [2]_, which merges the stages, splits by the same probability; its weights of
    negative and positive learning could not be read in any public code, and are left out.

    Defaults: ``window=10`` and ``threshold=0.5`` in the code, on CIFAR-10.

    Cost: O(window n_samples).

    Fails where a network is sure of wrong labels, as one that was trained on them by cross-entropy
    and has memorised them; and where it is sure of no label, as with many classes early on.

    References
    ----------
    .. [1] Kim, Yim, Yun and Kim, "NLNL: Negative learning for noisy labels", ICCV 2019.
    .. [2] Kim, Yun, Shon and Kim, "Joint negative and positive learning for noisy labels",
       CVPR 2021.

    Examples
    --------
    >>> losses = [[0.1, 2.5, 0.6], [0.1, 0.4, 0.5]]
    >>> log = TrainingLog(labels=[0, 1, 2], losses=losses)
    >>> NLNLSelector().select(log).clean
    array([ True, False,  True])
    >>> NLNLSelector(threshold="chance").select(log).clean
    array([ True,  True,  True])
    """

    window: int = 10
    threshold: float | Literal["chance"] = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")
        if isinstance(self.threshold, str):
            allowed = self.threshold == "chance"
        else:
            allowed = 0 <= self.threshold <= 1
        if not allowed:
            raise ValueError(
                f"`threshold` must lie in [0, 1] or be 'chance', got {self.threshold!r}."
            )

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        probability = np.exp(-log.losses[-self.window :].astype(np.float64)).mean(axis=0)
        threshold = 1 / log.n_classes if self.threshold == "chance" else self.threshold
        clean = probability >= threshold
        if not clean.any():
            warnings.warn(
                f"NLNLSelector: no label has an average probability of {threshold:.3g}; none is "
                "kept.",
                DegenerateWarning,
                stacklevel=5,
            )
        return Selection(
            clean=clean,
            # A loss of 0 may be recorded as a digit less.
            score=np.minimum(probability, 1),
            reason=np.where(clean, "label is believed", "label is not believed"),
        )
