"""KNN mixup: which pairs of samples to mix for a class that is short of samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, BoolArray, IntArray
from noisyselect.selection import MixupRecipes


def knn_mixup_recipes(
    labels: IntArray,
    ids: AnyArray,
    neighbours: IntArray,
    *,
    anchors: BoolArray,
    pool: BoolArray,
    counts: IntArray,
    alpha: float,
    rng: np.random.Generator,
) -> MixupRecipes:
    r"""Mix anchors of the short classes with neighbours of theirs from a pool.

    Parameters
    ----------
    labels : array of int, shape (n_samples,)
        Given labels. A synthetic sample has the label of its anchor; its partner's is distrusted.
    ids : array of int or str, shape (n_samples,)
        Sample ids, in whose order random numbers are handed out: the recipes depend neither on the
        order of the rows nor on the names of the classes.
    neighbours : array of int, shape (n_samples, k)
        Row positions; -1 for none.
    anchors, pool : array of bool, shape (n_samples,)
        Where the anchors and where their partners may come from.
    counts : array of int, shape (n_classes,)
        Synthetic samples to make for each class. A class of whose anchors none has a neighbour in
        the pool gets none.
    alpha : float > 0
        :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, then
        :math:`\max(\lambda, 1 - \lambda)`: the anchor dominates.
    rng : numpy.random.Generator

    Returns
    -------
    MixupRecipes

    Notes
    -----
    The anchors of a class take turns, each turn with the next nearest neighbour in the pool, so no
    anchor is used twice before all are used once, and no pair before all pairs are.
    """
    lot = np.empty(ids.size)
    lot[np.argsort(ids, kind="stable")] = rng.random(ids.size)
    anchor_rows = np.flatnonzero(anchors & (counts[labels] > 0))
    near = neighbours[anchor_rows]
    partners = pool[near] & (near >= 0)
    turns = np.cumsum(partners, axis=1, dtype=np.int32) - 1
    needed = _turns_needed(labels[anchor_rows], partners.sum(axis=1), counts, near.shape[1])
    found, columns = np.nonzero(partners & (turns < needed[labels[anchor_rows]][:, None]))
    rows, turn = anchor_rows[found], turns[found, columns]
    queue = np.lexsort((lot[rows], turn, labels[rows]))
    ends = np.searchsorted(labels[rows][queue], np.arange(counts.size), side="right")
    starts = np.append(0, ends[:-1])
    chosen = np.concatenate(
        [
            queue[start:end][np.arange(count) % (end - start)]
            for start, end, count in zip(starts, ends, counts, strict=True)
            if end > start
        ]
        or [np.zeros(0, dtype=np.intp)]
    )
    chosen = chosen[np.argsort(lot[rows[chosen]], kind="stable")]
    anchor, partner = rows[chosen], neighbours[rows[chosen], columns[chosen]]
    lam: npt.NDArray[np.float64] = rng.beta(alpha, alpha, chosen.size)
    return MixupRecipes(
        anchors=ids[anchor],
        partners=ids[partner],
        lam=np.maximum(lam, 1 - lam),
        labels=labels[anchor],
    )


def _turns_needed(labels: IntArray, n_partners: IntArray, counts: IntArray, k: int) -> IntArray:
    """Return how many turns of its anchors each class takes until it has its count, at most k."""
    by_partners = np.bincount(labels * (k + 1) + n_partners, minlength=counts.size * (k + 1))
    # Anchors take part in as many turns as they have partners.
    taking_part = np.cumsum(by_partners.reshape(-1, k + 1)[:, :0:-1], axis=1)[:, ::-1]
    have = np.cumsum(taking_part, axis=1)
    needed: IntArray = np.minimum((have < counts[:, None]).sum(axis=1) + 1, k)
    return needed
