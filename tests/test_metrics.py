import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisyselect.metrics import kept_shares, selection_quality
from noisyselect.selection import Selection

LABELS = [0, 0, 1, 1, 2]
TRUTH = [0, 1, 1, 2, 2]


def test_five_samples_worked_by_hand():
    # Right: 0, 2, 4. Kept: 0, 1, 2, of which 2 are right.
    selection = Selection(clean=[True, True, True, False, False], score=[0.9, 0.6, 0.7, 0.2, 0.3])
    quality = selection_quality(selection, LABELS, TRUTH, n_classes=3)
    assert quality.n_kept == 3
    assert quality.precision == pytest.approx(2 / 3)
    assert quality.recall == pytest.approx(2 / 3)
    assert quality.f1 == pytest.approx(2 / 3)
    # Pairs right > wrong: 0.9 and 0.7 over both of 0.6 and 0.2, 0.3 over 0.2 only: 5 of 6.
    assert quality.auroc == pytest.approx(5 / 6)
    assert (quality.smallest_class, quality.largest_class) == (0, pytest.approx(2 / 3))


def pairwise_auroc(right, score):
    wins = [
        1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
        for i in np.flatnonzero(right)
        for j in np.flatnonzero(~right)
    ]
    return np.mean(wins)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs):
    right = np.array([is_right for is_right, _ in pairs])
    score = np.array([points / 4 for _, points in pairs])
    selection = Selection(clean=score > 0.5, score=score)
    labels = np.zeros(right.size, dtype=int)
    auroc = selection_quality(selection, labels, (~right).astype(int), n_classes=2).auroc
    if right.all() or not right.any():
        assert math.isnan(auroc)
    else:
        assert auroc == pytest.approx(pairwise_auroc(right, score))


def test_nothing_kept_has_no_precision_and_no_classes_but_a_recall_of_0():
    quality = selection_quality(Selection(clean=[False] * 5), LABELS, TRUTH, n_classes=3)
    assert quality.n_kept == 0
    assert quality.recall == 0
    assert math.isnan(quality.precision)
    assert math.isnan(quality.f1)
    assert math.isnan(quality.smallest_class)
    assert math.isnan(quality.largest_class)


def test_only_wrong_labels_kept_is_an_f1_of_0():
    selection = Selection(clean=[False, True, False, True, False])
    quality = selection_quality(selection, LABELS, TRUTH, n_classes=3)
    assert (quality.precision, quality.recall, quality.f1) == (0, 0, 0)


def test_without_a_wrong_label_auroc_is_undefined_and_without_a_right_one_recall_is():
    everything = Selection(clean=[True] * 5)
    assert math.isnan(selection_quality(everything, LABELS, LABELS, n_classes=3).auroc)
    none_right = selection_quality(everything, LABELS, [1, 1, 2, 2, 0], n_classes=3)
    assert none_right.precision == 0
    assert math.isnan(none_right.recall)
    assert math.isnan(none_right.f1)


def test_shares_of_the_kept_classes_need_no_truth():
    selection = Selection(clean=[True, True, True, False, False])
    assert kept_shares(selection, LABELS, 3).tolist() == pytest.approx([2 / 3, 1 / 3, 0])


@pytest.mark.parametrize(
    ("labels", "truth", "match"),
    [
        (LABELS[:4], TRUTH, "`labels` must have shape"),
        (LABELS, TRUTH[:4], "`true_labels` must have shape"),
        ([0, 0, 1, 1, 3], TRUTH, "`labels` must lie in"),
        (LABELS, [0, 0, 1, 1, 3], "`true_labels` must lie in"),
    ],
)
def test_labels_that_do_not_fit_the_selection_are_refused(labels, truth, match):
    with pytest.raises(ValueError, match=match):
        selection_quality(Selection(clean=[True] * 5), labels, truth, n_classes=3)
