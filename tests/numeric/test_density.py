import numpy as np
import pytest

from noisyselect.numeric import density as module
from noisyselect.numeric.density import count_near


def by_all_pairs(rows, share):
    """The rule on the whole matrix of distances in float64."""
    distance = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    cut_off = np.sort(distance, axis=None)[int(rows.shape[0] ** 2 * share)]
    return (distance < cut_off).sum(axis=1) - (cut_off > 0)


def test_four_rows_worked_by_hand():
    # The sorted distances are 0 (4 times) and 1, 2, 3, 4, 6, 7 twice each; place 9 of 16 is a 3.
    rows = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert count_near(rows, 0.6).tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.97])
@pytest.mark.parametrize(("n_rows", "n_features"), [(2, 1), (3, 2), (40, 3), (700, 20)])
def test_counts_are_those_of_all_pairs(share, n_rows, n_features):
    rng = np.random.default_rng(n_rows)
    rows = rng.normal(size=(n_rows, n_features)) * rng.gamma(1.0, 1.0, (n_rows, 1)) + 5
    assert np.array_equal(count_near(rows, share), by_all_pairs(rows, share))


def test_pairs_that_float32_cannot_tell_apart_are_told_apart():
    # 1e-7 apart around the unit circle, seen from its centre.
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 300)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + 1e-7 * rng.normal(size=(300, 1)))
    rows[:60] *= 1e-9
    for share in (0.3, 0.34, 0.4):
        assert np.array_equal(count_near(rows, share), by_all_pairs(rows, share))


def test_the_counts_hold_when_the_error_of_float32_is_as_large_as_stated(monkeypatch):
    # A thousand times larger, so that many pairs lie within it.
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)) * rng.gamma(0.5, 1.0, (200, 1))
    expected = by_all_pairs(rows, 0.6)
    scan, error_of = module._scan, module._error

    def blurred(around, square, low, high):
        _, pairs = scan(around, square, -1.0, 5.0)
        error = module._error(square[pairs.first], square[pairs.second], 3)
        exact = ((around[pairs.first] - around[pairs.second]) ** 2).sum(axis=1)
        off = rng.choice([-0.99, 0.99], error.size) * error
        pairs = pairs._replace(at_least=exact + off - error, at_most=exact + off + error)
        below, beyond = pairs.at_most < low, pairs.at_least > high
        ends = np.concatenate([pairs.first[below], pairs.second[below]])
        kept = (column[~below & ~beyond] for column in pairs)
        return np.bincount(ends, minlength=200), type(pairs)(*kept)

    monkeypatch.setattr(module, "_error", lambda *arguments: 1000 * error_of(*arguments))
    monkeypatch.setattr(module, "_scan", blurred)
    assert np.array_equal(count_near(rows, 0.6), expected)
    # Ranges that begin or end about where the cut-off is must not be believed.
    around = rows - rows.mean(axis=0)
    unit = around / np.sqrt((around**2).sum(axis=1).max())
    cut_off = np.sort(((unit[:, None] - unit[None]) ** 2).sum(axis=2), axis=None)[24_000]
    for end in cut_off * (1 + np.linspace(-3e-3, 3e-3, 13)):
        for low, high in ((end, 4.0), (0.0, end)):
            guess = (np.full(9999, low), np.full(9999, high))
            monkeypatch.setattr(module, "_bounds_of_random_pairs", lambda *_, g=guess: g)
            assert np.array_equal(count_near(rows, 0.6), expected)


def test_a_few_rows_far_away_cost_no_exactness():
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(400, 5)) * np.where(np.arange(400) < 5, 1e6, 1)[:, None]
    rows[:5] += 1e7
    for share in (0.3, 0.6, 0.99):
        assert np.array_equal(count_near(rows, share), by_all_pairs(rows, share))


def test_the_order_and_the_scale_of_the_rows_do_not_matter():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(500, 8))
    order = rng.permutation(500)
    counts = count_near(rows, 0.6)
    assert np.array_equal(count_near(rows[order], 0.6), counts[order])
    for scale in (1e-300, 1e-5, 1e300):
        assert np.array_equal(count_near(rows * scale, 0.6), counts)
    assert np.array_equal(
        count_near(rows.astype(np.float32), 0.6),
        by_all_pairs(rows.astype(np.float32).astype(np.float64), 0.6),
    )


@pytest.mark.parametrize("drawn", [np.linspace(0, 1e-3, 9999), np.linspace(3, 4, 9999)])
def test_a_bad_guess_of_the_range_is_mended(drawn, monkeypatch):
    rows = np.random.default_rng(4).normal(size=(300, 4))
    monkeypatch.setattr(module, "_bounds_of_random_pairs", lambda around, square: (drawn, drawn))
    assert np.array_equal(count_near(rows, 0.6), by_all_pairs(rows, 0.6))


def test_one_scan_leaves_few_pairs_to_look_at_again(monkeypatch):
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(1000, 5))
    clumps = rows[rng.integers(0, 20, 1000)] + 1e-3 * rng.normal(size=(1000, 5))
    far = rows * np.where(np.arange(1000) < 3, 1e4, 1)[:, None]
    scan, sizes = module._scan, []

    def counting(*arguments):
        counts, pairs = scan(*arguments)
        sizes.append(pairs.first.size)
        return counts, pairs

    monkeypatch.setattr(module, "_scan", counting)
    for case in (rows, clumps, far, rows.round()):
        assert np.array_equal(count_near(case, 0.6), by_all_pairs(case, 0.6))
    assert len(sizes) == 4
    assert max(sizes) < 0.2 * 1000 * 999 / 2


def test_blocks_give_what_one_block_gives(monkeypatch):
    rows = np.random.default_rng(5).normal(size=(100, 4))
    whole = count_near(rows, 0.6)
    monkeypatch.setattr(module, "_BLOCK", 7)
    monkeypatch.setattr(module, "_PAIRS", 3)
    assert np.array_equal(count_near(rows, 0.6), whole)


def test_distances_equal_but_for_rounding_are_not_nearer_than_each_other():
    # Steps of 0.1 along a line, which float64 does not hold.
    rows = np.arange(30)[:, None] * 0.1 + 0.7
    whole = np.arange(30)[:, None] * 1.0
    for share in (0.2, 0.5, 0.8):
        assert np.array_equal(count_near(rows, share), by_all_pairs(whole, share))


def test_equal_rows_have_no_one_nearer_than_the_cut_off():
    assert (count_near(np.full((50, 3), 0.1), 0.6) == 0).all()
    assert (count_near(np.zeros((50, 3)), 0.6) == 0).all()
    assert count_near(np.ones((1, 3)), 0.6).tolist() == [0]
    # Most pairs are of equal rows, so that the cut-off is 0.
    rows = np.repeat([[0.1, 0.2], [0.3, 0.4]], [90, 10], axis=0)
    assert (count_near(rows, 0.6) == 0).all()
    assert np.array_equal(count_near(rows, 0.9), by_all_pairs(rows, 0.9))
