"""Nearest neighbours and what their labels say."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.numeric.blocks import blocks

Metric = Literal["euclidean", "cosine"]

# Random rows on which an approximate search is compared with the exact one.
_QUERIES = 1000
# An approximate search compares rows one by one, an exact one by products of matrices, which takes
# about an eighth of the time per pair: with more than an eighth of the lists it would be slower.
_WORTHWHILE = 8
# Rows on which the centres of the lists are trained, for each centre.
_ROWS_PER_CENTRE = 256
# Rows that are made comparable at once, so that large features are not copied twice.
_ROWS = 1 << 14
# Samples whose votes are counted at once, for a table of (samples, classes) that stays small.
_BLOCK = 1024
# So many labels are counted one by one, which is faster than all at once.
_FEW_LABELS = 24


class FoundNeighbours(NamedTuple):
    """Neighbours, and how many of the nearest they are.

    Attributes
    ----------
    neighbours : array of int64, shape (n_samples, k)
        Row positions, nearest first; -1 where fewer than k were found.
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

    Raises
    ------
    ValueError
        If `k` is smaller than 1.

    See Also
    --------
    find_neighbours : the same in a fraction of the time where there are many samples.

    Notes
    -----
    Exact search by faiss in float32: O(n^2 n_features), and one float32 copy of the features. The
    row itself is dropped by its position in the set and not by its place in the answer, where exact
    duplicates displace it.
    """
    return _exact(_Comparable(features, k, metric), k)


def find_neighbours(
    features: FloatArray,
    k: int,
    metric: Metric = "euclidean",
    *,
    exact_up_to: int = 100_000,
    target_recall: float = 0.95,
    random_state: int = 0,
) -> FoundNeighbours:
    """Return the `k` nearest neighbours of every row, of many rows nearly and much sooner.

    Parameters
    ----------
    features : array of float, shape (n_samples, n_features)
    k : int >= 1
        Neighbours per sample.
    metric : {"euclidean", "cosine"}
    exact_up_to : int, default=100000
        Samples up to which the search is exact, see `nearest_neighbours`.
    target_recall : float in (0, 1], default=0.95
        Share of the k nearest that an approximate search must find on 1000 random rows.
    random_state : int, default=0
        Seed of those rows and of the rows on which the centres are trained.

    Returns
    -------
    FoundNeighbours
        Of an approximate search with the measured recall.

    Raises
    ------
    ValueError
        If `k` is smaller than 1 or `target_recall` outside (0, 1].

    Notes
    -----
    The rows are divided among sqrt(n_samples) centres (faiss, inverted lists), and a row is
    compared with those of the nearest centres only, of as few as reach the target: O(n^1.5
    n_features) where a fixed number does. Where an eighth of the centres is not enough, as
    for high-dimensional noise, the search is exact after all, which is then faster: the target is
    always reached.

    A neighbour counts as found when it is no farther than the k-th nearest, so that duplicates may
    stand for each other. The sample of 1000 rows tells the recall to within 0.01 or so.

    The same features and seed have the same answer, on any number of threads. A graph (HNSW), not
    used here, would not: it is not the same twice when threads build it. In memory there are
    the inverted lists, which are a float32 copy of the features with some room to grow, and blocks
    of rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = np.repeat(10 * rng.normal(size=(40, 8)), 50, axis=0) + rng.normal(size=(2000, 8))
    >>> found = find_neighbours(features, 5, exact_up_to=1000)
    >>> found.neighbours.shape, found.recall >= 0.95
    ((2000, 5), True)
    """
    if not 0 < target_recall <= 1:
        raise ValueError(f"`target_recall` must lie in (0, 1], got {target_recall!r}.")
    rows = _Comparable(features, k, metric)
    # Of at most k others each is a neighbour.
    if len(rows) > max(exact_up_to, k + 1):
        found = _approximate(rows, k, target_recall, random_state)
        if found is not None:
            return found
    return FoundNeighbours(_exact(rows, k), 1.0)


class _Comparable:
    """Rows in float32 whose Euclidean distances order the neighbours, made when asked for."""

    def __init__(self, features: FloatArray, k: int, metric: Metric) -> None:
        if k < 1:
            raise ValueError(f"`k` must be at least 1 neighbour, got {k!r}.")
        self._features, self._metric = features, metric
        self.shape = features.shape
        # Distances are computed as |a|^2 - 2ab + |b|^2; a common offset would only cost digits.
        self._offset = features.mean(axis=0, dtype=np.float64) if metric == "euclidean" else 0.0

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, which: slice | IntArray) -> npt.NDArray[np.float32]:
        import faiss

        rows = np.ascontiguousarray(self._features[which] - self._offset, dtype=np.float32)
        if self._metric == "cosine":
            faiss.normalize_L2(rows)
        return rows

    def blocks(self) -> Iterator[slice]:
        """Return the rows in slices of a bounded size."""
        return blocks(len(self), _ROWS)


# Returns row positions of the nearest of some rows, themselves included.
_Search = Callable[[npt.NDArray[np.float32], int], npt.NDArray[np.int64]]


def _exact(rows: _Comparable, k: int) -> npt.NDArray[np.int64]:
    """Return the neighbours of all rows, each compared with each."""
    import faiss

    everything = np.empty(rows.shape, dtype=np.float32)
    for block in rows.blocks():
        everything[block] = rows[block]
    return _others(lambda near, n: faiss.knn(near, everything, n)[1], rows, np.arange(len(rows)), k)


def _approximate(
    rows: _Comparable, k: int, target_recall: float, random_state: int
) -> FoundNeighbours | None:
    """Return neighbours from as few lists as reach the target; None if that would be too many."""
    rng = np.random.default_rng(random_state)
    queries = rng.permutation(len(rows))[:_QUERIES]
    reach = _distances(rows, queries, _others(_in_blocks(rows), rows, queries, k)).max(axis=1)
    index = _inverted_lists(rows, rng)

    def search(near: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.int64]:
        positions: npt.NDArray[np.int64] = index.search(near, n)[1]
        return positions

    def recall(n_lists: int) -> float:
        index.nprobe = n_lists
        found = _distances(rows, queries, _others(search, rows, queries, k))
        return float((found <= reach[:, None]).mean())

    too_few, enough, most = 0, 1, index.nlist // _WORTHWHILE
    if not most:
        return None
    while recall(enough) < target_recall:
        if enough == most:
            return None
        too_few, enough = enough, min(2 * enough, most)
    # The queries are few, so that it pays to try what lies between.
    between = range(too_few + 1, enough)
    enough = too_few + 1 + bisect_left(between, target_recall, key=recall)
    measured = recall(enough)
    return FoundNeighbours(_others(search, rows, np.arange(len(rows)), k), measured)


def _inverted_lists(rows: _Comparable, rng: np.random.Generator) -> Any:
    """Return an index of all rows by their nearest centre."""
    import faiss

    n_lists = int(len(rows) ** 0.5)
    flat = faiss.IndexFlatL2(rows.shape[1])
    index = faiss.IndexIVFFlat(flat, rows.shape[1], n_lists)
    index.cp.min_points_per_centroid = 1  # no warning on standard error
    index.train(rows[rng.permutation(len(rows))[: _ROWS_PER_CENTRE * n_lists]])
    for block in rows.blocks():
        index.add(rows[block])
    return index


def _in_blocks(rows: _Comparable) -> _Search:
    """Return an exact search that holds a block of `rows` at a time: for few queries."""
    import faiss

    def search(near: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.int64]:
        heap = faiss.ResultHeap(len(near), n)
        for block in rows.blocks():
            distances, places = faiss.knn(near, rows[block], n)
            # A block may be smaller than n: its missing ones are -1, infinitely far.
            heap.add_result(distances, np.where(places < 0, -1, places + block.start))
        heap.finalize()
        positions: npt.NDArray[np.int64] = heap.I
        return positions

    return search


def _others(search: _Search, rows: _Comparable, queries: IntArray, k: int) -> npt.NDArray[np.int64]:
    """Return what `search` finds near some rows, themselves left out."""
    neighbours = np.full((len(queries), k), -1, dtype=np.int64)
    n_found = min(k + 1, len(rows))
    for block in blocks(len(queries), _ROWS):
        which = queries[block]
        found = search(rows[which], n_found)
        own = found == which[:, None]
        # Where duplicates crowded the row out of its own answer, the farthest goes instead.
        own[~own.any(axis=1), -1] = True
        others = found[~own].reshape(len(which), n_found - 1)
        neighbours[block, : n_found - 1] = others
    return neighbours


def _distances(
    rows: _Comparable, queries: IntArray, neighbours: IntArray
) -> npt.NDArray[np.float32]:
    """Return the squared distances to the neighbours of some rows, to -1 infinity."""
    near = rows[queries]
    distances = np.empty(neighbours.shape, dtype=np.float32)
    for rank, column in enumerate(neighbours.T):
        distances[:, rank] = np.square(rows[column] - near).sum(axis=1)
    distances[neighbours < 0] = np.inf
    return distances


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

    Notes
    -----
    O(n_rows k): one look-up for each neighbour, in a table of one or two bytes per sample for up to
    65,535 classes.
    """
    nobody = int(labels.max()) + 1
    # -1 points to the extra last place, which votes for nobody, as do those without a vote.
    vote_of = np.full(labels.size + 1, nobody, dtype=np.min_scalar_type(nobody))
    np.copyto(vote_of[:-1], labels, casting="unsafe", where=True if support is None else support)
    agreeing, voting = np.empty((2, rows.size), dtype=np.int64)
    for block in blocks(rows.size):
        # "wrap" takes -1 for the last place too, and is faster than an index.
        votes = vote_of.take(neighbours_of(rows[block], neighbours), mode="wrap")
        own = labels[rows[block], None].astype(vote_of.dtype)
        agreeing[block] = count_in_rows(votes == own)
        voting[block] = count_in_rows(votes != nobody)
    return agreeing, voting


