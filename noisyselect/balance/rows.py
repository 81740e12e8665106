"""Nearest neighbours of the rows of a matrix, dense or sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.neighbors import NearestNeighbors

from noisyselect.numeric.neighbours import find_neighbours


def nearest_rows(X: Any, k: int) -> npt.NDArray[np.int64]:
    """Return the row positions of the `k` nearest others of every row of `X`, nearest first.

    Parameters
    ----------
    X : array or sparse matrix of shape (n_samples, n_features)
    k : int >= 1

    Returns
    -------
    array of int64, shape (n_samples, k)
        By Euclidean distance; -1 where there are fewer than k others. Of more than 100,000 rows of
        a dense matrix 95 % of them, see `noisyselect.numeric.neighbours.find_neighbours`.
    """
    if not issparse(X):
        return find_neighbours(np.asarray(X), k).neighbours
    # faiss would need the dense matrix, which may not fit into memory.
    n_others = min(k, X.shape[0] - 1)
    neighbours = np.full((X.shape[0], k), -1, dtype=np.int64)
    if n_others:
        search = NearestNeighbors(n_neighbors=n_others).fit(X)
        # Without an argument the rows are not their own neighbours.
        neighbours[:, :n_others] = search.kneighbors(return_distance=False)
    return neighbours
