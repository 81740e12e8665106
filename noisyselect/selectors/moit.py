"""MOIT's choice: labels that the nearest neighbours, once corrected themselves, agree with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.neighbours import count_votes
from noisyselect.numeric.ranks import lowest_per_group
from noisyselect.selection import Selection
from noisyselect.selector import Selector

_QUANTILES = {"min": 0.0, "median": 0.5, "max": 1.0}


class Agreement(NamedTuple):
    """How far the neighbours agree with the given labels.

    Attributes
    ----------
    share : array of float in [0, 1], shape (n_samples,)
        Share of the neighbours whose corrected label is the sample's given one.
    before : array of float in [0, 1], shape (n_samples,)
        The same with the given labels of the neighbours.
    agrees : array of bool, shape (n_samples,)
        Where no label is more frequent among the corrected ones than the given one.
    """

    share: FloatArray
    before: FloatArray
    agrees: BoolArray


@dataclass(frozen=True, repr=False)
class MOITSelector(Selector, needs=()):
    r"""Keep the labels that the nearest neighbours agree with, equally many of each class.

    In a first step every sample is given the most frequent label among its neighbours, and in a
    second one these corrected labels vote on the given ones.

    Parameters
    ----------
    n_neighbors : int, default=250
        Neighbours per sample, the sample itself excluded. Of a log's `neighbours` the first so
        many columns; otherwise cosine neighbours of its `features`.
    balance : {"median", "min", "max", "none"}, default="median"
        How many labels of each class are kept: the median, the least or the greatest of the
        classes' numbers of labels that the vote confirms, or all that it confirms.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has neither neighbours nor features.

    Warns
    -----
    DegenerateWarning
        If nothing is kept.

    See Also
    --------
    SelCLSelector : The same with any quantile.
    ENNCleaner : One step instead of two, without balance.

    Notes
    -----
    The detection of label noise in [1]_. With :math:`N_i` the K neighbours of sample i,

    .. math:: \hat y_j = \arg\max_c |\{k \in N_j : y_k = c\}|, \qquad
              g_i = \frac{1}{K} |\{j \in N_i : \hat y_j = y_i\}|,

    the vote confirms a label when no other is more frequent among :math:`\hat y_j`. With
    :math:`n^*` the median over the classes of the number of confirmed labels, each class keeps its
    :math:`n^*` samples of greatest :math:`g_i`, and a smaller class all. `score` is :math:`g_i`.

    Departures: the median is the lower of two middle numbers, as in the code, and classes that no
    label names have none. The code orders by :math:`-\log g_i` clipped to [0.01, 0.99]; without the
    clip the order is finer, and of equal :math:`g_i` the greater share of given labels comes first,
    then the smaller last loss where the log has losses. Of equally frequent labels the given
    one wins, then the one of the nearest neighbour. A sample without neighbours is confirmed, with
    score 1/2.

    Defaults: K = 250 and the median are those of the code's scripts for CIFAR-10 and CIFAR-100.

    Cost: O(n_samples (n_neighbors + n_classes)), beside the search for neighbours.

    Fails where wrong labels lie together, as those that go by what a picture shows: then wrong
    neighbours confirm each other. A class of fewer than about n_neighbors / 2 samples is outvoted.

    References
    ----------
    .. [1] Ortego, Arazo, Albert, O'Connor and McGuinness, "Multi-objective interpolation training
       for robustness to label noise", CVPR 2021.

    Examples
    --------
    >>> features = [[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0.2, 1], [0.3, 1]]
    >>> log = TrainingLog(labels=[0, 0, 0, 1, 1, 1, 0], features=features)
    >>> MOITSelector(n_neighbors=2).select(log).clean
    array([ True,  True,  True,  True,  True,  True, False])
    """

    n_neighbors: int = 250
    balance: Literal["median", "min", "max", "none"] = "median"

    def __post_init__(self) -> None:
        check_n_neighbors(self.n_neighbors)
        if self.balance not in (*_QUANTILES, "none"):
            raise ValueError(
                f"`balance` must be 'median', 'min', 'max' or 'none', got {self.balance!r}."
            )

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        agreement = two_step_agreement(log, self.n_neighbors)
        if self.balance == "none":
            clean = agreement.agrees
        else:
            clean = equally_many(log, agreement, _QUANTILES[self.balance])
        return agreeing_selection(type(self).__name__, agreement, clean)


def check_n_neighbors(n_neighbors: int) -> None:
    """Raise ValueError unless `n_neighbors` is a positive integer."""
    if not isinstance(n_neighbors, Integral) or n_neighbors < 1:
        raise ValueError(f"`n_neighbors` must be at least 1 neighbour, got {n_neighbors!r}.")


def two_step_agreement(log: TrainingLog, n_neighbors: int) -> Agreement:
    """Let the neighbours vote with their given labels, and again with the corrected ones."""
    neighbours = log.nearest(n_neighbors)
    given = count_votes(log.labels, neighbours, log.labels)
    corrected = count_votes(given.winner, neighbours, log.labels)
    return Agreement(
        share=_share(corrected.own, corrected.voting),
        before=_share(given.own, given.voting),
        agrees=corrected.winner == log.labels,
    )


def equally_many(log: TrainingLog, agreement: Agreement, quantile: float) -> BoolArray:
    """Return a mask of the samples of each class that agree best, equally many of each.

    How many is the `quantile` over the classes of the number that agrees, the lower one where it
    falls between two.
    """
    present = np.bincount(log.labels) > 0
    n_agreeing = np.bincount(log.labels, weights=agreement.agrees)[present]
    n_keep = int(np.quantile(n_agreeing, quantile, method="lower"))
    last_loss = np.zeros(log.n_samples) if log.losses is None else log.losses[-1]
    # Place in the order of three keys, the last one first.
    order = np.lexsort((last_loss, -agreement.before, -agreement.share))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    return lowest_per_group(place, log.labels, n_keep, ties=place)


def agreeing_selection(name: str, agreement: Agreement, clean: BoolArray) -> Selection:
    """Return the selection of the selector `name` with its reasons; warn if nothing is kept."""
    if not clean.any():
        warnings.warn(
            f"{name}: the neighbours confirm too few labels of some class; no label is kept.",
            DegenerateWarning,
            stacklevel=6,
        )
    reason = np.where(
        clean,
        np.where(agreement.agrees, "neighbours agree", "fill"),
        np.where(agreement.agrees, "class is full", "neighbours disagree"),
    )
    return Selection(clean=clean, score=agreement.share, reason=reason)


def _share(part: IntArray, whole: IntArray) -> FloatArray:
    share: FloatArray = np.where(whole > 0, part / np.maximum(whole, 1), 0.5)
    return share
