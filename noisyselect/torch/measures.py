"""What an epoch came to: the one file of the trainer that reads true labels, after the fact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from noisyselect.arrays import IntArray
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection
from noisyselect.torch.data import TrainingData


def measure(
    data: TrainingData,
    names: Sequence[str],
    predictions: Sequence[IntArray],
    selections: Sequence[Selection] | None,
) -> dict[str, float]:
    """Return the measures of one epoch by name, leaving out those that are undefined.

    Parameters
    ----------
    data : TrainingData
    names : sequence of str
        Of the networks; each measure ends in ``_`` and one of them.
    predictions : sequence of array of int, shape (n_samples,)
        Of each network for the training images.
    selections : sequence of Selection, optional
        What each network was trained on; None in warm-up.

    Returns
    -------
    dict of str to float
        ``fitted_wrong_a``: share of the wrong labels that network a predicts. ``labelled_a``:
        number of samples that it was trained on with their label. ``precision_a``, ``recall_a``,
        ``auroc_a``: quality of that selection. All but ``labelled_a`` need true labels.
    """
    measures: dict[str, float] = {}
    for name, selection in zip(names, selections or (), strict=False):
        measures[f"labelled_{name}"] = float(len(selection))
        if data.true_labels is not None:
            quality = selection_quality(selection, data.labels, data.true_labels, data.n_classes)
            measures[f"precision_{name}"] = quality.precision
            measures[f"recall_{name}"] = quality.recall
            measures[f"auroc_{name}"] = quality.auroc
    if data.true_labels is not None:
        wrong = data.labels != data.true_labels
        if wrong.any():
            for name, predicted in zip(names, predictions, strict=True):
                fitted = predicted[wrong] == data.labels[wrong]
                measures[f"fitted_wrong_{name}"] = float(np.mean(fitted))
    return {name: value for name, value in measures.items() if math.isfinite(value)}
