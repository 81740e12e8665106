"""Samples and their labels: where they come from, and how labels go wrong."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
    check_classes,
    check_shape,
    integers,
    read_only,
    sample_ids,
)
from noisyselect.noise import CIFAR10_FLIPS, asymmetric, corrupt, symmetric

# Where `load_data` looks for data sets that it knows by name, relative to the working directory.
DATA_HOME = Path("../shared/data")


# The axes of a sample, and what is usually wrong where they are missing.
_AXES = {
    "images": (("n_channels", "height", "width"), "Grey images need an axis of one channel."),
    "features": (("n_views", "n_features"), "Features of one view need an axis of one view."),
}


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A training set with given labels and a test set with labels known to be right.

    Parameters
    ----------
    inputs, test_inputs : array, shape (n_samples, n_channels, height, width) or \
            (n_samples, n_views, n_features)
        Images, or features of one or several views of each sample, the first that of the sample
        itself. Of any real type and scale, for example uint8; the trainer normalises them.
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels, possibly wrong: all that a method sees.
    test_labels : array of int, shape (n_test,)
    class_names : tuple of str
        One for each class.
    true_labels : array of int, shape (n_samples,), optional
        For reports and measures only; no method sees them.
    ids : array of int or str, shape (n_samples,), optional
        By default 0, 1, ...
    name : str, default="data"
    noise : dict, optional
        How the labels were made wrong: ``kind``, ``nominal_rate`` and ``realised_rate`` (share of
        labels that differ from the true ones). For reports only.
    folder : Path, optional
        Where the data set was read from.
    superclasses : tuple of int, optional
        The superclass of each class.
    kind : {"images", "features"}, default="images"
        What `inputs` are.

    Raises
    ------
    ValueError
        If shapes disagree or a label is out of range.
    """

    inputs: AnyArray
    labels: IntArray
    test_inputs: AnyArray
    test_labels: IntArray
    class_names: tuple[str, ...]
    true_labels: IntArray | None = None
    ids: AnyArray = None  # type: ignore[assignment]
    name: str = "data"
    noise: dict[str, Any] | None = None
    folder: Path | None = None
    superclasses: tuple[int, ...] | None = None
    kind: Literal["images", "features"] = "images"

    def __post_init__(self) -> None:
        if self.kind not in _AXES:
            raise ValueError(f"`kind` must be 'images' or 'features', got {self.kind!r}.")
        axes, hint = _AXES[self.kind]
        for inputs, labels, axis in (
            ("inputs", "labels", "n_samples"),
            ("test_inputs", "test_labels", "n_test"),
        ):
            values, classes = getattr(self, inputs), integers(labels, getattr(self, labels))
            check_shape(inputs, values, dict.fromkeys((axis, *axes)), hint)
            check_shape(labels, classes, {axis: len(values)}, f"It must match `{inputs}`.")
            check_classes(labels, classes, self.n_classes)
            object.__setattr__(self, inputs, read_only(values))
            object.__setattr__(self, labels, read_only(classes.astype(np.int64)))
        if self.test_inputs.shape[2:] != self.inputs.shape[2:]:
            raise ValueError(
                f"`test_inputs` must have the size of `inputs`, {self.inputs.shape[2:]}, "
                f"got {self.test_inputs.shape[2:]}."
            )
        if self.true_labels is not None:
            truth = integers("true_labels", self.true_labels)
            check_shape("true_labels", truth, {"n_samples": self.n_samples})
            check_classes("true_labels", truth, self.n_classes)
            object.__setattr__(self, "true_labels", read_only(truth.astype(np.int64)))
        object.__setattr__(self, "ids", read_only(sample_ids(self.ids, self.n_samples)))

    @property
    def n_samples(self) -> int:
        """Number of training samples."""
        return len(self.inputs)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load_data(
    name: str, data_dir: str | Path | None = None, *, subset: int | None = None
) -> TrainingData:
    """Return a data set with the labels that it comes with.

    Parameters
    ----------
    name : str
        ``"digits"`` (1437 and 360 images of 8x8, embedded in scikit-learn; one fixed stratified
        split), ``"cifar10"``, ``"cifar100"``, or a path. A path is a folder with ``train.parquet``
        and ``test.parquet`` (encoded images in `image`, integers in `label`), a folder with the
        binary files of CIFAR-10 (``data_batch_1.bin`` ... and ``test_batch.bin``), or an ``.npz``
        file of images (``x_train``, ``y_train``, ``x_test``, ``y_test``, channels last, and
        ``true_train`` where the true labels of training are known) or of features, as
        `save_features` writes it (``features``, ``labels``, ``test_features``, ``test_labels``, and
        ``true_labels`` where known; features of one view need no axis for it).
    data_dir : path, optional
        The folder of ``"cifar10"`` or ``"cifar100"``. By default `DATA_HOME` / `name`.
    subset : int, optional
        Use so many training images, always the same ones. They keep the ids that they have in the
        whole set, which are its row numbers.

    Raises
    ------
    FileNotFoundError
        If nothing is where the data set was looked for; the message names the files.
    ValueError
        If the files are not as described, or `subset` is out of range.
    """
    if name == "digits":
        data = _digits()
    else:
        path = Path(data_dir or DATA_HOME / name if name in ("cifar10", "cifar100") else name)
        data = _read(path, subset)
    if subset is None or data.n_samples == subset:
        return data
    rows = _subset_rows(data.n_samples, subset)
    return replace(data, inputs=data.inputs[rows], labels=data.labels[rows], ids=data.ids[rows])


