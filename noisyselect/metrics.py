"""How good a selection is: the one place, beside reports, where true labels enter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    BoolArray,
    FloatArray,
    check_classes,
    check_shape,
    integers,
)
from noisyselect.selection import Selection

_SAME = "It must be in the order of the selection."


class SelectionQuality(NamedTuple):
    """What a selection is worth; NaN where a measure is undefined.

    Attributes
    ----------
    n_kept : int
        Samples kept with their label. Synthetic samples do not count.
    precision : float in [0, 1]
        Share of kept labels that are right; NaN if none is kept.
    recall : float in [0, 1]
        Share of right labels that are kept; NaN if no label is right.
    f1 : float in [0, 1]
        Harmonic mean of both; 0 if both are 0, NaN if either is NaN.
    auroc : float in [0, 1]
        Probability that a right label has a higher score than a wrong one, ties counting half; NaN
        if all labels are right or all are wrong.
    smallest_class, largest_class : float in [0, 1]
        Least and largest share of one class, by given label, among the kept samples; NaN if none
        is kept.
    """

    n_kept: int
    precision: float
    recall: float
    f1: float
    auroc: float
    smallest_class: float
    largest_class: float


def selection_quality(
    selection: Selection, labels: npt.ArrayLike, true_labels: npt.ArrayLike, n_classes: int
) -> SelectionQuality:
    """Compare a selection with the truth.

    Parameters
    ----------
    selection : Selection
        Over n_samples samples.
    labels, true_labels : array of int in [0, n_classes), shape (n_samples,)
        Given and true labels, in the order of the selection.
    n_classes : int

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
    given = integers("labels", labels)
    truth = integers("true_labels", true_labels)
    check_shape("true_labels", truth, {"n_samples": selection.clean.size}, _SAME)
    check_classes("true_labels", truth, n_classes)
    shares = kept_shares(selection, given, n_classes)
    right: BoolArray = given == truth
    hits = int(np.count_nonzero(selection.clean & right))
    precision = _ratio(hits, len(selection))
    recall = _ratio(hits, int(np.count_nonzero(right)))
    return SelectionQuality(
        n_kept=len(selection),
        precision=precision,
        recall=recall,
        # The counts, not the rates: both rates may be 0.
        f1=_ratio(2 * hits, len(selection) + int(right.sum()))
        if np.isfinite(precision + recall)
        else float("nan"),
        auroc=_auroc(right, selection.score),
        smallest_class=float(shares.min()),
        largest_class=float(shares.max()),
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


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _auroc(right: BoolArray, score: FloatArray) -> float:
    if right.all() or not right.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score  # half a second to import

    return float(roc_auc_score(right, score))
