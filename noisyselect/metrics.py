"""How good a selection is: the one place, beside reports, where true labels enter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    BoolArray,
    FloatArray,
    check_classes,
    check_shape,
    floats,
    integers,
    to_numpy,
)
from noisyselect.selection import Selection

_SAME = "It must be in the order of the selection."
_NAN = float("nan")
# Bins of the calibration error, as in Guo et al., "On calibration of modern neural networks",
# ICML 2017.
_N_BINS = 15


class SelectionQuality(NamedTuple):
    r"""What a selection is worth when the truth is known; NaN where a measure is undefined.

    Of n samples, :math:`K` is the set of those kept, :math:`R` the set of those whose given label
    is right, :math:`s_i` a score and :math:`\ell_i` a loss.

    Attributes
    ----------
    n_kept : int
        :math:`|K|`: samples kept with their label. Synthetic samples do not count.
    precision : float in [0, 1]
        :math:`|K \cap R| / |K|`: share of kept labels that are right; NaN if none is kept.
    recall : float in [0, 1]
        :math:`|K \cap R| / |R|`: share of right labels that are kept; NaN if no label is right.
    f1 : float in [0, 1]
        :math:`2 |K \cap R| / (|K| + |R|)`: harmonic mean of both, and 0 if nothing is kept; NaN if
        besides no label is right.
    auroc : float in [0, 1]
        Probability that a right label has a higher score than a wrong one, ties counting half; NaN
        if all labels are right or all are wrong.
    average_precision : float in [0, 1]
        :math:`\sum_t (r_t - r_{t-1}) p_t` over the falling distinct scores t, with precision
        :math:`p_t` and recall :math:`r_t` of keeping all scores of at least t: the area under the
        curve on which a kept set is a point. A score without information has
        :math:`|R| / n`. NaN if no label is right.
    brier : float in [0, 1]
        :math:`\frac{1}{n} \sum_i (s_i - [i \in R])^2`: squared error of the score as a probability
        of being right. It is least in the mean for the true probability, so neither a constant nor
        an overconfident score can look good in it.
    calibration_error : float in [0, 1]
        :math:`\sum_b \frac{n_b}{n} |\bar s_b - |R_b| / n_b|` over 15 bins of the score of equal
        width: how far the share of right labels is from the score that promises it (expected
        calibration error). A constant score of :math:`|R| / n` has 0: read it beside `brier`.
    small_loss_precision : float in [0, 1]
        `precision` of the :math:`|K|` smallest losses instead: what the small-loss rule makes of a
        set of the same size, the mean over all orders of equal losses. NaN if none is kept or no
        losses were given.
    hard_recall : float in [0, 1]
        :math:`|K \cap H| / |H|` with :math:`H = \{i \in R : \ell_i > \mathrm{median}(\ell)\}`:
        `recall` among the right labels of large loss, which small loss gives away. NaN if there are
        none or no losses were given.
    """

    n_kept: int
    precision: float
    recall: float
    f1: float
    auroc: float
    average_precision: float
    brier: float
    calibration_error: float
    small_loss_precision: float
    hard_recall: float


class ClassBalance(NamedTuple):
    r"""How the kept samples fall into the classes of their given labels: no truth needed.

    With :math:`q_j` the share of class j among the kept samples. All NaN if nothing is kept.

    Attributes
    ----------
    smallest_class, largest_class : float in [0, 1]
        :math:`\min_j q_j` and :math:`\max_j q_j`.
    class_balance : float in [0, 1]
        :math:`\min_j q_j / \max_j q_j`: 1 if all classes are equally large, 0 if one is lost.
    effective_classes : float in [1, n_classes]
        :math:`\exp(-\sum_j q_j \ln q_j)`: as many equally large classes have the same entropy.
    """

    smallest_class: float
    largest_class: float
    class_balance: float
    effective_classes: float


def selection_quality(
    selection: Selection,
    labels: npt.ArrayLike,
    true_labels: npt.ArrayLike,
    n_classes: int,
    losses: npt.ArrayLike | None = None,
) -> SelectionQuality:
    """Compare a selection with the truth.

    Parameters
    ----------
    selection : Selection
        Over n_samples samples.
    labels, true_labels : array of int in [0, n_classes), shape (n_samples,)
        Given and true labels, in the order of the selection.
    n_classes : int
    losses : array of float, shape (n_samples,), optional
        Of one epoch, in nats, for the measures beside the small-loss rule. Losses that are not
        finite count as the largest.

    Returns
    -------
    SelectionQuality

    Raises
    ------
    ValueError
        If a shape differs or a label is out of range.

    Examples
    --------
    >>> selection = Selection(clean=[True, True, False, False], score=[0.9, 0.4, 0.6, 0.1])
    >>> quality = selection_quality(selection, [0, 1, 1, 0], [0, 0, 1, 1], n_classes=2)
    >>> quality.precision, quality.recall, quality.auroc
    (0.5, 0.5, 1.0)
    """
    n_samples = {"n_samples": selection.clean.size}
    given = integers("labels", labels)
    truth = integers("true_labels", true_labels)
    for name, values in (("labels", given), ("true_labels", truth)):
        check_shape(name, values, n_samples, _SAME)
        check_classes(name, values, n_classes)
    right: BoolArray = given == truth
    hits = int(np.count_nonzero(selection.clean & right))
    n_right = int(np.count_nonzero(right))
    auroc, average_precision = _areas(right, selection.score)
    small_loss_precision = hard_recall = _NAN
    if losses is not None:
        loss = floats("losses", losses)
        check_shape("losses", loss, n_samples, _SAME)
        loss = np.where(np.isfinite(loss), loss, np.inf)
        small_loss_precision = _precision_of_smallest(loss, right, len(selection))
        hard = right & (loss > np.median(loss))
        hard_recall = _ratio(
            int(np.count_nonzero(selection.clean & hard)), int(np.count_nonzero(hard))
        )
    return SelectionQuality(
        n_kept=len(selection),
        precision=_ratio(hits, len(selection)),
        recall=_ratio(hits, n_right),
        f1=_ratio(2 * hits, len(selection) + n_right),
        auroc=auroc,
        average_precision=average_precision,
        brier=float(np.mean((selection.score - right) ** 2)),
        calibration_error=_calibration_error(right, selection.score),
        small_loss_precision=small_loss_precision,
        hard_recall=hard_recall,
    )


def class_balance(selection: Selection, labels: npt.ArrayLike, n_classes: int) -> ClassBalance:
    """Measure how evenly a selection keeps the classes.

    Parameters and errors are those of `kept_shares`.

    Returns
    -------
    ClassBalance

    Examples
    --------
    >>> selection = Selection(clean=[True, True, True, True, False])
    >>> class_balance(selection, [0, 0, 1, 1, 2], n_classes=3)
    ClassBalance(smallest_class=0.0, largest_class=0.5, class_balance=0.0, effective_classes=2.0)
    """
    shares = kept_shares(selection, labels, n_classes)
    smallest, largest = float(shares.min()), float(shares.max())
    # A share of 0 adds nothing: 0 ln 0 = 0. NaN stays NaN.
    there = shares[shares != 0]
    return ClassBalance(
        smallest_class=smallest,
        largest_class=largest,
        class_balance=smallest / largest,
        effective_classes=float(np.exp(-np.sum(there * np.log(there)))),
    )


def kept_shares(selection: Selection, labels: npt.ArrayLike, n_classes: int) -> FloatArray:
    """Return the share of each class, by given label, among the kept samples: no truth needed.

    Parameters
    ----------
    selection : Selection
        Over n_samples samples.
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels, in the order of the selection.
    n_classes : int

    Returns
    -------
    array of float in [0, 1], shape (n_classes,)
        Sums to 1; all NaN if nothing is kept.

    Raises
    ------
    ValueError
        If the shape differs or a label is out of range.
    """
    given = integers("labels", labels)
    check_shape("labels", given, {"n_samples": selection.clean.size}, _SAME)
    check_classes("labels", given, n_classes)
    counts = np.bincount(given[selection.clean], minlength=n_classes)
    return counts / len(selection) if len(selection) else np.full(n_classes, np.nan)


def jaccard(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    r"""Return the likeness of two kept sets, :math:`|A \cap B| / |A \cup B|`.

    Parameters
    ----------
    a, b : array of bool, shape (n_samples,)

    Returns
    -------
    float in [0, 1]
        NaN if both are empty.

    Examples
    --------
    >>> jaccard([True, True, False], [False, True, True])
    0.3333333333333333
    """
    one, other = to_numpy(a), to_numpy(b)
    check_shape("b", other, {"n_samples": one.size})
    return _ratio(int(np.count_nonzero(one & other)), int(np.count_nonzero(one | other)))


def kappa_matrix(masks: Sequence[npt.ArrayLike]) -> FloatArray:
    r"""Return how far selections agree beyond chance, pair by pair: Cohen's kappa.

    Parameters
    ----------
    masks : sequence of n_masks arrays of bool, shape (n_samples,)
        Which samples each selection keeps.

    Returns
    -------
    array of float in [-1, 1], shape (n_masks, n_masks)
        Symmetric; 1 for equal answers, 0 for as much agreement as chance gives sets of these sizes.
        NaN where chance alone makes them equal: both keep all samples, or both none.

    Notes
    -----
    :math:`(p_o - p_e) / (1 - p_e)` of [1]_, with the share :math:`p_o` of samples on which both
    agree and :math:`p_e = q_a q_b + (1 - q_a)(1 - q_b)` of the kept shares. Two selections that
    each keep 95 % at random have a Jaccard index of 0.90; their kappa is 0.

    References
    ----------
    .. [1] Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological
       Measurement, 1960.

    Examples
    --------
    >>> kappa_matrix([[True, True, False, False], [True, False, False, False]]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    kept = [to_numpy(mask) for mask in masks]
    for mask in kept:
        check_shape("masks", mask, {"n_samples": kept[0].size})
    if not kept:
        return np.empty((0, 0))
    n_samples = kept[0].size
    # Whole numbers below 2**53, so exact: how many samples both keep.
    table = np.array(kept, dtype=np.float64)
    both = table @ table.T
    size = both.diagonal()
    agree = (n_samples - size[:, None] - size + 2 * both) / n_samples
    share = size / n_samples
    by_chance = np.outer(share, share) + np.outer(1 - share, 1 - share)
    kappa: FloatArray = np.divide(
        agree - by_chance,
        1 - by_chance,
        out=np.full(by_chance.shape, np.nan),
        where=by_chance < 1,
    )
    return kappa


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else _NAN


def _areas(right: BoolArray, score: FloatArray) -> tuple[float, float]:
    """Return AUROC and average precision."""
    if not right.any():
        return _NAN, _NAN
    if right.all():
        return _NAN, 1.0
    # One sort for both. sklearn has the same areas, in three times the time, which the bench of all
    # selectors at all epochs feels.
    order = np.argsort(score)[::-1]
    ordered = score[order]
    # Each distinct score is a bound: how many right labels, and how many samples, are not below it.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits, kept = np.cumsum(right[order])[last], last + 1
    recall, wrong_share = hits / hits[-1], (kept - hits) / (kept[-1] - hits[-1])
    # Both curves begin where nothing is kept.
    means = (recall + np.append(0, recall[:-1])) / 2
    auroc = np.sum(np.diff(wrong_share, prepend=0) * means)
    average_precision = np.sum(np.diff(recall, prepend=0) * (hits / kept))
    return float(auroc), float(average_precision)


def _calibration_error(right: BoolArray, score: FloatArray) -> float:
    bins = np.minimum((score * _N_BINS).astype(np.intp), _N_BINS - 1)
    # Times n_b / n, the difference of means is that of sums over n.
    promised = np.bincount(bins, weights=score, minlength=_N_BINS)
    found = np.bincount(bins, weights=right, minlength=_N_BINS)
    return float(np.abs(promised - found).sum() / score.size)


def _precision_of_smallest(loss: FloatArray, right: BoolArray, n_keep: int) -> float:
    """Return the share of right labels among the `n_keep` smallest losses."""
    if n_keep == 0:
        return _NAN
    bound = np.partition(loss, n_keep - 1)[n_keep - 1]
    below, at = loss < bound, loss == bound
    hits = np.count_nonzero(right[below])
    # Of equal losses at the bound any may be kept: each with the same chance.
    return float((hits + right[at].mean() * (n_keep - np.count_nonzero(below))) / n_keep)
