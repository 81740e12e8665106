"""Encoded images in Parquet files, as the CIFAR copies of ``shared/data`` are."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import IntArray, integers
from noisyselect.torch.data.class_names import numbered, read_class_names
from noisyselect.torch.data.subset import subset_rows
from noisyselect.torch.data.training_data import TrainingData


def read_image_parquet(folder: Path, subset: int | None) -> TrainingData:
    """Return the data set of ``train.parquet`` and ``test.parquet``, columns `image` and `label`.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file or column is absent, or images differ in size.
    """
    images, labels, ids = _decode(folder / "train.parquet", subset)
    test_inputs, test_labels, _ = _decode(folder / "test.parquet", None)
    return TrainingData(
        inputs=images,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        class_names=read_class_names(folder) or numbered(labels, test_labels),
        ids=ids,
        name=folder.name,
        folder=folder,
        superclasses=_superclasses(folder / "classes.json"),
    )


def _superclasses(path: Path) -> tuple[int, ...] | None:
    described = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "coarse_of_fine" not in described:
        return None
    return tuple(described["coarse_of_fine"])


def _decode(
    path: Path, subset: int | None
) -> tuple[npt.NDArray[np.uint8], IntArray, npt.NDArray[np.int64]]:
    """Return the decoded images (or those of the subset), their labels and their row numbers."""
    import pyarrow.parquet as pq
    from PIL import Image

    if not path.is_file():
        raise FileNotFoundError(f"The data set needs {path}, which is absent.")
    table = pq.read_table(path)
    missing = {"image", "label"} - set(table.column_names)
    if missing:
        raise ValueError(
            f"{path} must have the columns image and label, got {', '.join(table.column_names)}."
        )
    rows = subset_rows(table.num_rows, subset)
    table = table.take(rows)
    pixels = [
        np.asarray(Image.open(io.BytesIO(code)).convert("RGB"))
        for code in table["image"].to_pylist()
    ]
    if len({image.shape for image in pixels}) != 1:
        raise ValueError(f"All images of {path} must have one size.")
    images = np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))
    return images, integers("label", table["label"].to_numpy()), rows
