"""What speaks for a label, as ranks that can be averaged, and votes for the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.numeric.blocks import blocks
from noisyselect.numeric.ranks import midranks

# Length of a row of ranks or scores below which its differences are rounding.
_ZERO = 1e-9
# Samples at once, so that their sums stay in the cache.
_BLOCK = 1024

Vector = npt.NDArray[np.float64]


def normal_scores(values: FloatArray) -> Vector:
    r"""Return the quantile of the standard normal distribution at the rank of each value.

    :math:`\Phi^{-1}((r_i + 1/2) / n)` with the rank :math:`r_i` from 0, equal values sharing their
    mean rank. NaN, a value that says nothing, has 0, the middle; so have all equal values.

    Parameters
    ----------
    values : array of float, shape (n,)

    Returns
    -------
    array of float64, shape (n,)

    Notes
    -----
    One sort: O(n log n).
    """
    from scipy.special import ndtri

    scores = np.zeros(values.size)
    known = ~np.isnan(values)
    n_known = np.count_nonzero(known)
    if n_known > 1:
        ranks = midranks(values[known]) * (n_known - 1)
        scores[known] = ndtri((ranks + 0.5) / n_known)
    return scores


def correlations(rows: FloatArray, others: FloatArray) -> Vector:
    """Return the correlation of each row with each other row, shape (n_rows, n_others).

    Parameters
    ----------
    rows : array of float, shape (n_rows, n_samples)
    others : array of float, shape (n_others, n_samples)
        A constant row has correlation 0 with all.
    """
    unit_rows = _unit(rows)
    unit_others = unit_rows if others is rows else _unit(others)
    product: Vector = unit_rows @ unit_others.T
    return product


def correlations_with_groups(groups: Sequence[BoolArray], values: FloatArray) -> Vector:
    r"""Return the correlation of `values` with each group, as 1 in it and 0 outside.

    Its square is the share of the variance of the values that lies between the group and the rest.

    Parameters
    ----------
    groups : sequence of n_groups arrays of bool, shape (n_samples,)
        A group of none or of all has correlation 0.
    values : array of float, shape (n_samples,)
        Equal values have correlation 0.

    Returns
    -------
    array of float64 in [-1, 1], shape (n_groups,)

    Notes
    -----
    With :math:`v` the values, brought to mean 0 and length 1, and m the size of the group,
    :math:`\sum_{i \in G} v_i / \sqrt{m (n - m) / n}`: no group is written out as numbers.
    """
    unit = _unit(values[None])[0]
    sizes = np.array([np.count_nonzero(group) for group in groups])
    lengths = np.sqrt(sizes * (values.size - sizes) / values.size)
    sums = np.array([unit.sum(where=group) for group in groups])
    found: Vector = np.divide(sums, lengths, out=np.zeros(len(groups)), where=lengths > 0)
    return found


def agreement(scores: FloatArray, sources: npt.ArrayLike) -> Vector:
    """Return how much each kind of evidence agrees with the kinds of other sources.

    Parameters
    ----------
    scores : array of float, shape (n_kinds, n_samples)
    sources : array of shape (n_kinds,)
        Where each kind comes from. What has one source shares its errors, so that agreement within
        a source means little; where all have the same one, the other kinds count.

    Returns
    -------
    array of float64 in [0, 1], shape (n_kinds,)
        Mean correlation with the others, at least 0; 1 where there are no others.
    """
    source = np.asarray(sources)
    others = source[:, None] != source
    if not others.any():
        others = ~np.eye(len(source), dtype=bool)
    if not others.any():
        return np.ones(len(source))
    correlation = np.where(others, correlations(scores, scores), 0)
    means = correlation.sum(axis=1) / others.sum(axis=1)
    # Rounded, so that the order of the samples, and so of additions, decides nothing.
    agreed: Vector = np.clip(means.round(9), 0, 1)
    return agreed


def vote_shares(votes: IntArray, n_classes: int) -> Vector:
    """Return the share of votes that each class has, shape (n_samples, n_classes).

    Parameters
    ----------
    votes : array of int in [-1, n_classes), shape (n_votes, n_samples)
        -1 for none. A sample without votes has NaN.
    n_classes : int

    Notes
    -----
    O(n_votes n_samples) time; one row of votes and the answer are held.
    """
    n_samples = votes.shape[1]
    counts = np.zeros(n_samples * n_classes)
    first = np.arange(n_samples) * n_classes
    for row in votes:
        there = row >= 0
        counts[first[there] + row[there]] += 1
    return _shares(counts.reshape(n_samples, n_classes))


def neighbour_shares(shares: FloatArray, neighbours: IntArray) -> Vector:
    """Return the mean of the neighbours' shares, shape (n_samples, n_classes); NaN without any.

    Parameters
    ----------
    shares : array of float, shape (n_samples, n_classes)
        Not NaN.
    neighbours : array of int in [-1, n_samples), shape (n_samples, k)
        Row positions; -1 for none.
    """
    # The extra last row is where -1 points to.
    padded = np.vstack([shares, np.zeros(shares.shape[1])])
    sums = np.zeros(shares.shape)
    for block in blocks(len(sums), _BLOCK):
        for column in neighbours[block].T:
            sums[block] += padded.take(column, axis=0)
    return _shares(sums)


def vote_margin(shares: FloatArray, labels: IntArray) -> Vector:
    r"""Return how far the given class is ahead of the best other one, relative to the class's mean.

    .. math:: (s_{i y_i} - t_{y_i}) - \max_{k \ne y_i} (s_{ik} - t_k), \qquad
              t_k = \operatorname{mean}_{i : y_i = k} s_{ik},

    the margin of confident learning for votes in place of probabilities: a class that is often
    mistaken for another has few votes even where its labels are right. A class that no label
    names is no rival.

    Parameters
    ----------
    shares : array of float, shape (n_samples, n_classes)
        NaN for a sample without votes, whose margin is NaN.
    labels : array of int, shape (n_samples,)

    Returns
    -------
    array of float64 in [-2, 2], shape (n_samples,)
    """
    n_samples, n_classes = shares.shape
    rows = np.arange(n_samples)
    own = shares[rows, labels]
    voted: BoolArray = ~np.isnan(own)
    counts = np.bincount(labels[voted], minlength=n_classes)
    sums = np.bincount(labels[voted], weights=own[voted], minlength=n_classes)
    means = sums / np.maximum(counts, 1)
    rivals = shares - means
    rivals[:, counts == 0] = -1
    rivals[rows, labels] = -1
    margin: Vector = own - means[labels] - rivals.max(axis=1)
    return margin


def _shares(counts: Vector) -> Vector:
    totals = counts.sum(axis=1, keepdims=True)
    shares: Vector = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    return shares


def _unit(rows: FloatArray) -> Vector:
    """Return rows of mean 0 and length 1; of length 0 where a row is constant."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit: Vector = np.divide(centred, lengths, out=np.zeros(rows.shape), where=lengths > _ZERO)
    return unit
