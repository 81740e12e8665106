"""The rows of each group, such as a class, and how many they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, IntArray
from noisyselect.numeric.blocks import blocks


def rows_by_group(groups: IntArray) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Yield each group that occurs with its row positions, both in ascending order.

    One sort: O(n) for up to 65,536 groups, else O(n log n).

    Examples
    --------
    >>> [(group, rows.tolist()) for group, rows in rows_by_group(np.array([2, 0, 2]))]
    [(0, [1]), (2, [0, 2])]
    """
    # Numbers of 16 bits numpy sorts by counting.
    small = groups.astype(np.min_scalar_type(groups.max(initial=0)))
    order = np.argsort(small, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    for start, rows in zip(starts, np.split(order, starts[1:]), strict=True):
        yield int(ordered[start]), rows


def count_groups(groups: IntArray, mask: BoolArray, n_groups: int) -> npt.NDArray[np.int64]:
    """Return how many members of each group are in `mask`, shape (n_groups,).

    Examples
    --------
    >>> count_groups(np.array([2, 0, 2]), np.array([True, False, True]), 3).tolist()
    [0, 0, 2]
    """
    counts = np.zeros(n_groups, dtype=np.int64)
    for block in blocks(groups.size):
        inside = groups[block].take(np.flatnonzero(mask[block]))
        counts += np.bincount(inside, minlength=n_groups)
    return counts
