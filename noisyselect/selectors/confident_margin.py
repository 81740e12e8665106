"""Confident margin: another class is likelier, measured by how sure each class usually is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector

# What networks believe of the labels of a class on average, at least, if most of them are right.
_LEAST_AVERAGE = 0.5


@dataclass(frozen=True, repr=False)
class ConfidentMarginSelector(Selector, needs=("probabilities",)):
    r"""Keep the samples whose given label is the likeliest class, relative to the class's average.

    For probabilities from networks that did not train on the sample, as `noisyselect.torch.audit`
    records them: of networks that did, the given label is the likeliest class once it is memorised.
    The last epoch counts, and where there is a `peer`, the mean of both networks.

    Parameters
    ----------
    threshold : float in [-2, 2], default=0.0
        Least margin of a clean sample. Lower values suspect fewer labels.

    Raises
    ------
    ValueError
        If `threshold` is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Notes
    -----
    With :math:`p_{ij}` the probability of class j for sample i and :math:`y_i` its given label,

    .. math:: t_j = \max\Big(\frac12, \operatorname{mean}_{i : y_i = j} p_{ij}\Big), \qquad
              m_i = (p_{i y_i} - t_{y_i}) - \max_{k \ne y_i} (p_{ik} - t_k),

    a sample is clean when :math:`m_i` is at least `threshold`, and `score` is :math:`1/2 + m_i/4`.
    The means are the thresholds of confident learning (its Eq. 2 in [1]_): where many labels of one
    class became another's, networks are unsure of the one and sure of the other, and a threshold
    for all would suspect the right labels of the first. Departures: confident learning counts a
    sample for the likeliest class k with :math:`p_{ik} \ge t_k`, if there is one; here the
    differences are compared, so that every sample has an answer, and mask and score are one rule. A
    mean below one half is that of a class whose labels the networks mostly do not believe, as of a
    rare one among wrong labels of the others: it is no standard, as too many samples would exceed
    it. With every mean below one half, a sample is clean when its given label is the likeliest
    class. A class that no label names is no rival. The rule is ours; `ConfidentLearningSelector`
    asks cleanlab, which counts labels by pairs of classes before it drops any.

    Cost: O(n_samples n_classes).

    Fails where the probabilities are of networks that have learnt the wrong labels by heart.

    References
    ----------
    .. [1] Northcutt, Jiang and Chuang, "Confident learning: Estimating uncertainty in dataset
       labels", Journal of Artificial Intelligence Research, 2021.

    Examples
    --------
    Class 1 is usually predicted with more certainty, so 0.48 is much for class 0.

    >>> probabilities = [[[0.48, 0.52], [0.6, 0.4], [0.05, 0.95], [0.5, 0.5]]]
    >>> log = TrainingLog(labels=[0, 0, 1, 1], probabilities=probabilities)
    >>> ConfidentMarginSelector().select(log).clean
    array([ True,  True,  True, False])
    """

    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not -2 <= self.threshold <= 2:
            raise ValueError(f"`threshold` must lie in [-2, 2], got {self.threshold!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        probabilities = last_probabilities(log, peer)
        margin = _margin(probabilities, log.labels)
        clean = margin >= self.threshold
        return Selection(
            clean=clean,
            # Rounding may lead out of the interval by a digit.
            score=np.clip(0.5 + margin / 4, 0, 1),
            reason=np.where(clean, "given class is likeliest", "another class is likelier"),
        )


def last_probabilities(log: TrainingLog, peer: TrainingLog | None) -> npt.NDArray[np.float64]:
    """Return the class probabilities of the last epoch, the mean of both networks with a `peer`."""
    return _last(log) if peer is None else (_last(log) + _last(peer)) / 2


def _last(log: TrainingLog) -> npt.NDArray[np.float64]:
    assert log.probabilities is not None
    last: npt.NDArray[np.float64] = log.probabilities[-1].astype(np.float64)
    return last


def _margin(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Return the margin of the given class over the best other one, in [-2, 2]."""
    n_samples, n_classes = probabilities.shape
    rows = np.arange(n_samples)
    counts = np.bincount(labels, minlength=n_classes)
    sums = np.bincount(labels, weights=probabilities[rows, labels], minlength=n_classes)
    excess = probabilities - np.maximum(sums / np.maximum(counts, 1), _LEAST_AVERAGE)
    own = excess[rows, labels]
    excess[:, counts == 0] = -1
    excess[rows, labels] = -1
    margin: FloatArray = own - excess.max(axis=1)
    return margin
