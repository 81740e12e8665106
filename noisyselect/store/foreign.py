"""From records of another tool, in any order, to a run directory: joined by id, never by row."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from noisyselect.arrays import AnyArray, FloatArray, IntArray
from noisyselect.errors import NoisySelectWarning
from noisyselect.store.run import Run, open_run
from noisyselect.store.tables import (
    Classes,
    check_columns,
    class_column,
    id_column,
    read_foreign,
)
from noisyselect.store.writer import RunWriter, refuse_existing


@dataclass(frozen=True)
class Records:
    """What another tool logged: one record per sample, epoch and network, in any order.

    Parameters
    ----------
    source : Path
        For errors, and for the settings of the run.
    kind : str
        What the source was taken for.
    ids : pyarrow array of int64 or string, shape (n_records,)
    epochs : array of int, shape (n_records,)
        In the source's own count.
    losses : array of float, shape (n_records,)
        Cross-entropy of the given label in nats; NaN where none was recorded.
    confidences : array of float in [0, 1], shape (n_records,), optional
        Probability of the predicted class; NaN where none was recorded.
    batches : array of int, shape (n_records,), optional
        Number of the mini-batch; -1 where none was recorded.
    predictions, labels, true_labels : Classes of shape (n_records,), optional
    networks : array of str, shape (n_records,), optional
        By default all are of network a.
    lr : array of float, shape (n_records,), optional
        Learning rate of the epoch.
    n_classes : int, default=0
        At least so many; more where a class is larger.
    settings : mapping, optional
        Whatever else there is to say of the source.
    """

    source: Path
    kind: str
    ids: Any
    epochs: IntArray
    losses: FloatArray
    confidences: FloatArray | None = None
    batches: IntArray | None = None
    predictions: Classes | None = None
    labels: Classes | None = None
    true_labels: Classes | None = None
    networks: npt.NDArray[np.str_] | None = None
    lr: FloatArray | None = None
    n_classes: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


class _Places(NamedTuple):
    """Where each record belongs: its network, epoch and sample, counted from 0."""

    network: npt.NDArray[np.intp]
    epoch: npt.NDArray[np.intp]
    sample: npt.NDArray[np.intp]


class _AllClasses(NamedTuple):
    """Classes as numbers: of each sample, and predicted in each record."""

    labels: IntArray
    true_labels: IntArray | None
    predictions: IntArray | None
    names: tuple[str, ...]
    n_classes: int


def write_records(records: Records, out: Path, labels: Path | None, truth: Path | None) -> Run:
    """Write records as a new run directory, samples in the order of their ids.

    Parameters
    ----------
    records : Records
    out : Path
        Must not exist, or be an empty directory.
    labels, truth : Path or None
        CSV or Parquet of id and label, or of id and true_label, where the records have none. They
        may have more ids than the records.

    Raises
    ------
    ValueError
        If a sample has no label, two records are of the same sample, epoch and network, or a
        column makes no sense.
    FileExistsError
        If something is at `out` already.

    Warns
    -----
    NoisySelectWarning
        If samples lack a record in some epoch.
    """
    source = records.source
    _check_ranges(source, records.losses, records.confidences)
    ids = pc.unique(records.ids)
    ids = ids.take(pc.sort_indices(ids))
    networks, of_network = np.unique(
        ["a"] if records.networks is None else records.networks, return_inverse=True
    )
    numbers, of_epoch = np.unique(records.epochs, return_inverse=True)
    rows = pc.index_in(records.ids, value_set=ids).to_numpy()
    places = _Places(np.broadcast_to(of_network, rows.shape), of_epoch, rows)
    shape = (networks.size, numbers.size, len(ids))
    _check_places(source, places, shape, ids, numbers)

    classes = _classes(records, labels, truth, ids, rows)
    columns = {
        name: _spread(values, missing, places, shape)
        for name, values, missing in (
            ("losses", records.losses, np.nan),
            ("predictions", classes.predictions, -1),
            ("confidences", records.confidences, np.nan),
            ("batches", records.batches, -1),
        )
        if values is not None
    }
    rates = _rates(source, records.lr, of_epoch, numbers)
    with new_run(out) as path:
        writer = RunWriter.create(
            path,
            classes.labels,
            n_classes=max(records.n_classes, classes.n_classes),
            ids=ids.to_pylist(),
            class_names=classes.names or None,
            true_labels=classes.true_labels,
            networks=networks.tolist(),
            settings={"imported_from": source.resolve().name, "imported_as": records.kind}
            | dict(records.settings),
        )
        for epoch, number in enumerate(numbers.tolist()):
            dynamics = {
                network: _recorded({name: values[i, epoch] for name, values in columns.items()})
                for i, network in enumerate(networks.tolist())
            }
            metrics = {} if number == epoch else {"epoch_in_source": number}
            writer.write_epoch(dynamics, lr=rates[epoch], metrics=metrics)
    return open_run(out)


@contextmanager
def new_run(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` for a run, which becomes `out` once it is written whole.

    Raises
    ------
    FileExistsError
        If something is at `out` already.
    """
    refuse_existing(out)
    target = out.absolute()
    beside = target.with_name(f".{target.name}.importing")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        yield beside
        beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check_places(
    source: Path, places: _Places, shape: tuple[int, int, int], ids: Any, numbers: IntArray
) -> None:
    """Refuse two records of one sample, epoch and network; warn where there is none."""
    flat = np.ravel_multi_index(places, shape)
    seen = np.zeros(np.prod(shape), dtype=bool)
    seen[flat] = True
    n_twice = flat.size - int(np.count_nonzero(seen))
    if n_twice:
        _, first = np.unique(flat, return_index=True)
        again = np.setdiff1d(np.arange(flat.size), first)[0]
        raise ValueError(
            f"{source}: {n_twice} records are of a sample, epoch and network that have one "
            f"already, the first of id {ids[places.sample[again]].as_py()!r} in epoch "
            f"{numbers[places.epoch[again]]}. Keep one of them."
        )
    n_short = int(np.count_nonzero(~seen.reshape(-1, shape[2]).all(axis=0)))
    if n_short:
        warnings.warn(
            f"{source}: {n_short} of {shape[2]} samples lack a record in some epoch. No selector "
            "trusts them while it reads that epoch.",
            NoisySelectWarning,
            stacklevel=4,
        )


