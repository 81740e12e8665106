import numpy as np
import pytest

from noisyselect.numeric.neighbours import label_agreement, nearest_neighbours


def brute_force(features, k, metric):
    if metric == "cosine":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    distance = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1)[:, :k]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_are_those_of_brute_force(metric):
    features = np.random.default_rng(0).normal(size=(300, 8)) + 1e5 * (metric == "euclidean")
    assert np.array_equal(nearest_neighbours(features, 7, metric), brute_force(features, 7, metric))


def test_the_sample_itself_is_no_neighbour_even_among_duplicates():
    features = np.repeat(np.arange(3.0), 20)[:, None]
    near = nearest_neighbours(features, 5)
    assert (near != np.arange(60)[:, None]).all()
    assert (features[near, 0] == features).all()


def test_missing_neighbours_are_minus_one():
    assert nearest_neighbours(np.array([[0.0], [1.0]]), 3).tolist() == [[1, -1, -1], [0, -1, -1]]
    assert nearest_neighbours(np.array([[0.0]]), 2).tolist() == [[-1, -1]]


def test_the_features_stay_as_they_were():
    features = np.full((4, 2), 3.0, dtype=np.float32)
    nearest_neighbours(features, 1, "cosine")
    assert (features == 3).all()


def test_agreement_counts_only_neighbours_in_the_support():
    labels = np.array([0, 0, 1, 0])
    neighbours = np.array([[1, 2, 3], [0, 2, -1], [0, 1, 3], [0, 1, 2]])
    support = np.array([True, True, True, False])
    agreeing, voting = label_agreement(labels, neighbours, np.array([0, 1, 3]), support)
    # Row 0: 1 agrees, 2 does not, 3 may not vote. Row 1: 0 agrees, 2 does not.
    # Row 3: 0 and 1 agree.
    assert agreeing.tolist() == [1, 1, 2]
    assert voting.tolist() == [2, 2, 3]
