import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from noisyselect.numeric import ranks as ranks_module
from noisyselect.numeric.ranks import (
    ChangeRanks,
    counted_ranks,
    lowest,
    lowest_or_equal,
    lowest_per_group,
    midranks,
    rank_variance,
    ranks_in_tiers,
)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=50))
def test_midranks_are_those_of_scipy_from_0_to_1(values):
    expected = (rankdata(values) - 1) / (len(values) - 1)
    assert midranks(values) == pytest.approx(expected, abs=1e-15)


def test_a_single_value_has_rank_0():
    assert midranks([4.0]).tolist() == [0.0]


def test_the_variance_of_ranks_worked_by_hand():
    # Changes l[t-1] - l[t]:   epoch 1: 1, 2, 3 -> ranks 0, 1/2, 1;   epoch 2: 3, 2, 1 -> 1, 1/2, 0.
    losses = np.array([[9.0, 9.0, 9.0], [8.0, 7.0, 6.0], [5.0, 5.0, 5.0]])
    assert rank_variance(losses) == pytest.approx([0.25, 0.0, 0.25])


def test_signed_and_absolute_changes_differ_where_a_loss_rises():
    # Changes: -3, 1, 2 and then 0, 1, 2. The signed ranks agree; the absolute ones are
    # 1, 0, 1/2 and then 0, 1/2, 1.
    losses = np.array([[0.0, 9.0, 9.0], [3.0, 8.0, 7.0], [3.0, 7.0, 5.0]])
    assert rank_variance(losses, "signed") == pytest.approx([0, 0, 0])
    assert rank_variance(losses, "absolute") == pytest.approx([0.25, 1 / 16, 1 / 16])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("change", ["signed", "absolute"])
def test_the_variance_of_ranks_is_that_of_the_slow_oracle(dtype, change):
    losses = np.random.default_rng(0).gamma(1.0, 1.0, (7, 500)).astype(dtype)
    losses[:, ::7] = losses[:, [0]]  # ties
    changes = losses[:-1].astype(np.float64) - losses[1:]
    changes = np.abs(changes) if change == "absolute" else changes
    ranks = np.array([(rankdata(row) - 1) / 499 for row in changes])
    assert rank_variance(losses, change) == pytest.approx(ranks.var(axis=0), abs=1e-12)


