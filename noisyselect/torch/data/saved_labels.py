"""Labels that were saved earlier."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from noisyselect.arrays import (
    AnyArray,
    IntArray,
    check_classes,
    check_shape,
    first,
    identifiers,
    integers,
)
from noisyselect.noise import noise_rate
from noisyselect.store import open_run
from noisyselect.torch.data.training_data import TrainingData


def with_labels(data: TrainingData, source: str | Path) -> TrainingData:
    """Return the data with given labels that were saved, and its own labels as the true ones.

    So that several programs, or a later run, work on the very same wrong labels.

    Parameters
    ----------
    data : TrainingData
        Its labels are taken for true.
    source : path
        A run directory, a ``.csv`` (with a header) or ``.parquet`` file with the columns `id` and
        `label`, whose samples are matched by id, or an ``.npy`` file of labels in the order of the
        data.

    Returns
    -------
    TrainingData
        Its `noise` has the kind ``"saved"``, the source, and the realised rate, also as the nominal
        one.

    Raises
    ------
    FileNotFoundError
        If there is no `source`.
    ValueError
        If it is not as described or damaged, lacks samples of the data, has others, or has labels
        out of range.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"No labels at {path}. Pass a run directory or a file.")
    if path.suffix == ".npy":
        labels = integers("labels", np.load(path, allow_pickle=False))
        check_shape("labels", labels, {"n_samples": data.n_samples}, f"{path} has no ids.")
    else:
        labels = _in_order_of(data.ids, *_read(path), path)
    check_classes("labels", labels, data.n_classes)
    realised = noise_rate(labels, data.labels)
    noise = {
        "kind": "saved",
        "source": str(path),
        "nominal_rate": realised,
        "realised_rate": realised,
    }
    return replace(data, labels=labels, true_labels=data.labels, noise=noise)


def _read(path: Path) -> tuple[AnyArray, IntArray]:
    """Return ids and labels."""
    if path.is_dir():
        run = open_run(path)
        return run.ids, run.labels
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    raise ValueError(
        f"Labels must be a run directory or a file named .csv, .parquet or .npy, got {path}."
    )


def _read_csv(path: Path) -> tuple[AnyArray, IntArray]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _check_columns(path, list(reader.fieldnames or ()))
        pairs = [(row["id"], row["label"]) for row in reader]
    wrong = [pair for pair in pairs if not (pair[0] and (pair[1] or "").strip().isdecimal())]
    if wrong:
        raise ValueError(
            f"{path} must have an id and a class number in each row, got {len(wrong)} rows that "
            f"have not, the first {wrong[0]}."
        )
    ids = np.array([pair[0] for pair in pairs], dtype=np.str_)
    return ids, np.array([int(pair[1]) for pair in pairs], dtype=np.int64)


def _read_parquet(path: Path) -> tuple[AnyArray, IntArray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    _check_columns(path, table.column_names)
    return identifiers(table["id"].to_numpy()), integers("label", table["label"].to_numpy())


def _check_columns(path: Path, columns: list[str]) -> None:
    if not {"id", "label"} <= set(columns):
        raise ValueError(
            f"{path} must have the columns id and label, got {', '.join(columns) or 'none'}."
        )


def _in_order_of(wanted: AnyArray, ids: AnyArray, labels: IntArray, path: Path) -> IntArray:
    # A text file does not tell numbers from strings, and a number has one way to be written.
    keys, found = wanted.astype(np.str_), ids.astype(np.str_)
    order = np.argsort(found, kind="stable")
    found, labels = found[order], labels[order]
    if (found[1:] == found[:-1]).any():
        twice = np.unique(found[1:][found[1:] == found[:-1]])
        raise ValueError(f"{path} must have each id once, got {twice.size} again: {first(twice)}.")
    missing, unknown = np.setdiff1d(keys, found), np.setdiff1d(found, keys)
    if missing.size or unknown.size:
        raise ValueError(
            f"{path} must have a label for each of the {keys.size} samples and no others; "
            f"{missing.size} are missing ({first(missing)}), {unknown.size} are unknown "
            f"({first(unknown)}). Were the labels saved of another data set or subset?"
        )
    return labels[np.searchsorted(found, keys)]
