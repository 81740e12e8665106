"""KNN mixup: which pairs of samples to mix for a class that is short of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, BoolArray, FloatArray, IntArray
from noisyselect.numeric.blocks import blocks
from noisyselect.numeric.groups import count_groups, rows_by_group
from noisyselect.numeric.neighbours import count_in_rows, neighbours_of
from noisyselect.selection import MixupRecipes

Rows = npt.NDArray[np.intp]

# How many anchors are asked for a partner, for each that is needed: few have none. At last all.
_AHEAD = (1.25, 5.0, np.inf)


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

    Cost: O(n_samples k) at most, one look-up for each neighbour of an anchor; where the first turn
    is enough, only the anchors that come first are asked. Sorted are the recipes alone.
    """
    # -1 points to the extra last place, which is in no pool.
    in_pool = np.append(pool, False)
    n_anchors = count_groups(labels, anchors, counts.size)
    before_lots = rng.bit_generator.state
    short = (counts > 0) & (n_anchors > 0)
    several_turns = False
    pairs: list[_Pairs] = []
    for ahead in _AHEAD:
        if not short.any():
            break
        several_turns = ahead == np.inf
        ends = np.where(short, ahead * np.maximum(counts, 1), 0) / np.maximum(n_anchors, 1)
        rng.bit_generator.state = before_lots
        for label, queue in _queues(labels, ids, anchors, ends, rng):
            count = int(counts[label])
            if several_turns:
                pairs.append(_all_turns(neighbours, in_pool, queue, count))
            elif (paired := _first_turn(neighbours, in_pool, queue, count)) is not None:
                pairs.append(paired)
                short[label] = False
    no_rows = np.zeros(0, dtype=np.intp)
    pairs.append(_Pairs(no_rows, no_rows, np.zeros(0)))
    anchor, partner, lots = (np.concatenate(column) for column in zip(*pairs, strict=True))
    # A stable sort takes six times as long, and only an anchor's several turns need it.
    order = np.argsort(lots, kind="stable" if several_turns else None)
    anchor, partner = anchor[order], partner[order]
    lam: npt.NDArray[np.float64] = rng.beta(alpha, alpha, anchor.size)
    return MixupRecipes(
        anchors=ids[anchor],
        partners=ids[partner],
        lam=np.maximum(lam, 1 - lam),
        labels=labels[anchor],
    )


class _Queue(NamedTuple):
    """Anchors of one class, and the lots by which they come first."""

    rows: Rows
    lots: FloatArray

    def take(self, places: npt.NDArray[np.intp]) -> _Queue:
        return _Queue(self.rows[places], self.lots[places])


class _Pairs(NamedTuple):
    """Rows of anchors and their partners, and the lots of the anchors."""

    anchors: Rows
    partners: Rows
    lots: FloatArray


def _queues(
    labels: IntArray,
    ids: AnyArray,
    anchors: BoolArray,
    ends: FloatArray,
    rng: np.random.Generator,
) -> Iterator[tuple[int, _Queue]]:
    """Yield each class with those of its anchors whose lot is below the end of the class."""
    rows, lots = [], []
    for block, lot in _lots(ids, rng):
        of_block = np.flatnonzero(anchors[block])
        of_anchors = lot.take(of_block)
        taken = np.flatnonzero(of_anchors < ends.take(labels[block].take(of_block)))
        rows.append(of_block.take(taken) + block.start)
        lots.append(of_anchors.take(taken))
    queue = _Queue(np.concatenate(rows), np.concatenate(lots))
    for label, places in rows_by_group(labels[queue.rows]) if queue.rows.size else ():
        yield label, queue.take(places)


def _lots(ids: AnyArray, rng: np.random.Generator) -> Iterator[tuple[slice, FloatArray]]:
    """Yield blocks of samples with a random number for each, handed out in the order of the ids."""
    if np.all(ids[1:] > ids[:-1]):
        for block in blocks(ids.size):
            yield block, rng.random(block.stop - block.start)
        return
    lot = np.empty(ids.size)
    lot[np.argsort(ids, kind="stable")] = rng.random(ids.size)
    for block in blocks(ids.size):
        yield block, lot[block]


def _first_turn(
    neighbours: IntArray, in_pool: BoolArray, queue: _Queue, count: int
) -> _Pairs | None:
    """Return `count` of the anchors with their nearest partner, if so many of them have one."""
    first = np.zeros(queue.rows.size, dtype=np.intp)
    partner = _partner_of_turn(neighbours, in_pool, queue.rows, first)
    paired = np.flatnonzero(partner >= 0)
    if paired.size < count:
        return None
    paired = paired[np.argpartition(queue.lots[paired], count - 1)[:count]]
    rows, lots = queue.take(paired)
    return _Pairs(rows, partner[paired], lots)


def _all_turns(neighbours: IntArray, in_pool: BoolArray, queue: _Queue, count: int) -> _Pairs:
    """Return `count` pairs, of all anchors of a class; none if no anchor has a partner."""
    n_partners = _count_partners(neighbours, in_pool, queue.rows)
    taken = list(_take_turns(n_partners, queue.lots, count))
    places = np.concatenate([places for places, _ in taken] or [np.zeros(0, dtype=np.intp)])
    turns = np.repeat([turn for _, turn in taken], [places.size for places, _ in taken])
    rows, lots = queue.take(places)
    return _Pairs(rows, _partner_of_turn(neighbours, in_pool, rows, turns), lots)


def _count_partners(neighbours: IntArray, in_pool: BoolArray, rows: Rows) -> IntArray:
    """Return how many neighbours of each row are in the pool."""
    n_partners = np.empty(rows.size, dtype=np.int64)
    for block in blocks(rows.size):
        near = neighbours_of(rows[block], neighbours)
        n_partners[block] = count_in_rows(in_pool.take(near, mode="wrap"))
    return n_partners


def _take_turns(
    n_partners: IntArray, lot: FloatArray, count: int
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
    neighbours: IntArray, in_pool: BoolArray, rows: Rows, turns: IntArray
) -> npt.NDArray[np.intp]:
    """Return the neighbour in the pool that each row takes at its turn, nearest first; or -1."""
    partner = np.empty(rows.size, dtype=np.intp)
    for block in blocks(rows.size):
        near = neighbours_of(rows[block], neighbours)
        wanted = in_pool.take(near, mode="wrap")
        if turns[block].any():
            # The first column in which so many have been passed is that of the partner itself.
            wanted = np.cumsum(wanted, axis=1, dtype=np.int32) == turns[block, None] + 1
        row, column = np.arange(len(near)), wanted.argmax(axis=1)
        partner[block] = np.where(wanted[row, column], near[row, column], -1)
    return partner
