"""Stability of predictions: over a window, and across a change of the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.errors import MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.selection import Reasons, Selection
from noisyselect.selector import Selector

Adaptability = Literal["returns", "moved-and-returned", "printed"]

# A step of the schedule at least halves or doubles the rate. A cosine or linear schedule moves a
# little every epoch, and must not look like a change at every epoch.
_STEP = 2.0


class Stability(NamedTuple):
    """What the predictions say.

    Attributes
    ----------
    clean : array of bool, shape (n_samples,)
    same : array of bool, shape (window, n_samples)
        Where the prediction is that of the epoch before, or after a change of the rate that of the
        last epoch at the old one.
    after_change : bool
        True if the rule for a change of the learning rate was applied.
    """

    clean: BoolArray
    same: BoolArray
    after_change: bool

    @property
    def score(self) -> FloatArray:
        """Return how steady each sample is, shape (n_samples,), from 0 to 1."""
        share: FloatArray = self.same.mean(axis=0)
        return (self.clean + share) / 2 if self.after_change else share


@dataclass(frozen=True, repr=False)
class PredictionStabilitySelector(Selector, needs=("predictions",)):
    r"""Keep the samples whose prediction stays, or returns after the learning rate has changed.

    While the learning rate is constant a sample is clean when its prediction was the same at all
    `window` + 1 last epochs. Once `window` epochs at a new rate are over, and for
    `lr_change_epochs` epochs from then on, it is clean when its prediction adapted to the change.

    Parameters
    ----------
    window : int, default=5
        Number :math:`\tau` of steps from epoch to epoch. The paper gives no value.
    adaptability : {"returns", "moved-and-returned", "printed"}, default="returns"
        The reading of Eq. 5, where :math:`t` is the last epoch at the old rate:

        - ``"returns"``: the prediction at :math:`t + \tau` is that at :math:`t`;
        - ``"moved-and-returned"``: the same, and it was another one in between;
        - ``"printed"``: both terms "not equal", as printed: the prediction at :math:`t` is neither
          that at :math:`t + 1` nor that at :math:`t + \tau`.
    lr_change_epochs : int, optional
        Number of epochs for which the rule for a change holds. By default `window`; 0 never
        applies it.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no predictions, or fewer than `window` + 1 epochs.

    Notes
    -----
    Equation 5 of [1]_. The text of the paper says that clean samples "keep the prediction before
    the learning rate change after small fluctuations", while both printed terms say "not equal":
    the default follows the text. A change is found where the recorded rate of an epoch is at most
    half or at least twice that of the epoch before; a log without rates has none. `score` is the
    share of steps without a change of prediction, and after a change of the rate the mean of that
    answer and the share of epochs that predict as the last one at the old rate did.

    Cost: O(`window` n_samples).

    Fails where a sample is stably predicted as another class than its label, for the label is not
    asked: alone it finds samples that are hard, not labels that are wrong. VRLV intersects it with
    small losses.

    References
    ----------
    .. [1] Wang, Jiang, Tu and Ding, "VRLVMix: Combating noisy labels with sample selection based
       on loss variation".

    Examples
    --------
    >>> log = TrainingLog(labels=[0, 1, 1], predictions=[[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    >>> PredictionStabilitySelector(window=2).select(log).clean
    array([ True, False,  True])

    The learning rate drops at the third epoch; two epochs later the second sample has returned.

    >>> predictions = [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
    >>> log = TrainingLog(labels=[0, 1, 1], predictions=predictions, lr=[0.1, 0.1, 0.01, 0.01])
    >>> PredictionStabilitySelector(window=2).select(log).clean
    array([ True,  True, False])
    """

    window: int = 5
    adaptability: Adaptability = "returns"
    lr_change_epochs: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")
        if self.adaptability not in ("returns", "moved-and-returned", "printed"):
            raise ValueError(
                "`adaptability` must be 'returns', 'moved-and-returned' or 'printed', "
                f"got {self.adaptability!r}."
            )
        if self.lr_change_epochs is not None and self.lr_change_epochs < 0:
            raise ValueError(
                f"`lr_change_epochs` must be at least 0, got {self.lr_change_epochs!r}."
            )

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        after = self.window if self.lr_change_epochs is None else self.lr_change_epochs
        return self.window + max(after, 1)

    def stability(self, log: TrainingLog) -> Stability:
        """Return the answer together with the rule that gave it; `select` wraps it."""
        assert log.predictions is not None
        if log.n_epochs < self.window + 1:
            raise MissingEvidenceError(
                f"PredictionStabilitySelector needs {self.window + 1} epochs of predictions "
                f"(`window` + 1), got {log.n_epochs}. Record more (and keep them: "
                "`window` of the bank), or make `window` smaller."
            )
        recent = log.predictions[-self.history :]
        reference = self._last_at_old_rate(log.lr)
        if reference is None:
            return _unchanged(recent[-(self.window + 1) :])
        return self._adapted(recent[reference : reference + self.window + 1])

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        answer = self.stability(log)
        kept, dropped = (
            ("adapted to the new rate", "did not adapt to the new rate")
            if answer.after_change
            else ("stable prediction", "changing prediction")
        )
        reason = Reasons.either(answer.clean, kept, dropped)
        return Selection(clean=answer.clean, score=answer.score, reason=reason)

    def after_change(self, lr: FloatArray | None) -> bool:
        """Return whether the rule for a change holds after epochs at these learning rates."""
        return self._last_at_old_rate(lr) is not None

    def _last_at_old_rate(self, lr: FloatArray | None) -> int | None:
        """Return the last epoch at the old rate if the rule for a change holds now, else None."""
        if lr is None:
            return None
        lr = lr[-self.history :]
        after = self.window if self.lr_change_epochs is None else self.lr_change_epochs
        old, new = lr[:-1], lr[1:]
        steps = np.flatnonzero((old != new) & ((new * _STEP <= old) | (new >= old * _STEP)))
        # The rule holds at epochs t + tau, ..., t + tau + after - 1. Of several changes the latest.
        age = lr.size - 1 - steps
        held = steps[(age >= self.window) & (age < self.window + after)]
        return int(held[-1]) if held.size else None

    def _adapted(self, predictions: IntArray) -> Stability:
        """Answer Eq. 5 for the predictions at t, ..., t + tau."""
        same = predictions[1:] == predictions[0]
        match self.adaptability:
            case "returns":
                clean = same[-1]
            case "moved-and-returned":
                clean = same[-1] & ~same.all(axis=0)
            case "printed":
                clean = ~same[0] & ~same[-1]
        return Stability(clean, same, after_change=True)


def _unchanged(predictions: IntArray) -> Stability:
    same = predictions[1:] == predictions[:-1]
    return Stability(same.all(axis=0), same, after_change=False)
