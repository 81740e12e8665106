"""Ranks, and how much they vary."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray


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


def lowest(values: npt.ArrayLike, n_keep: int, ties: npt.ArrayLike) -> BoolArray:
    """Return a mask of the `n_keep` smallest values; of equal ones those with the smallest `ties`.

    Where these are equal too, the first rows come first.

    Examples
    --------
    >>> lowest([0.3, 0.1, 0.2, 0.1], 1, ties=[0, 9, 0, 8]).tolist()
    [False, False, False, True]
    """
    array = np.asarray(values)
    mask = np.zeros(array.size, dtype=bool)
    mask[np.lexsort((np.asarray(ties), array))[:n_keep]] = True
    return mask


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
    tau sorts: O(tau n log n) time, O(n) memory beside the losses.
    """
    n_changes = len(losses) - 1
    mean = np.zeros(losses.shape[1])
    square = np.zeros(losses.shape[1])
    for t in range(n_changes):
        # float64 before the difference, so that float32 losses lose no digits in it.
        difference = losses[t].astype(np.float64) - losses[t + 1]
        # Centred, so that the difference of squares below does not cancel.
        rank = midranks(np.abs(difference) if change == "absolute" else difference) - 0.5
        mean += rank / n_changes
        square += rank**2 / n_changes
    return np.maximum(square - mean**2, 0)
