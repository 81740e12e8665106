"""Nearest neighbours and what their labels say."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray, IntArray

Metric = Literal["euclidean", "cosine"]

# Queries on which an approximate search is compared with the exact one, and the share of true
# neighbours that it has to find there.
_QUERIES = 1000
_RECALL = 0.95
# Samples whose votes are counted at once, for a table of (samples, classes) that stays small.
_BLOCK = 1024


class FoundNeighbours(NamedTuple):
    """Neighbours, and how many of the nearest they are.

    Attributes
    ----------
    neighbours : array of int64, shape (n_samples, k)
        Row positions, nearest first; -1 where there are fewer than k.
    recall : float in [0, 1]
        Share of the k nearest that was found, measured on a random sample; 1 of an exact search.
    """

    neighbours: npt.NDArray[np.int64]
    recall: float


def nearest_neighbours(
    features: FloatArray, k: int, metric: Metric = "euclidean"
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

    rows = _comparable(features, k, metric)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return _search(index, rows, np.arange(len(rows)), k)


def approximate_neighbours(
    features: FloatArray, k: int, metric: Metric = "euclidean"
) -> FoundNeighbours:
    """Return nearly the `k` nearest neighbours of every row, in a fraction of the time.

    Parameters
    ----------
    features : array of float, shape (n_samples, n_features)
    k : int >= 1
        Neighbours per sample.
    metric : {"euclidean", "cosine"}

    Returns
    -------
    FoundNeighbours

    Notes
    -----
    The rows are divided among sqrt(n_samples) centres (faiss, inverted lists), and a row is
    compared with those of the nearest centres only: so many centres, doubled from 8 on, that at
    least 95 % of the true neighbours of 1000 random rows are found. The same features have the same
    answer; a graph (HNSW) is faster still, but not the same twice when it is built in threads.
    """
    import faiss

    rows = _comparable(features, k, metric)
    n_lists = max(1, int(len(rows) ** 0.5))
    flat = faiss.IndexFlatL2(rows.shape[1])
    index = faiss.IndexIVFFlat(flat, rows.shape[1], n_lists)
    index.cp.min_points_per_centroid = 1  # no warning on standard error
    index.train(rows)
    index.add(rows)

    queries = np.random.default_rng(0).permutation(len(rows))[:_QUERIES]
    exact = faiss.IndexFlatL2(rows.shape[1])
    exact.add(rows)
    nearest = _search(exact, rows, queries, k)
    index.nprobe = min(8, n_lists)
    while (recall := _recall(_search(index, rows, queries, k), nearest)) < _RECALL:
        if index.nprobe == n_lists:
            break
        index.nprobe = min(2 * index.nprobe, n_lists)
    return FoundNeighbours(_search(index, rows, np.arange(len(rows)), k), recall)


def _comparable(features: FloatArray, k: int, metric: Metric) -> npt.NDArray[np.float32]:
    """Return a copy of `features` whose euclidean distances order the neighbours."""
    import faiss

    if k < 1:
        raise ValueError(f"`k` must be at least 1 neighbour, got {k!r}.")
    # Distances are computed as |a|^2 - 2ab + |b|^2; a common offset would only cost digits.
    offset = features.mean(axis=0, dtype=np.float64) if metric == "euclidean" else 0
    rows = np.ascontiguousarray(features - offset, dtype=np.float32)
    if metric == "cosine":
        faiss.normalize_L2(rows)
    return rows


def _search(
    index: Any, rows: npt.NDArray[np.float32], queries: IntArray, k: int
) -> npt.NDArray[np.int64]:
    """Return the neighbours of some rows, themselves left out."""
    _, found = index.search(rows[queries], min(k + 1, len(rows)))
    own = found == queries[:, None]
    # Where duplicates crowded the row out of its own answer, the farthest goes instead.
    own[~own.any(axis=1), -1] = True
    neighbours = np.full((len(queries), k), -1, dtype=np.int64)
    others = found[~own].reshape(len(queries), found.shape[1] - 1)
    neighbours[:, : others.shape[1]] = others
    return neighbours


def _recall(found: npt.NDArray[np.int64], nearest: npt.NDArray[np.int64]) -> float:
    """Return the share of the nearest that was found, by position: a tie may count as missed."""
    there = nearest >= 0
    hits = (nearest[:, :, None] == found[:, None, :]).any(axis=2) & there
    return float(hits.sum() / there.sum()) if there.any() else 1.0


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


class Votes(NamedTuple):
    """What the nearest neighbours of each sample vote for.

    Attributes
    ----------
    own : array of int, shape (n_samples,)
        Votes for the sample's own label.
    voting : array of int, shape (n_samples,)
        Votes in all: neighbours that there are.
    winner : array of int, shape (n_samples,)
        The label with the most votes.
    """

    own: npt.NDArray[np.int64]
    voting: npt.NDArray[np.int64]
    winner: npt.NDArray[np.int64]


def count_votes(votes: IntArray, neighbours: IntArray, own: IntArray) -> Votes:
    """Count what the neighbours of each sample vote for, one vote each.

    Parameters
    ----------
    votes : array of int >= 0, shape (n_samples,)
        The label that each sample votes for as a neighbour.
    neighbours : array of int, shape (n_samples, k)
        Row positions, nearest first; -1 for none.
    own : array of int >= 0, shape (n_samples,)
        The label of each sample whose votes are counted in `Votes.own`.

    Returns
    -------
    Votes
        Of labels with equally many votes the own one wins, then the one of the nearest neighbour,
        so that neither the order of the samples nor the names of the classes matter. A sample
        without neighbours has its own label as winner.

    Notes
    -----
    O(n_samples (k + n_classes)) time, in blocks of samples.

    Examples
    --------
    >>> count_votes(np.array([0, 1, 1]), np.array([[1, 2], [0, 2], [0, -1]]), np.array([0, 1, 1]))
    Votes(own=array([0, 1, 0]), voting=array([2, 2, 1]), winner=array([1, 1, 0]))
    """
    n_samples = len(neighbours)
    n_labels = int(max(votes.max(), own.max())) + 1
    # Where there is no neighbour, the vote goes to an extra label, the last.
    label_of = np.append(votes, n_labels).astype(np.int64)
    found = Votes(*np.empty((3, n_samples), dtype=np.int64))
    for start in range(0, n_samples, _BLOCK):
        block = slice(start, start + _BLOCK)
        label = label_of[neighbours[block]]
        row = np.arange(len(label))[:, None]
        cells = (row * (n_labels + 1) + label).ravel()
        counts = np.bincount(cells, minlength=len(label) * (n_labels + 1))
        counts = counts.reshape(len(label), n_labels + 1)
        counts[:, n_labels] = 0
        most = counts.max(axis=1)
        nearest = (counts[row, label] == most[:, None]).argmax(axis=1)
        found.own[block] = counts[row[:, 0], own[block]]
        found.voting[block] = counts.sum(axis=1)
        found.winner[block] = np.where(
            found.own[block] == most, own[block], label[row[:, 0], nearest]
        )
    return found
