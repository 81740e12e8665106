import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from noisyselect.metrics import (
    class_balance,
    jaccard,
    kappa_matrix,
    kept_shares,
    selection_quality,
)
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
    assert quality.recall == quality.f1 == 0
    assert math.isnan(quality.precision)
    assert all(
        math.isnan(value) for value in class_balance(Selection(clean=[False] * 5), LABELS, 3)
    )


def test_only_wrong_labels_kept_is_an_f1_of_0():
    selection = Selection(clean=[False, True, False, True, False])
    quality = selection_quality(selection, LABELS, TRUTH, n_classes=3)
    assert (quality.precision, quality.recall, quality.f1) == (0, 0, 0)


def test_without_a_wrong_label_auroc_is_undefined_and_without_a_right_one_recall_is():
    everything = Selection(clean=[True] * 5)
    assert math.isnan(selection_quality(everything, LABELS, LABELS, n_classes=3).auroc)
    none_right = selection_quality(everything, LABELS, [1, 1, 2, 2, 0], n_classes=3)
    assert none_right.precision == none_right.f1 == 0
    assert math.isnan(none_right.recall)
    nothing = selection_quality(Selection(clean=[False] * 5), LABELS, [1, 1, 2, 2, 0], n_classes=3)
    assert math.isnan(nothing.f1)


