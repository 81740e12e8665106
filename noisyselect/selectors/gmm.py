"""DivideMix's split: two Gaussians on the losses, the low one is clean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from noisyselect.arrays import AnyArray, frozen
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.mixture import (
    TwoGaussians,
    Vector,
    fit_in_few_steps,
    low_mean_posterior,
    unit_interval,
)
from noisyselect.selection import Reasons, Selection
from noisyselect.selector import Selector


@dataclass(frozen=True, repr=False)
class GMMSelector(Selector, needs=("losses",)):
    r"""Keep the samples whose loss belongs to the lower of two Gaussians.

    The losses of the last epoch are mapped onto [0, 1], two Gaussians are fitted to them, and a
    sample is clean when its posterior :math:`w_i` of the component with the smaller mean exceeds
    `threshold`. `score` and `trust` are :math:`w_i`.

    Parameters
    ----------
    threshold : float in [0, 1), default=0.5
        Least posterior of a clean sample, exclusive.
    n_average : int, default=1
        Number of last epochs whose normalised losses are averaged; of fewer where the log is
        shorter. DivideMix averages 5 at 90 % noise.
    random_state : int, default=0
        Has no effect: the fit starts from the best split into two groups, which is found exactly.
        Kept so that every selector can be given a seed.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all losses are nearly equal: then nothing speaks against any label, and all are kept with
        score 1. Also if nothing is kept.

    Notes
    -----
    Section 3.1 of [1]_. Expectation-maximisation stops as in its code, after at most 10 steps, in
    practice after 2 or 3. That belongs to the rule: where right and wrong losses overlap much, as
    at 80 % noise, the likelihood is largest with both Gaussians on one spot, and a fit that goes on
    keeps everything or nothing.

    Departures from the code: the start is the best split into two groups (there that of an unseeded
    2-means), averaging is an option (there it is triggered by the true noise rate), and equal
    losses are answered (there 0/0). The posterior need not fall with the loss: where the upper
    Gaussian is much the wider one, the very smallest losses may belong to it, here as there.

    Defaults: those of DivideMix; its paper takes a threshold of 0.6 at 90 % noise.

    Cost: O(n_samples), a few passes, and at most 10 steps on at most 4096 bins. The split is that
    of the same fit without bins on all but 0.1 % of the samples.

    Fails where wrong labels have been learnt by heart: their losses are then as small as the
    others'. Also where some classes are harder than others, as their right labels have the large
    losses. Of labels that are all right it drops those of large loss all the same: two groups are
    found in any losses.

    References
    ----------
    .. [1] Li, Socher and Hoi, "DivideMix: Learning with noisy labels as semi-supervised learning",
       ICLR 2020.

    Examples
    --------
    >>> log = TrainingLog(labels=[0, 1, 1, 0], losses=[[0.1, 0.2, 2.3, 0.3]])
    >>> GMMSelector().select(log).clean
    array([ True,  True, False,  True])
    """

    threshold: float = 0.5
    n_average: int = 1
    random_state: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"`threshold` must lie in [0, 1), got {self.threshold!r}.")
        if self.n_average < 1:
            raise ValueError(f"`n_average` must be at least 1 epoch, got {self.n_average!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads."""
        return self.n_average

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        # Each epoch is normalised before the mean: losses shrink during training.
        recent = [unit_interval(losses) for losses in log.losses[-self.n_average :]]
        loss = recent[0] if len(recent) == 1 else np.mean(recent, axis=0)
        mixture = fit_in_few_steps(loss)
        selection = self._split(loss, mixture, log.ids)
        if mixture.collapsed:
            self._warn("all losses are nearly equal; every label is kept")
        elif not selection.clean.any():
            self._warn(f"no posterior exceeds {self.threshold}; no label is kept")
        return selection

    def _split(self, loss: Vector, mixture: TwoGaussians, ids: AnyArray) -> Selection:
        """Decide on normalised losses by a mixture that was fitted to these and maybe others.

        The losses are written over.
        """
        posterior = low_mean_posterior(loss, mixture, out=loss)
        clean = frozen(posterior > self.threshold)
        reason = Reasons.either(clean, "small loss", "large loss")
        posterior = frozen(posterior)
        return Selection(clean=clean, score=posterior, ids=ids, trust=posterior, reason=reason)

    def _warn(self, text: str) -> None:
        warnings.warn(f"GMMSelector: {text}.", DegenerateWarning, stacklevel=6)
