"""KNN mixup recipes against the same rule, taken at its word."""

import numpy as np
import pytest

from noisyselect.balance.recipes import knn_mixup_recipes


def recipes_one_by_one(labels, ids, neighbours, anchors, pool, counts, alpha, rng):
    """Let the anchors of each class queue up turn by turn, until the class has its count."""
    lot = rng.random(labels.size)[ids]  # handed out in the order of the ids
    chosen = []
    for label, count in enumerate(counts):
        queue = []
        for i in np.flatnonzero(anchors & (labels == label)):
            partners = [j for j in neighbours[i] if j >= 0 and pool[j]]
            queue += [(turn, lot[i], i, j) for turn, j in enumerate(partners)]
        queue.sort()
        chosen += [queue[place % len(queue)] for place in range(count if queue else 0)]
    chosen.sort(key=lambda pair: pair[1])
    lam = rng.beta(alpha, alpha, len(chosen))
    return [pair[2] for pair in chosen], [pair[3] for pair in chosen], np.maximum(lam, 1 - lam)


# Few recipes of many samples need only the first anchors, many of few all of them, in turns.
@pytest.mark.parametrize(("n", "most"), [(2000, 40), (120, 5), (120, 40), (120, 400)])
@pytest.mark.parametrize("seed", range(3))
def test_the_anchors_take_turns_until_each_class_has_its_count(seed, n, most):
    rng = np.random.default_rng(seed)
    n_classes, k = 4, 5
    labels = rng.integers(0, n_classes, n)
    neighbours = rng.integers(-1, n, (n, k))
    anchors, pool = rng.random(n) < 0.3, rng.random(n) < 0.4
    counts = rng.integers(0, most, n_classes)
    counts[0] = 0
    ids = np.arange(n) if seed else rng.permutation(n)
    made = knn_mixup_recipes(
        labels,
        ids,
        neighbours,
        anchors=anchors,
        pool=pool,
        counts=counts,
        alpha=2.0,
        rng=np.random.default_rng(seed),
    )
    expected = recipes_one_by_one(
        labels, ids, neighbours, anchors, pool, counts, 2.0, np.random.default_rng(seed)
    )
    assert made.anchors.tolist() == ids[expected[0]].tolist()
    assert made.partners.tolist() == ids[expected[1]].tolist()
    assert np.array_equal(made.lam, expected[2])
    assert np.bincount(made.labels, minlength=n_classes).tolist() == counts.tolist()


def test_a_class_whose_anchors_have_no_neighbour_in_the_pool_gets_none():
    made = knn_mixup_recipes(
        np.array([0, 0, 1]),
        np.arange(3),
        np.array([[1], [0], [-1]]),
        anchors=np.array([True, True, True]),
        pool=np.array([False, False, True]),
        counts=np.array([3, 3]),
        alpha=4.0,
        rng=np.random.default_rng(0),
    )
    assert len(made) == 0