def _classes(
    records: Records, labels: Path | None, truth: Path | None, ids: Any, rows: IntArray
) -> _AllClasses:
    source = records.source
    given = _of_samples(source, "label", records.labels, labels, ids, rows)
    if given is None:
        raise ValueError(
            f"{source}: has no given labels. Pass them as a CSV or Parquet file with the columns "
            "id and label: --labels FILE."
        )
    true = _of_samples(source, "true_label", records.true_labels, truth, ids, rows)
    predicted = records.predictions
    if predicted is not None and not predicted.known.any():
        predicted = None
    names = _names(source, label=given, true_label=true, prediction=predicted)
    codes, true_codes, predictions = (
        None if column is None else column.numbered(names) for column in (given, true, predicted)
    )
    assert codes is not None
    largest = max(int(c.max()) for c in (codes, true_codes, predictions) if c is not None)
    return _AllClasses(codes, true_codes, predictions, names, max(len(names), largest + 1))


def _of_samples(
    source: Path, column: str, recorded: Classes | None, file: Path | None, ids: Any, rows: IntArray
) -> Classes | None:
    """Return the class of each sample, from its records or from a file of its own."""
    if recorded is not None and recorded.known.any():
        if file is not None:
            raise ValueError(f"{source}: has a {column} of its own: leave out {file}.")
        known = recorded.known
        codes = np.full(len(ids), -1)
        codes[rows[known]] = recorded.codes[known]
        different = codes[rows[known]] != recorded.codes[known]
        if different.any():
            raise ValueError(
                f"{source}: `{column}` must be one per sample, but "
                f"{np.unique(rows[known][different]).size} ids have several, the first "
                f"{ids[rows[known][different][0]].as_py()!r}."
            )
        found = Classes(codes, recorded.names)
    elif file is not None:
        found = _joined(file, column, ids)
    else:
        return None
    absent = np.flatnonzero(~found.known)
    if absent.size:
        raise ValueError(
            f"{file or source}: lacks the {column} of {absent.size} of {len(ids)} samples, the "
            f"first {ids[int(absent[0])].as_py()!r}."
        )
    return found