@pytest.fixture
def noisy():
    """A selection of 400 samples with tied scores and losses: labels, truth, losses, selection."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    labels = np.where(rng.random(400) < 0.3, rng.integers(0, 4, 400), truth)
    losses = np.round(rng.gamma(2.0, 1.0, 400) + (labels != truth), 1)
    score = np.round(np.clip(1 - losses / 6 + rng.normal(0, 0.1, 400), 0, 1), 2)
    return labels, truth, losses, Selection(clean=score > 0.5, score=score)


def test_measures_are_those_of_scikit_learn(noisy):
    labels, truth, _, selection = noisy
    quality = selection_quality(selection, labels, truth, 4)
    right = labels == truth
    for value, measure, answer in (
        (quality.precision, precision_score, selection.clean),
        (quality.recall, recall_score, selection.clean),
        (quality.f1, f1_score, selection.clean),
        (quality.auroc, roc_auc_score, selection.score),
        (quality.average_precision, average_precision_score, selection.score),
        (quality.brier, brier_score_loss, selection.score),
    ):
        assert value == pytest.approx(measure(right, answer), abs=1e-12), measure


def test_calibration_is_the_distance_from_score_to_share_in_each_fifteenth(noisy):
    labels, truth, _, selection = noisy
    right, error = labels == truth, 0.0
    for b in range(15):
        # The last bin has its upper edge.
        inside = [i for i, s in enumerate(selection.score) if b <= s * 15 < b + 1 + (b == 14)]
        if inside:
            distance = abs(selection.score[inside].mean() - right[inside].mean())
            error += len(inside) / 400 * distance
    quality = selection_quality(selection, labels, truth, 4)
    assert quality.calibration_error == pytest.approx(error)


def test_calibration_tells_an_honest_constant_from_a_boastful_one():
    labels, truth = [0] * 10, [0] * 8 + [1] * 2
    honest, boastful = (
        selection_quality(Selection([True] * 10, score=[score] * 10), labels, truth, 2)
        for score in (0.8, 1.0)
    )
    assert honest.calibration_error == pytest.approx(0)
    assert boastful.calibration_error == pytest.approx(0.2)
    # Yet it says nothing, and the Brier score knows.
    assert honest.brier == pytest.approx(0.16)
    assert boastful.brier == pytest.approx(0.2)


def test_the_small_loss_rule_keeps_as_many_and_breaks_ties_by_lot(noisy):
    labels, truth, losses, selection = noisy
    right, rng = labels == truth, np.random.default_rng(1)
    drawn = []
    for _ in range(2000):
        order = np.lexsort((rng.random(400), losses))[: len(selection)]
        drawn.append(right[order].mean())
    quality = selection_quality(selection, labels, truth, 4, losses)
    assert np.std(drawn) > 0
    assert quality.small_loss_precision == pytest.approx(np.mean(drawn), abs=2e-4)
    assert quality.precision != pytest.approx(quality.small_loss_precision, abs=1e-3)


def test_the_small_loss_rule_itself_gains_nothing():
    losses = np.array([0.1, 0.4, 0.2, 0.9, 0.7])
    quality = selection_quality(Selection(clean=losses < 0.5), LABELS, TRUTH, 3, losses)
    assert quality.small_loss_precision == quality.precision == pytest.approx(2 / 3)


def test_hard_recall_is_of_the_right_labels_above_the_median_loss(noisy):
    labels, truth, losses, selection = noisy
    middle = np.sort(losses)[199:201].mean()
    hard = [i for i in range(400) if labels[i] == truth[i] and losses[i] > middle]
    quality = selection_quality(selection, labels, truth, 4, losses)
    assert 0 < len(hard) < 200
    assert quality.hard_recall == pytest.approx(np.mean([selection.clean[i] for i in hard]))


def test_losses_that_are_not_finite_count_as_the_largest():
    losses = [0.1, np.nan, 0.3, -np.inf, np.inf]
    selection = Selection(clean=[True, False, True, False, True])
    quality = selection_quality(selection, LABELS, TRUTH, 3, losses)
    # Right: 0, 2, 4. Of the three that tie as the largest, one is taken, a third of them right.
    assert quality.small_loss_precision == pytest.approx((2 + 1 / 3) / 3)
    assert math.isnan(quality.hard_recall)  # the median is the largest


def test_without_losses_what_needs_them_is_undefined(noisy):
    labels, truth, _, selection = noisy
    quality = selection_quality(selection, labels, truth, 4)
    assert math.isnan(quality.small_loss_precision)
    assert math.isnan(quality.hard_recall)


def test_everything_and_nothing_kept():
    losses = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    everything = selection_quality(Selection([True] * 5), LABELS, TRUTH, 3, losses)
    assert everything.precision == everything.small_loss_precision == pytest.approx(3 / 5)
    assert (everything.recall, everything.hard_recall) == (1, 1)
    # All scores tie: any order of the labels is as likely.
    assert (everything.auroc, everything.average_precision) == (0.5, pytest.approx(3 / 5))
    nothing = selection_quality(Selection([False] * 5), LABELS, TRUTH, 3, losses)
    assert (nothing.recall, nothing.hard_recall) == (0, 0)
    assert math.isnan(nothing.small_loss_precision)
    assert nothing.brier == pytest.approx(3 / 5)


def test_all_labels_right_and_all_wrong():
    losses, score = np.arange(5) / 5, np.arange(5) / 4
    selection = Selection(score > 0.5, score=score)
    right = selection_quality(selection, LABELS, LABELS, 3, losses)
    assert math.isnan(right.auroc)
    assert right.average_precision == right.precision == right.small_loss_precision == 1
    wrong = selection_quality(selection, LABELS, [1, 1, 2, 2, 0], 3, losses)
    assert math.isnan(wrong.auroc) and math.isnan(wrong.average_precision)
    assert wrong.precision == wrong.small_loss_precision == 0
    assert math.isnan(wrong.hard_recall)


def test_class_balance_is_the_entropy_of_the_kept_classes():
    selection = Selection(clean=[True, True, True, False, True])
    balance = class_balance(selection, LABELS, 3)
    assert balance.smallest_class == pytest.approx(1 / 4)
    assert balance.largest_class == pytest.approx(1 / 2)
    assert balance.class_balance == pytest.approx(1 / 2)
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert balance.effective_classes == pytest.approx(math.exp(entropy))


def test_one_class_is_as_balanced_as_can_be_alone_and_not_at_all_among_others():
    selection = Selection(clean=[True, True, False])
    assert class_balance(selection, [0, 0, 0], 1) == (1, 1, 1, 1)
    assert class_balance(selection, [0, 0, 1], 2) == (0, 1, 0, 1)


MASKS = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 3)
)


@given(MASKS)
def test_agreement_is_that_of_scikit_learn(masks):
    a, b, c = (np.array(mask) for mask in masks)
    if (a | b).any():
        assert jaccard(a, b) == pytest.approx(jaccard_score(a, b))
    else:
        assert math.isnan(jaccard(a, b))
    kappa = kappa_matrix([a, b, c])
    for i, one in enumerate((a, b, c)):
        for j, other in enumerate((a, b, c)):
            assert kappa[i, j] == kappa[j, i] or math.isnan(kappa[i, j])
            if (one.all() and other.all()) or not (one | other).any():
                assert math.isnan(kappa[i, j])
            else:
                expected = cohen_kappa_score(one, other, labels=[False, True])
                assert kappa[i, j] == pytest.approx(expected, abs=1e-12)


def test_masks_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="`b` must have shape"):
        jaccard([True, False], [True])
    with pytest.raises(ValueError, match="`masks` must have shape"):
        kappa_matrix([[True, False], [True]])
    assert kappa_matrix([]).shape == (0, 0)


def test_losses_that_do_not_fit_the_selection_are_refused():
    with pytest.raises(ValueError, match="`losses` must have shape"):
        selection_quality(Selection([True] * 5), LABELS, TRUTH, 3, losses=[[0.1] * 5])


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