def awkward_values(n):
    """Yield many values of shapes that might fool a count: heaps, ties, tails, signs."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=n)
    yield "normal", normal
    yield "of very different size", np.exp(30 * normal) * np.sign(rng.normal(size=n))
    yield "nearly equal", 1 + 1e-9 * normal
    yield "half of them nearly equal", np.where(rng.random(n) < 0.5, 1 + 1e-9 * normal, normal)
    yield "equal", np.zeros(n)
    yield "of three sizes and both zeros", rng.choice([-1.0, -0.0, 0.0, 1.0], n)
    yield "beyond float32", 1e300 * normal
    yield "below float32", 1e-300 * normal


@pytest.mark.parametrize(("name", "values"), list(awkward_values(20_000)))
def test_counted_ranks_are_off_by_less_than_half_a_thousandth(name, values):
    exact = midranks(values)
    counted = counted_ranks(values)
    assert np.abs(counted - exact).max() <= 5e-4
    # Values that are equal as float32 share a rank or are sorted; the order never turns.
    assert (np.diff(counted[np.argsort(values)]) >= 0).all()


@settings(deadline=None)  # some hundred thousand bins are made for each
@given(st.lists(st.floats(-5, 5, width=16), min_size=2, max_size=50))
def test_a_few_values_are_counted_exactly_unless_they_share_a_bin(values):
    values = np.array(values)
    assert counted_ranks(values) == pytest.approx(midranks(values), abs=1e-12)


def test_the_variance_of_many_ranks_is_the_exact_one_within_the_bound(monkeypatch):
    losses = np.random.default_rng(0).gamma(1.0, 1.0, (6, 30_000)).astype(np.float32)
    losses[:, :9000] = losses[0, :9000]  # a third does not change at all
    exact = rank_variance(losses)
    monkeypatch.setattr("noisyselect.numeric.ranks._MANY", 1000)
    counted = rank_variance(losses)
    assert not np.array_equal(counted, exact)
    assert np.abs(np.sqrt(counted) - np.sqrt(exact)).max() <= 5e-4
    kept = [lowest(each, 18_000, ties=losses[-1]) for each in (counted, exact)]
    assert np.mean(kept[0] != kept[1]) <= 2e-4


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1), st.integers(0, 60))
def test_the_lowest_are_the_first_of_a_sort_by_value_ties_and_row(pairs, n_keep):
    values, ties = np.array(pairs).T
    expected = np.zeros(values.size, dtype=bool)
    expected[np.lexsort((ties, values))[:n_keep]] = True
    assert np.array_equal(lowest(values, n_keep, ties), expected)


def test_of_equal_values_those_with_the_smallest_ties_and_then_the_first_come_first():
    assert lowest([1.0, 0.0, 1.0, 1.0], 3, ties=np.zeros(4)).tolist() == [True, True, True, False]
    assert lowest([1.0, 0.0], 0, ties=[0, 0]).tolist() == [False, False]
    assert lowest([1.0, 0.0, 1.0, 1.0], 2, ties=[5, 0, 4, 3]).tolist() == [False, True, False, True]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 25))
def test_the_lowest_or_equal_are_those_up_to_the_nth_of_the_sorted_values(values, n_keep):
    n_keep = min(n_keep, len(values))
    kept = lowest_or_equal(values, n_keep).tolist()
    assert kept == [n_keep > 0 and value <= sorted(values)[n_keep - 1] for value in values]


def test_the_lowest_of_each_group_are_those_of_a_search_group_by_group():
    rng = np.random.default_rng(0)
    for n_groups in (1, 3, 40):
        values = rng.integers(0, 6, 60) / 2
        groups = rng.integers(0, n_groups, 60)
        ties = rng.permutation(60)
        n_keep = rng.integers(0, 8, n_groups)
        mask = lowest_per_group(values, groups, n_keep, ties)
        for group in range(n_groups):
            rows = sorted(np.flatnonzero(groups == group), key=lambda i: (values[i], ties[i]))
            assert set(rows[: n_keep[group]]) == set(np.flatnonzero(mask & (groups == group)))


def test_one_number_for_all_groups_keeps_that_many_of_each():
    mask = lowest_per_group([4.0, 3.0, 2.0, 1.0, 0.0], [1, 1, 1, 0, 0], 2, ties=np.zeros(5))
    assert mask.tolist() == [False, True, True, True, True]


def test_ranks_in_tiers_go_by_tier_and_then_from_the_largest_value_down(monkeypatch):
    rng = np.random.default_rng(0)
    tiers = rng.integers(0, 3, 20_000).astype(np.uint8)
    values = np.where(rng.random(20_000) < 0.3, 0.5, rng.gamma(1.0, 1.0, 20_000))
    # Whole numbers, each its own rank: by tier, then by the value, largest first.
    order = np.unique(values, return_inverse=True)[1]
    expected = midranks(tiers * np.int64(100_000) - order)
    assert ranks_in_tiers(tiers, values) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr("noisyselect.numeric.ranks._MANY", 1000)
    counted = ranks_in_tiers(tiers, values)
    assert not np.array_equal(counted, expected)
    assert np.abs(counted - expected).max() <= 1e-3
    assert (np.diff(counted[np.argsort(expected)]) >= 0).all()


def test_a_new_epoch_costs_one_new_rank_and_changes_nothing_else(monkeypatch):
    monkeypatch.setattr("noisyselect.numeric.ranks._MANY", 1000)
    counts, count = [], ranks_module._count
    monkeypatch.setattr(
        "noisyselect.numeric.ranks._count",
        lambda *arguments: counts.append(1) or count(*arguments),
    )
    losses = np.random.default_rng(0).gamma(1.0, 1.0, (9, 2000))
    ranks, epochs = ChangeRanks(), np.arange(9) + 3
    for end, n_counted in ((6, 5), (7, 6), (7, 6), (9, 8)):
        window = slice(end - 6, end)
        variance = ranks.variance(losses[window], epochs[window])
        assert len(counts) == n_counted
        assert np.abs(np.sqrt(variance) - exact_deviation(losses[window])).max() <= 5e-4
    ranks.variance(losses[3:9], epochs[3:9], "absolute")
    assert len(counts) == n_counted + 5


def exact_deviation(losses):
    changes = losses[:-1] - losses[1:]
    return np.std([midranks(row) for row in changes], axis=0)


@pytest.mark.parametrize("change", ["signed", "absolute"])
def test_the_variance_of_ranks_needs_at_most_three_times_the_memory_of_its_losses(change):
    losses = np.random.default_rng(0).gamma(1.0, 1.0, (6, 1_000_000)).astype(np.float32)
    tracemalloc.start()
    rank_variance(losses, change)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * losses.nbytes
