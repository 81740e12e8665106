"""Ranks, and how much they vary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, BoolArray, FloatArray, IntArray
from noisyselect.numeric.blocks import blocks
from noisyselect.numeric.groups import rows_by_group

Change = Literal["signed", "absolute"]

# From so many values on, ranks are counted instead of sorted.
_MANY = 1 << 17
# Bins of counted ranks: sign, exponent and 11 bits of the fraction of a float32.
DROPPED_BITS, N_BINS = 12, 1 << 20
# A bin that holds more than this share of the values is sorted: a rank is off by half at most.
HEAVY = 9e-4
# Largest of the whole numbers that ranks are kept as.
_TOP = 2**16 - 1
# Magnitudes below 2^-30, a hundredth of the least step of a loss in float32, share a bin.
_BIN_OF_ZERO = (127 - 30) << (23 - DROPPED_BITS)
# Values to count at once, at least: their table of bins must not cost more than they.
_COUNTED = 1 << 18


def midranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the rank of each value, from 0 for the smallest to 1 for the largest.

    Equal values share the mean of their ranks. Ranks are divided by n - 1, so that they mean the
    same for any number of samples; a single value has rank 0.

    Parameters
    ----------
    values : array of shape (n,)

    Returns
    -------
    array of float64 in [0, 1], shape (n,)

    Notes
    -----
    One sort: O(n log n).

    Examples
    --------
    >>> midranks([3.0, 1.0, 3.0, 9.0, 9.0]).tolist()
    [0.375, 0.0, 0.375, 0.875, 0.875]
    """
    array = np.asarray(values)
    if array.size < 2:
        return np.zeros(array.size)
    order = np.argsort(array)
    ordered = array[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], array.size)
    shared = (starts + ends - 1) / 2
    ranks = np.empty(array.size)
    ranks[order] = np.repeat(shared, ends - starts)
    return ranks / (array.size - 1)


def counted_ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return `midranks` to within 0.0005, by counting instead of sorting.

    Values are gathered by the leading bits of their float32, which keep their order, and share the
    middle rank of their bin. Bins of more than 0.09 % of the values are sorted.

    Parameters
    ----------
    values : array of float, shape (n,)
        None of them NaN.

    Returns
    -------
    array of float64 in [0, 1], shape (n,)

    Notes
    -----
    O(n), in about four passes over the values and a table of some hundred thousand bins;
    O(n log n) where most values are nearly equal. 12 bytes a value beside them.

    Examples
    --------
    >>> counted_ranks([3.0, 1.0, 3.0, 9.0, 9.0]).tolist()
    [0.375, 0.0, 0.375, 0.875, 0.875]
    """
    array = np.asarray(values)
    if array.size < 2:
        return np.zeros(array.size)
    bins = _gather(array.size, array.__getitem__)
    return _count(bins, lambda rows: midranks(array[rows]), np.empty(array.size))


class _Bins(NamedTuple):
    """The number of each value's bin, shape (n,), and the least and the greatest of them."""

    numbers: npt.NDArray[np.int32]
    lowest: int
    highest: int


def _gather(
    n: int,
    values: Callable[[slice], FloatArray],
    numbers: npt.NDArray[np.int32] | None = None,
) -> _Bins:
    """Return the bins of `n` values, of which a function gives the slices.

    `numbers` is memory to be used again. They have the order and the signs of the values.
    """
    numbers = np.empty(n, dtype=np.int32) if numbers is None else numbers
    ends = []
    for block in blocks(n):
        bins = numbers[block]
        with np.errstate(over="ignore"):  # beyond float32 all are alike, and sorted if many
            bits = values(block).astype(np.float32, copy=False).view(np.int32)
        negative = bits >> 31
        np.bitwise_and(bits, 0x7FFFFFFF, out=bins)
        bins >>= DROPPED_BITS
        # One bin for all around zero, so that the table has no thousands of empty ones.
        np.maximum(bins, _BIN_OF_ZERO, out=bins)
        bins -= _BIN_OF_ZERO
        # The negative of a number is what its flipped bits are, and one.
        bins ^= negative
        bins -= negative
        ends += [int(bins.min()), int(bins.max())]
    return _Bins(numbers, min(ends), max(ends))


