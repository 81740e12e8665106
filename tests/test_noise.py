import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm

from noisyselect.noise import (
    CIFAR10_FLIPS,
    asymmetric,
    corrupt,
    instance_dependent,
    noise_rate,
    pair,
    symmetric,
)

TRUTH = np.repeat(np.arange(10), 2000)


@given(st.integers(2, 30), st.floats(0, 1))
def test_every_matrix_has_rows_of_probabilities_that_sum_to_1(n_classes, ratio):
    for transition in (
        symmetric(n_classes, ratio),
        symmetric(n_classes, ratio, include_true=False),
        pair(n_classes, ratio),
        asymmetric(n_classes, ratio, {0: 1}),
    ):
        assert transition.shape == (n_classes, n_classes)
        assert (transition >= 0).all()
        assert transition.sum(axis=1) == pytest.approx(np.ones(n_classes))


def test_nominal_40_percent_on_10_classes_is_36_percent_wrong_when_the_true_one_is_included():
    labels = corrupt(TRUTH, symmetric(10, 0.4), random_state=0)
    assert noise_rate(labels, TRUTH) == pytest.approx(0.36, abs=0.01)
    labels = corrupt(TRUTH, symmetric(10, 0.4, include_true=False), random_state=0)
    assert noise_rate(labels, TRUTH) == pytest.approx(0.40, abs=0.01)


def test_the_drawn_labels_follow_the_matrix():
    transition = np.random.default_rng(0).dirichlet(np.ones(10), size=10)
    labels = corrupt(TRUTH, transition, random_state=1)
    drawn = np.zeros((10, 10))
    np.add.at(drawn, (TRUTH, labels), 1 / 2000)
    assert drawn == pytest.approx(transition, abs=0.04)


def test_asymmetric_noise_only_flips_the_classes_named():
    labels = corrupt(TRUTH, asymmetric(10, 0.4, CIFAR10_FLIPS), random_state=0)
    wrong = labels != TRUTH
    flips = set(zip(TRUTH[wrong].tolist(), labels[wrong].tolist(), strict=True))
    assert flips == {(9, 1), (2, 0), (3, 5), (5, 3), (4, 7)}
    assert noise_rate(labels, TRUTH) == pytest.approx(0.2, abs=0.01)


def test_pair_noise_moves_a_class_to_the_next_and_the_last_to_the_first():
    assert corrupt([0, 1, 2], pair(3, 1.0), random_state=0).tolist() == [1, 2, 0]


def test_no_noise_changes_no_label_and_impossible_classes_are_never_drawn():
    assert corrupt(TRUTH, np.eye(10), random_state=0).tolist() == TRUTH.tolist()
    never_last = np.array([[0.3, 0.7, 0.0]] * 3)
    assert corrupt(np.zeros(100_000, dtype=int), never_last, random_state=0).max() == 1


def test_the_seed_alone_decides_whatever_the_global_random_state():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    labels = corrupt(TRUTH, symmetric(10, 0.5), random_state=3)
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    assert np.array_equal(labels, corrupt(TRUTH, symmetric(10, 0.5), random_state=3))
    assert not np.array_equal(labels, corrupt(TRUTH, symmetric(10, 0.5), random_state=4))


def features(n=4000, k=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k)) * 3 + 5


LABELS = np.arange(4000) % 5


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.6])
def test_instance_dependent_noise_is_as_frequent_as_its_truncated_flip_rates(rate):
    labels = instance_dependent(features(), LABELS, rate, random_state=0)
    expected = truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, rate, 0.1)
    assert noise_rate(labels, LABELS) == pytest.approx(expected, abs=0.025)


