"""Outliers among a few values each of many samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray
from noisyselect.numeric.blocks import blocks

# As scikit-learn has it: values that coincide have a finite density.
_LEAST_DISTANCE = 1e-10
# Samples at a time, for all pairs of values of each are compared.
_CHUNK = 8192


def local_outliers(
    values: FloatArray, n_neighbors: int = 2, contamination: float = 0.1
) -> BoolArray:
    r"""Return, sample by sample, which of its values lie apart: the local outlier factor.

    Parameters
    ----------
    values : array of float, shape (n_values, n_samples)
        At least `n_neighbors` + 1 values each.
    n_neighbors : int, default=2
        Neighbours k of a value, among the others of the same sample.
    contamination : float in (0, 0.5], default=0.1
        Share of outliers: values whose factor exceeds this quantile from above.

    Returns
    -------
    array of bool, shape (n_values, n_samples)

    Notes
    -----
    With :math:`d_k(o)` the distance of a value o to its k-th neighbour, the density of x is one
    over the mean of :math:`\max(d_k(o), |x - o|)` over its k neighbours o, and its factor is their
    mean density over its own (Breunig et al., "LOF: Identifying density-based local outliers",
    SIGMOD 2000). What scikit-learn's LocalOutlierFactor does for one sample, here for all at once:
    O(n_samples n_values^2).
    """
    outlying = np.empty(values.shape, dtype=bool)
    for rows in blocks(values.shape[1], _CHUNK):
        factor = _factors(values[:, rows].T.astype(np.float64), n_neighbors)
        limit = np.quantile(factor, 1 - contamination, axis=1, keepdims=True)
        outlying[:, rows] = (factor > limit).T
    return outlying


def _factors(points: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.float64]:
    """Return the local outlier factor within each row, shape (n_samples, n_values)."""
    n_samples, n_values = points.shape
    distance = np.abs(points[:, :, None] - points[:, None, :])
    distance[:, np.arange(n_values), np.arange(n_values)] = np.inf
    # The k neighbours come first: what is taken over them runs along the samples.
    nearest = np.ascontiguousarray(np.argsort(distance, axis=2)[:, :, :k].transpose(2, 0, 1))
    near = distance.take(nearest + n_values * np.arange(points.size).reshape(points.shape))
    nearest += n_values * np.arange(n_samples)[:, None]  # places in an array like `points`
    density = 1 / (np.maximum(near, near[-1].take(nearest)).mean(axis=0) + _LEAST_DISTANCE)
    factors: npt.NDArray[np.float64] = density.take(nearest).mean(axis=0) / density
    return factors
