"""Tables of other tools, CSV or Parquet: read with the types their columns are meant to have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from noisyselect.arrays import BoolArray, FloatArray, IntArray, check_batches

# Columns that CSV must not guess at: "007" is not 7, and the class "1" may stand beside "cat".
_AS_WRITTEN = ("id", "sample_id", "label", "true_label", "prediction", "network")
_WHOLE_NUMBER = r"^(0|-?[1-9][0-9]{0,17})$"


class Classes(NamedTuple):
    """A column of classes: `codes` (-1 for none) index `names`, or are the classes themselves."""

    codes: IntArray
    names: tuple[str, ...] | None

    @property
    def known(self) -> BoolArray:
        """Where there is one."""
        return self.codes >= 0

    def numbered(self, names: tuple[str, ...]) -> IntArray:
        """Return the classes as numbers: the place of each in `names`; -1 for none."""
        if self.names is None:
            return self.codes
        place = {name: i for i, name in enumerate(names)}
        # The extra last place is where -1 points to, so that "none" stays "none".
        return np.array([*(place[name] for name in self.names), -1])[self.codes]


def read_foreign(path: Path) -> Any:
    """Return the pyarrow table in a CSV or Parquet file.

    Raises
    ------
    ValueError
        If it is neither, or damaged.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    try:
        # Not pq.read_table, which takes a folder named label=3 for a column.
        table = pq.ParquetFile(path).read() if is_parquet else _read_csv(path)
        names = checked_names(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind = "Parquet" if is_parquet else "CSV"
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path}: cannot be read as {kind}: {reason}.") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: has more than one column named {', '.join(twice)}.")
    return table


def checked_names(table: Any) -> list[str]:
    """Return the names of the columns, once all that is said to be text is.

    Raises
    ------
    pyarrow.ArrowInvalid, UnicodeDecodeError
        If it is not.
    """
    table.validate(full=True)
    names: list[str] = table.column_names
    return names


def _read_csv(path: Path) -> Any:
    with pa.csv.open_csv(path) as start:
        names = start.schema.names
    as_written = {name: pa.string() for name in names if _is_as_written(name)}
    return pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=as_written))


def _is_as_written(name: str) -> bool:
    return name in _AS_WRITTEN or name.startswith("prediction_")


def check_columns(path: Path, table: Any, needed: tuple[str, ...]) -> None:
    """Raise ValueError if a `needed` column is absent."""
    absent = [name for name in needed if name not in table.column_names]
    if absent:
        raise ValueError(
            f"{path}: lacks the column {', '.join(absent)}; it has {', '.join(table.column_names)}."
        )


def id_column(path: Path, column: str, values: Any) -> Any:
    """Return ids as an Arrow array of integers, where all are whole numbers, or else of strings.

    Raises
    ------
    ValueError
        If one is missing or they are neither.
    """
    values = _plain(values)
    if pa.types.is_integer(values.type) and not values.null_count:
        return values
    if not pa.types.is_string(values.type):
        raise ValueError(f"{path}: `{column}` must hold integers or strings, got {values.type}.")
    missing = pc.sum(pc.fill_null(pc.equal(values, ""), True)).as_py()
    if missing:
        raise ValueError(f"{path}: `{column}` must be known for all, got {missing} rows without.")
    # Written back, such numbers give the same text, so no two ids become one.
    if pc.all(pc.match_substring_regex(values, _WHOLE_NUMBER)).as_py():
        return values.cast(pa.int64())
    return values


def class_column(path: Path, column: str, values: Any) -> Classes:
    """Return classes given as numbers or as names.

    Raises
    ------
    ValueError
        If they are neither.
    """
    values = _plain(values)
    if pa.types.is_string(values.type):
        values = pc.if_else(pc.equal(values, ""), None, values)
    if values.null_count == len(values):
        return Classes(np.full(len(values), -1), None)
    if pa.types.is_string(values.type):
        numeric = pc.match_substring_regex(values, r"^-?[0-9]{1,9}(\.[0-9]+)?$")
        if not pc.all(numeric).as_py():
            encoded = values.dictionary_encode()
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            return Classes(codes.astype(np.int64), tuple(encoded.dictionary.to_pylist()))
        values = values.cast(pa.float64())
    # pandas turns integers into floats where one is missing.
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise ValueError(f"{path}: `{column}` must hold class numbers or names, got {values.type}.")
    try:
        numbers = values.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: `{column}` must hold class numbers or names: {error}.") from None
    codes = numbers.fill_null(-1).to_numpy(zero_copy_only=False)
    if codes.min() < -1:
        raise ValueError(
            f"{path}: `{column}` must hold class numbers from 0, or -1 for none, got {codes.min()}."
        )
    return Classes(codes, None)


def real_column(path: Path, column: str, values: Any) -> FloatArray:
    """Return numbers as float64; NaN where one is missing.

    Raises
    ------
    ValueError
        If they are no numbers.
    """
    values = _plain(values)
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)
    if not any(is_kind(values.type) for is_kind in kinds):
        raise ValueError(f"{path}: `{column}` must hold numbers, got {values.type}.")
    array: FloatArray = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array


def count_column(path: Path, column: str, values: Any) -> IntArray:
    """Return whole numbers as int64.

    Raises
    ------
    ValueError
        If one is missing or they are no integers.
    """
    values = _plain(values)
    if not pa.types.is_integer(values.type) or values.null_count:
        raise ValueError(
            f"{path}: `{column}` must hold an integer in every row, got {values.type} with "
            f"{values.null_count} missing."
        )
    array: IntArray = values.to_numpy(zero_copy_only=False)
    return array


def batch_column(path: Path, column: str, values: Any) -> IntArray:
    """Return numbers of mini-batches as int64; -1 where one is missing.

    Raises
    ------
    ValueError
        If they are no whole numbers, or out of range.
    """
    values = _plain(values)
    # pandas turns integers into floats where one is missing.
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    if not any(is_kind(values.type) for is_kind in kinds):
        raise ValueError(f"{path}: `{column}` must hold whole numbers, got {values.type}.")
    try:
        numbers: IntArray = values.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        check_batches(column, numbers)
    except (pa.ArrowInvalid, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return numbers


def text_column(path: Path, column: str, values: Any) -> npt.NDArray[np.str_]:
    """Return strings; empty where one is missing.

    Raises
    ------
    ValueError
        If they are none.
    """
    values = _plain(values)
    if not pa.types.is_string(values.type):
        raise ValueError(f"{path}: `{column}` must hold strings, got {values.type}.")
    return np.array(values.fill_null("").to_pylist(), dtype=np.str_)


def _plain(values: Any) -> Any:
    """Return a column as one Arrow array, without dictionaries and large strings."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array