def _joined(file: Path, column: str, ids: Any) -> Classes:
    """Return the class of each id as a file of id and class says; -1 where it does not."""
    table = read_foreign(file)
    check_columns(file, table, ("id", column))
    # As text, for one file may hold "12" and another 12; id_column lets no two ids become one.
    keys = id_column(file, "id", table["id"]).cast(pa.string())
    if len(pc.unique(keys)) < len(keys):
        raise ValueError(f"{file}: holds an id more than once.")
    classes = class_column(file, column, table[column])
    rows = pc.index_in(ids.cast(pa.string()), value_set=keys).fill_null(len(keys)).to_numpy()
    return Classes(np.append(classes.codes, -1)[rows], classes.names)


def _names(source: Path, **columns: Classes | None) -> tuple[str, ...]:
    """Return the names of the classes, sorted; none where classes are numbers."""
    given = {name: column for name, column in columns.items() if column is not None}
    named = [name for name, column in given.items() if column.names is not None]
    if named and len(named) < len(given):
        numbered = [name for name in given if name not in named]
        raise ValueError(
            f"{source}: classes must be all names or all numbers, but {', '.join(named)} holds "
            f"names and {', '.join(numbered)} numbers."
        )
    return tuple(sorted({name for column in given.values() for name in column.names or ()}))


def _spread(
    values: AnyArray, missing: float, places: _Places, shape: tuple[int, int, int]
) -> AnyArray:
    """Return one value per network, epoch and sample; `missing` where there is no record."""
    spread = np.full(shape, missing, dtype=np.float32 if values.dtype.kind == "f" else np.int32)
    spread[places] = values
    return spread


def _recorded(columns: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Leave out what was recorded of no sample: it is a column that the epoch lacks."""
    return {
        name: values
        for name, values in columns.items()
        if name == "losses" or not (np.isnan(values) | (values == -1)).all()
    }


def _check_ranges(source: Path, losses: FloatArray, confidences: FloatArray | None) -> None:
    # A softmax in floats may be off by its rounding.
    if np.nanmin(losses, initial=0) < -1e-5:
        raise ValueError(
            f"{source}: a cross-entropy is 0 or more, got the loss {np.nanmin(losses):g}. "
            "Change the sign of log-probabilities."
        )
    if confidences is None:
        return
    low, high = np.nanmin(confidences, initial=0), np.nanmax(confidences, initial=1)
    if low < 0 or high > 1 + 1e-5:
        raise ValueError(
            f"{source}: a confidence is a probability in [0, 1], got {low if low < 0 else high:g}."
        )


def _rates(
    source: Path, lr: FloatArray | None, of_epoch: IntArray, numbers: IntArray
) -> list[float | None]:
    """Return the learning rate of each epoch."""
    if lr is None:
        return [None] * numbers.size
    rates = np.full(numbers.size, np.nan)
    rates[of_epoch] = lr
    different = ~((lr == rates[of_epoch]) | (np.isnan(lr) & np.isnan(rates[of_epoch])))
    if different.any():
        raise ValueError(
            f"{source}: `lr` must be one per epoch, but epoch {numbers[of_epoch[different][0]]} "
            "has several. Leave the column out."
        )
    return [None if np.isnan(rate) else float(rate) for rate in rates]
