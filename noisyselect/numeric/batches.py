"""What the rules of a mini-batch share: how much of a batch is kept, and which of it."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray, IntArray

# A share is counted in units of 2 ** -24, rounded up: 0.2 of 10 is 2, also if it came from 1 - 0.8.
_BITS = 24


def whole_share(share: float, counts: Any) -> Any:
    """Return ``int(share * counts)``, spared from rounding errors.

    Parameters
    ----------
    share : float in [0, 1]
    counts : int, or array or Tensor of int64
        A tensor stays on its device.

    Examples
    --------
    >>> whole_share(1 - 0.8, 10), int((1 - 0.8) * 10)
    (2, 1)
    """
    return counts * ceil(share * 2**_BITS) >> _BITS


def last_batches(batches: IntArray | None, n_samples: int) -> IntArray:
    """Return the mini-batch of each sample in the last epoch, numbered from 0 without a gap.

    Parameters
    ----------
    batches : array of int, shape (n_epochs, n_samples), or None
        Without it, all samples are one batch. Those with -1 form one of their own.
    n_samples : int
    """
    if batches is None:
        return np.zeros(n_samples, dtype=np.intp)
    numbers: IntArray = np.unique(batches[-1], return_inverse=True)[1]
    return numbers


def lowest_of_batches(
    values: FloatArray, batches: IntArray, share: float, *, round_up: bool = False
) -> BoolArray:
    """Return a mask of the smallest values of each batch, in which equal ones share their fate.

    Of n values, ``int(share * n)`` are kept, at least one, and all that equal the largest of these.

    Parameters
    ----------
    values : array of float, shape (n,)
    batches : array of int >= 0, shape (n,)
    share : float in [0, 1]
    round_up : bool, default=False
        Keep ``ceil(share * n)``.

    Notes
    -----
    One sort: O(n log n).

    Examples
    --------
    >>> lowest_of_batches(np.array([0.3, 0.1, 0.2, 0.9, 0.2]), np.array([0, 0, 1, 1, 1]), 0.5)
    array([False,  True,  True, False,  True])
    """
    _, numbers, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    n_kept = sizes - whole_share(1 - share, sizes) if round_up else whole_share(share, sizes)
    by_batch: npt.NDArray[np.intp] = np.lexsort((values, numbers))
    largest = by_batch[np.cumsum(sizes) - sizes + np.maximum(n_kept, 1) - 1]
    mask: BoolArray = values <= values[largest][numbers]
    return mask
