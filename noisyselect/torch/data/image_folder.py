"""A folder of images with a table of their labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from noisyselect.arrays import AnyArray, IntArray, first
from noisyselect.torch.data.class_names import read_class_names
from noisyselect.torch.data.image_files import ImageFiles, read_unresized
from noisyselect.torch.data.subset import subset_rows
from noisyselect.torch.data.training_data import TrainingData

# Images of one size are decoded at once up to here.
_MAX_BYTES = 2 * 10**9
_LARGE = 256


def read_image_folder(folder: Path, subset: int | None, size: int | None) -> TrainingData:
    """Return the data set that ``labels.csv`` describes, see `load_data`.

    Raises
    ------
    FileNotFoundError
        If an image is missing.
    ValueError
        If the table is not as described, or an image is damaged.
    """
    path = folder / "labels.csv"
    table = _table(path)
    rows = _rows_of_splits(path, table)
    rows["train"] = rows["train"][subset_rows(rows["train"].size, subset)]
    names = read_class_names(folder) or _names_in(table)
    labels = _class_numbers(path, "label", table["label"], names)
    inputs = _images(folder, {part: table["file"][rows[part]] for part in rows}, size)
    return TrainingData(
        inputs=inputs["train"],
        labels=labels[rows["train"]],
        test_inputs=inputs["test"],
        test_labels=labels[rows["test"]],
        class_names=names,
        true_labels=_true_labels(path, table, rows["train"], names),
        ids=_ids(table)[rows["train"]],
        name=folder.resolve().name,
        folder=folder,
        val_inputs=inputs.get("val"),
        val_labels=labels[rows["val"]] if "val" in rows else None,
    )


def _table(path: Path) -> dict[str, AnyArray]:
    """Return the columns as arrays of str objects."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        lines = [line for line in reader if line]
    absent = [name for name in ("file", "label") if name not in header]
    if absent:
        raise ValueError(
            f"{path} must begin with a header of at least file and label, it lacks "
            f"{', '.join(absent)} and has {', '.join(header) or 'nothing'}."
        )
    uneven = [line for line in lines if len(line) != len(header)]
    if uneven:
        raise ValueError(
            f"{path} must have {len(header)} fields a row as in its header, got {len(uneven)} "
            f"rows with others, the first {','.join(uneven[0])!r}. Quote fields with commas."
        )
    columns = np.array(lines, dtype=np.object_).reshape(-1, len(header)).T
    table = dict(zip(header, columns, strict=True))
    files, counts = np.unique(table["file"], return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{path} must name each file once, got {(counts > 1).sum()} more than once: "
            f"{first(files[counts > 1])}."
        )
    return table


def _rows_of_splits(path: Path, table: dict[str, AnyArray]) -> dict[str, IntArray]:
    if "split" not in table:
        raise ValueError(
            f"{path} must say which images test: no split is drawn for you. Add a column split "
            "that says train, val or test in each row."
        )
    rows = {part: np.flatnonzero(table["split"] == part) for part in ("train", "val", "test")}
    other = ~np.isin(table["split"], list(rows))
    if other.any():
        raise ValueError(
            f"{path}: `split` must be train, val or test, got {other.sum()} others, the first "
            f"{table['split'][other][0]!r}."
        )
    if not (rows["train"].size and rows["test"].size):
        raise ValueError(
            f"{path} must have images for train and for test, got {rows['train'].size} and "
            f"{rows['test'].size}."
        )
    return {part: found for part, found in rows.items() if found.size}


def _names_in(table: dict[str, AnyArray]) -> tuple[str, ...]:
    """Return the class names that occur: numbers up to the highest, or names in order."""
    values = (set(table["label"]) | set(table.get("true_label", ()))) - {""}
    if all(value.isdecimal() for value in values):
        return tuple(str(c) for c in range(1 + max(map(int, values), default=-1)))
    return tuple(sorted(values))


def _class_numbers(path: Path, column: str, values: AnyArray, names: tuple[str, ...]) -> IntArray:
    numbers = {name: number for number, name in enumerate(names)}
    if not numbers.keys() >= set(values) and all(value.isdecimal() for value in values):
        numbers = {str(number): number for number in range(len(names))}
    unknown = sorted(set(values) - numbers.keys())
    if unknown:
        raise ValueError(
            f"{path}: `{column}` must hold the names of the {len(names)} classes or numbers in "
            f"[0, {len(names)}), got {len(unknown)} others: {first(np.array(unknown))}."
        )
    return np.array([numbers[value] for value in values], dtype=np.int64)


def _true_labels(
    path: Path, table: dict[str, AnyArray], rows: IntArray, names: tuple[str, ...]
) -> IntArray | None:
    values = table["true_label"][rows] if "true_label" in table else np.array([""])
    if "" in values:
        return None
    return _class_numbers(path, "true_label", values, names)


def _ids(table: dict[str, AnyArray]) -> AnyArray:
    if "id" not in table:
        return np.arange(table["file"].size)
    ids = table["id"].astype(np.str_)
    if np.char.isdecimal(ids).all() and np.char.str_len(ids).max() < 19:
        numbers = ids.astype(np.int64)
        # "007" stays what it is.
        if np.array_equal(numbers.astype(np.str_), ids):
            return numbers
    return ids


def _images(
    folder: Path, files: dict[str, AnyArray], size: int | None
) -> dict[str, AnyArray | ImageFiles]:
    """Return the images of each part: decoded if of one size, else left in their files."""
    if size is None:
        every = np.concatenate(list(files.values()))
        pixels = read_unresized(folder, every, _MAX_BYTES)
        if pixels is not None:
            ends = np.cumsum([part.size for part in files.values()])
            return dict(zip(files, np.split(pixels, ends[:-1]), strict=True))
    return {
        part: ImageFiles(folder, names, _LARGE if size is None else size)
        for part, names in files.items()
    }
