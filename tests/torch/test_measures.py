import dataclasses

import numpy as np
import pytest

from noisyselect import Selection
from noisyselect.torch.measures import measure


def predictions_that_fit(data, n_wrong):
    """The true labels, but for `n_wrong` of the wrong ones, which are predicted as given."""
    predicted = data.true_labels.copy()
    wrong = np.flatnonzero(data.labels != data.true_labels)[:n_wrong]
    predicted[wrong] = data.labels[wrong]
    return predicted


def test_the_share_of_wrong_labels_that_a_network_fits_is_counted(blobs):
    fitted = [predictions_that_fit(blobs, 12), predictions_that_fit(blobs, 0)]
    assert measure(blobs, "ab", fitted, None) == {
        "fitted_wrong_a": pytest.approx(12 / 30),
        "fitted_wrong_b": 0.0,
    }


def test_each_networks_selection_has_its_precision_and_recall(blobs):
    right = blobs.labels == blobs.true_labels
    selections = [Selection(clean=right), Selection(clean=np.ones(90, dtype=bool))]
    measures = measure(blobs, "ab", [blobs.labels] * 2, selections)
    assert (measures["precision_a"], measures["recall_a"]) == (1, 1)
    assert (measures["precision_b"], measures["recall_b"]) == (pytest.approx(60 / 90), 1)
    assert (measures["labelled_a"], measures["labelled_b"]) == (60, 90)


def test_what_is_undefined_is_left_out(blobs):
    nothing = [Selection(clean=np.zeros(90, dtype=bool))] * 2
    measures = measure(blobs, "ab", [blobs.labels] * 2, nothing)
    assert "precision_a" not in measures
    assert measures["recall_a"] == 0


def test_without_true_labels_only_sizes_are_known(blobs):
    data = dataclasses.replace(blobs, true_labels=None)
    selections = [Selection(clean=np.ones(90, dtype=bool))] * 2
    assert measure(data, "ab", [blobs.labels] * 2, selections) == {
        "labelled_a": 90,
        "labelled_b": 90,
    }
    assert measure(data, "ab", [blobs.labels] * 2, None) == {}
