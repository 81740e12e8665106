"""k-means on a line, where the best clustering can be found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray

Vector = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


def cluster_line(values: FloatArray | IntArray, n_clusters: int) -> Positions:
    """Return the cluster of each value, 0 for that of the smallest values, by exact k-means.

    Parameters
    ----------
    values : array of shape (n,)
        With at least `n_clusters` distinct entries.
    n_clusters : int

    Returns
    -------
    array of int in [0, n_clusters), shape (n,)
        The clustering with the least sum of squares within the clusters. Equal values share one.

    Notes
    -----
    Dynamic programming over the sorted values [1]_. Where the last cluster of the first j values
    begins does not move back as j grows, so ever finer grids of ends are solved between their
    neighbours: O(n log n) for each cluster. There is no start, and so no randomness.

    References
    ----------
    .. [1] Wang and Song, "Ckmeans.1d.dp: Optimal k-means clustering in one dimension by dynamic
       programming", The R Journal, 2011.

    Examples
    --------
    >>> cluster_line(np.array([9, 1, 0, 5, 10, 1]), 3).tolist()
    [2, 0, 0, 1, 2, 0]
    """
    points, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    if points.size < n_clusters:
        raise ValueError(f"`values` must have {n_clusters} distinct entries, got {points.size}.")
    cost = _cost_of_intervals(points.astype(np.float64), counts)
    least = np.full(points.size + 1, np.inf)
    ends = np.arange(1, points.size + 1)
    least[1:] = cost(np.zeros_like(ends), ends)
    begins = []
    for _ in range(n_clusters - 1):
        least, begin = _add_cluster(least, cost)
        begins.append(begin)

    borders = []
    end = points.size
    for begin in reversed(begins):
        end = int(begin[end])
        borders.append(end)
    cluster: Positions = np.searchsorted(borders[::-1], place, side="right")
    return cluster


def _cost_of_intervals(
    points: Vector, counts: IntArray
) -> Callable[[Positions, Positions], Vector]:
    """Return the function of the sum of squares within points[begin:end]."""
    # Centred, so that the difference of squares does not cancel.
    centred = points - np.average(points, weights=counts)
    weight, total, square = (
        np.concatenate([[0.0], np.cumsum(counts * centred**power)]) for power in (0, 1, 2)
    )

    def cost(begin: Positions, end: Positions) -> Vector:
        n, s = weight[end] - weight[begin], total[end] - total[begin]
        within: Vector = square[end] - square[begin] - s**2 / n
        return within

    return cost


def _add_cluster(
    least: Vector, cost: Callable[[Positions, Positions], Vector]
) -> tuple[Vector, Positions]:
    """Return, by number of points, the least cost with one cluster more, and where it begins."""
    size = least.size
    more, begin = np.full(size, np.inf), np.zeros(size, dtype=np.intp)
    step = 1 << (size - 1).bit_length()
    while step:
        # The ends half-way between those that are solved.
        ends = np.arange(step, size, 2 * step)
        if ends.size:
            after = np.minimum(ends + step, size)
            high = np.minimum(np.append(begin, size)[after], ends - 1)
            low = np.minimum(begin[ends - step], high)
            # All candidates in one row, those of each end side by side.
            width = high - low + 1
            offset = np.cumsum(width) - width
            candidate = np.arange(width.sum()) + np.repeat(low - offset, width)
            costs = least[candidate] + cost(candidate, np.repeat(ends, width))
            more[ends] = np.minimum.reduceat(costs, offset)
            hits = np.flatnonzero(costs == np.repeat(more[ends], width))
            _, first = np.unique(np.repeat(ends, width)[hits], return_index=True)
            begin[ends] = candidate[hits[first]]
        step //= 2
    return more, begin