def neighbours_of(rows: npt.NDArray[np.intp], neighbours: IntArray) -> IntArray:
    """Return ``neighbours[rows]``, in half the time where all its columns are wanted."""
    # Of a slice of columns `take` would copy the whole.
    whole = neighbours.flags.c_contiguous
    return neighbours.take(rows, axis=0, mode="clip") if whole else neighbours[rows]


def count_in_rows(mask: BoolArray) -> IntArray:
    """Return how many entries of each row are true; several times as fast as ``mask.sum(axis=1)``.

    Parameters
    ----------
    mask : array of bool, shape (n_rows, k)

    Examples
    --------
    >>> count_in_rows(np.array([[True, False, True], [False, False, False]])).tolist()
    [2, 0]
    """
    width = np.min_scalar_type(mask.shape[1])
    counts: IntArray = np.einsum("ij->i", mask.view(np.uint8).astype(width, copy=False))
    return counts


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
    # Where there is no neighbour, -1, the vote goes to an extra label, the last.
    label_of = np.append(votes, n_labels).astype(np.min_scalar_type(n_labels))
    found = Votes(*np.empty((3, n_samples), dtype=np.int64))
    for block in blocks(n_samples, _BLOCK):
        label = label_of.take(neighbours[block], mode="wrap")
        counts = _count_labels(label, n_labels)
        found.own[block] = counts[np.arange(len(label)), own[block]]
        found.voting[block] = counts.sum(axis=1)
        found.winner[block] = _winner(counts, label, own[block])
    return found


