"""Ranks, and how much they vary."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray

# From so many values on, ranks are counted instead of sorted.
_MANY = 1 << 17
# Bins of counted ranks: sign, exponent and 11 bits of the fraction of a float32.
DROPPED_BITS, N_BINS = 12, 1 << 20
# A bin that holds more than this share of the values is sorted: a rank is off by half at most.
HEAVY = 1e-3


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
    middle rank of their bin. Bins of more than 0.1 % of the values are sorted.

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
    values are nearly equal.

    Examples
    --------
    >>> counted_ranks([3.0, 1.0, 3.0, 9.0, 9.0]).tolist()
    [0.375, 0.0, 0.375, 0.875, 0.875]
    """
    array = np.asarray(values)
    if array.size < 2:
        return np.zeros(array.size)
    bins = ordered_bits(array) >> np.uint32(DROPPED_BITS)
    index = bins.astype(np.intp)
    counts = np.bincount(index, minlength=N_BINS)
    below = np.cumsum(counts) - counts
    ranks: npt.NDArray[np.float64] = (below + (counts - 1) / 2)[index]
    heavy = counts > max(1, HEAVY * array.size)
    if heavy.any():
        rows = np.flatnonzero(heavy[index])
        of_heavy = np.where(heavy, counts, 0)
        light_below = below - (np.cumsum(of_heavy) - of_heavy)
        ranks[rows] = midranks(array[rows]) * (rows.size - 1) + light_below[index[rows]]
    ranks /= array.size - 1
    return ranks


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
    One sort: O(n log n).

    Examples
    --------
    >>> lowest_per_group([0.3, 0.1, 0.2, 0.9], [0, 0, 1, 1], [1, 2], ties=[0, 0, 0, 0]).tolist()
    [False, True, True, True]
    """
    array, group = np.asarray(values), np.asarray(groups)
    mask = np.zeros(array.size, dtype=bool)
    order = np.lexsort((np.asarray(ties), array, group))
    ordered = group[order]
    place = np.arange(array.size) - np.searchsorted(ordered, ordered)
    limits = np.asarray(n_keep)
    mask[order] = place < (limits if limits.ndim == 0 else limits[ordered])
    return mask


def rank_variance(
    losses: FloatArray, change: Literal["signed", "absolute"] = "signed"
) -> npt.NDArray[np.float64]:
    r"""Return the variance over epochs of the rank of each sample's loss change (Eq. 3 of VRLVMix).

    Parameters
    ----------
    losses : array of shape (tau + 1, n_samples)
        Losses of consecutive epochs, all finite.
    change : {"signed", "absolute"}
        Rank :math:`\ell_{t-1} - \ell_t` or its absolute value.

    Returns
    -------
    array of float64 in [0, 0.25], shape (n_samples,)
        Population variance of tau ranks in [0, 1].

    Notes
    -----
    tau sorts, O(tau n log n); from 131,072 samples on `counted_ranks`, O(tau n), and the root of
    the variance is then within 0.0005 of the exact one. O(n) memory beside the losses.
    """
    ranked = counted_ranks if losses.shape[1] >= _MANY else midranks
    ranks = (ranked(values) for values in loss_changes(losses, change))
    return variance_of_ranks(ranks, losses.shape[1])


def loss_changes(
    losses: FloatArray, change: Literal["signed", "absolute"]
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the change of each loss from epoch to epoch, `losses` as `rank_variance` takes them."""
    for before, after in itertools.pairwise(losses):
        # float64 before the difference, so that float32 losses lose no digits in it.
        difference = before.astype(np.float64)
        difference -= after
        yield np.abs(difference, out=difference) if change == "absolute" else difference


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
