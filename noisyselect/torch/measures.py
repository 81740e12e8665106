"""What an epoch came to: the one file of the trainer that reads true labels, after the fact."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from noisyselect.arrays import IntArray
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection


def selection_measures(
    selections: Mapping[str, Selection],
    labels: IntArray,
    true_labels: IntArray | None,
    n_classes: int,
) -> dict[str, float]:
    """Return how good the selections of one epoch were, leaving out what is undefined.

    Parameters
    ----------
    selections : mapping of str to Selection
        By network: what each was trained on.
    labels : array of int, shape (n_samples,)
        Given labels.
    true_labels : array of int, shape (n_samples,), optional
    n_classes : int

    Returns
    -------
    dict of str to float
        ``labelled_a``: number of samples that network a was trained on with their label.
        ``precision_a``, ``recall_a``, ``auroc_a``: quality of that selection, where true labels
        are known.
    """
    measures: dict[str, float] = {}
    for name, selection in selections.items():
        measures[f"labelled_{name}"] = float(len(selection))
        if true_labels is not None:
            quality = selection_quality(selection, labels, true_labels, n_classes)
            measures[f"precision_{name}"] = quality.precision
            measures[f"recall_{name}"] = quality.recall
            measures[f"auroc_{name}"] = quality.auroc
    return {name: value for name, value in measures.items() if math.isfinite(value)}


def memorised(
    predictions: Mapping[str, IntArray], labels: IntArray, true_labels: IntArray | None
) -> dict[str, float]:
    """Return ``fitted_wrong_a``, the share of the wrong labels that network a predicts, and so on.

    Parameters
    ----------
    predictions : mapping of str to array of int, shape (n_samples,)
        By network, for the training samples.
    labels : array of int, shape (n_samples,)
        Given labels.
    true_labels : array of int, shape (n_samples,), optional
        Without them, or without a wrong label, there is nothing to return.
    """
    if true_labels is None:
        return {}
    wrong = labels != true_labels
    if not wrong.any():
        return {}
    return {
        f"fitted_wrong_{name}": float(np.mean(predicted[wrong] == labels[wrong]))
        for name, predicted in predictions.items()
    }
