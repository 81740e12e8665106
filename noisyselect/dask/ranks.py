"""Ranks, and the lowest values, of what is spread over many blocks: from counts that add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, BoolArray, FloatArray, IntArray
from noisyselect.dask.passes import Part, Passes
from noisyselect.numeric.ranks import DROPPED_BITS, HEAVY, N_BINS, ordered_bits

_N_FINE = 1 << DROPPED_BITS
# A cut is narrowed until the bin that it falls into holds at most this share of the samples.
_CUT_SHARE = 1e-4
# Digits of the 64 bits by which samples are ordered, the leading one being the bin of a rank.
_DIGITS = (20, 12, 20, 12)

# Of the valid samples of a block: several rows of values, of which each has ranks of its own; a row
# is made when it is asked for. NaN stands where a row has no value.
Rows = Callable[[Part], Iterable[FloatArray]]
Bits = npt.NDArray[np.uint64]
# Of the valid samples of a block: the numbers they are ordered by.
Keys = Callable[[Part], Bits]


def count_bins(rows: Rows, part: Part) -> AnyArray:
    """Return how many values of each row fall into each bin, shape (n_rows, N_BINS)."""
    # As int32, which the samples of a task do not exceed: half of what is held and sent.
    return np.stack([_count(values).astype(np.int32) for values in rows(part)])


def _count(values: FloatArray) -> IntArray:
    return np.bincount(_bins(values[~np.isnan(values)]), minlength=N_BINS)


class RankTable(NamedTuple):
    """Ranks by bin, as `noisyselect.numeric.ranks.counted_ranks` gives them; made by `rank_table`.

    Attributes
    ----------
    ranks : Path
        Array of float64, shape (n_rows, N_BINS): the number of values below, and half of those
        beside, in each bin.
    slots : array of int, shape (n_rows, N_BINS), or None
        File of it. Where heavy bins stand in `fine`, -1 for the others.
    fine : Path or None
        Array of float64, shape (n_heavy, 4096): the same for the values of heavy bins.
    """

    ranks: Path
    slots: Path | None
    fine: Path | None

    def lookup(self, row: int, values: FloatArray) -> npt.NDArray[np.float64]:
        """Return the number of values of a row below each of these, the middle of equal ones."""
        bits = ordered_bits(values)
        index = (bits >> np.uint32(DROPPED_BITS)).astype(np.intp)
        found: npt.NDArray[np.float64] = np.load(self.ranks, mmap_mode="r")[row].take(index)
        if self.slots is not None and self.fine is not None:
            slot = np.load(self.slots, mmap_mode="r")[row].take(index)
            heavy = np.flatnonzero(slot >= 0)
            fine = np.load(self.fine, mmap_mode="r")
            found[heavy] = fine[slot[heavy], bits[heavy] & np.uint32(_N_FINE - 1)]
        return found


def rank_table(passes: Passes, rows: Rows, counts: AnyArray) -> RankTable:
    """Return the ranks of rows of values, of which `count_bins` gave the counts.

    Bins of more than 0.1 % of the values are counted more finely, which takes one more pass.
    """
    n_values = counts.sum(axis=1, keepdims=True)
    heavy = counts > np.maximum(1, HEAVY * n_values)
    below = np.cumsum(counts, axis=1) - counts
    ranks = passes.publish(below + (counts - 1) / 2)
    if not heavy.any():
        return RankTable(ranks, None, None)
    slots = np.full(counts.shape, -1, dtype=np.int32)
    slots[heavy] = np.arange(np.count_nonzero(heavy))
    where = passes.publish(slots)
    n_heavy = int(np.count_nonzero(heavy))
    (fine,) = passes.total(partial(_count_fine, rows, where, n_heavy))
    before = below[heavy][:, None] + np.cumsum(fine, axis=1) - fine
    return RankTable(ranks, where, passes.publish(before + (fine - 1) / 2))


def _count_fine(rows: Rows, slots: Path, n_heavy: int, part: Part) -> AnyArray:
    counts = np.zeros(n_heavy * _N_FINE, dtype=np.int64)
    for slots_of_row, values in zip(np.load(slots, mmap_mode="r"), rows(part), strict=True):
        bits = ordered_bits(values[~np.isnan(values)])
        slot = slots_of_row.take((bits >> np.uint32(DROPPED_BITS)).astype(np.intp))
        inside = slot >= 0
        place = slot[inside].astype(np.intp) * _N_FINE + (bits[inside] & np.uint32(_N_FINE - 1))
        counts += np.bincount(place, minlength=counts.size)
    return counts.reshape(n_heavy, _N_FINE)


def _bins(values: FloatArray) -> npt.NDArray[np.intp]:
    return (ordered_bits(values) >> np.uint32(DROPPED_BITS)).astype(np.intp)


def sort_keys(values: FloatArray, ties: FloatArray | None = None) -> Bits:
    """Return numbers of 64 bits in the order of the values, of equal ones in that of `ties`."""
    keys = ordered_bits(values).astype(np.uint64) << np.uint64(32)
    return keys if ties is None else keys | ordered_bits(ties)


class Cut(NamedTuple):
    """Where the lowest samples end; made by `find_cut`.

    Attributes
    ----------
    end : int
        Samples whose key is smaller are among the lowest.
    tied : int or None
        Key of which only some are, in the order of the samples.
    n_tied : dict of int to int
        How many of them are, by number of the block.
    """

    end: int
    tied: int | None = None
    n_tied: dict[int, int] = {}  # noqa: RUF012 - a NamedTuple's default; never written to

    def lowest(self, keys: Bits, block: int) -> BoolArray:
        """Return which samples of a block are among the lowest."""
        # Python's own numbers, as 2**64 may be the end of all keys.
        if self.end >= 1 << 64:
            return np.ones(keys.size, dtype=bool)
        mask: BoolArray = keys < np.uint64(self.end)
        if self.tied is not None:
            rows = np.flatnonzero(keys == np.uint64(self.tied))
            mask[rows[: self.n_tied.get(block, 0)]] = True
        return mask


def find_cut(
    passes: Passes,
    keys: Keys,
    counts: IntArray,
    n_keep: int,
    *,
    equal_together: bool = False,
) -> Cut:
    """Return the cut that leaves the `n_keep` samples of smallest key below.

    Parameters
    ----------
    passes : Passes
    keys : callable
        Gives the keys of a block, see `sort_keys`.
    counts : array of int, shape (N_BINS,)
        Samples by the leading 20 bits of their key.
    n_keep : int
    equal_together : bool, default=False
        Whether the leading 32 bits alone order the samples, and equal ones stay together.

    Returns
    -------
    Cut
        Exact to 0.01 % of the samples: the bin at the cut is counted more finely, one pass for each
        digit, until it holds no more than that; the nearer end of it is taken. Of equal keys the
        first samples are taken, as many as are needed.
    """
    n_samples = int(counts.sum())
    if n_keep < 1:
        return Cut(0)
    if n_keep >= n_samples:
        return Cut(1 << 64)
    digits = _DIGITS[:2] if equal_together else _DIGITS
    prefix, shift, below = 0, 64, 0
    for place, width in enumerate(digits):
        if place:
            (counts,) = passes.total(partial(_count_digit, keys, prefix, shift, width))
        up_to = below + np.cumsum(counts)
        digit = int(np.searchsorted(up_to, n_keep))
        n_here = int(counts[digit])
        below = int(up_to[digit]) - n_here
        shift -= width
        prefix = prefix << width | digit
        if n_here <= _CUT_SHARE * n_samples:
            nearer = n_keep - below > n_here / 2
            return Cut((prefix + nearer) << shift)
    if equal_together:
        return Cut((prefix + 1) << shift)
    missing = n_keep - below
    n_tied = {}
    for block, count in passes.each(partial(_count_equal, keys, prefix)).items():
        n_tied[block] = min(int(count), missing)
        missing -= n_tied[block]
    return Cut(prefix, prefix, n_tied)


def _count_digit(keys: Keys, prefix: int, shift: int, width: int, part: Part) -> AnyArray:
    values = keys(part)
    inside = values[(values >> np.uint64(shift)) == np.uint64(prefix)]
    digits = (inside >> np.uint64(shift - width)) & np.uint64((1 << width) - 1)
    return np.bincount(digits.astype(np.intp), minlength=1 << width)


def _count_equal(keys: Keys, key: int, part: Part) -> AnyArray:
    return np.array(np.count_nonzero(keys(part) == np.uint64(key)))
