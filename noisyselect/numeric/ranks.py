"""Ranks, and how much they vary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, BoolArray, FloatArray, IntArray
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
# Samples at once, so that what a step leaves is still in the cache at the next.
_BLOCK = 1 << 14


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
    O(n), in about four passes over the values and a table of a million bins; O(n log n) where most
    values are nearly equal. 20 bytes a value beside them.

    Examples
    --------
    >>> counted_ranks([3.0, 1.0, 3.0, 9.0, 9.0]).tolist()
    [0.375, 0.0, 0.375, 0.875, 0.875]
    """
    array = np.asarray(values)
    ranks: npt.NDArray[np.float64] = _count(array, np.asarray) if array.size > 1 else array * 0.0
    return ranks


def _count(values: FloatArray, form: Callable[[npt.NDArray[np.float64]], AnyArray]) -> AnyArray:
    """Return `counted_ranks` in another form: the table of bins is converted, not every rank."""
    index = ordered_bits(values)
    index >>= np.uint32(DROPPED_BITS)
    counts = np.bincount(index, minlength=N_BINS)
    # Twice the middle rank of each bin: twice what lies below, and its count less one.
    middle = np.cumsum(counts)
    middle *= 2
    middle -= counts
    middle -= 1
    ranks = form(middle / (2 * (values.size - 1))).take(index)
    heavy = counts > max(1, HEAVY * values.size)
    if heavy.any():
        rows = np.flatnonzero(heavy[index])
        of_heavy = np.where(heavy, counts, 0)
        light_below = (middle - counts + 1) // 2 - (np.cumsum(of_heavy) - of_heavy)
        exact = midranks(values[rows]) * (rows.size - 1) + light_below[index[rows]]
        ranks[rows] = form(exact / (values.size - 1))
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
        Midranks, to within 0.001 from 131,072 values on.

    Notes
    -----
    O(n) with many values, see `counted_ranks`; else O(n log n).

    Examples
    --------
    >>> ranks_in_tiers(np.array([0, 1, 0]), np.array([0.1, 0.2, 0.3])).tolist()
    [0.5, 1.0, 0.0]
    """
    if values.size < _MANY:
        # Half a tier at most, so that no rank crosses into the next.
        return midranks(tiers - midranks(values) / 2)
    place = tiers.astype(np.int32)
    place <<= 16
    place += _TOP - _count(values, _whole)
    counts = np.bincount(place)
    below = np.cumsum(counts) - counts
    ranks: npt.NDArray[np.float64] = ((below + (counts - 1) / 2) / (values.size - 1)).take(place)
    return ranks


def _whole(ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Return ranks from 0 to 1 as whole numbers of 16 bits, rounded."""
    scaled = ranks * _TOP
    scaled += 0.5
    return scaled.astype(np.uint16)


class ChangeRanks:
    """Ranks of loss changes, kept from one epoch to the next: a new epoch has one new change.

    Kept are those of the window asked for last, at 2 bytes per sample and change, and none of
    fewer than 131,072 samples, which are ranked anew.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, Change], npt.NDArray[np.uint16]] = {}

    def variance(
        self, losses: FloatArray, epochs: IntArray, change: Change = "signed"
    ) -> npt.NDArray[np.float64]:
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
        array of float64 in [0, 0.25], shape (n_samples,)
            Population variance of tau ranks in [0, 1].

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
        for step, (before, after) in zip(steps, pairwise(losses), strict=True):
            if step not in kept:
                kept[step] = _count(_change(before, after, change), _whole)
        self._kept = kept
        return _variance_of_whole([kept[step] for step in steps])


def rank_variance(losses: FloatArray, change: Change = "signed") -> npt.NDArray[np.float64]:
    """Return the variance of ranks of all changes of `losses`, see `ChangeRanks.variance`."""
    return ChangeRanks().variance(losses, np.arange(len(losses)), change)


def loss_changes(losses: FloatArray, change: Change) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the change of each loss from epoch to epoch, `losses` as `rank_variance` takes them."""
    for before, after in pairwise(losses):
        yield _change(before, after, change)


def _change(before: FloatArray, after: FloatArray, change: Change) -> npt.NDArray[np.float64]:
    # float64 before the difference, so that float32 losses lose no digits in it.
    difference = before.astype(np.float64)
    difference -= after
    return np.abs(difference, out=difference) if change == "absolute" else difference


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


def _variance_of_whole(ranks: list[npt.NDArray[np.uint16]]) -> npt.NDArray[np.float64]:
    """Return the variance over the list of ranks that were made whole."""
    variance = np.empty(ranks[0].size)
    for start in range(0, variance.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        total = np.zeros(variance[block].size, dtype=np.int64)
        squares = np.zeros_like(total)
        for row in ranks:
            wide = row[block].astype(np.int64)
            total += wide
            wide *= wide
            squares += wide
        # Whole numbers, so that the difference of squares does not cancel.
        squares *= len(ranks)
        total *= total
        squares -= total
        np.multiply(squares, 1 / (len(ranks) * _TOP) ** 2, out=variance[block])
    return variance
