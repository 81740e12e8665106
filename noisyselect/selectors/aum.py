"""Area under the margin: how far the given label was ahead of the best other class."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.numeric.margins import mean_margin
from noisyselect.numeric.mixture import (
    TwoGaussians,
    Vector,
    fit_two_gaussians,
    low_mean_posterior,
    unit_interval,
)
from noisyselect.numeric.ranks import lowest, midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import check_clean_rate, keep_all, warn


@dataclass(frozen=True, repr=False)
class AUMSelector(Selector, needs=("probabilities",)):
    r"""Keep the samples whose given label was far ahead of every other class over the epochs.

    The mean margin over the epochs that have probabilities decides; how large it must be, two
    Gaussians on the margins say, or the share that is given. `score` is its rank. A `peer` is not
    read.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share of samples to keep. By default the margin from which on the higher of two Gaussians
        fitted to all of them is the likelier one.
    window : int, default=150
        Number of last epochs read, at most.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Warns
    -----
    DegenerateWarning
        If all margins are equal or there is a single class: then nothing speaks against any label,
        and all are kept with score 1. Also, without `clean_rate`, if the margins do not fall into
        two groups: then all are kept, and the score is still the rank. Also if nothing is kept.

    Notes
    -----
    Equations 1 and 2 of [1]_, with logits z:

    .. math:: \mathrm{AUM}_i = \frac{1}{T} \sum_t \big( z_{i y_i}^t - \max_{c \ne y_i} z_{ic}^t
              \big),

    where differences of logits are those of log probabilities. If the Gaussians decide, `trust` is
    the posterior of the higher one, and a sample is clean where it exceeds 1/2. Far out the wider
    Gaussian is the likelier one on either side: beyond the margin at which the posterior would turn
    for that reason, below both means or above both, it stays as it is there.

    Departures: the paper finds the least margin of a clean label by samples that it assigns to a
    class that does not exist, before training. A saved log has none, hence the Gaussians, as on
    losses in DivideMix, or the share. It reads the margins that training steps show, up to the
    first drop of the learning rate; the log's are of the ends of epochs, and are to be cut there
    with ``log.until(epoch)``. Of equal margins that with the larger probability of the label in the
    last epoch comes first.

    Defaults: the paper's networks train 150 epochs on CIFAR-10 and CIFAR-100 before the rate drops.

    Cost: O(n_samples n_classes n_epochs) and one sort.

    Fails where only last epochs have probabilities, after wrong labels were learnt by heart: their
    margins are then as large as those of right ones. After that the margins of all epochs still
    order well, but may no longer fall into two groups: then a few very large ones are kept, or all
    of them. Give a share there.

    References
    ----------
    .. [1] Pleiss, Zhang, Elenberg and Weinberger, "Identifying mislabeled data using the area under
       the margin ranking", NeurIPS 2020.

    Examples
    --------
    >>> probabilities = [[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]]
    >>> log = TrainingLog(labels=[0, 0, 1], probabilities=probabilities)
    >>> AUMSelector(clean_rate=0.67).select(log).clean
    array([ True,  True, False])
    """

    clean_rate: float | None = None
    window: int = 150

    def __post_init__(self) -> None:
        check_clean_rate(self.clean_rate)
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.probabilities is not None
        method, recent = type(self).__name__, log.probabilities[-self.window :]
        if log.n_classes < 2:
            return keep_all(log, method, "a single class has no margin")
        margin = mean_margin(recent, log.labels)
        if margin.min() == margin.max():
            return keep_all(log, method, "all margins are equal")
        if self.clean_rate is None:
            unit = unit_interval(margin)
            mixture = fit_two_gaussians(unit)
            trust = np.ones(log.n_samples)
            if mixture.collapsed:
                warn(method, "the margins do not fall into two groups; every label is kept")
            else:
                trust -= low_mean_posterior(_where_odds_rise(unit, mixture), mixture)
            clean = trust > 0.5
        else:
            last = recent[-1][np.arange(log.n_samples), log.labels]
            clean = lowest(-margin, round(self.clean_rate * log.n_samples), ties=-last)
            trust = clean.astype(np.float64)
        if not clean.any():
            warn(method, "no margin is large enough; no label is kept")
        return Selection(
            clean=clean,
            score=midranks(margin),
            trust=trust,
            reason=np.where(clean, "large margin", "small margin"),
        )


def _where_odds_rise(values: Vector, mixture: TwoGaussians) -> Vector:
    """Return the values; those beyond the turn of the odds of the higher Gaussian, at the turn.

    The log of the odds is a parabola, which turns beyond the mean of the narrower Gaussian.
    """
    (low, high), (of_low, of_high) = mixture.means, mixture.variances
    if of_low == of_high:
        return values
    turn = (low * of_high - high * of_low) / (of_high - of_low)
    turned: Vector = np.maximum(values, turn) if of_high > of_low else np.minimum(values, turn)
    return turned