def with_noise(
    data: TrainingData,
    kind: Literal["sym", "asym", "human", "none"],
    rate: float = 0.0,
    *,
    seed: int = 0,
    human_column: str = "random1",
) -> TrainingData:
    """Return the data with wrong labels among the given ones, and its own labels as the true ones.

    Parameters
    ----------
    data : TrainingData
        Its labels are taken for true.
    kind : {"sym", "asym", "human", "none"}
        Symmetric noise (any class, the true one included), asymmetric noise (on CIFAR-10 five
        classes become one that looks alike, elsewhere each becomes the next of its superclass, or
        simply the next), labels that people gave (column `human_column` of ``human_labels.parquet``
        beside the images), or the labels as they are.
    rate : float in [0, 1], default=0.0
        Nominal noise rate; ignored for human labels.
    seed : int, default=0
    human_column : str, default="random1"

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no human labels, or an option is out of range.
    """
    if kind == "none":
        return replace(data, noise={"kind": "none"})
    if not 0 <= rate <= 1:
        raise ValueError(f"`rate` must lie in [0, 1], got {rate!r}.")
    labels = (
        _human_labels(data, human_column)
        if kind == "human"
        else _corrupted_labels(data, kind, rate, seed)
    )
    realised = float(np.mean(labels != data.labels))
    noise = {
        "kind": kind,
        "nominal_rate": realised if kind == "human" else rate,
        "realised_rate": realised,
    }
    return replace(data, labels=labels, true_labels=data.labels, noise=noise)


def _digits() -> TrainingData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # 0..16 become 0..240 without rounding.
    images = (digits.images * 15).astype(np.uint8)[:, None]
    train, test = train_test_split(
        np.arange(len(images)), test_size=360, stratify=digits.target, random_state=0
    )
    return TrainingData(
        inputs=images[train],
        labels=digits.target[train],
        test_inputs=images[test],
        test_labels=digits.target[test],
        class_names=tuple(str(name) for name in digits.target_names),
        name="digits",
    )


def _read(path: Path, subset: int | None) -> TrainingData:
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path)
    if (path / "train.parquet").is_file():
        return _read_parquet(path, subset)
    if (path / "data_batch_1.bin").is_file():
        return _read_cifar_binary(path)
    raise FileNotFoundError(
        f"No data set at {path}: looked for {path / 'train.parquet'}, {path / 'data_batch_1.bin'}, "
        f"and for {path} as an .npz file. Pass the folder (`data_dir`, --data-dir) or file that "
        "holds one of them."
    )


