"""Features and labels in one file: a CSV or Parquet with a label column, npz, or a pair of npy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisyselect.arrays import AnyArray, FloatArray, first, floats

# A label column that nobody named is found under these.
_LABEL_NAMES = ("label", "target", "y")
# What these hold must never be a feature by accident.
_TRUTH_NAMES = ("true_label", "true_labels", "truth")
_ID_NAMES = ("id", "ids")


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """Rows with features and a label each.

    Attributes
    ----------
    features : array of float, shape (n_samples, n_features)
    labels : array of int or str, shape (n_samples,)
    ids : array of int or str, shape (n_samples,), or None
        None where the rows have no ids of their own.
    true_labels : array of int or str, shape (n_samples,), or None
        For measures only.
    feature_names : tuple of str
        Empty where the features have none.
    label_name, id_name : str or None
        Columns they are from.
    left_out : tuple of str
        What else the file holds and is not used.

    Raises
    ------
    ValueError
        If a true label is not among the labels.
    """

    features: FloatArray
    labels: AnyArray
    ids: AnyArray | None = None
    true_labels: AnyArray | None = None
    feature_names: tuple[str, ...] = ()
    label_name: str | None = None
    id_name: str | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.true_labels is not None:
            unknown = np.setdiff1d(self.true_labels, self.labels)
            if unknown.size:
                raise ValueError(
                    "True labels must be among the classes that the labels name, got "
                    f"{unknown.size} others: {first(unknown)}. Leave these rows out, or the true "
                    "labels."
                )


def read_labelled_table(
    path: str | Path,
    labels_path: str | Path | None = None,
    *,
    label: str | None = None,
    id_name: str | None = None,
    true_label: str | None = None,
    ignore: Sequence[str] = (),
) -> LabelledTable:
    """Read features and labels.

    Parameters
    ----------
    path : path
        ``.npy`` of shape (n_samples, n_features); ``.npz`` with ``X`` and ``y``, or ``features``
        and ``labels``; ``.csv`` or ``.parquet`` with a column for each feature.
    labels_path : path, optional
        ``.npy`` of shape (n_samples,), the labels of an ``.npy`` of features.
    label : str, optional
        Column of the labels. By default the one named ``label``, ``target`` or ``y``.
    id_name : str, optional
        Column of the ids, by default one named ``id`` or ``ids``. An array of an ``.npz``.
    true_label : str, optional
        Column of the true labels, or array of an ``.npz``. They are no features.
    ignore : sequence of str
        Columns that are no features.

    Raises
    ------
    ValueError
        If the file is not as described; if a column is neither numeric nor given another part; if
        a value is missing; if it cannot be said which column holds the labels; if a column counts
        the rows or is named as true labels are, and would become a feature.
    TypeError
        If labels or ids are neither integers nor strings.
    OSError
        If a file cannot be read.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if (labels_path is not None) != (kind == ".npy"):
        raise ValueError(
            f"{file}: an .npy of features needs a second .npy, that of the labels; other files "
            f"hold their labels themselves. Got {'none' if labels_path is None else labels_path}."
        )
    if kind in (".npy", ".npz") and (label is not None or ignore):
        raise ValueError(f"{file} has no columns to choose from: that is for .csv and .parquet.")
    match kind:
        case ".npy":
            if id_name is not None or true_label is not None:
                raise ValueError(
                    f"{file}: ids and true labels need an .npz, a .csv or a .parquet to be in."
                )
            assert labels_path is not None
            return LabelledTable(floats(str(file), _load(file)), _load(Path(labels_path)))
        case ".npz":
            return _from_npz(file, _load(file), id_name, true_label)
        case ".csv" | ".parquet":
            table = _read_csv(file) if kind == ".csv" else _read_parquet(file)
            return _from_columns(file, table, label, id_name, true_label, ignore)
    raise ValueError(f"{file} must be a .npy, .npz, .csv or .parquet file.")


def _load(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read as arrays of plain numbers or strings: {error}"
        ) from None


def _from_npz(
    path: Path, arrays: dict[str, AnyArray], id_name: str | None, true_label: str | None
) -> LabelledTable:
    pairs = [p for p in (("X", "y"), ("features", "labels")) if set(p) <= set(arrays)]
    if len(pairs) != 1:
        raise ValueError(
            f"{path} must hold either X and y or features and labels, got {', '.join(arrays)}."
        )
    features, labels = (arrays[name] for name in pairs[0])
    if "test_features" in arrays and features.ndim == 3:
        features = features[:, 0]  # of several views the first is that of the sample itself
    used = {*pairs[0]}
    more: dict[str, Any] = {}
    for part, name in (("ids", id_name), ("true_labels", true_label)):
        if name is not None:
            if name not in arrays:
                raise ValueError(f"{path} has no array {name!r}; it has {', '.join(arrays)}.")
            more[part] = arrays[name]
            used.add(name)
    return LabelledTable(
        floats(pairs[0][0], features),
        labels,
        label_name=pairs[0][1],
        id_name=id_name,
        left_out=tuple(name for name in arrays if name not in used),
        **more,
    )


