from itertools import combinations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from noisyselect.numeric.kmeans import cluster_line


def within(values, cluster):
    parts = [values[cluster == c] for c in np.unique(cluster)]
    return sum(((part - part.mean()) ** 2).sum() for part in parts)


def least_of_all(values, n_clusters):
    """The least sum of squares over all ways to cut the sorted values."""
    ordered = np.sort(values)
    ways = combinations(range(1, values.size), n_clusters - 1)
    return min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts)) for cuts in ways
    )


@pytest.mark.parametrize("seed", range(30))
def test_no_way_to_cut_the_values_is_better(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 14))
    values = rng.integers(0, 12, size) if seed % 2 else rng.gamma(0.5, 10.0, size)
    for n_clusters in range(1, min(4, np.unique(values).size) + 1):
        cluster = cluster_line(values, n_clusters)
        assert np.unique(cluster).tolist() == list(range(n_clusters))
        expected = least_of_all(np.asarray(values, dtype=float), n_clusters)
        assert within(np.asarray(values, dtype=float), cluster) == pytest.approx(expected, abs=1e-9)
        assert (np.diff(cluster[np.argsort(values)]) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_many_starts_of_scikit_learn_find_nothing_better(seed):
    values = np.random.default_rng(seed).gamma(2.0, 100.0, 3000).round()
    cluster = cluster_line(values, 3)
    model = KMeans(3, n_init=20, tol=0, random_state=0).fit(values[:, None])
    assert within(values, cluster) <= model.inertia_ * (1 + 1e-12)
    # scikit-learn stops in a local optimum now and then; the borders are next to each other.
    assert (
        np.mean(np.argsort(np.argsort(model.cluster_centers_[:, 0]))[model.labels_] == cluster)
        > 0.98
    )


def test_equal_values_share_a_cluster_and_far_values_lose_no_digits():
    values = 1e9 + np.array([3.0, 1, 1, 2, 3, 8, 8])
    assert cluster_line(values, 2).tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_too_few_distinct_values_are_refused():
    with pytest.raises(ValueError, match="`values` must have 3 distinct entries, got 2"):
        cluster_line(np.array([1, 1, 2]), 3)
