"""How many others lie near each row, of all pairs at once and exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.numeric.blocks import blocks

# Rows whose distances to all others are held at once.
_BLOCK = 256
# Pairs whose distances are computed in float64 at once: few enough for the cache.
_PAIRS = 1 << 12
# Pairs drawn per row to guess the cut-off, and the standard errors that the guess may be off.
_DRAWN = 4
_ERRORS = 4.0
# Squared distances that differ by less than this share are equal: what is equal on paper differs by
# rounding. So are those below its square, with the largest feature at about 1.
_EQUAL = 1e-12
# More than products too small for float32 lose.
_UNDERFLOW = 1e-36

Rows = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class _Pairs(NamedTuple):
    """Pairs of rows, and between which bounds their squared distance lies."""

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    at_least: npt.NDArray[np.float32]
    at_most: npt.NDArray[np.float32]


def count_near(rows: FloatArray, share: float) -> Counts:
    r"""Count, for each row, the others that are nearer than a quantile of all distances.

    Parameters
    ----------
    rows : array of float, shape (n, n_features)
    share : float in [0, 1)
        The cut-off is the entry at place int(share n^2) of the n^2 sorted Euclidean distances, from
        0 on; those of the rows to themselves, which are 0, are among them.

    Returns
    -------
    array of int64 in [0, n), shape (n,)
        How many others are nearer than the cut-off. A squared distance within 1e-12 of the squared
        cut-off, relatively, counts as equal to it.

    Notes
    -----
    O(n^2 n_features) time and about O(n^1.5) memory. All distances are computed once, as a product
    of matrices in float32. The squared distance of the rows a and b, taken from the mean, is then
    off by at most :math:`e = 2 (n_{features} + 8) 2^{-24} (|a|^2 + |b|^2)`. A random sample of
    pairs tells a range for the cut-off; pairs surely below it are counted, pairs that may be in it
    are gathered, and if the cut-off turns out to be elsewhere the range is widened. The true
    cut-off is between the quantiles of all distances less and plus e, and the distances that may be
    on either side of it are computed again in float64. Hence the counts are those of float64, and
    neither the sample nor the order of the rows has a part in them. Where very many distances equal
    the cut-off, as on a grid, all of them are gathered and computed again.

    Examples
    --------
    >>> count_near(np.array([[0.0], [1.0], [3.0], [7.0]]), 0.6).tolist()
    [1, 2, 1, 0]
    """
    n_rows = len(rows)
    # Of the sorted n^2 distances the first n are of the rows to themselves, and each pair is there
    # twice.
    rank = (int(n_rows * n_rows * share) - n_rows) // 2
    exact = _scaled(rows)
    around = exact - exact.mean(axis=0)
    square = (around**2).sum(axis=1)
    if _cut_off_is_zero(exact, square, rank):
        return np.zeros(n_rows, dtype=np.int64)

    # Rows as far from the mean as each other have errors alike.
    order = np.argsort(square)
    exact, around, square = exact[order], around[order], square[order]
    around /= np.sqrt(square[-1])
    square /= square[-1]
    counts, pairs, place = _around_cut_off(around, square, rank)
    at_least, at_most = _nth(pairs.at_least, place), _nth(pairs.at_most, place)
    nearer = pairs.at_most < at_least
    unsure = np.flatnonzero(~nearer & (pairs.at_least <= at_most))
    squared = _squared(exact, pairs.first[unsure], pairs.second[unsure])
    cut_off = _nth(squared, place - int(nearer.sum()))
    nearer[unsure] = squared < cut_off * (1 - _EQUAL) - _EQUAL**2
    for end in (pairs.first, pairs.second):
        counts += np.bincount(end[nearer], minlength=n_rows)
    counts[order] = counts.copy()
    return counts


def _scaled(rows: FloatArray) -> Rows:
    """Return the rows in float64, the largest entry at about 1; by a power of 2, so exactly."""
    exact = rows.astype(np.float64)
    _, exponent = np.frexp(np.abs(exact).max())
    return np.ldexp(exact, -int(exponent))


def _cut_off_is_zero(exact: Rows, square: Vector, rank: int) -> bool:
    if rank < 0 or square.max() <= _EQUAL**2:
        return True

    def n_pairs_of(copies: IntArray) -> int:
        return int((copies * (copies - 1) // 2).sum())

    # Copies are as far from the mean as each other, which is quickly told.
    if n_pairs_of(np.unique(square, return_counts=True)[1]) <= rank:
        return False
    return n_pairs_of(np.unique(exact, axis=0, return_counts=True)[1]) > rank


def _around_cut_off(around: Rows, square: Vector, rank: int) -> tuple[Counts, _Pairs, int]:
    """Find the pairs that may be at the cut-off.

    Returns
    -------
    counts : array of int64, shape (n,)
        Partners of each row that are surely nearer than all of `pairs`, and than the cut-off.
    pairs : _Pairs
        Those that are neither surely nearer nor surely farther.
    place : int
        Place of the cut-off among the sorted distances of `pairs`.
    """
    n_rows = len(around)
    n_pairs = n_rows * (n_rows - 1) // 2
    lower, upper = _bounds_of_random_pairs(around, square)
    margin = _ERRORS * 0.5 / np.sqrt(lower.size)
    while True:
        # Squared distances of rows within 1 of the mean lie in [0, 4].
        low = _quantile(lower, rank / n_pairs - margin, outside=-1.0)
        high = _quantile(upper, rank / n_pairs + margin, outside=5.0)
        counts, pairs = _scan(around, square, low, high)
        place = rank - int(counts.sum()) // 2
        if 0 <= place < pairs.first.size:
            at_least, at_most = _nth(pairs.at_least, place), _nth(pairs.at_most, place)
            if low <= at_least and at_most <= high:
                return counts, pairs, place
        margin *= 4


def _bounds_of_random_pairs(around: Rows, square: Vector) -> tuple[Vector, Vector]:
    """Return, sorted, the least and the greatest bounds that `_scan` may give for random pairs."""
    rng = np.random.default_rng(0)
    n_rows, n_features = around.shape
    first = rng.integers(0, n_rows, _DRAWN * n_rows)
    second = (first + rng.integers(1, n_rows, first.size)) % n_rows
    squared = _squared(around.astype(np.float32), first, second)
    # One error of the distance, one of its bound, and one for this estimate.
    error = 3 * _error(square[first], square[second], n_features)
    return np.sort(squared - error), np.sort(squared + error)


def _quantile(ordered: Vector, share: float, outside: float) -> float:
    return float(ordered[int(share * ordered.size)]) if 0 < share < 1 else outside


def _error(square: FloatArray, other: FloatArray, n_features: int) -> Vector:
    """Return by how much float32 may miss the squared distance of rows so far from the mean."""
    error: Vector = 2 * (n_features + 8) * 2.0**-24 * (square + other) + _UNDERFLOW
    return error


def _scan(around: Rows, square: Vector, low: float, high: float) -> tuple[Counts, _Pairs]:
    """Count the partners of each row surely below `low`; return the pairs maybe up to `high`."""
    n_rows, n_features = around.shape
    one = np.ones(n_rows)
    # One product gives |a|^2 - 2ab + |b|^2.
    left = np.column_stack([-2 * around, square, one]).astype(np.float32)
    right = np.column_stack([around, one, square]).astype(np.float32)
    counts = np.zeros(n_rows, dtype=np.int64)
    # Each pair once: what is left of the diagonal is seen from the other side.
    seen = np.tri(min(_BLOCK, n_rows), dtype=bool)
    found = []
    for start in range(0, n_rows, _BLOCK):
        squared = left[start : start + _BLOCK] @ right[start:].T
        height, width = squared.shape
        squared[:, :height][seen[:height, :height]] = np.inf
        # The last row of the block is the farthest from the mean.
        error = _error(square[start + height - 1], square[start:], n_features)
        below = squared < (low - error).astype(np.float32)
        counts[start : start + height] += below.sum(axis=1)
        # At most 256 in a column.
        counts[start:] += below.view(np.uint8).sum(axis=0, dtype=np.uint16)
        maybe = np.flatnonzero(below ^ (squared <= (high + error).astype(np.float32)))
        row, column = np.divmod(maybe, width)
        first, second = (row + start).astype(np.int32), (column + start).astype(np.int32)
        middle = squared.ravel()[maybe]
        off = _error(square[first], square[second], n_features).astype(np.float32)
        found.append((first, second, middle - off, middle + off))
    return counts, _Pairs(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _squared(rows: FloatArray, first: IntArray, second: IntArray) -> Vector:
    """Return the squared distances of pairs, the same from either side."""
    squared = np.empty(first.size)
    for block in blocks(first.size, _PAIRS):
        difference = rows[first[block]] - rows[second[block]]
        squared[block] = np.square(difference, out=difference).sum(axis=1)
    return squared


def _nth(values: FloatArray, place: int) -> float:
    return float(np.partition(values, place)[place])
