"""Averages over epochs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray


def decayed_mean(values: FloatArray, decay: float) -> npt.NDArray[np.float64]:
    r"""Return the mean over the first axis, in which each row counts `decay` times the next.

    Parameters
    ----------
    values : array of shape (n_epochs, ...)
        Oldest first.
    decay : float in (0, 1]
        1 is the plain mean.

    Returns
    -------
    array of float64, shape (...)

    Notes
    -----
    :math:`\sum_t \beta^{T - t} v_t / \sum_t \beta^{T - t}`: a moving average :math:`\bar v
    \leftarrow \beta \bar v + (1 - \beta) v_t` that began at 0, divided by the weight it has
    gathered, :math:`1 - \beta^T`. Memory: two arrays of the answer's shape.

    Examples
    --------
    >>> decayed_mean(np.array([[0.0], [0.0], [7.0]]), decay=0.5)
    array([4.])
    """
    weights = decay ** np.arange(len(values))[::-1]
    mean = np.zeros(values.shape[1:])
    # Epoch by epoch: no float64 copy of all, and sums that do not depend on the order of samples.
    for weight, row in zip(weights / weights.sum(), values, strict=True):
        mean += weight * row
    return mean