def save_features(
    path: str | Path, data: TrainingData, features: FloatArray, test_features: FloatArray
) -> None:
    """Write features of a data set as an ``.npz`` file that `load_data` reads.

    Parameters
    ----------
    path : path
    data : TrainingData
        Whose labels, ids, class names and folder go along, so that noise can be made as for the
        data set itself.
    features : array of float, shape (n_samples, n_views, n_features)
        Of the training samples, in their order; view 0 is that of the sample itself.
    test_features : array of float, shape (n_test, n_views, n_features)

    Raises
    ------
    OSError
        If the file cannot be written; an earlier one of this name stays.
    """
    columns: dict[str, Any] = {
        "features": features,
        "labels": data.labels,
        "test_features": test_features,
        "test_labels": data.test_labels,
        "ids": data.ids,
        "class_names": data.class_names,
        "name": data.name,
    }
    if data.true_labels is not None:
        columns["true_labels"] = data.true_labels
    if data.folder is not None:
        columns["folder"] = str(data.folder.resolve())
    if data.superclasses is not None:
        columns["superclasses"] = data.superclasses
    beside = Path(path).with_suffix(".npz.tmp")
    with beside.open("wb") as file:
        np.savez(file, **columns)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _read_npz(path: Path) -> TrainingData:
    with np.load(path, allow_pickle=False) as file:
        if "features" in file:
            return _read_features(path, dict(file))
    return _read_image_arrays(path)


def _read_features(path: Path, arrays: dict[str, AnyArray]) -> TrainingData:
    missing = [n for n in ("labels", "test_features", "test_labels") if n not in arrays]
    if missing:
        raise ValueError(
            f"{path} must hold features, labels, test_features and test_labels; it lacks "
            f"{', '.join(missing)}."
        )
    # Features of one view need no axis for it.
    inputs, test_inputs = (
        values[:, None] if values.ndim == 2 else values
        for values in (arrays["features"], arrays["test_features"])
    )
    labels, test_labels = arrays["labels"], arrays["test_labels"]
    n_classes = int(max(labels.max(), test_labels.max())) + 1
    names = arrays.get("class_names", np.arange(n_classes))
    return TrainingData(
        inputs=inputs,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        class_names=tuple(str(name) for name in names.tolist()),
        true_labels=arrays.get("true_labels"),
        ids=arrays.get("ids"),  # type: ignore[arg-type]
        name=str(arrays.get("name", path.stem)),
        folder=Path(str(arrays.get("folder", path.parent))),
        superclasses=tuple(arrays["superclasses"].tolist()) if "superclasses" in arrays else None,
        kind="features",
    )


def _read_image_arrays(path: Path) -> TrainingData:
    names = ("x_train", "y_train", "x_test", "y_test")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in names if name not in file]
        if missing:
            raise ValueError(
                f"{path} must hold {', '.join(names)}; it lacks {', '.join(missing)} and has "
                f"{', '.join(file.files)}."
            )
        x_train, y_train, x_test, y_test = (file[name] for name in names)
        truth = file["true_train"].ravel() if "true_train" in file else None
    labels, test_labels = integers("y_train", y_train).ravel(), integers("y_test", y_test).ravel()
    n_classes = int(max(labels.max(), test_labels.max())) + 1
    return TrainingData(
        inputs=_channels_first("x_train", x_train),
        labels=labels,
        test_inputs=_channels_first("x_test", x_test),
        test_labels=test_labels,
        class_names=tuple(str(c) for c in range(n_classes)),
        true_labels=truth,
        name=path.stem,
        folder=path.parent,
    )


def _channels_first(name: str, images: AnyArray) -> AnyArray:
    if images.ndim == 3:
        return images[:, None]
    shape = dict.fromkeys(("n_samples", "height", "width", "n_channels"))
    check_shape(name, images, shape, "Grey images may also be (n_samples, height, width).")
    if images.shape[3] not in (1, 3, 4):
        raise ValueError(
            f"`{name}` must have 1, 3 or 4 channels in its last axis, got shape {images.shape}. "
            "Channels come last in such files."
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _read_cifar_binary(folder: Path) -> TrainingData:
    def records(paths: list[Path]) -> npt.NDArray[np.uint8]:
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"CIFAR-10's binary version needs {path}, which is absent.")
            if path.stat().st_size % 3073:
                raise ValueError(
                    f"{path} must hold records of 3073 bytes, got {path.stat().st_size} bytes: it "
                    "is truncated or not of CIFAR-10's binary version."
                )
        return np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])

    train = records(sorted(folder.glob("data_batch_*.bin")))
    test = records([folder / "test_batch.bin"])
    return TrainingData(
        inputs=train[:, 1:].reshape(-1, 3, 32, 32),
        labels=train[:, 0],
        test_inputs=test[:, 1:].reshape(-1, 3, 32, 32),
        test_labels=test[:, 0],
        class_names=_CIFAR10,
        name=folder.name,
        folder=folder,
    )


_CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def _read_parquet(folder: Path, subset: int | None) -> TrainingData:
    images, labels, ids = _decode(folder / "train.parquet", subset)
    test_inputs, test_labels, _ = _decode(folder / "test.parquet", None)
    classes = folder / "classes.json"
    superclasses = None
    if classes.is_file():
        described = json.loads(classes.read_text(encoding="utf-8"))
        names = described["fine"]
        if "coarse_of_fine" in described:
            superclasses = tuple(described["coarse_of_fine"])
    else:
        names = [str(c) for c in range(int(max(labels.max(), test_labels.max())) + 1)]
    return TrainingData(
        inputs=images,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        class_names=tuple(names),
        ids=ids,
        name=folder.name,
        folder=folder,
        superclasses=superclasses,
    )


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
    rows = np.arange(table.num_rows) if subset is None else _subset_rows(table.num_rows, subset)
    table = table.take(rows)
    pixels = [
        np.asarray(Image.open(io.BytesIO(code)).convert("RGB"))
        for code in table["image"].to_pylist()
    ]
    if len({image.shape for image in pixels}) != 1:
        raise ValueError(f"All images of {path} must have one size.")
    images = np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))
    return images, integers("label", table["label"].to_numpy()), rows


def _subset_rows(n_samples: int, subset: int) -> npt.NDArray[np.int64]:
    if not 1 <= subset <= n_samples:
        raise ValueError(f"`subset` must lie in [1, n_samples] = [1, {n_samples}], got {subset!r}.")
    # Random, as files may be ordered by class; and always the same, whatever the seed of the run.
    return np.sort(np.random.default_rng(0).permutation(n_samples)[:subset])


def _corrupted_labels(
    data: TrainingData, kind: Literal["sym", "asym"], rate: float, seed: int
) -> IntArray:
    if kind == "sym":
        return corrupt(data.labels, symmetric(data.n_classes, rate), seed)
    if kind == "asym":
        return corrupt(data.labels, asymmetric(data.n_classes, rate, _flips(data)), seed)
    raise ValueError(f"`kind` must be 'sym', 'asym', 'human' or 'none', got {kind!r}.")


def _flips(data: TrainingData) -> Mapping[int, int]:
    """Return which class each class is mistaken for."""
    if data.class_names == _CIFAR10:
        return CIFAR10_FLIPS
    groups = [0] * data.n_classes if data.superclasses is None else data.superclasses
    members = [
        [c for c, group in enumerate(groups) if group == wanted] for wanted in sorted(set(groups))
    ]
    return {
        source: target
        for group in members
        if len(group) > 1
        for source, target in zip(group, group[1:] + group[:1], strict=True)
    }


def _human_labels(data: TrainingData, column: str) -> IntArray:
    import pyarrow.parquet as pq

    path = None if data.folder is None else data.folder / "human_labels.parquet"
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"Human labels of {data.name} are read from human_labels.parquet beside the images, "
            f"got no such file{'' if path is None else f' at {path}'}. Use another kind of noise."
        )
    table = pq.read_table(path)
    if column not in table.column_names:
        raise ValueError(
            f"`human_column` must be one of {', '.join(table.column_names)}, got {column!r}."
        )
    if table.num_rows <= data.ids.max():
        raise ValueError(
            f"{path} must have a row for each training image, got {table.num_rows} rows and row "
            f"number {data.ids.max()}."
        )
    return integers(column, table[column].to_numpy())[data.ids]
