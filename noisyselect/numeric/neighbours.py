"""Nearest neighbours and what their labels say."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray, IntArray


def nearest_neighbours(
    features: FloatArray, k: int, metric: Literal["euclidean", "cosine"] = "euclidean"
) -> npt.NDArray[np.int64]:
    """Return the `k` nearest neighbours of every row, without the row itself, nearest first.

    Parameters
    ----------
    features : array of float, shape (n_samples, n_features)
    k : int >= 1
        Neighbours per sample.
    metric : {"euclidean", "cosine"}

    Returns
    -------
    array of int64, shape (n_samples, k)
        Row positions; -1 where there are fewer than k other samples.

    Notes
    -----
    Exact search by faiss in float32: O(n^2 n_features). The row itself is dropped by its position
    in the set and not by its place in the answer, where exact duplicates displace it.
    """
    import faiss

    if k < 1:
        raise ValueError(f"`k` must be at least 1 neighbour, got {k!r}.")
    n_samples = len(features)
    # Distances are computed as |a|^2 - 2ab + |b|^2; a common offset would only cost digits.
    offset = features.mean(axis=0, dtype=np.float64) if metric == "euclidean" else 0
    rows = np.ascontiguousarray(features - offset, dtype=np.float32)
    if metric == "cosine":
        faiss.normalize_L2(rows)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    _, found = index.search(rows, min(k + 1, n_samples))
    return _without_self(found, k)


def _without_self(found: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    n_samples = len(found)
    own = found == np.arange(n_samples)[:, None]
    # Where duplicates crowded the row out of its own answer, the farthest goes instead.
    own[~own.any(axis=1), -1] = True
    neighbours = np.full((n_samples, k), -1, dtype=np.int64)
    others = found[~own].reshape(n_samples, found.shape[1] - 1)
    neighbours[:, : others.shape[1]] = others
    return neighbours


def label_agreement(
    labels: IntArray,
    neighbours: IntArray,
    rows: npt.NDArray[np.intp],
    support: BoolArray | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count, for each of `rows`, the neighbours in `support` and those of them with its label.

    Parameters
    ----------
    labels : array of int, shape (n_samples,)
    neighbours : array of int, shape (n_samples, k)
        Row positions; -1 for none.
    rows : array of int, shape (n_rows,)
        The samples in question.
    support : array of bool, shape (n_samples,), optional
        The samples that may vote. By default all.

    Returns
    -------
    agreeing, voting : array of int, shape (n_rows,)
    """
    near = neighbours[rows]
    voting = near >= 0
    if support is not None:
        voting &= support[near]
    agreeing = voting & (labels[near] == labels[rows][:, None])
    return agreeing.sum(axis=1), voting.sum(axis=1)
