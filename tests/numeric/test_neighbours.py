import numpy as np
import pytest

from noisyselect.numeric import neighbours as module
from noisyselect.numeric.neighbours import (
    approximate_neighbours,
    count_votes,
    label_agreement,
    nearest_neighbours,
)


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


def shared_with(found, exact):
    """The share of exact neighbours that were found, the slow way."""
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return np.mean([len(set(some) & set(all_)) / len(all_) for some, all_ in pairs])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_an_approximate_search_finds_what_it_promises(metric):
    features = np.random.default_rng(0).normal(size=(2500, 16)) + 3
    found = approximate_neighbours(features, 6, metric)
    share = shared_with(found.neighbours, nearest_neighbours(features, 6, metric))
    assert share > 0.94
    # Measured on 1000 of the 2500.
    assert found.recall == pytest.approx(share, abs=0.01)
    assert (found.neighbours != np.arange(2500)[:, None]).all()


def test_the_recall_of_all_queries_is_the_share_that_was_found(monkeypatch):
    monkeypatch.setattr(module, "_QUERIES", 1200)
    monkeypatch.setattr(module, "_RECALL", 0.1)  # satisfied at once, by 8 of 34 lists
    features = np.random.default_rng(1).normal(size=(1200, 16))
    found = approximate_neighbours(features, 6)
    share = shared_with(found.neighbours, nearest_neighbours(features, 6))
    assert found.recall == pytest.approx(share)
    assert found.recall < 0.95


def test_an_approximate_search_has_one_answer(capfd):
    features = np.random.default_rng(2).normal(size=(2000, 16))
    first, second = (approximate_neighbours(features, 4) for _ in range(2))
    assert np.array_equal(first.neighbours, second.neighbours)
    assert first.recall == second.recall
    assert capfd.readouterr() == ("", "")


def test_an_approximate_search_of_few_or_equal_rows_is_exact():
    assert approximate_neighbours(np.array([[0.0], [1.0]]), 3).neighbours.tolist() == [
        [1, -1, -1],
        [0, -1, -1],
    ]
    assert approximate_neighbours(np.array([[0.0]]), 1) == (np.array([[-1]]), 1.0)
    same = approximate_neighbours(np.ones((400, 2)), 3).neighbours
    assert ((same >= 0) & (same != np.arange(400)[:, None])).all()


def test_agreement_counts_only_neighbours_in_the_support():
    labels = np.array([0, 0, 1, 0])
    neighbours = np.array([[1, 2, 3], [0, 2, -1], [0, 1, 3], [0, 1, 2]])
    support = np.array([True, True, True, False])
    agreeing, voting = label_agreement(labels, neighbours, np.array([0, 1, 3]), support)
    # Row 0: 1 agrees, 2 does not, 3 may not vote. Row 1: 0 agrees, 2 does not.
    # Row 3: 0 and 1 agree.
    assert agreeing.tolist() == [1, 1, 2]
    assert voting.tolist() == [2, 2, 3]


def votes_one_by_one(votes, neighbours, own):
    """The counts and the winner of each sample, by a loop."""
    rows = []
    for near, label in zip(neighbours, own, strict=True):
        cast = [votes[j] for j in near if j >= 0]
        most = max((cast.count(c) for c in cast), default=0)
        winner = (
            label if cast.count(label) == most else next(c for c in cast if cast.count(c) == most)
        )
        rows.append((cast.count(label), len(cast), winner))
    return [list(column) for column in zip(*rows, strict=True)]


def test_votes_are_those_of_a_loop(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    for k in (1, 2, 5):
        neighbours = rng.integers(-1, 50, (50, k))
        neighbours[3] = -1
        votes, own = rng.integers(0, 4, (2, 50))
        found = count_votes(votes, neighbours, own)
        assert [column.tolist() for column in found] == votes_one_by_one(votes, neighbours, own)


def test_of_equally_many_votes_the_own_label_wins_and_then_the_nearest():
    neighbours = np.array([[2, 1, 3, 0]])
    votes = np.array([1, 2, 1, 2])
    assert count_votes(votes, neighbours, np.array([2])).winner.tolist() == [2]
    assert count_votes(votes, neighbours, np.array([0])).winner.tolist() == [1]
    assert count_votes(votes, neighbours[:, ::-1], np.array([3])).winner.tolist() == [1]
    assert count_votes(votes, neighbours[:, 1:], np.array([3])).winner.tolist() == [2]