def _count_labels(label: IntArray, n_labels: int) -> IntArray:
    """Return how often each label below `n_labels` is in each row, shape (n_rows, n_labels)."""
    if n_labels <= _FEW_LABELS:
        return np.stack([count_in_rows(label == each) for each in range(n_labels)], axis=1)
    first = np.arange(len(label))[:, None] * (n_labels + 1)
    counts = np.bincount((label + first).ravel(), minlength=len(label) * (n_labels + 1))
    return counts.reshape(len(label), n_labels + 1)[:, :n_labels]


def _winner(counts: IntArray, label: IntArray, own: IntArray) -> IntArray:
    """Return the label of most counts in each row; of several the own, or that of the first."""
    most = counts.max(axis=1)
    winner: IntArray = counts.argmax(axis=1)
    rows = np.arange(len(counts))
    by_own = counts[rows, own] == most
    winner[by_own] = own[by_own]
    # Only few rows are undecided, which need a look at every neighbour.
    undecided = rows[~by_own & (count_in_rows(counts == most[:, None]) > 1)]
    padded = np.column_stack([counts[undecided], np.zeros(undecided.size, dtype=counts.dtype)])
    votes = np.take_along_axis(padded, label[undecided], axis=1)
    nearest = (votes == most[undecided, None]).argmax(axis=1)
    winner[undecided] = label[undecided, nearest]
    return winner
