from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisyselect.torch.data import balanced_pool

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 100, 47]))


def pools(n_epochs, size=30, keep_epochs=5, seed=0, labels=LABELS):
    return [balanced_pool(labels, 3, size, e, keep_epochs, seed) for e in range(n_epochs)]


@given(
    labels=st.lists(st.integers(0, 3), max_size=60),
    size=st.integers(4, 70),
    epoch=st.integers(0, 1000),
    keep_epochs=st.integers(1, 12),
)
def test_every_class_gives_its_share_or_all_it_has(labels, size, epoch, keep_epochs):
    given_labels = np.array(labels, dtype=int)
    rows = balanced_pool(given_labels, 4, size, epoch, keep_epochs, seed=1)
    assert (np.diff(rows) > 0).all()
    counts = np.bincount(given_labels[rows], minlength=4)
    shares = [size // 4 + (c < size % 4) for c in range(4)]
    assert counts.tolist() == np.minimum(shares, np.bincount(given_labels, minlength=4)).tolist()


@pytest.mark.parametrize(("size", "keep_epochs"), [(30, 5), (30, 1), (30, 4), (32, 7), (6, 9)])
def test_a_sample_that_comes_in_stays_for_exactly_so_many_epochs(size, keep_epochs):
    members = np.zeros((60, LABELS.size), dtype=bool)
    for epoch, rows in enumerate(pools(60, size, keep_epochs)):
        members[epoch, rows] = True
    stays = []
    for column in members[:, members.any(axis=0)].T:
        edges = np.flatnonzero(np.diff(column.astype(int), prepend=0, append=0))
        # Stays that the first or last epoch cuts off are of unknown length.
        stays += [end - start for start, end in edges.reshape(-1, 2) if start > 0 and end < 60]
    assert set(stays) == {keep_epochs}


def test_a_fifth_is_replaced_after_each_epoch():
    drawn = pools(40)
    assert {np.setdiff1d(b, a).size for a, b in pairwise(drawn)} == {6}


def test_all_samples_of_a_class_have_a_turn_before_one_has_a_second():
    # 10 of class 0 in each pool, 2 new ones after each epoch: 60 are through after 26 epochs.
    rows = np.concatenate([rows[LABELS[rows] == 0] for rows in pools(26)])
    assert np.unique(rows).size == 60


def test_an_epoch_does_not_depend_on_those_before_it():
    later = balanced_pool(LABELS, 3, 30, 17, 5, 0)
    np.random.seed(3)
    assert np.array_equal(later, pools(18)[17])
    assert not np.array_equal(later, balanced_pool(LABELS, 3, 30, 17, 5, 1))


def test_a_pool_as_large_as_the_data_is_the_data():
    assert np.array_equal(balanced_pool([1, 0, 1, 1], 2, 8, 5, 3, 0), np.arange(4))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((3, 2, 0, 5, 0), "`size` must be at least 3, got 2"),
        ((3, 9, -1, 5, 0), "`epoch` must be at least 0, got -1"),
        ((3, 9, 0, 0, 0), "`keep_epochs` must be at least 1, got 0"),
        ((2, 9, 0, 5, 0), "`labels` must lie in"),
    ],
)
def test_pools_out_of_range_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        balanced_pool(LABELS, *arguments)
