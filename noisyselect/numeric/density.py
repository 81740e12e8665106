"""How many others lie near each row, of all pairs at once and exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray

# Rows whose distances to all others are held at once.
_BLOCK = 256
# Pairs whose distances are held in float64 at once.
_PAIRS = 1 << 15
# Pairs drawn per row to guess the cut-off, and the standard errors that the guess may be off.
_DRAWN = 4
_ERRORS = 5.0
# Squared distances nearer to each other than this, in units of the farthest row's distance from the
# mean, are equal: what is equal on paper differs by rounding in float64.
_EQUAL = 1e-12

Rows = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


class _Pairs(NamedTuple):
    """Pairs of rows with their squared distance as float32 tells it."""

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    squared: Vector

    def where(self, mask: BoolArray) -> _Pairs:
        return _Pairs(self.first[mask], self.second[mask], self.squared[mask])


def count_near(rows: FloatArray, share: float) -> npt.NDArray[np.int64]:
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
        How many others are strictly nearer than the cut-off.

    Notes
    -----
    O(n^2 n_features) time and about O(n^1.5) memory. All distances are computed once, as a product
    of matrices in float32, whose error is at most :math:`\epsilon = 4 (n_{features} + 8) 2^{-24}`
    in units of the farthest row's squared distance from the mean. A random sample of pairs tells a
    range for the cut-off; pairs below it are counted, those in it are gathered, and if the cut-off
    turns out to be elsewhere the range is widened. The cut-off in float32 is within
    :math:`\epsilon` of the true one, so only pairs within :math:`2 \epsilon` of it are computed
    again in float64. Hence the counts are those of float64 arithmetic, and the sample and the order
    of the rows have no part in them.

    Examples
    --------
    >>> count_near(np.array([[0.0], [1.0], [3.0], [7.0]]), 0.6).tolist()
    [1, 2, 1, 0]
    """
    n_rows, n_features = rows.shape
    counts = np.zeros(n_rows, dtype=np.int64)
    # Of the sorted n^2 distances the first n are of the rows to themselves, and each pair is there
    # twice.
    rank = (int(n_rows * n_rows * share) - n_rows) // 2
    scaled = _scaled(rows)
    if rank < 0 or scaled is None:
        return counts  # the cut-off is 0, and nothing is nearer
    error = 4 * (n_features + 8) * 2.0**-24
    margin = _ERRORS * 0.5 / np.sqrt(_DRAWN * n_rows)
    drawn = _squared_of_random_pairs(scaled)
    n_pairs = n_rows * (n_rows - 1) // 2
    while True:
        low, high = _range(drawn, rank / n_pairs, margin, 3 * error)
        counts, inside = _scan(scaled, low, high)
        place = rank - int(counts.sum()) // 2
        if 0 <= place < inside.squared.size:
            guess = float(np.partition(inside.squared, place)[place])
            if low + 2 * error <= guess <= high - 2 * error:
                break
        margin *= 4
    # In float64 the cut-off, like the distance of each pair, is within one error of float32's.
    nearer = inside.where(inside.squared < guess - 2 * error)
    unsure = inside.where(np.abs(inside.squared - guess) <= 2 * error)
    exact = _squared(scaled, unsure.first, unsure.second)
    place -= nearer.squared.size
    cut_off = np.partition(exact, place)[place]
    for pairs in (nearer, unsure.where(exact < cut_off - _EQUAL)):
        counts += np.bincount(pairs.first, minlength=n_rows)
        counts += np.bincount(pairs.second, minlength=n_rows)
    return counts


def _scaled(rows: FloatArray) -> Rows | None:
    """Return the rows around their mean, the farthest at distance 1; None where all are equal."""
    scaled = rows.astype(np.float64)
    scaled /= max(np.abs(scaled).max(), np.finfo(np.float64).tiny)
    scaled -= scaled.mean(axis=0)
    farthest = np.linalg.norm(scaled, axis=1).max()
    return scaled / farthest if farthest > _EQUAL else None


def _squared_of_random_pairs(scaled: Rows) -> Vector:
    rng = np.random.default_rng(0)
    n_rows = len(scaled)
    first = rng.integers(0, n_rows, _DRAWN * n_rows)
    second = (first + rng.integers(1, n_rows, first.size)) % n_rows
    return np.sort(_squared(scaled, first, second))


def _range(drawn: Vector, share: float, margin: float, slack: float) -> tuple[float, float]:
    """Return where the quantile of all squared distances probably is."""
    # Squared distances of rows within 1 of the mean lie in [0, 4].
    low, high = -1.0, 5.0
    if share - margin > 0:
        low = float(drawn[int((share - margin) * drawn.size)]) - slack
    if share + margin < 1:
        high = float(drawn[int((share + margin) * drawn.size)]) + slack
    return low, high


def _scan(scaled: Rows, low: float, high: float) -> tuple[npt.NDArray[np.int64], _Pairs]:
    """Count the partners of each row nearer than `low`; return the pairs from there to `high`."""
    n_rows = len(scaled)
    square = (scaled**2).sum(axis=1)
    one = np.ones(n_rows)
    # One product gives |a|^2 - 2ab + |b|^2.
    left = np.column_stack([-2 * scaled, square, one]).astype(np.float32)
    right = np.column_stack([scaled, one, square]).astype(np.float32)
    counts = np.zeros(n_rows, dtype=np.int64)
    found = []
    for start in range(0, n_rows, _BLOCK):
        squared = left[start : start + _BLOCK] @ right[start:].T
        # Each pair once: what is left of the diagonal was seen, or is seen from the other side.
        height, width = squared.shape
        squared[np.tril_indices(height)] = np.inf
        below = squared < np.float32(low)
        counts[start : start + height] += below.sum(axis=1)
        counts[start:] += below.sum(axis=0)
        inside = np.flatnonzero(below ^ (squared <= np.float32(high)))
        row, column = np.divmod(inside, width)
        found.append((row + start, column + start, squared.ravel()[inside].astype(np.float64)))
    return counts, _Pairs(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _squared(scaled: Rows, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> Vector:
    """Return the squared distances of pairs in float64, the same from either side."""
    squared = np.empty(first.size)
    for start in range(0, first.size, _PAIRS):
        block = slice(start, start + _PAIRS)
        difference = scaled[first[block]] - scaled[second[block]]
        squared[block] = (difference**2).sum(axis=1)
    return squared