def _count(
    bins: _Bins,
    sort: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.float64]],
    ranks: AnyArray,
) -> AnyArray:
    """Fill `ranks`, whole numbers up to `_TOP` or float64 up to 1, with those of the bins.

    Where many values share a bin, `sort` is asked for the midranks of the values in these rows.
    """
    numbers, lowest, highest = bins
    n, n_bins = numbers.size, highest - lowest + 1
    counts = np.zeros(n_bins, dtype=np.int64)
    for block in blocks(n, max(_COUNTED, n // 16)):
        counts += np.bincount(numbers[block] - lowest, minlength=n_bins)
    ends = np.cumsum(counts)

    def form(places: npt.NDArray[np.float64]) -> AnyArray:
        places *= (_TOP if ranks.dtype == np.uint16 else 1) / (n - 1)
        return (places + 0.5).astype(np.uint16) if ranks.dtype == np.uint16 else places

    table = form(ends - (counts + 1) / 2)
    for block in blocks(n):
        # "clip" spares a copy; no bin is outside.
        table.take(numbers[block] - lowest, out=ranks[block], mode="clip")
    heavy = counts > max(1, HEAVY * n)
    if heavy.any():
        rows = np.concatenate(
            [
                np.flatnonzero(heavy.take(numbers[block] - lowest)) + block.start
                for block in blocks(n)
            ]
        )
        light_below = ends - np.cumsum(np.where(heavy, counts, 0))
        places = sort(rows) * (rows.size - 1) + light_below[numbers[rows] - lowest]
        ranks[rows] = form(places)
    return ranks


def quick_midranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return `midranks`, or from 131,072 values on `counted_ranks`."""
    return counted_ranks(values) if np.size(values) >= _MANY else midranks(values)


def ordered_bits(values: FloatArray) -> npt.NDArray[np.uint32]:
    """Return numbers of 32 bits in the order of the values, as float32."""
    with np.errstate(over="ignore"):  # beyond float32 all are alike, and sorted if they are many
        bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0.0 + 0.0 is 0.0
    negative = (bits.view(np.int32) >> 31).view(np.uint32)
    negative |= np.uint32(1 << 31)
    bits ^= negative
    return bits


def lowest(values: npt.ArrayLike, n_keep: int, ties: npt.ArrayLike) -> BoolArray:
    """Return a mask of the `n_keep` smallest values; of equal ones those with the smallest `ties`.

    Where these are equal too, the first rows come first.

    Examples
    --------
    >>> lowest([0.3, 0.1, 0.2, 0.1], 1, ties=[0, 9, 0, 8]).tolist()
    [False, False, False, True]
    """
    array, n_keep = np.asarray(values), min(n_keep, np.size(values))
    if n_keep < 1:
        return np.zeros(array.size, dtype=bool)
    largest = np.partition(array, n_keep - 1)[n_keep - 1]
    mask: BoolArray = array < largest
    equal = np.flatnonzero(array == largest)
    first = np.argsort(np.asarray(ties)[equal], kind="stable")
    mask[equal[first[: n_keep - np.count_nonzero(mask)]]] = True
    return mask


def lowest_or_equal(values: npt.ArrayLike, n_keep: int) -> BoolArray:
    """Return a mask of the `n_keep` smallest values and of those equal to the largest of them.

    For values that nothing else tells apart: where the cut falls among equal ones, all are kept.

    Examples
    --------
    >>> lowest_or_equal([0.3, 0.1, 0.2, 0.1], 1).tolist()
    [False, True, False, True]
    """
    array = np.asarray(values)
    if n_keep < 1:
        return np.zeros(array.size, dtype=bool)
    kept: BoolArray = array <= np.partition(array, n_keep - 1)[n_keep - 1]
    return kept


def lowest_per_group(
    values: npt.ArrayLike, groups: npt.ArrayLike, n_keep: npt.ArrayLike, ties: npt.ArrayLike
) -> BoolArray:
    """Return a mask of the `n_keep` smallest values of each group, such as a class or a batch.

    Parameters
    ----------
    values : array of shape (n,)
    groups : array of int >= 0, shape (n,)
    n_keep : int, or array of int, shape (at least the largest group + 1,)
        How many to keep of each group; all of a smaller one.
    ties : array of shape (n,)
        Of equal values those with the smallest `ties` are kept; then the first rows.

    Returns
    -------
    array of bool, shape (n,)

    Notes
    -----
    O(n), one selection in each group.

    Examples
    --------
    >>> lowest_per_group([0.3, 0.1, 0.2, 0.9], [0, 0, 1, 1], [1, 2], ties=[0, 0, 0, 0]).tolist()
    [False, True, True, True]
    """
    array, group, tie, limits = map(np.asarray, (values, groups, ties, n_keep))
    mask = np.zeros(array.size, dtype=bool)
    for number, rows in rows_by_group(group) if array.size else ():
        limit = int(limits if limits.ndim == 0 else limits[number])
        mask[rows] = lowest(array[rows], limit, ties=tie[rows])
    return mask


def ranks_in_tiers(tiers: IntArray, values: FloatArray) -> npt.NDArray[np.float64]:
    """Return ranks from 0 to 1 by tier, and within a tier from the largest value to the smallest.

    Parameters
    ----------
    tiers : array of int >= 0, shape (n,)
        Few of them.
    values : array of float, shape (n,)

    Returns
    -------
    array of float64 in [0, 1], shape (n,)
        Midranks, to within 0.0005 from 131,072 values on.

    Notes
    -----
    O(n) with many values, see `counted_ranks`; else O(n log n).

    Examples
    --------
    >>> ranks_in_tiers(np.array([0, 1, 0]), np.array([0.1, 0.2, 0.3])).tolist()
    [0.5, 1.0, 0.0]
    """

    def sort(rows: npt.NDArray[np.intp] | slice) -> npt.NDArray[np.float64]:
        # Half a tier at most, so that no rank crosses into the next.
        return midranks(tiers[rows] - midranks(values[rows]) / 2)

    if values.size < _MANY:
        return sort(slice(None))
    numbers, lowest, highest = _gather(values.size, values.__getitem__)
    width, top = highest - lowest + 1, int(tiers.max())
    for block in blocks(values.size):
        np.subtract(tiers[block] * np.int32(width) + highest, numbers[block], out=numbers[block])
    return _count(_Bins(numbers, 0, (top + 1) * width - 1), sort, np.empty(values.size))


class ChangeRanks:
    """Ranks of loss changes, kept from one epoch to the next: a new epoch has one new change.

    Kept are those of the window asked for last, at 2 bytes per sample and change, and none of
    fewer than 131,072 samples, which are ranked anew.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, Change], npt.NDArray[np.uint16]] = {}

    def variance(
        self, losses: FloatArray, epochs: IntArray, change: Change = "signed"
    ) -> FloatArray:
        r"""Return the variance over epochs of the rank of each sample's loss change.

        Equation 3 of VRLVMix.

        Parameters
        ----------
        losses : array of shape (tau + 1, n_samples)
            Losses of consecutive epochs, all finite.
        epochs : array of int, shape (tau + 1,)
            Numbers by which the epochs are known again: the same number, the same losses.
        change : {"signed", "absolute"}, default="signed"
            Rank :math:`\ell_{t-1} - \ell_t` or its absolute value.

        Returns
        -------
        array of float in [0, 0.25], shape (n_samples,)
            Population variance of tau ranks in [0, 1]; float32 where they were counted.

        Notes
        -----
        Fewer than 131,072 samples: tau sorts, O(tau n log n), exact. From there on `counted_ranks`
        of the changes that are new, rounded to 16 bits, and tau reads: O(tau n), and the root of
        the variance is within 0.0005 of the exact one.
        """
        if losses.shape[1] < _MANY:
            ranks = (midranks(values) for values in loss_changes(losses, change))
            return variance_of_ranks(ranks, losses.shape[1])
        steps = [(int(a), int(b), change) for a, b in pairwise(epochs)]
        kept = {step: self._kept[step] for step in steps if step in self._kept}
        numbers = np.empty(losses.shape[1], dtype=np.int32)
        for step, (before, after) in zip(steps, pairwise(losses), strict=True):
            if step not in kept:
                kept[step] = _whole_ranks(before, after, change, numbers)
        self._kept = kept
        return _variance_of_whole([kept[step] for step in steps])


