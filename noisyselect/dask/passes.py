"""Passes over the blocks of a run: a task reads some, and hands back sums of a fixed size."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import distributed
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from noisyselect.arrays import AnyArray, FloatArray
from noisyselect.dask.blocks import Block, Window
from noisyselect.errors import DamagedRunError, NoisySelectWarning, NonFiniteWarning
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.store.export import selection_table
from noisyselect.store.files import Entry, check_listed, encodings, written_whole

# What a killed worker loses at most, and how rarely sums travel; fewer where there are few blocks.
# Never by the number of workers: then the sums of floats would depend on it.
_BLOCKS_PER_TASK, _LEAST_TASKS = 8, 16


class Part(NamedTuple):
    """The samples of one block that have a valid record.

    Attributes
    ----------
    log : TrainingLog
    peer : TrainingLog or None
    block : int
        Number of the block.
    """

    log: TrainingLog
    peer: TrainingLog | None
    block: int

    def network(self, number: int) -> TrainingLog:
        """Return the log of network 0 or 1; of the first one in both roles without a peer."""
        return self.log if number == 0 or self.peer is None else self.peer

    def last_losses(self, number: int) -> FloatArray:
        """Return the losses of network 0 or 1 in the last epoch."""
        losses = self.network(number).losses
        assert losses is not None
        last: FloatArray = losses[-1]
        return last


# An array that is summed over all parts, or that is kept for each.
Measure = Callable[[Part], AnyArray]
# Which samples of a part are clean.
Decision = Callable[[Part], Selection]


class Survey(NamedTuple):
    """What is asked of every sample first.

    Attributes
    ----------
    n_samples : int
    n_valid : int
        Samples with a valid record in all epochs read, of both networks.
    lowest, highest : array of float64, shape (n_networks, n_epochs)
        Smallest and largest loss of each epoch among these; infinite without losses.
    """

    n_samples: int
    n_valid: int
    lowest: AnyArray
    highest: AnyArray


class Written(NamedTuple):
    """What one block was decided to be."""

    n_samples: int
    n_clean: int
    reasons: Counter[str]


class Passes:
    """The blocks of a run, on the workers of a client, for one selector.

    Attributes
    ----------
    survey : Survey
    """

    def __init__(
        self,
        client: Any,
        selector: Selector,
        window: Window,
        blocks: Sequence[Block],
        files: Iterable[Entry],
        scratch: Path,
    ) -> None:
        self._client = client
        self._selector = selector
        self._window = window
        size = max(1, min(_BLOCKS_PER_TASK, len(blocks) // _LEAST_TASKS))
        self._chunks = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        self._scratch = scratch
        self._n_published = 0
        for _ in self._results(partial(check_listed, window.root), files):
            pass
        self.survey = self._look()

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch read."""
        return int(self._window.lines[-1].text["epoch"])

    @property
    def lr(self) -> AnyArray | None:
        """Learning rates of the epochs read, None where one is not known."""
        return self._window.lr

    def total(self, *measures: Measure) -> list[AnyArray]:
        """Return the sum over all blocks of each measure: one pass."""
        sums: list[AnyArray] = []
        # In the order of the blocks, so that sums of floats are the same each time.
        for part in self._results(partial(_total, self._selector, self._window, measures)):
            for place, packed in enumerate(part):
                if place == len(sums):
                    # Whole numbers of one task may be small.
                    dtype = np.result_type(packed.values, np.int64)
                    sums.append(np.zeros(packed.shape, dtype=dtype))
                sums[place].reshape(-1)[packed.places] += packed.values
        return sums

    def each(self, measure: Measure) -> dict[int, AnyArray]:
        """Return a measure of each block, by its number and in their order: one pass."""
        function = partial(_each, self._selector, self._window, measure)
        return dict(item for part in self._results(function) for item in part)

    def publish(self, array: AnyArray) -> Path:
        """Return the file in which tasks find a table that is too large to be sent to each.

        A file survives the workers; they share its pages.
        """
        self._n_published += 1
        path = self._scratch / f"table-{self._n_published}.npy"
        np.save(path, array)
        return path

    def write(self, decision: Decision | None, folder: Path) -> Written:
        """Decide all blocks and write each as one Parquet file: the last pass.

        There is no decision where no sample has a valid record.
        """
        function = partial(_write, self._selector, self._window, decision, folder)
        n_samples = n_clean = 0
        reasons: Counter[str] = Counter()
        for part in self._results(function):
            for written in part:
                n_samples += written.n_samples
                n_clean += written.n_clean
                reasons += written.reasons
        return Written(n_samples, n_clean, reasons)

    def _look(self) -> Survey:
        parts = [
            look
            for part in self._results(partial(_look, self._selector, self._window))
            for look in part
        ]
        n_samples, n_valid, n_infinite = np.sum([look.counts for look in parts], axis=0)
        n_read = np.sum([look.n_read for look in parts], axis=0)
        if not np.array_equal(n_read, self._window.n_rows):
            lost = int(np.sum(self._window.n_rows - n_read))
            raise DamagedRunError(
                f"{self._window.root}: {lost} rows of the epochs have ids that are not in "
                "samples.parquet."
            )
        if n_infinite:
            warnings.warn(
                f"`losses` has {n_infinite} non-finite values in the epochs read. These samples "
                "are not selected.",
                NonFiniteWarning,
                stacklevel=5,
            )
        return Survey(
            n_samples=int(n_samples),
            n_valid=int(n_valid),
            lowest=np.min([look.lowest for look in parts], axis=0),
            highest=np.max([look.highest for look in parts], axis=0),
        )

    def _results(
        self, function: Callable[[Any], Any], items: Iterable[Any] | None = None
    ) -> Iterator[Any]:
        """Yield what `function` makes of each item, by default a chunk of blocks, in their order.

        Few are on their way at a time, so that neither workers nor client hold many results.
        """
        waiting: deque[Any] = deque()
        n_ahead = 2 * max(1, sum(self._client.ncores().values()))
        try:
            for item in self._chunks if items is None else items:
                waiting.append(self._client.submit(function, item, pure=False))
                if len(waiting) >= n_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            if waiting:  # after an error: what is removed next must not be written into
                with suppress(TimeoutError):
                    distributed.wait(list(waiting), timeout=60)


