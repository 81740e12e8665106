import numpy as np
import pytest

from noisyselect import Selection
from noisyselect.torch.measures import memorised, selection_measures


def predictions_that_fit(data, n_wrong):
    """The true labels, but for `n_wrong` of the wrong ones, which are predicted as given."""
    predicted = data.true_labels.copy()
    wrong = np.flatnonzero(data.labels != data.true_labels)[:n_wrong]
    predicted[wrong] = data.labels[wrong]
    return predicted


def test_the_share_of_wrong_labels_that_a_network_fits_is_counted(blobs):
    fitted = {"a": predictions_that_fit(blobs, 12), "b": predictions_that_fit(blobs, 0)}
    assert memorised(fitted, blobs.labels, blobs.true_labels) == {
        "fitted_wrong_a": pytest.approx(12 / 30),
        "fitted_wrong_b": 0.0,
    }


def test_each_networks_selection_has_its_precision_and_recall(blobs):
    right = blobs.labels == blobs.true_labels
    selections = {"a": Selection(clean=right), "b": Selection(clean=np.ones(90, dtype=bool))}
    measures = selection_measures(selections, blobs.labels, blobs.true_labels, 3)
    assert (measures["precision_a"], measures["recall_a"]) == (1, 1)
    assert (measures["precision_b"], measures["recall_b"]) == (pytest.approx(60 / 90), 1)
    assert (measures["labelled_a"], measures["labelled_b"]) == (60, 90)


def test_what_is_undefined_is_left_out(blobs):
    nothing = {"a": Selection(clean=np.zeros(90, dtype=bool))}
    measures = selection_measures(nothing, blobs.labels, blobs.true_labels, 3)
    assert "precision_a" not in measures
    assert measures["recall_a"] == 0
    assert memorised({"a": blobs.labels}, blobs.labels, blobs.labels) == {}


def test_without_true_labels_only_sizes_are_known(blobs):
    selections = {"a": Selection(clean=np.ones(90, dtype=bool))}
    assert selection_measures(selections, blobs.labels, None, 3) == {"labelled_a": 90}
    assert selection_measures({}, blobs.labels, blobs.true_labels, 3) == {}
    assert memorised({"a": blobs.labels}, blobs.labels, None) == {}