def rank_variance(losses: FloatArray, change: Change = "signed") -> FloatArray:
    """Return the variance of ranks of all changes of `losses`, see `ChangeRanks.variance`."""
    return ChangeRanks().variance(losses, np.arange(len(losses)), change)


def loss_changes(losses: FloatArray, change: Change) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the change of each loss from epoch to epoch, `losses` as `rank_variance` takes them."""
    for before, after in pairwise(losses):
        yield _exact_change(before, after, change)


def _exact_change(before: FloatArray, after: FloatArray, change: Change) -> npt.NDArray[np.float64]:
    # float64 before the difference, so that float32 losses lose no digits in it.
    difference = before.astype(np.float64)
    difference -= after
    return np.abs(difference, out=difference) if change == "absolute" else difference


def _whole_ranks(
    before: FloatArray, after: FloatArray, change: Change, numbers: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint16]:
    """Return `counted_ranks` of the changes as whole numbers up to `_TOP`, rounded."""

    def changes(block: slice) -> FloatArray:
        # A bin keeps fewer digits than the difference of two float32 has.
        with np.errstate(over="ignore"):
            difference = before[block] - after[block]
        return np.abs(difference, out=difference) if change == "absolute" else difference

    return _count(
        _gather(before.size, changes, numbers),
        lambda rows: midranks(_exact_change(before[rows], after[rows], change)),
        np.empty(before.size, dtype=np.uint16),
    )


def variance_of_ranks(
    ranks: Iterable[npt.NDArray[np.float64]], n_samples: int
) -> npt.NDArray[np.float64]:
    """Return the population variance of the ranks of each sample, an array of them per epoch."""
    total, squares, n_epochs = np.zeros(n_samples), np.zeros(n_samples), 0
    for ranks_of_epoch in ranks:
        # Centred, so that the difference of squares below does not cancel.
        centred = ranks_of_epoch - 0.5
        total += centred
        squares += np.square(centred, out=centred)
        n_epochs += 1
    total /= n_epochs
    squares /= n_epochs
    squares -= np.square(total, out=total)
    return np.maximum(squares, 0, out=squares)


def _variance_of_whole(ranks: list[npt.NDArray[np.uint16]]) -> npt.NDArray[np.float32]:
    """Return the variance over the list of ranks that were made whole."""
    variance = np.empty(ranks[0].size, dtype=np.float32)
    scale = 1 / (len(ranks) * _TOP) ** 2
    for block in blocks(variance.size):
        # Whole numbers, so that the difference of squares does not cancel.
        total, squares = np.zeros((2, variance[block].size))
        for row in ranks:
            wide = row[block].astype(np.float64)
            total += wide
            squares += np.square(wide, out=wide)
        squares *= len(ranks)
        squares -= np.square(total, out=total)
        np.multiply(squares, scale, out=variance[block], casting="same_kind")
    return variance