def test_instance_dependent_noise_is_drawn_as_its_definition_says_sample_by_sample():
    x, truth, n = features(200, 3)[:, :, None] * [[[1, 0.5]]], LABELS[:200], 200
    labels = instance_dependent(x, truth, 0.4, random_state=7)

    rng = np.random.default_rng(7)
    flips = truncnorm.rvs(-4, 6, loc=0.4, scale=0.1, size=n, random_state=rng)
    draws = rng.random(n)
    weights = [rng.standard_normal((6, 5)) for _ in range(5)]
    flat = x.reshape(n, 6)
    flat = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    for i in range(n):
        scores = np.exp(flat[i] @ weights[truth[i]])
        chances = [0 if c == truth[i] else scores[c] for c in range(5)]
        chances = flips[i] * np.array(chances) / sum(chances)
        chances[truth[i]] = 1 - flips[i]
        below = [c for c in range(5) if chances[: c + 1].sum() <= draws[i]]
        assert labels[i] == len(below)


def test_which_class_a_wrong_label_names_depends_on_the_sample():
    # Two clusters of one class: each is mistaken for a class of its own.
    side = np.arange(4000) % 2
    x = np.where(side[:, None], 1.0, -1.0) + features() / 1000
    labels = instance_dependent(x, np.zeros(4000, int), 0.5, random_state=1, n_classes=6)
    usual = [np.bincount(labels[(side == s) & (labels > 0)]).argmax() for s in (0, 1)]
    assert usual[0] != usual[1]


def test_neither_scale_nor_offset_nor_constant_features_nor_blocks_matter(monkeypatch):
    x = features()
    labels = instance_dependent(x, LABELS, 0.4, random_state=0)
    scaled = x * 2.0 ** np.arange(12) - 8
    assert np.array_equal(instance_dependent(scaled, LABELS, 0.4, random_state=0), labels)
    monkeypatch.setattr("noisyselect.noise._BLOCK", 100)
    assert np.array_equal(instance_dependent(x, LABELS, 0.4, random_state=0), labels)
    x[:, 3] = 0.1
    flat = instance_dependent(x, LABELS, 0.4, random_state=0)
    x[:, 3] = 7e9
    assert np.array_equal(instance_dependent(x, LABELS, 0.4, random_state=0), flat)


def test_instance_dependent_noise_depends_on_its_seed_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    labels = instance_dependent(features(), LABELS, 0.4, random_state=3)
    assert np.array_equal(before, np.random.get_state()[1])
    assert np.array_equal(labels, instance_dependent(features(), LABELS, 0.4, random_state=3))
    assert not np.array_equal(labels, instance_dependent(features(), LABELS, 0.4, random_state=4))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: symmetric(1, 0.4), "`n_classes` must be at least 2, got 1"),
        (lambda: symmetric(10, 1.4), r"`ratio` must lie in \[0, 1\], got 1.4"),
        (lambda: pair(10, float("nan")), "`ratio` must lie"),
        (lambda: asymmetric(3, 0.4, {0: 3}), "got 0 -> 3"),
        (lambda: asymmetric(3, 0.4, {1: 1}), "got 1 -> 1"),
        (lambda: corrupt([0, 3], pair(3, 0.1), 0), "`true_labels` must lie in"),
        (lambda: corrupt([0], np.ones((2, 3)), 0), r"shape \(n_classes, n_classes\), got \(2, 3\)"),
        (lambda: corrupt([0], np.ones((2, 2)), 0), "rows that sum to 1"),
        (lambda: corrupt([0], [[1.5, -0.5], [0, 1]], 0), "entries of at least 0"),
        (lambda: noise_rate([0, 1], [0]), r"\(n_samples,\) = \(2,\), got \(1,\)"),
        (lambda: noise_rate([], []), "at least one sample"),
        (lambda: instance_dependent(np.ones((3, 2)), [0, 1], 0.4, 0), "match `features`"),
        (lambda: instance_dependent(np.ones((0, 2)), [], 0.4, 0), "at least one sample"),
        (lambda: instance_dependent(np.ones((2, 2)), [0, 0], 0.4, 0), "`n_classes` must be at"),
        (lambda: instance_dependent(np.ones((2, 2)), [0, 5], 0.4, 0, 3), "`true_labels` must lie"),
        (lambda: instance_dependent(np.ones((2, 2)), [0, 1], 1.4, 0), "`rate` must lie"),
        (lambda: instance_dependent([[1.0], [np.inf]], [0, 1], 0.4, 0), "must be finite"),
    ],
)
def test_wrong_arguments_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
