import numpy as np
import pytest

from noisyselect.numeric import neighbours as module
from noisyselect.numeric.neighbours import (
    count_votes,
    find_neighbours,
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


def clustered(n, n_features=16, n_clusters=10, seed=0):
    """Rows around some centres, along a few directions more than along others."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, n_features))[rng.integers(0, n_clusters, n)]
    return centres + rng.normal(size=(n, n_features)) / np.arange(1, n_features + 1)


def shared_with(found, exact):
    """The share of exact neighbours that were found, the slow way."""
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return np.mean([len(set(some) & set(all_)) / len(all_) for some, all_ in pairs])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("target", [0.6, 0.95, 0.99])
def test_an_approximate_search_finds_what_it_promises(metric, target):
    features = clustered(6000) + 1
    found = find_neighbours(features, 6, metric, exact_up_to=5999, target_recall=target)
    share = shared_with(found.neighbours, nearest_neighbours(features, 6, metric))
    assert found.recall >= target
    # Measured on 1000 of the 6000.
    assert found.recall == pytest.approx(share, abs=0.02)
    assert share < 1
    assert (found.neighbours != np.arange(6000)[:, None]).all()


def test_a_higher_target_finds_more():
    features = clustered(6000)
    recalls = [
        find_neighbours(features, 6, exact_up_to=0, target_recall=target).recall
        for target in (0.5, 0.9, 0.97, 1)
    ]
    assert recalls == sorted(set(recalls))
    assert recalls[-1] == 1


def test_no_more_lists_are_searched_than_the_target_takes(monkeypatch):
    made = []
    lists = module._inverted_lists
    monkeypatch.setattr(module, "_inverted_lists", lambda *a: made.append(lists(*a)) or made[0])
    features = np.random.default_rng(0).normal(size=(6000, 4)).astype(np.float32)
    found = find_neighbours(features, 10, exact_up_to=0, target_recall=0.9)
    (index,) = made
    n_lists = index.nprobe
    assert n_lists not in (1, 2, 4, 8)
    exact = nearest_neighbours(features, 10)
    shares = []
    for index.nprobe in (n_lists - 1, n_lists):
        near = index.search(features - features.mean(axis=0), 11)[1][:, 1:]
        shares.append(np.mean([np.isin(a, b).mean() for a, b in zip(exact, near, strict=True)]))
    assert shares[0] < 0.9 + 0.01
    assert shares[1] == pytest.approx(found.recall, abs=0.02)
    assert found.recall >= 0.9


def test_the_recall_of_all_queries_is_the_share_that_was_found(monkeypatch):
    monkeypatch.setattr(module, "_QUERIES", 1200)
    features = np.random.default_rng(1).normal(size=(1200, 16))
    found = find_neighbours(features, 6, exact_up_to=0, target_recall=0.1)
    share = shared_with(found.neighbours, nearest_neighbours(features, 6))
    assert found.recall == pytest.approx(share)
    assert found.recall < 0.95


def test_the_recall_is_that_of_all_rows_and_not_of_the_first():
    features = np.vstack([np.zeros((1000, 16)), clustered(5000)])
    found = find_neighbours(features, 6, exact_up_to=0, target_recall=0.6)
    share = shared_with(found.neighbours[1000:], nearest_neighbours(features, 6)[1000:])
    assert share < 0.9
    assert found.recall == pytest.approx(1 / 6 + 5 / 6 * share, abs=0.02)


def test_up_to_the_size_the_search_is_exact():
    features = clustered(3000)
    found = find_neighbours(features, 4, exact_up_to=3000, target_recall=0.1)
    assert found.recall == 1
    assert np.array_equal(found.neighbours, nearest_neighbours(features, 4))
    assert find_neighbours(features, 4, exact_up_to=2999, target_recall=0.1).recall < 1


def test_where_few_lists_do_not_reach_the_target_the_search_is_exact():
    features = np.random.default_rng(0).normal(size=(2500, 32))
    found = find_neighbours(features, 6, exact_up_to=0)
    assert found.recall == 1
    assert np.array_equal(found.neighbours, nearest_neighbours(features, 6))


def test_an_approximate_search_has_one_answer_on_any_number_of_threads(capfd):
    import faiss

    features = clustered(8000)
    before = faiss.omp_get_max_threads()
    found = []
    for n_threads in (1, 2, 3):
        faiss.omp_set_num_threads(n_threads)
        found.append(find_neighbours(features, 4, exact_up_to=0, target_recall=0.8))
    faiss.omp_set_num_threads(before)
    assert found[0].recall < 1
    for other in found[1:]:
        assert np.array_equal(found[0].neighbours, other.neighbours)
        assert found[0].recall == other.recall
    reseeded = find_neighbours(features, 4, exact_up_to=0, target_recall=0.8, random_state=1)
    assert reseeded.recall != found[0].recall
    assert capfd.readouterr() == ("", "")


def test_duplicates_may_stand_for_each_other_but_not_for_the_sample_itself():
    features = np.repeat(clustered(300, n_clusters=300), 30, axis=0)
    found = find_neighbours(features, 5, exact_up_to=0, target_recall=0.99)
    assert (found.neighbours != np.arange(9000)[:, None]).all()
    assert (features[found.neighbours] == features[:, None]).all()
    assert found.recall == 1


def test_near_duplicates_that_rounding_swaps_are_found():
    rng = np.random.default_rng(0)
    features = np.repeat(100 * rng.normal(size=(300, 16)), 30, axis=0)
    features += 1e-3 * rng.normal(size=features.shape)
    found = find_neighbours(features, 5, exact_up_to=0)
    exact = nearest_neighbours(features, 5)
    # Which of the 29 are nearest is lost in float32, and neither answer is the true one.
    assert shared_with(found.neighbours, exact) < 0.9
    assert found.recall > 0.95


def test_neighbours_beyond_the_own_cluster_are_found_too():
    # Clusters of 8, and 20 neighbours: most of them are in other lists.
    centres = 10 * np.random.default_rng(0).normal(size=(500, 3))
    features = np.repeat(centres, 8, axis=0)
    features = features + 0.1 * np.random.default_rng(1).normal(size=features.shape)
    found = find_neighbours(features, 20, exact_up_to=0)
    assert found.recall >= 0.95
    assert shared_with(found.neighbours, nearest_neighbours(features, 20)) >= 0.94


def test_what_a_list_does_not_have_is_minus_one_and_not_found():
    # Clusters of 8 on a sphere, and in its middle the last row, which -1 must not stand for.
    centres = np.random.default_rng(0).normal(size=(30, 3))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    features = np.vstack([np.repeat(centres, 8, axis=0), np.zeros((1, 3))])
    found = find_neighbours(features, 100, exact_up_to=0, target_recall=0.05)
    missing = found.neighbours == -1
    assert missing.any()
    assert (missing[:, 1:] >= missing[:, :-1]).all()
    assert found.recall <= 1 - missing.mean() + 0.02


def test_few_or_equal_rows_have_their_neighbours_too():
    pair = find_neighbours(np.array([[0.0], [1.0]]), 3, exact_up_to=0)
    assert pair.neighbours.tolist() == [[1, -1, -1], [0, -1, -1]]
    assert find_neighbours(np.array([[0.0]]), 1, exact_up_to=0) == (np.array([[-1]]), 1.0)
    same = find_neighbours(np.ones((400, 2)), 3, exact_up_to=0).neighbours
    assert ((same >= 0) & (same != np.arange(400)[:, None])).all()


def test_blocks_of_rows_change_nothing(monkeypatch):
    features = clustered(2500)
    whole = find_neighbours(features, 6, exact_up_to=0, target_recall=0.5)
    exact = nearest_neighbours(features, 6, "cosine")
    monkeypatch.setattr(module, "_ROWS", 499)
    parts = find_neighbours(features, 6, exact_up_to=0, target_recall=0.5)
    assert np.array_equal(whole.neighbours, parts.neighbours)
    assert whole.recall == parts.recall < 1
    assert np.array_equal(exact, nearest_neighbours(features, 6, "cosine"))


@pytest.mark.parametrize("target", [0, -0.5, 1.01, float("nan")])
def test_a_target_that_is_no_share_is_refused(target):
    with pytest.raises(ValueError, match=r"`target_recall` must lie in \(0, 1\]"):
        find_neighbours(np.zeros((3, 1)), 1, target_recall=target)


def test_no_neighbours_are_refused():
    with pytest.raises(ValueError, match="at least 1 neighbour, got 0"):
        find_neighbours(np.zeros((3, 1)), 0)


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


@pytest.mark.parametrize("n_labels", [4, 40, 300])
def test_votes_are_those_of_a_loop(monkeypatch, n_labels):
    monkeypatch.setattr(module, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    for k in (1, 2, 5, 300):
        neighbours = rng.integers(-1, 50, (50, k))
        neighbours[3] = -1
        votes, own = rng.integers(0, n_labels, (2, 50))
        found = count_votes(votes, neighbours, own)
        assert [column.tolist() for column in found] == votes_one_by_one(votes, neighbours, own)


def test_of_equally_many_votes_the_own_label_wins_and_then_the_nearest():
    neighbours = np.array([[2, 1, 3, 0]])
    votes = np.array([1, 2, 1, 2])
    assert count_votes(votes, neighbours, np.array([2])).winner.tolist() == [2]
    assert count_votes(votes, neighbours, np.array([0])).winner.tolist() == [1]
    assert count_votes(votes, neighbours[:, ::-1], np.array([3])).winner.tolist() == [1]
    assert count_votes(votes, neighbours[:, 1:], np.array([3])).winner.tolist() == [2]
