import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingDependencyError, NoisySelectError
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection
from noisyselect.selectors.confident_learning import ConfidentLearningSelector

FILTERS = [
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]


def log_of(probabilities, labels, **columns):
    return TrainingLog(labels=labels, probabilities=np.asarray(probabilities)[None], **columns)


def off_the_diagonal(probabilities, labels):
    """The samples counted off the diagonal of the confident joint, by its definition."""
    classes = range(len(probabilities[0]))
    own = [
        [row[j] for row, y in zip(probabilities, labels, strict=True) if y == j] for j in classes
    ]
    thresholds = [sum(values) / len(values) for values in own]
    found = []
    for row, label in zip(probabilities, labels, strict=True):
        reached = [k for k in classes if row[k] >= thresholds[k]]
        likeliest = max(reached, key=row.__getitem__) if reached else label
        # cleanlab finds no issue where the given class is the likeliest.
        found.append(likeliest != label and max(row) != row[label])
    return found


def hard_class_log(memorised=False, seed=0):
    """Class 0 is hard; a third of the labels 2 is wrong, and class 1 is predicted for them."""
    rng = np.random.default_rng(seed)
    truth = np.arange(1500) % 3
    labels = np.where((truth == 1) & (rng.random(1500) < 0.4), 2, truth)
    predictions = np.array([[0.36, 0.32, 0.32], [0.02, 0.55, 0.43], [0.02, 0.03, 0.95]])[truth]
    predictions[labels != truth] = [0.02, 0.6, 0.38]
    if memorised:
        predictions = np.full((3, 3), 0.02) + 0.94 * np.eye(3)
        predictions = predictions[labels]
    probabilities = predictions + rng.uniform(0, 0.02, (1500, 3))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    losses = -np.log(probabilities[np.arange(1500), labels])
    return log_of(probabilities, labels, losses=losses[None]), truth


def test_five_samples_worked_by_hand():
    # The means are 0.6 for class 0 and 0.85 for class 1, which the third sample reaches.
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]
    selection = ConfidentLearningSelector().select(log_of(probabilities, [0, 0, 0, 1, 1]))
    assert selection.clean.tolist() == [True, True, False, True, True]
    assert selection.score == pytest.approx([0.9, 0.8, 0.1, 0.8, 0.9])
    assert selection.reason[1:3].tolist() == ["cleanlab finds no issue", "cleanlab finds an issue"]


@pytest.mark.parametrize("seed", range(3))
def test_the_confident_joint_is_that_of_its_definition(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 200)
    probabilities = rng.dirichlet(np.ones(4), 200)
    selection = ConfidentLearningSelector("confident_learning").select(
        log_of(probabilities, labels)
    )
    assert (~selection.clean).tolist() == off_the_diagonal(probabilities.tolist(), labels)


@pytest.mark.parametrize("filter_by", FILTERS)
def test_the_mask_is_what_cleanlab_says_of_the_mean_of_both_networks(filter_by):
    rng = np.random.default_rng(3)
    labels = np.append([0, 1, 2], rng.integers(0, 3, 147))
    a, b = 0.8 * rng.dirichlet(np.ones(3), (2, 150)) + 0.2 * np.eye(3)[labels]
    got = ConfidentLearningSelector(filter_by).select(log_of(a, labels), log_of(b, labels))
    assert np.array_equal(~got.clean, find_label_issues(labels, (a + b) / 2, filter_by=filter_by))
    assert not got.clean.all()


@pytest.mark.parametrize("filter_by", ["prune_by_noise_rate", "both", "low_self_confidence"])
def test_the_contract_is_kept(filter_by):
    check_selector(ConfidentLearningSelector(filter_by))


@pytest.mark.parametrize("filter_by", ["prune_by_noise_rate", "low_self_confidence"])
def test_the_order_of_samples_decides_no_tie(filter_by):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    probabilities = rng.choice([0.1, 0.3, 0.45, 0.6, 0.9], (300, 3))
    log = log_of(probabilities / probabilities.sum(axis=1, keepdims=True), labels)
    whole = ConfidentLearningSelector(filter_by).select(log)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(300)
        permuted = ConfidentLearningSelector(filter_by).select(log.take(order))
        assert np.array_equal(permuted.clean, whole.clean[order])


def test_names_of_classes_decide_no_rounding():
    rng = np.random.default_rng(8)
    labels, probabilities = rng.integers(0, 4, 90), rng.dirichlet(np.ones(5), 90)
    whole = ConfidentLearningSelector().select(log_of(probabilities, labels))
    for seed in range(20):
        name_of = np.random.default_rng(seed).permutation(5)
        renamed = log_of(probabilities[:, np.argsort(name_of)], name_of[labels])
        assert np.array_equal(ConfidentLearningSelector().select(renamed).clean, whole.clean)


def test_where_a_class_is_hard_it_is_more_precise_than_small_loss():
    log, truth = hard_class_log()
    selection = ConfidentLearningSelector().select(log)
    plain = np.zeros(log.n_samples, dtype=bool)
    plain[np.argsort(log.losses[-1])[: len(selection)]] = True
    ours, theirs = (
        selection_quality(s, log.labels, truth, 3) for s in (selection, Selection(clean=plain))
    )
    assert ours.precision > 0.98 > 0.9 > theirs.precision


def test_it_fails_where_wrong_labels_are_memorised():
    log, truth = hard_class_log(memorised=True)
    selection = ConfidentLearningSelector().select(log)
    assert selection.clean.all()
    assert abs(selection_quality(selection, log.labels, truth, 3).auroc - 0.5) < 0.05


def test_labels_of_one_class_are_all_kept():
    for label in (0, 2):
        log = log_of(np.random.default_rng(5).dirichlet(np.ones(3), 4), [label] * 4)
        with pytest.warns(DegenerateWarning, match="all labels are of one class"):
            selection = ConfidentLearningSelector().select(log)
        assert selection.clean.all() and (selection.score == 1).all()


@pytest.mark.parametrize("filter_by", FILTERS)
def test_classes_with_one_label_or_none_are_answered_without_a_warning(filter_by):
    labels = np.array([0] * 10 + [1] * 10 + [2])
    probabilities = np.random.default_rng(6).dirichlet(np.ones(4), 21)
    selection = ConfidentLearningSelector(filter_by).select(log_of(probabilities, labels))
    if filter_by in ("prune_by_noise_rate", "prune_by_class", "both"):
        assert selection.clean[20]


def test_equal_probabilities_are_no_issue():
    selection = ConfidentLearningSelector().select(log_of(np.full((6, 3), 1 / 3), [0, 1, 2] * 2))
    assert selection.clean.all() and selection.score == pytest.approx([0.5] * 6)


def test_threads_do_not_get_the_answers_of_others():
    rng = np.random.default_rng(7)
    logs = [log_of(rng.dirichlet(np.ones(5), 400), rng.integers(0, 5, 400)) for _ in range(8)]
    alone = [ConfidentLearningSelector().select(log) for log in logs]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(ConfidentLearningSelector().select, logs * 4))
    assert together == alone * 4


def test_the_absence_of_cleanlab_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    log = log_of([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    message = r"needs cleanlab, an optional extra: pip install 'noisyselect\[cleanlab\]'\.$"
    with pytest.raises(MissingDependencyError, match=message) as stop:
        ConfidentLearningSelector().select(log)
    assert isinstance(stop.value, NoisySelectError)


def test_an_unknown_filter_is_refused():
    with pytest.raises(
        ValueError, match=r"`filter_by` must be one of 'prune_by_noise_rate', .*'all'"
    ):
        ConfidentLearningSelector("all")