def _read_csv(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    # An empty name is a missing name.
    convert = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    try:
        return csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}") from None


def _read_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None


def _from_columns(
    path: Path,
    table: Any,
    label: str | None,
    id_name: str | None,
    true_label: str | None,
    ignore: Sequence[str],
) -> LabelledTable:
    columns: list[str] = table.column_names
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has more than one column {', '.join(twice)}.")
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows.")
    label = _label_column(path, columns, label)
    if id_name is None:
        id_name = next((name for name in columns if name.lower() in _ID_NAMES), None)
        id_name = None if id_name in (label, true_label, *ignore) else id_name
    parts = [name for name in (label, id_name, true_label) if name is not None]
    for name in (*parts, *ignore):
        if name not in columns:
            raise ValueError(f"{path} has no column {name!r}; it has {_listed(columns)}.")
        if [*parts, *ignore].count(name) > 1:
            raise ValueError(f"{path}: column {name!r} cannot be two things at once.")
    names = [name for name in columns if name not in (*parts, *ignore)]
    if not names:
        raise ValueError(f"{path} has no column left for features; it has {_listed(columns)}.")
    return LabelledTable(
        features=_features(path, table, names),
        labels=_names(path, table, label),
        ids=None if id_name is None else _names(path, table, id_name),
        true_labels=None if true_label is None else _names(path, table, true_label),
        feature_names=tuple(names),
        label_name=label,
        id_name=id_name,
        left_out=tuple(ignore),
    )


def _label_column(path: Path, columns: list[str], given: str | None) -> str:
    if given is not None:
        return given
    found = [name for name in columns if name.lower() in _LABEL_NAMES]
    if len(found) != 1:
        raise ValueError(
            f"{path} must have one column named {', '.join(_LABEL_NAMES)}, got "
            f"{' and '.join(found) or f'none of them in {_listed(columns)}'}. Name the column of "
            "the labels with --label (`label=`)."
        )
    return found[0]


def _features(path: Path, table: Any, names: list[str]) -> FloatArray:
    import pyarrow as pa

    features = np.empty((table.num_rows, len(names)), dtype=np.float64)
    for j, name in enumerate(names):
        column = table[name]
        numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        if not (any(check(column.type) for check in numeric) or pa.types.is_null(column.type)):
            raise ValueError(
                f"{path}: column {name!r} is {column.type}: features must be numbers. Turn it "
                "into numbers (one column of 0 and 1 per value), name what it is with --label, "
                "--id or --true-label, or leave it out with --ignore."
            )
        if name.lower() in _TRUTH_NAMES:
            raise ValueError(
                f"{path}: column {name!r} looks like true labels, which must not be a feature. "
                "Name it with --true-label, or leave it out with --ignore."
            )
        values = np.asarray(column.to_numpy().astype(np.float64))
        missing = np.flatnonzero(~np.isfinite(values))
        if missing.size:
            raise ValueError(
                f"{path}: column {name!r} has {missing.size} values that are missing or not "
                f"finite, in the rows {first(missing)} (from 0). Fill them in, leave these rows "
                "out, or leave the column out with --ignore."
            )
        if _counts_the_rows(values):
            raise ValueError(
                f"{path}: column {name!r} counts the rows, and would be a feature. Name it with "
                "--id, or leave it out with --ignore."
            )
        features[:, j] = values
    return features


def _counts_the_rows(values: FloatArray) -> bool:
    return values.size > 2 and bool(np.all(np.diff(values) == 1))


def _names(path: Path, table: Any, name: str) -> AnyArray:
    """Return a column of labels or ids as integers or strings."""
    import pyarrow as pa

    column = table[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        empty = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        raise ValueError(
            f"{path}: column {name!r} has {empty.size} empty values, in the rows {first(empty)} "
            "(from 0). Leave these rows out."
        )
    values: AnyArray = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "O" and all(isinstance(item, str) for item in values):
        return values.astype(np.str_)
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype.kind == "f" and np.array_equal(values, np.rint(values)):
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise TypeError(
            f"{path}: column {name!r} must hold integers or strings, got {column.type}."
        )
    return values


def _listed(columns: list[str]) -> str:
    return first(np.array(columns, dtype=np.str_), 10)
