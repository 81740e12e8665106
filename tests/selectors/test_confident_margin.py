import numpy as np
import pytest

from noisyselect import ConfidentMarginSelector, GMMSelector, TrainingLog
from noisyselect.errors import MissingEvidenceError
from noisyselect.metrics import selection_quality


def log_of(probabilities, labels):
    return TrainingLog(labels=labels, probabilities=np.asarray(probabilities)[None])


def by_the_definition(probabilities, labels):
    """The margins, sample by sample and class by class."""
    n_classes = len(probabilities[0])
    averages = {}
    for j in range(n_classes):
        own = [row[j] for row, label in zip(probabilities, labels, strict=True) if label == j]
        if own:
            averages[j] = max(0.5, sum(own) / len(own))
    margins = []
    for row, label in zip(probabilities, labels, strict=True):
        rivals = [row[k] - averages[k] for k in averages if k != label]
        margins.append(row[label] - averages[label] - max(rivals))
    return np.array(margins)


def test_four_samples_worked_by_hand():
    # The averages are 0.54 for class 0 and 0.725 for class 1.
    log = log_of([[0.48, 0.52], [0.6, 0.4], [0.05, 0.95], [0.5, 0.5]], [0, 0, 1, 1])
    selection = ConfidentMarginSelector().select(log)
    margins = [-0.06 + 0.205, 0.06 + 0.325, 0.225 + 0.49, -0.225 + 0.04]
    assert selection.score == pytest.approx(0.5 + np.array(margins) / 4)
    assert selection.clean.tolist() == [True, True, True, False]
    assert selection.reason[[2, 3]].tolist() == [
        "given class is likeliest",
        "another class is likelier",
    ]


def test_mask_and_score_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)  # none of class 4
    probabilities = rng.dirichlet(np.ones(5), 300)
    probabilities[labels < 2] = (probabilities + 5 * np.eye(5)[labels])[labels < 2] / 6
    margins = by_the_definition(probabilities.tolist(), labels.tolist())
    selection = ConfidentMarginSelector().select(log_of(probabilities, labels))
    assert selection.score == pytest.approx(0.5 + margins / 4, abs=1e-12)
    assert np.array_equal(selection.clean, margins >= 0)
    strict = ConfidentMarginSelector(threshold=0.3).select(log_of(probabilities, labels))
    assert np.array_equal(strict.clean, margins >= 0.3)
    assert strict < selection


def test_with_a_peer_the_mean_of_both_networks_counts():
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 3
    a, b = rng.dirichlet(np.ones(3), (2, 40))
    both = ConfidentMarginSelector().select(log_of(a, labels), log_of(b, labels))
    mean = ConfidentMarginSelector().select(log_of((a + b) / 2, labels))
    assert both.score == pytest.approx(mean.score, abs=1e-12)
    assert not np.allclose(both.score, ConfidentMarginSelector().select(log_of(a, labels)).score)


def test_the_last_epoch_counts():
    rng = np.random.default_rng(2)
    epochs, labels = rng.dirichlet(np.ones(3), (2, 30)), np.arange(30) % 3
    log = TrainingLog(labels=labels, probabilities=epochs)
    assert ConfidentMarginSelector().select(log).score == pytest.approx(
        ConfidentMarginSelector().select(log_of(epochs[-1], labels)).score
    )


def test_a_class_that_wrong_labels_were_drawn_from_is_not_suspected_as_a_whole():
    # 40 % of class 0 are labelled 1, so networks give class 0 about 0.6 where it is right, and its
    # right labels have greater losses than some wrong labels of class 1.
    rng = np.random.default_rng(3)
    truth = np.arange(2000) % 2
    labels = np.where((truth == 0) & (rng.random(2000) < 0.4), 1, truth)
    zero = np.clip(np.where(truth == 0, 0.55, 0.05) + rng.normal(0, 0.1, 2000), 0.01, 0.99)
    log = TrainingLog(
        labels=labels,
        losses=-np.log(np.where(labels == 0, zero, 1 - zero))[None],
        probabilities=np.stack([zero, 1 - zero], axis=1)[None],
    )
    margin, loss = (
        selection_quality(rule.select(log), labels, truth, 2)
        for rule in (ConfidentMarginSelector(), GMMSelector())
    )
    assert margin.auroc > 0.95 > loss.auroc
    assert margin.f1 > 0.95 > loss.f1


def test_a_rare_class_that_nobody_believes_is_no_rival_of_the_others():
    # Most labels of class 2 are wrong, and its average of 0.1 is reached by many right samples.
    labels = np.repeat([0, 1, 2], [50, 50, 4])
    probabilities = np.full((104, 3), [0.75, 0.05, 0.2])
    probabilities[labels == 1] = [0.05, 0.94, 0.01]
    probabilities[:10] = [0.99, 0.005, 0.005]
    probabilities[100:] = [0.85, 0.05, 0.1]
    selection = ConfidentMarginSelector().select(log_of(probabilities, labels))
    assert np.array_equal(selection.clean, labels < 2)


def test_a_log_without_probabilities_is_refused():
    with pytest.raises(MissingEvidenceError, match="`probabilities`"):
        ConfidentMarginSelector().select(TrainingLog(labels=[0, 1], losses=[[0.1, 0.2]]))


@pytest.mark.parametrize("threshold", [-2.1, 2.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must lie in \[-2, 2\]"):
        ConfidentMarginSelector(threshold=threshold)
