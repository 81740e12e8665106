"""Labels that people gave: CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # the error only: nothing is unpickled here
from types import MappingProxyType
from typing import Any

import numpy as np

from noisyselect.arrays import AnyArray, IntArray, check_shape, integers
from noisyselect.torch.data.training_data import TrainingData

# Beside the images, in the order in which they are looked for.
_FILES = ("human_labels.parquet", "CIFAR-10_human.pt", "CIFAR-100_human.pt")

# What the columns of ``human_labels.parquet`` are called in the torch files.
_TORCH_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "aggregate": "aggre_label",
        "worst": "worse_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "noisy": "noisy_label",
    }
)


def human_labels(data: TrainingData, column: str, file: str | Path | None) -> IntArray:
    """Return the labels of a column, taken by row number, which the ids have to be.

    Parameters
    ----------
    data : TrainingData
        With the true labels.
    column : str
    file : path, optional
        By default it is looked for in the folder of `data`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it lacks the column or rows, or its rows are not those of the images.
    """
    path = _find(data, file)
    columns = _read_torch(path) if path.suffix == ".pt" else _read_parquet(path)
    name = _TORCH_NAMES.get(column, column) if path.suffix == ".pt" else column
    if name not in columns:
        raise ValueError(f"`human_column` must be one of {', '.join(columns)}, got {column!r}.")
    labels = integers(name, columns[name])
    check_shape(name, labels, {"n_rows": None})
    if data.ids.dtype.kind not in "iu":
        raise ValueError("Human labels are matched by row number, got ids that are strings.")
    if not 0 <= data.ids.min() <= data.ids.max() < labels.size:
        raise ValueError(
            f"{path} must have a row for each training image, got {labels.size} rows and row "
            f"numbers from {data.ids.min()} to {data.ids.max()}."
        )
    _check_alignment(path, columns.get("clean_label"), data)
    return labels[data.ids]


def _find(data: TrainingData, file: str | Path | None) -> Path:
    if file is not None:
        places = [Path(file)]
    else:
        places = [] if data.folder is None else [data.folder / name for name in _FILES]
    for path in places:
        if path.is_file():
            return path
    beside = "" if file is None and data.folder is None else f" at {places[0]}"
    raise FileNotFoundError(
        f"Human labels of {data.name} are read from {', '.join(_FILES)} beside the images or from "
        f"`human_file`, got no such file{beside}. Use another kind of noise."
    )


def _read_parquet(path: Path) -> dict[str, AnyArray]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _read_torch(path: Path) -> dict[str, AnyArray]:
    """Return the columns of a file of CIFAR-N's authors, which holds numpy arrays and lists."""
    import torch

    try:
        # Only what rebuilds arrays of integers is let in, so the file can run no code.
        with torch.serialization.safe_globals(_array_parts()):
            content = torch.load(path, weights_only=True)
        columns = {str(name): np.asarray(values) for name, values in content.items()}
    except (UnpicklingError, RuntimeError, AttributeError, ValueError, EOFError):
        raise ValueError(
            f"{path} must hold a dictionary of label arrays alone, as the files of CIFAR-N do, and "
            "torch must be 2.6 or later. Else save the columns as human_labels.parquet."
        ) from None
    if "clean_label" not in columns:
        raise ValueError(
            f"{path} must hold clean_label, which tells whether its rows are those of the images, "
            f"got {', '.join(columns)}."
        )
    return columns


def _array_parts() -> list[Any]:
    import codecs

    # What rebuilds an array, under its names in numpy 1 and 2.
    rebuild = np.empty(0).__reduce__()[0]
    names = (f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))
    return [
        *((rebuild, name) for name in names),
        np.ndarray,
        np.dtype,
        type(np.dtype(np.int64)),
        codecs.encode,
    ]


def _check_alignment(path: Path, clean: AnyArray | None, data: TrainingData) -> None:
    if clean is None:
        return
    same = clean[data.ids] == data.labels
    if not same.all():
        raise ValueError(
            f"The rows of {path} are not aligned with the images: its clean label is another one "
            f"for {(~same).sum()} of {same.size} images, the first with id {data.ids[~same][0]}. "
            "Human labels are matched by row number, so the images must stand in the original "
            "order of CIFAR's Python version, and `data` must have its true labels."
        )
