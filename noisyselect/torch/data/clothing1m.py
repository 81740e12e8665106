"""Clothing1M, from its own lists of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisyselect.arrays import IntArray
from noisyselect.torch.data.class_names import names_of_lines
from noisyselect.torch.data.image_files import ImageFiles
from noisyselect.torch.data.subset import subset_rows
from noisyselect.torch.data.training_data import TrainingData

# Xiao et al., "Learning from massive noisy labeled data for image classification", CVPR 2015.
CLOTHING1M_CLASSES = (
    "T-Shirt", "Shirt", "Knitwear", "Chiffon", "Sweater", "Hoodie", "Windbreaker", "Jacket",
    "Down Coat", "Suit", "Shawl", "Dress", "Vest", "Underwear",
)  # fmt: skip


def read_clothing1m(folder: Path, lists: Path, subset: int | None, size: int) -> TrainingData:
    """Return the noisy training set and the clean validation and test sets; images in their files.

    Parameters
    ----------
    folder : Path
        To which the paths in the lists are relative.
    lists : Path
        The folder of the lists.
    subset : int, optional
    size : int
        Height and width in pixels of the images when they are read.

    Raises
    ------
    FileNotFoundError
        If a list, or the first image of one, is absent.
    ValueError
        If a list has a line that is none, or a file has no label.
    """
    noisy, clean = _labels(lists / "noisy_label_kv.txt"), _labels(lists / "clean_label_kv.txt")
    train = _keys(folder, lists / "noisy_train_key_list.txt")
    ids = subset_rows(len(train), subset)
    train = [train[row] for row in ids]
    val = _keys(folder, lists / "clean_val_key_list.txt")
    test = _keys(folder, lists / "clean_test_key_list.txt")
    names = lists / "category_names_eng.txt"
    return TrainingData(
        inputs=ImageFiles(folder, train, size),
        labels=_labels_of(train, noisy, lists / "noisy_label_kv.txt"),
        test_inputs=ImageFiles(folder, test, size),
        test_labels=_labels_of(test, clean, lists / "clean_label_kv.txt"),
        class_names=names_of_lines(names) if names.is_file() else CLOTHING1M_CLASSES,
        # Some 37,000 images have both labels, so shorter lists than the whole one may get here.
        true_labels=_labels_of(train, clean, lists) if clean.keys() >= set(train) else None,
        ids=ids,
        name="clothing1m",
        folder=folder,
        val_inputs=ImageFiles(folder, val, size),
        val_labels=_labels_of(val, clean, lists / "clean_label_kv.txt"),
    )


def _keys(folder: Path, path: Path) -> list[str]:
    keys = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not keys:
        raise ValueError(f"{path} must name at least one image, got none.")
    if not (folder / keys[0]).is_file():
        raise FileNotFoundError(
            f"{path} names {keys[0]}, which is not in {folder}. Unpack the images there, so that "
            "the paths of the lists lead to them."
        )
    return keys


def _labels(path: Path) -> dict[str, int]:
    labels = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        key, _, label = line.strip().rpartition(" ")
        if not (key and label.isdecimal()):
            raise ValueError(
                f"{path}: line {number} must be a path and a class number, got {line!r}."
            )
        labels[key.strip()] = int(label)
    return labels


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"Clothing1M needs {path}, which is absent.")
    return path.read_text(encoding="utf-8")


def _labels_of(keys: list[str], labels: dict[str, int], path: Path) -> IntArray:
    absent = [key for key in keys if key not in labels]
    if absent:
        raise ValueError(
            f"{path} must have a label for each image, got none for {len(absent)} of {len(keys)}, "
            f"the first {absent[0]}."
        )
    return np.array([labels[key] for key in keys], dtype=np.int64)
