"""KNN mixup: which pairs of samples to mix for a class that is short of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, BoolArray, IntArray
from noisyselect.numeric.groups import rows_by_group
from noisyselect.numeric.neighbours import count_in_rows
from noisyselect.selection import MixupRecipes

# Anchors whose neighbours are looked at at once.
_ROWS = 1 << 14


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

    Cost: O(n_samples k), one look-up for each neighbour of an anchor; sorted are the recipes alone.
    """
    lot = _lots(ids, rng)
    anchor_rows = np.flatnonzero(anchors & (counts[labels] > 0))
    # -1 points to the extra last place, which is in no pool.
    in_pool = np.append(pool, False)
    chosen_rows, chosen_turns = [], []
    for label, of_class in rows_by_group(labels[anchor_rows]) if anchor_rows.size else ():
        count = int(counts[label])
        rows, n_partners = _first_in_line(neighbours, in_pool, anchor_rows[of_class], lot, count)
        for place, turn in _take_turns(n_partners, lot[rows], count):
            chosen_rows.append(rows[place])
            chosen_turns.append(np.full(place.size, turn))
    rows = np.concatenate(chosen_rows or [np.zeros(0, dtype=np.intp)])
    turns = np.concatenate(chosen_turns or [np.zeros(0, dtype=np.intp)])
    order = np.argsort(lot[rows], kind="stable")
    anchor, partner = rows[order], _partner_of_turn(neighbours, in_pool, rows[order], turns[order])
    lam: npt.NDArray[np.float64] = rng.beta(alpha, alpha, rows.size)
    return MixupRecipes(
        anchors=ids[anchor],
        partners=ids[partner],
        lam=np.maximum(lam, 1 - lam),
        labels=labels[anchor],
    )


def _lots(ids: AnyArray, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a random number for each sample, handed out in the order of the ids."""
    drawn = rng.random(ids.size)
    if np.all(ids[1:] > ids[:-1]):
        return drawn
    lot = np.empty(ids.size)
    lot[np.argsort(ids, kind="stable")] = drawn
    return lot


def _first_in_line(
    neighbours: IntArray,
    in_pool: BoolArray,
    rows: npt.NDArray[np.intp],
    lot: npt.NDArray[np.float64],
    count: int,
) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Return the anchors of a class that may have a turn, and how many partners each has.

    Where the first turn is enough, only those with the smallest lots are asked for partners.
    """
    n_asked = 2 * count
    while n_asked < rows.size:
        asked = rows[np.argpartition(lot[rows], n_asked - 1)[:n_asked]]
        n_partners = _count_partners(neighbours, in_pool, asked)
        if np.count_nonzero(n_partners) >= count:
            return asked, n_partners
        n_asked *= 2
    return rows, _count_partners(neighbours, in_pool, rows)


def _count_partners(neighbours: IntArray, in_pool: BoolArray, rows: IntArray) -> IntArray:
    """Return how many neighbours of each row are in the pool."""
    n_partners = np.empty(rows.size, dtype=np.int64)
    for start in range(0, rows.size, _ROWS):
        block = slice(start, start + _ROWS)
        n_partners[block] = count_in_rows(in_pool[neighbours[rows[block]]])
    return n_partners


def _take_turns(
    n_partners: IntArray, lot: npt.NDArray[np.float64], count: int
) -> Iterator[tuple[npt.NDArray[np.intp], int]]:
    """Yield the anchors of one class that take each turn, and the turn, until `count` have.

    An anchor has as many turns as partners. In the last turn the smallest lots go first; once all
    pairs are used, the turns begin again.
    """
    turn = 0
    while count > 0:
        taking = np.flatnonzero(n_partners > turn)
        if taking.size == 0:
            if turn == 0:
                return
            turn = 0
            continue
        if taking.size > count:
            taking = taking[np.argpartition(lot[taking], count - 1)[:count]]
        yield taking, turn
        count -= taking.size
        turn += 1


def _partner_of_turn(
    neighbours: IntArray, in_pool: BoolArray, rows: IntArray, turns: IntArray
) -> IntArray:
    """Return the neighbour in the pool that each row takes at its turn, nearest first."""
    near = neighbours[rows]
    turn = np.cumsum(in_pool[near], axis=1, dtype=np.int32) - 1
    # The first column in which so many partners have been passed is that of the partner itself.
    partner: IntArray = near[np.arange(rows.size), (turn == turns[:, None]).argmax(axis=1)]
    return partner
