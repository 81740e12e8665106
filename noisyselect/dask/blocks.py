"""Blocks of samples: what one task reads of a run that no machine could hold.

A block is a stretch of ``samples.parquet`` made of whole row groups, and the row groups of each
epoch that hold its samples. Only footers are read to find them.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisyselect.arrays import AnyArray
from noisyselect.errors import DamagedRunError, MissingEvidenceError, NonFiniteWarning
from noisyselect.log import TrainingLog
from noisyselect.store.columns import Samples, epoch_columns, find_rows, key_kind
from noisyselect.store.files import Entry
from noisyselect.store.layout import Line
from noisyselect.store.run import Run

# Row groups of samples are put together up to so many rows, the size pyarrow writes by default.
BLOCK_ROWS = 1 << 20
# More rows than that are not read at once: they would not fit beside the rest into 2 GiB.
_MOST_ROWS = 8 * BLOCK_ROWS
# What tells whether a record is valid; and more, no rule here reads.
_COLUMNS = {"loss": pa.float32(), "prediction": pa.int32()}


class RowGroup(NamedTuple):
    """One row group of a file, and what its footer says of it."""

    path: str
    number: int
    start: int  # place of its first row among all rows of the epoch, or of the samples
    n_rows: int
    ids: tuple[Any, Any] | None  # smallest and largest; None where the file does not say

    @property
    def stop(self) -> int:
        """Place after its last row."""
        return self.start + self.n_rows


class EpochBlock(NamedTuple):
    """Where the rows of one block lie in one epoch of one network."""

    groups: tuple[RowGroup, ...]
    columns: tuple[str, ...]


class Block(NamedTuple):
    """What one task reads.

    Attributes
    ----------
    number : int
    samples : tuple of RowGroup
        Of ``samples.parquet``.
    networks : tuple of tuple of EpochBlock
        Of each network and each epoch.
    """

    number: int
    samples: tuple[RowGroup, ...]
    networks: tuple[tuple[EpochBlock, ...], ...]


class Window(NamedTuple):
    """The epochs that a selection reads, and how the rows of a block are found in them.

    Attributes
    ----------
    root : Path
    n_classes : int
    lines : tuple of Line
        Of the epochs, in order.
    networks : tuple of str
        The one selected for, and the peer where the run has one.
    ascending : bool
        True if the ids ascend, so that rows are found by id; else by their place.
    n_rows : tuple of int
        Rows that each epoch of each network has.
    """

    root: Path
    n_classes: int
    lines: tuple[Line, ...]
    networks: tuple[str, ...]
    ascending: bool
    n_rows: tuple[int, ...]

    @property
    def lr(self) -> AnyArray | None:
        """Learning rates of the epochs, None where one is not known."""
        rates = [line.text["lr"] for line in self.lines]
        return None if None in rates else np.array(rates, dtype=np.float64)

    def read(self, block: Block) -> BlockLogs:
        """Return what the networks have shown of the samples of a block.

        Raises
        ------
        DamagedRunError
            If a file makes no sense.
        ValueError
            If the rows of an epoch are in another order than the samples, and ids do not ascend.
        """
        samples = self._samples(block)
        logs, n_read = [], []
        for epochs in block.networks:
            columns = []
            for epoch in epochs:
                shown, n_rows = self._epoch(block, epoch, samples)
                columns.append(shown)
                n_read.append(n_rows)
            logs.append(self._log(samples, columns))
        return BlockLogs(logs[0], logs[1] if len(logs) > 1 else None, np.array(n_read))

    def _samples(self, block: Block) -> Samples:
        where = self.root / "samples.parquet"
        table = _read(self.root, block.samples, ("id", "label"))
        keys = table["id"].combine_chunks()
        if keys.null_count or key_kind(keys.type) is None:
            raise DamagedRunError(f"{where}: `id` must hold integers or strings without null.")
        ids = keys.to_numpy(zero_copy_only=False)
        ids = ids.astype(np.str_) if ids.dtype == object else ids
        if self.ascending and not np.all(ids[1:] > ids[:-1]):
            raise ValueError(
                f"{where}: its row groups follow one another by id, but the ids within them do "
                "not ascend. Write the run sorted by id."
            )
        labels = table["label"].to_numpy().astype(np.int64, copy=False)
        return Samples(ids, labels, keys, self.n_classes)

    def _epoch(
        self, block: Block, epoch: EpochBlock, samples: Samples
    ) -> tuple[dict[str, AnyArray], int]:
        """Return what one epoch shows of the samples, and of how many of them."""
        n_samples = samples.ids.size
        if not epoch.groups:  # an epoch may lack all of them
            keys = samples.keys.slice(0, 0)
            none = {name: pa.array([], _COLUMNS[name]) for name in epoch.columns}
            table = pa.table({"id": keys} | none)
            return epoch_columns(self.root, table, samples, np.zeros(0, dtype=np.intp)), 0
        where = self.root / epoch.groups[0].path
        table = _read(self.root, epoch.groups, ("id", *epoch.columns))
        if not self.ascending:
            table = table.slice(block.samples[0].start - epoch.groups[0].start, n_samples)
        keys = table["id"].combine_chunks()
        if keys.equals(samples.keys):  # the common case
            return epoch_columns(where, table, samples, np.arange(n_samples)), n_samples
        found = find_rows(samples, where, "id", keys)
        if self.ascending:
            here = found.is_valid()
            # The others belong to blocks beside this one.
            table, found = table.filter(here), found.filter(here)
        rows = found.fill_null(-1).to_numpy().astype(np.intp)
        if not self.ascending and not np.array_equal(rows, np.arange(n_samples)):
            raise ValueError(
                f"{where}: its rows are in another order than those of samples.parquet, whose ids "
                "do not ascend: a part of the samples cannot be read by itself. Write all files "
                "in one order, or sorted by id."
            )
        if np.unique(rows).size < rows.size:
            raise DamagedRunError(f"{where}: holds an id more than once.")
        return epoch_columns(where, table, samples, rows), rows.size

    def _log(self, samples: Samples, epochs: Sequence[dict[str, AnyArray]]) -> TrainingLog:
        columns: dict[str, Any] = {
            name: np.stack([epoch[name] for epoch in epochs])
            for name in ("losses", "predictions")
            if all(name in epoch for epoch in epochs)
        }
        with warnings.catch_warnings():
            # Those of all blocks are counted, and named once.
            warnings.simplefilter("ignore", NonFiniteWarning)
            try:
                return TrainingLog(
                    labels=samples.labels,
                    ids=samples.ids,
                    n_classes=self.n_classes,
                    lr=self.lr,
                    epochs=np.array([line.text["epoch"] for line in self.lines]),
                    **columns,
                )
            except ValueError as error:
                raise DamagedRunError(f"{self.root}: {error}") from None


class BlockLogs(NamedTuple):
    """The logs of one block, and the rows read of each epoch of each network."""

    log: TrainingLog
    peer: TrainingLog | None
    n_read: AnyArray


def plan(
    run: Run, network: str, until: int | None, history: int
) -> tuple[Window, list[Block], list[Entry]]:
    """Return how to read the last `history` epochs of a run, block by block.

    Parameters
    ----------
    run : Run
    network : str
    until : int, optional
        Read the epochs before this number only.
    history : int
        Number of last epochs to read, or of those there are.

    Returns
    -------
    window : Window
    blocks : list of Block
        In the order of the samples.
    files : list of Entry
        All that is read, to be verified first.

    Raises
    ------
    DamagedRunError
        If a footer cannot be read.
    MissingEvidenceError
        If there is no closed epoch.
    ValueError
        If the row groups are so large, or the rows so disordered, that no task can read a part.
    """
    stop = run.n_epochs if until is None else min(until, run.n_epochs)
    if stop < 1:
        limit = "" if until is None else f" before {until}"
        raise MissingEvidenceError(
            f"{run.path} has no closed epoch{limit}; it has {run.n_epochs} in all."
        )
    lines = tuple(run._lines.until(stop)[max(0, stop - history) :])
    place = run.networks.index(network)
    networks = tuple(dict.fromkeys((network, run.networks[(place + 1) % len(run.networks)])))

    entry = run._header.files["samples.parquet"]
    files, samples = [entry], _row_groups(run.path, [entry])[0]
    stretches = list(_stretches(samples))
    ascending = _ascending(samples)
    epochs_of_networks, n_rows = [], []
    for name in networks:
        epochs = []
        for line in lines:
            entries = line.of_network(name)
            if not entries:
                raise DamagedRunError(
                    f"{run.path / 'epochs.jsonl'}: epoch {line.text['epoch']} names no file of "
                    f"network {name}."
                )
            groups, found = _row_groups(run.path, entries)
            columns = tuple(column for column in _COLUMNS if column in found)
            where = f"{run.path}: epoch {line.text['epoch']} of network {name}"
            held = _held(where, stretches, groups, ascending)
            epochs.append([EpochBlock(part, columns) for part in held])
            files += entries
            n_rows.append(sum(group.n_rows for group in groups))
        epochs_of_networks.append(epochs)
    blocks = [
        Block(
            number, groups, tuple(tuple(e[number] for e in epochs) for epochs in epochs_of_networks)
        )
        for number, groups in enumerate(stretches)
    ]
    window = Window(run.path, run.n_classes, lines, networks, ascending, tuple(n_rows))
    return window, blocks, files


def _row_groups(root: Path, entries: Sequence[Entry]) -> tuple[list[RowGroup], set[str]]:
    """Return the row groups of some files, in order, and the columns that any of them has."""
    groups: list[RowGroup] = []
    columns: set[str] = set()
    start = 0
    for entry in entries:
        try:
            footer = pq.read_metadata(root / entry.path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedRunError(
                f"{root / entry.path}: cannot be read as Parquet: {reason}"
            ) from None
        names = [footer.schema.column(c).path for c in range(footer.num_columns)]
        columns |= set(names)
        if "id" not in names:
            raise DamagedRunError(f"{root / entry.path}: lacks the column id.")
        place = names.index("id")
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            if not group.num_rows:
                continue
            known = group.column(place).statistics
            ids = (known.min, known.max) if known is not None and known.has_min_max else None
            groups.append(RowGroup(entry.path, number, start, group.num_rows, ids))
            start += group.num_rows
    return groups, columns


def _stretches(samples: Sequence[RowGroup]) -> Iterator[tuple[RowGroup, ...]]:
    """Yield row groups one after another, together at most `BLOCK_ROWS` rows, or a single one."""
    taken: list[RowGroup] = []
    for group in samples:
        if taken and group.stop - taken[0].start > BLOCK_ROWS:
            yield tuple(taken)
            taken = []
        taken.append(group)
    if taken:
        yield tuple(taken)


def _ascending(samples: Sequence[RowGroup]) -> bool:
    """Return whether each row group has larger ids than the one before, as far as footers tell."""
    if any(group.ids is None for group in samples):
        return False
    ranges = [group.ids for group in samples if group.ids is not None]
    return all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


def _held(
    where: str,
    stretches: Sequence[tuple[RowGroup, ...]],
    groups: Sequence[RowGroup],
    ascending: bool,
) -> list[tuple[RowGroup, ...]]:
    """Return the row groups of an epoch that hold the samples of each stretch."""
    n_samples, n_rows = stretches[-1][-1].stop, sum(group.n_rows for group in groups)
    by_id = ascending and all(group.ids is not None for group in groups)
    if not by_id and (ascending or n_rows != n_samples):
        raise ValueError(
            f"{where} has {n_rows:,} rows for {n_samples:,} samples, and "
            f"{'its files do not say which ids they hold' if ascending else 'ids do not ascend'}: "
            "which rows belong to a part of the samples cannot be told. Write the run sorted by "
            "id, with the statistics that Parquet has by default."
        )
    held = []
    for stretch in stretches:
        if by_id:
            assert stretch[0].ids is not None and stretch[-1].ids is not None
            low, high = stretch[0].ids[0], stretch[-1].ids[1]
            part = [g for g in groups if g.ids and g.ids[0] <= high and g.ids[1] >= low]
        else:
            start, stop = stretch[0].start, stretch[-1].stop
            part = [g for g in groups if g.start < stop and g.stop > start]
        n_rows, n_wanted = sum(g.n_rows for g in part), stretch[-1].stop - stretch[0].start
        if max(n_rows, n_wanted) > _MOST_ROWS:
            raise ValueError(
                f"{where}: a task would have to read {n_rows:,} rows at once for {n_wanted:,} "
                f"samples, more than {_MOST_ROWS:,}. The rows are not in the order of the ids, or "
                "the row groups too large. Write the run sorted by id, in row groups of a million."
            )
        held.append(tuple(part))
    return held


def _read(root: Path, groups: Sequence[RowGroup], columns: Sequence[str]) -> Any:
    """Return some columns of some row groups as one table, in their order."""
    tables = []
    for path in dict.fromkeys(group.path for group in groups):
        numbers = [group.number for group in groups if group.path == path]
        try:
            with pq.ParquetFile(root / path) as file:
                present = [name for name in columns if name in file.schema_arrow.names]
                tables.append(file.read_row_groups(numbers, present, use_threads=False))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedRunError(f"{root / path}: cannot be read as Parquet: {reason}") from None
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DamagedRunError(f"{root / path}: the parts do not fit together: {error}") from None