class _Look(NamedTuple):
    counts: AnyArray
    n_read: AnyArray
    lowest: AnyArray
    highest: AnyArray


# What a task makes of its blocks. Each block has a function of its own, which forgets it: kept in
# a loop, a block would stay in memory until the next one has been read.


def _look(selector: Selector, window: Window, chunk: Sequence[Block]) -> list[_Look]:
    return [_look_at(selector, window, block) for block in chunk]


def _look_at(selector: Selector, window: Window, block: Block) -> _Look:
    log, peer, n_read = window.read(block)
    usable = selector._usable(log, peer)
    logs = [part for part in (log, peer) if part is not None]
    losses = [part.losses for part in logs if part.losses is not None]
    shape = (len(logs), log.n_epochs)
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    n_infinite = 0
    for network, values in enumerate(losses):
        n_infinite += int(np.count_nonzero(~np.isfinite(values)))
        if usable.any():
            taken = values if usable.all() else values[:, usable]
            lowest[network] = taken.min(axis=1)
            highest[network] = taken.max(axis=1)
    counts = np.array([log.n_samples, np.count_nonzero(usable), n_infinite])
    return _Look(counts, n_read, lowest, highest)


def _valid(selector: Selector, window: Window, block: Block) -> Part | None:
    """Return the samples of a block that have a valid record, None if there are none."""
    log, peer, _ = window.read(block)
    usable = selector._usable(log, peer)
    if not usable.any():
        return None
    if usable.all():
        return Part(log, peer, block.number)
    rows = np.flatnonzero(usable)
    return Part(log.take(rows), None if peer is None else peer.take(rows), block.number)


class _Packed(NamedTuple):
    """An array without its zeros: of a million bins most are empty, and results wait to be sent."""

    shape: tuple[int, ...]
    places: npt.NDArray[np.uint32]
    values: AnyArray


def _pack(array: AnyArray) -> _Packed:
    flat = array.reshape(-1)
    places = np.flatnonzero(flat)
    return _Packed(array.shape, places.astype(np.uint32), flat[places])


def _total(
    selector: Selector, window: Window, measures: Sequence[Measure], chunk: Sequence[Block]
) -> list[_Packed]:
    sums: list[AnyArray] = []
    for block in chunk:
        _add(sums, _measured(selector, window, measures, block))
    return [_pack(array) for array in sums]


def _add(sums: list[AnyArray], arrays: Iterator[AnyArray]) -> None:
    for place, array in enumerate(arrays):
        if place == len(sums):
            sums.append(array)
        else:
            sums[place] += array


def _each(
    selector: Selector, window: Window, measure: Measure, chunk: Sequence[Block]
) -> list[tuple[int, AnyArray]]:
    return [
        (block.number, measured)
        for block in chunk
        for measured in _measured(selector, window, [measure], block)
    ]


def _measured(
    selector: Selector, window: Window, measures: Sequence[Measure], block: Block
) -> Iterator[AnyArray]:
    """Yield each measure of a block, none where it has no sample with a valid record."""
    part = _valid(selector, window, block)
    if part is not None:
        for measure in measures:
            yield measure(part)


def _write(
    selector: Selector,
    window: Window,
    decision: Decision | None,
    folder: Path,
    chunk: Sequence[Block],
) -> list[Written]:
    return [_write_block(selector, window, decision, folder, block) for block in chunk]


def _write_block(
    selector: Selector, window: Window, decision: Decision | None, folder: Path, block: Block
) -> Written:
    log, peer, _ = window.read(block)
    with warnings.catch_warnings():
        # A block is no evidence by itself: what is degenerate is said of the whole.
        warnings.simplefilter("ignore", NoisySelectWarning)
        (selection,) = selector._answer(log, peer, partial(_decide, decision, block.number))
    table = selection_table(selection)
    with written_whole(folder, f"part-{block.number:05d}.parquet", shared=True) as file:
        pq.write_table(table, file, **encodings(table.schema))
    codes, names = selection.reasons
    counts = np.bincount(codes, minlength=len(names))
    named = Counter({name: int(count) for name, count in zip(names, counts, strict=True) if count})
    return Written(selection.clean.size, len(selection), named)


def _decide(
    decision: Decision | None, block: int, log: TrainingLog, peer: TrainingLog | None
) -> tuple[Selection]:
    assert decision is not None
    return (decision(Part(log, peer, block)),)
