"""Read the Parquet files of a run directory: verified, checked and joined by id.

The format is specified in ``docs/log-format.md``; `noisyselect.store` writes and opens it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from noisyselect.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
    check_batches,
    check_classes,
    sample_ids,
)
from noisyselect.errors import DamagedRunError
from noisyselect.store.files import Entry, read_table
from noisyselect.store.layout import DYNAMICS, VIEWS, Header, Line


class Samples(NamedTuple):
    """The ids and given labels of ``samples.parquet``, in its order."""

    ids: AnyArray
    labels: IntArray
    keys: Any  # the ids as a pyarrow array
    n_classes: int


def read_samples(root: Path, header: Header) -> Samples:
    """Return the ids and labels of the run.

    Raises
    ------
    DamagedRunError
        If the file is missing, damaged or makes no sense.
    """
    where = root / "samples.parquet"
    table = read_table(root, header.files["samples.parquet"], ["id", "label"])
    keys = table["id"].combine_chunks()
    if keys.null_count or key_kind(keys.type) is None:
        raise DamagedRunError(f"{where}: `id` must hold integers or strings without null.")
    try:
        ids = keys.to_numpy(zero_copy_only=False)
        ids = sample_ids(ids.astype(np.str_) if ids.dtype == object else ids, len(ids))
    except ValueError as error:
        raise DamagedRunError(f"{where}: {error}") from None
    labels = _checked_classes(
        where, "label", _numbers(where, table, "label", -1), header.n_classes, 0
    )
    if not labels.size:
        raise DamagedRunError(f"{where}: has no samples.")
    return Samples(ids, labels, keys, header.n_classes)


def read_truth(root: Path, entry: Entry, samples: Samples) -> IntArray:
    """Return the true label of every sample.

    Raises
    ------
    DamagedRunError
        If the file is missing, damaged or makes no sense.
    """
    where = root / entry.path
    table = read_table(root, entry, ["id", "true_label"])
    values = _numbers(where, table, "true_label", -1)
    rows = _sample_rows(samples, where, table, complete=True)
    spread = _in_sample_order(samples, rows, values, -1)
    return _checked_classes(where, "true_label", spread, samples.n_classes, lowest=0)


def read_epoch(root: Path, network: str, line: Line, samples: Samples) -> dict[str, AnyArray]:
    """Return the columns of one network in one epoch, by their names in a `TrainingLog`.

    Raises
    ------
    DamagedRunError
        If a file is missing, damaged or makes no sense.
    """
    entries = line.of_network(network)
    if not entries:
        raise DamagedRunError(
            f"{root / 'epochs.jsonl'}: epoch {line.text['epoch']} names no file of "
            f"network {network}."
        )
    where = root / entries[0].path
    where = where if len(entries) == 1 else where.parent
    tables = [read_table(root, entry, ["id"]) for entry in entries]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DamagedRunError(f"{where}: the parts do not fit together: {error}") from None
    return epoch_columns(where, table, samples, _sample_rows(samples, where, table))


def epoch_columns(where: Path, table: Any, samples: Samples, rows: IntArray) -> dict[str, AnyArray]:
    """Return the columns of a table of dynamics, whose rows are those samples, as `read_epoch`.

    Raises
    ------
    DamagedRunError
        If a column makes no sense.
    """
    columns: dict[str, AnyArray] = {}
    for column, (name, missing) in DYNAMICS.items():
        if column not in table.column_names:
            continue
        values = _numbers(where, table, column, missing)
        if column == "prediction":
            values = _checked_classes(where, column, values, samples.n_classes, lowest=-1)
            values = values.astype(np.min_scalar_type(-samples.n_classes))
        elif column == "batch":
            values = _checked_batches(where, values)
        columns[name] = _in_sample_order(samples, rows, values, missing)
    return columns


def read_features(root: Path, entry: Entry, samples: Samples) -> FloatArray:
    """Return the features of every sample, shape (n_samples, n_features).

    Raises
    ------
    DamagedRunError
        If the file is missing, damaged or makes no sense.
    """
    features = _read_vectors(root, entry, samples, "feature")
    if not np.isfinite(features).all():
        raise DamagedRunError(
            f"{root / entry.path}: `feature` must be finite: neighbours of NaN are undefined."
        )
    return features


def read_view(root: Path, entry: Entry, samples: Samples, view: str) -> FloatArray:
    """Return what one of `VIEWS` says of every sample in one epoch, shape (n_samples, n_classes).

    Raises
    ------
    DamagedRunError
        If the file is missing, damaged or makes no sense.
    """
    column = VIEWS[view]
    probabilities = _read_vectors(root, entry, samples, column)
    if probabilities.shape[1] != samples.n_classes:
        raise DamagedRunError(
            f"{root / entry.path}: `{column}` must hold n_classes = {samples.n_classes} floats "
            f"per sample, got {probabilities.shape[1]}."
        )
    return probabilities


def read_neighbours(root: Path, entry: Entry, samples: Samples) -> IntArray:
    """Return the row positions of the neighbours of every sample, shape (n_samples, k).

    Raises
    ------
    DamagedRunError
        If the file is missing, damaged or makes no sense.
    """
    where = root / entry.path
    table = read_table(root, entry, ["id", "neighbours"])
    flat, length = list_column(where, table, "neighbours")
    rows = _sample_rows(samples, where, table, complete=True)
    found = find_rows(samples, where, "neighbours", flat)
    if found.null_count > flat.null_count:
        raise DamagedRunError(f"{where}: `neighbours` holds ids not in samples.parquet.")
    neighbours = np.empty((samples.ids.size, length), dtype=np.int32)
    neighbours[rows] = found.fill_null(-1).to_numpy().reshape(-1, length)
    if (neighbours == np.arange(samples.ids.size)[:, None]).any():
        raise DamagedRunError(f"{where}: `neighbours` must not contain the sample itself.")
    return neighbours


def _read_vectors(root: Path, entry: Entry, samples: Samples, column: str) -> FloatArray:
    where = root / entry.path
    table = read_table(root, entry, ["id", column])
    flat, length = list_column(where, table, column)
    if not pa.types.is_floating(flat.type):
        raise DamagedRunError(f"{where}: `{column}` must hold lists of floats.")
    vectors = np.empty((samples.ids.size, length), dtype=np.float32)
    rows = _sample_rows(samples, where, table, complete=True)
    vectors[rows] = flat.to_numpy(zero_copy_only=False).reshape(-1, length)
    return vectors


def _numbers(where: Path, table: Any, column: str, missing: float) -> AnyArray:
    """Return a column of floats, where `missing` is NaN, or of integers; null becomes `missing`."""
    values = table[column].combine_chunks()
    real = bool(np.isnan(missing))
    if not (pa.types.is_floating if real else pa.types.is_integer)(values.type):
        kind = "floats" if real else "integers"
        raise DamagedRunError(f"{where}: `{column}` must hold {kind}, got {values.type}.")
    if not real:
        # Unsigned integers could not hold -1; those beyond int64 are no classes either way.
        values = values.cast(pa.int64(), safe=False).fill_null(int(missing))
    array: AnyArray = values.to_numpy(zero_copy_only=False)
    return array


def _in_sample_order(
    samples: Samples, rows: IntArray, values: AnyArray, missing: float
) -> AnyArray:
    """Return one value per sample, `values` at their `rows` and `missing` elsewhere."""
    if rows.size == samples.ids.size and np.all(rows[1:] > rows[:-1]):
        return values
    spread = np.full(samples.ids.size, missing, dtype=values.dtype)
    spread[rows] = values
    return spread


def list_column(where: Path, table: Any, column: str) -> tuple[Any, int]:
    """Return the entries of a column of lists in one row, and the length of each list.

    Raises
    ------
    DamagedRunError
        If it holds no lists, or lists of several lengths.
    """
    lists = table[column].combine_chunks()
    kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    if not any(is_kind(lists.type) for is_kind in kinds):
        raise DamagedRunError(f"{where}: `{column}` must hold lists, got {lists.type}.")
    lengths = pc.list_value_length(lists).unique().to_pylist()
    if lists.null_count or len(lengths) != 1 or not lengths[0]:
        raise DamagedRunError(f"{where}: `{column}` must hold lists of one length, without null.")
    return lists.flatten(), lengths[0]


def _checked_classes(
    where: Path, column: str, values: AnyArray, n_classes: int, lowest: int
) -> npt.NDArray[np.int64]:
    """Return `values`, all of which lie in [`lowest`, `n_classes`)."""
    try:
        check_classes(column, values, n_classes, lowest)
    except ValueError as error:
        raise DamagedRunError(f"{where}: {error}") from None
    return values


def _checked_batches(where: Path, values: AnyArray) -> npt.NDArray[np.int32]:
    """Return numbers of mini-batches, which are -1 or greater."""
    try:
        check_batches("batch", values)
    except ValueError as error:
        raise DamagedRunError(f"{where}: {error}") from None
    return values.astype(np.int32)


def _sample_rows(
    samples: Samples, where: Path, table: Any, complete: bool = False
) -> npt.NDArray[np.intp]:
    """Return the row in ``samples.parquet`` of each row of `table`."""
    keys = table["id"].combine_chunks()
    if complete and len(keys) < samples.ids.size:
        lacking = samples.ids.size - len(keys)
        raise DamagedRunError(f"{where}: lacks {lacking} of {samples.ids.size} samples.")
    if keys.equals(samples.keys):  # the common case, without the hash table
        return np.arange(samples.ids.size)
    found = find_rows(samples, where, "id", keys)
    if found.null_count:
        unknown = keys.filter(found.is_null()).to_pylist()
        raise DamagedRunError(
            f"{where}: {len(unknown)} ids are not in samples.parquet, the first {unknown[0]!r}."
        )
    rows: npt.NDArray[np.intp] = found.to_numpy().astype(np.intp)
    if np.unique(rows).size < rows.size:
        raise DamagedRunError(f"{where}: holds an id more than once.")
    return rows


def find_rows(samples: Samples, where: Path, column: str, keys: Any) -> Any:
    """Return the row of each id, null where there is none."""
    # Arrow would cast the text "010" to the number 10: another sample's id.
    if key_kind(keys.type) != key_kind(samples.keys.type):
        raise DamagedRunError(
            f"{where}: `{column}` must hold {samples.keys.type} as `id` in samples.parquet, "
            f"got {keys.type}."
        )
    try:
        return pc.index_in(keys.cast(samples.keys.type), value_set=samples.keys)
    except pa.ArrowException as error:
        raise DamagedRunError(f"{where}: `{column}`: {error}") from None


def key_kind(kind: Any) -> str | None:
    """Return whether a type of Arrow holds integers or strings, the only ids."""
    if pa.types.is_integer(kind):
        return "integer"
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return "string" if is_text else None
