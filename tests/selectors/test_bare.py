import statistics

import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.checks import check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.numeric.ranks import midranks
from noisyselect.selectors.bare import BARESelector


def log_of(probabilities, labels, batches=None):
    return TrainingLog(
        labels=labels,
        probabilities=np.asarray(probabilities)[None],
        batches=None if batches is None else np.asarray(batches)[None],
    )


def deviations_one_by_one(probabilities, labels, batches):
    """By how many deviations each label stands out, sample by sample; 0 in a batch of one."""
    standing = []
    for p, label, batch in zip(probabilities, labels, batches, strict=True):
        of_class = [
            q[label] for q, other in zip(probabilities, batches, strict=True) if other == batch
        ]
        excess = p[label] - statistics.mean(of_class)
        standing.append(excess / statistics.stdev(of_class) if len(of_class) > 1 else 0.0)
    return np.array(standing)


def test_five_samples_worked_by_hand():
    # Class 0 has mean 0.75 and deviation 0.2398, class 1 has mean 0.25 and the same deviation.
    probabilities = [[0.9, 0.1], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6], [0.9, 0.1]]
    log = log_of(probabilities, [0, 0, 0, 1, 1])
    selection = BARESelector(k=0.7).select(log)
    assert selection.clean.tolist() == [False, True, False, True, False]
    # 0.15, 0.2, -0.15, 0.35 and -0.15 above their means.
    assert selection.score == pytest.approx([0.5, 0.75, 0.125, 1, 0.125], abs=1e-12)
    assert selection.reason[[1, 2]].tolist() == [
        "stands out in its batch",
        "does not stand out in its batch",
    ]


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0])
def test_the_answer_is_that_of_the_definition(k):
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 150), rng.integers(0, 4, 150)
    batches = np.append(rng.integers(0, 4, 149), 9)  # the last is alone
    # A class that one batch is sure of and another is not: the deviations of batches differ.
    probabilities[batches == 2] = 0.9 / 4 + 0.1 * probabilities[batches == 2]
    expected = deviations_one_by_one(probabilities, labels, batches)
    selection = BARESelector(k=k).select(log_of(probabilities, labels, batches))
    assert np.array_equal(selection.clean, (expected >= k) | (batches == 9))
    assert np.array_equal(selection.score, midranks(expected))
    whole = BARESelector(k=k).select(log_of(probabilities, labels))
    expected = deviations_one_by_one(probabilities, labels, np.zeros(150))
    assert np.array_equal(whole.clean, expected >= k)


def test_mask_and_score_are_of_one_order_over_all_batches():
    rng = np.random.default_rng(1)
    probabilities, labels = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    selection = BARESelector().select(log_of(probabilities, labels, np.arange(200) % 5))
    assert selection.score[selection.clean].min() > selection.score[~selection.clean].max()


def test_the_last_epoch_counts():
    rng = np.random.default_rng(2)
    epochs, labels = rng.dirichlet(np.ones(3), (2, 30)), np.arange(30) % 3
    both = BARESelector().select(TrainingLog(labels, probabilities=epochs))
    assert both == BARESelector().select(log_of(epochs[1], labels))


def test_a_class_that_is_learnt_late_is_not_left_out_as_by_small_loss():
    # Even right labels of the odd classes have greater losses than wrong labels of the even ones.
    rng = np.random.default_rng(3)
    truth = np.arange(3000) % 6
    wrong = rng.random(3000) < 0.3
    labels = np.where(wrong, (truth + 2 * rng.integers(1, 3, 3000)) % 6, truth)
    sure = np.where(truth % 2 == 0, 0.6, 0.25) * rng.uniform(0.85, 1.15, 3000)
    given = np.where(truth % 2 == 0, 0.28, 0.05) * rng.uniform(0.85, 1.15, 3000)
    probabilities = np.tile(((1 - sure - np.where(wrong, given, 0)) / (5 - wrong))[:, None], 6)
    probabilities[np.arange(3000), truth] = sure
    probabilities[np.arange(3000)[wrong], labels[wrong]] = given[wrong]
    log = TrainingLog(
        labels,
        losses=-np.log(probabilities[np.arange(3000), labels])[None],
        probabilities=probabilities[None],
        batches=rng.permutation(3000)[None] // 128,
    )
    selection = BARESelector().select(log)
    small = log.losses[-1] <= np.sort(log.losses[-1])[len(selection) - 1]
    quality = selection_quality(selection, labels, truth, 6)
    assert quality.precision > 0.99 > 0.9 > np.mean((labels == truth)[small])
    assert quality.recall > 0.9


def test_it_fails_on_a_class_of_more_than_half_of_the_batch():
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [260, 70, 70])
    labels = np.where(rng.random(400) < 0.1, (truth + 1) % 3, truth)
    probabilities = 0.97 * np.eye(3)[truth] + 0.03 * rng.dirichlet(np.ones(3), 400)
    clean = BARESelector().select(log_of(probabilities, labels)).clean
    right = labels == truth
    assert not clean[right & (truth == 0)].any()
    assert clean[right & (truth > 0)].all()


def test_nothing_kept_is_warned_of():
    log = log_of(np.eye(2)[[0, 0, 1, 1]], [0, 0, 1, 1])
    with pytest.warns(DegenerateWarning, match="no label stands out by 1 standard deviations"):
        assert len(BARESelector().select(log)) == 0


def test_equal_probabilities_speak_against_no_label():
    # Of 0.1 added up, the mean is not 0.1 to the last digit.
    log = log_of(np.tile([0.1, 0.7, 0.2], (7, 1)), [0, 1, 2, 0, 1, 2, 0])
    with pytest.warns(DegenerateWarning, match="no sample differs from the rest of its batch"):
        selection = BARESelector().select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_probabilities_of_zero_and_one_are_answered():
    log = log_of(np.eye(5)[[0, 1, 2, 3, 4]], [0, 1, 2, 3, 3])
    assert BARESelector().select(log).clean.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("selector", [BARESelector(), BARESelector(k=0.0)])
def test_the_contract_is_kept(selector):
    check_selector(selector)


@pytest.mark.parametrize("k", [-0.1, float("nan"), float("inf")])
def test_a_number_of_deviations_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match="`k` must be at least 0 standard deviations"):
        BARESelector(k=k)
