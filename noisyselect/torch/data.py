"""Images and their labels: where they come from, how labels go wrong, how batches leave them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from noisyselect.arrays import (
    AnyArray,
    IntArray,
    check_classes,
    check_shape,
    integers,
    read_only,
    sample_ids,
)
from noisyselect.noise import CIFAR10_FLIPS, asymmetric, corrupt, symmetric
from noisyselect.selection import Selection

# Where `load_data` looks for data sets that it knows by name, relative to the working directory.
DATA_HOME = Path("../shared/data")


@dataclass(frozen=True, eq=False)
class ImageData:
    """A training set with given labels and a test set with labels known to be right.

    Parameters
    ----------
    images, test_images : array, shape (n_samples, n_channels, height, width)
        Pixels of any real type and scale, for example uint8; the trainer normalises them.
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels, possibly wrong: all that a method sees.
    test_labels : array of int, shape (n_test,)
    class_names : tuple of str
        One for each class.
    true_labels : array of int, shape (n_samples,), optional
        For reports and measures only; no method sees them.
    ids : array of int or str, shape (n_samples,), optional
        By default 0, 1, ...
    name : str, default="images"
    noise : dict, optional
        How the labels were made wrong: ``kind``, ``nominal_rate`` and ``realised_rate`` (share of
        labels that differ from the true ones). For reports only.
    folder : Path, optional
        Where the data set was read from.
    superclasses : tuple of int, optional
        The superclass of each class.

    Raises
    ------
    ValueError
        If shapes disagree or a label is out of range.
    """

    images: AnyArray
    labels: IntArray
    test_images: AnyArray
    test_labels: IntArray
    class_names: tuple[str, ...]
    true_labels: IntArray | None = None
    ids: AnyArray = None  # type: ignore[assignment]
    name: str = "images"
    noise: dict[str, Any] | None = None
    folder: Path | None = None
    superclasses: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for images, labels, axis in (
            ("images", "labels", "n_samples"),
            ("test_images", "test_labels", "n_test"),
        ):
            values, classes = getattr(self, images), integers(labels, getattr(self, labels))
            shape = {axis: None, "n_channels": None, "height": None, "width": None}
            check_shape(images, values, shape, "Grey images need an axis of one channel.")
            check_shape(labels, classes, {axis: len(values)}, f"It must match `{images}`.")
            check_classes(labels, classes, self.n_classes)
            object.__setattr__(self, images, read_only(values))
            object.__setattr__(self, labels, read_only(classes.astype(np.int64)))
        if self.true_labels is not None:
            truth = integers("true_labels", self.true_labels)
            check_shape("true_labels", truth, {"n_samples": self.n_samples})
            check_classes("true_labels", truth, self.n_classes)
            object.__setattr__(self, "true_labels", read_only(truth.astype(np.int64)))
        object.__setattr__(self, "ids", read_only(sample_ids(self.ids, self.n_samples)))

    @property
    def n_samples(self) -> int:
        """Number of training images."""
        return len(self.images)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load_data(
    name: str, data_dir: str | Path | None = None, *, subset: int | None = None
) -> ImageData:
    """Return a data set with the labels that it comes with.

    Parameters
    ----------
    name : str
        ``"digits"`` (1437 and 360 images of 8x8, embedded in scikit-learn; one fixed stratified
        split), ``"cifar10"``, ``"cifar100"``, or a path. A path is a folder with ``train.parquet``
        and ``test.parquet`` (encoded images in `image`, integers in `label`), a folder with the
        binary files of CIFAR-10 (``data_batch_1.bin`` ... and ``test_batch.bin``), or an ``.npz``
        file with ``x_train``, ``y_train``, ``x_test``, ``y_test``.
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
    return replace(data, images=data.images[rows], labels=data.labels[rows], ids=rows)


def with_noise(
    data: ImageData,
    kind: Literal["sym", "asym", "human", "none"],
    rate: float = 0.0,
    *,
    seed: int = 0,
    human_column: str = "random1",
) -> ImageData:
    """Return the data with wrong labels among the given ones, and its own labels as the true ones.

    Parameters
    ----------
    data : ImageData
        Its labels are taken for true.
    kind : {"sym", "asym", "human", "none"}
        Symmetric noise (any class, the true one included), asymmetric noise (on CIFAR-10 five
        classes become one that looks alike, elsewhere each becomes the next of its superclass, or
        simply the next), labels that people gave (column `human_column` of ``human_labels.parquet``
        beside the images), or the labels as they are, about whose truth nothing is then said.
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
        return replace(data, true_labels=None, noise={"kind": "none"})
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


def _digits() -> ImageData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # 0..16 become 0..240 without rounding.
    images = (digits.images * 15).astype(np.uint8)[:, None]
    train, test = train_test_split(
        np.arange(len(images)), test_size=360, stratify=digits.target, random_state=0
    )
    return ImageData(
        images=images[train],
        labels=digits.target[train],
        test_images=images[test],
        test_labels=digits.target[test],
        class_names=tuple(str(name) for name in digits.target_names),
        name="digits",
    )


def _read(path: Path, subset: int | None) -> ImageData:
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


def _read_npz(path: Path) -> ImageData:
    names = ("x_train", "y_train", "x_test", "y_test")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in names if name not in file]
        if missing:
            raise ValueError(
                f"{path} must hold {', '.join(names)}; it lacks {', '.join(missing)} and has "
                f"{', '.join(file.files)}."
            )
        x_train, y_train, x_test, y_test = (file[name] for name in names)
    labels, test_labels = integers("y_train", y_train).ravel(), integers("y_test", y_test).ravel()
    n_classes = int(max(labels.max(), test_labels.max())) + 1
    return ImageData(
        images=_channels_first("x_train", x_train),
        labels=labels,
        test_images=_channels_first("x_test", x_test),
        test_labels=test_labels,
        class_names=tuple(str(c) for c in range(n_classes)),
        name=path.stem,
        folder=path.parent,
    )


def _channels_first(name: str, images: AnyArray) -> AnyArray:
    if images.ndim == 3:
        return images[:, None]
    shape = dict.fromkeys(("n_samples", "height", "width", "n_channels"))
    check_shape(name, images, shape, "Grey images may also be (n_samples, height, width).")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _read_cifar_binary(folder: Path) -> ImageData:
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
    return ImageData(
        images=train[:, 1:].reshape(-1, 3, 32, 32),
        labels=train[:, 0],
        test_images=test[:, 1:].reshape(-1, 3, 32, 32),
        test_labels=test[:, 0],
        class_names=_CIFAR10,
        name=folder.name,
        folder=folder,
    )


_CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def _read_parquet(folder: Path, subset: int | None) -> ImageData:
    images, labels, ids = _decode(folder / "train.parquet", subset)
    test_images, test_labels, _ = _decode(folder / "test.parquet", None)
    classes = folder / "classes.json"
    superclasses = None
    if classes.is_file():
        described = json.loads(classes.read_text(encoding="utf-8"))
        names = described["fine"]
        if "coarse_of_fine" in described:
            superclasses = tuple(described["coarse_of_fine"])
    else:
        names = [str(c) for c in range(int(max(labels.max(), test_labels.max())) + 1)]
    return ImageData(
        images=images,
        labels=labels,
        test_images=test_images,
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
    data: ImageData, kind: Literal["sym", "asym"], rate: float, seed: int
) -> IntArray:
    if kind == "sym":
        return corrupt(data.labels, symmetric(data.n_classes, rate), seed)
    if kind == "asym":
        return corrupt(data.labels, asymmetric(data.n_classes, rate, _flips(data)), seed)
    raise ValueError(f"`kind` must be 'sym', 'asym', 'human' or 'none', got {kind!r}.")


def _flips(data: ImageData) -> Mapping[int, int]:
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


def _human_labels(data: ImageData, column: str) -> IntArray:
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


class Pixels:
    """Images as one tensor on a device, normalised when a batch leaves it.

    Parameters
    ----------
    images : array of shape (n_samples, n_channels, height, width)
        Of any real type; uint8 takes a quarter of the memory of floats.
    device : torch.device
    like : Pixels, optional
        Normalise with the mean and deviation of these: test images with those of the training set.
    """

    def __init__(self, images: AnyArray, device: torch.device, like: Pixels | None = None) -> None:
        # A copy: torch does not know read-only arrays.
        self.images = torch.from_numpy(np.array(images)).to(device)
        if like is None:
            values = self.images.float()
            self.mean = values.mean(dim=(0, 2, 3), keepdim=True)
            # A channel that is constant stays so, at 0.
            self.std = values.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
        else:
            self.mean, self.std = like.mean, like.std

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def raw(self, rows: Tensor) -> Tensor:
        """Return the images of `rows` as they were given, which is what is augmented."""
        return self.images.index_select(0, rows)

    def normalise(self, images: Tensor) -> Tensor:
        """Return floats of mean 0 and deviation 1 per channel over the training set."""
        return (images.float() - self.mean) / self.std


class SelectedImages(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The labelled images of a selection, its synthetic ones included, for any loop.

    Parameters
    ----------
    images : Tensor of shape (n_samples, n_channels, height, width)
        In the order of the selection's samples. Any shape beyond the first axis will do.
    labels : array of int or Tensor, shape (n_samples,)
        Given labels.
    selection : Selection
        Real rows are its clean samples, in order; then come the rows of its recipes.

    Notes
    -----
    An index is an int or, for a whole batch at once, a tensor of ints, with which
    ``DataLoader(selected, sampler=BatchSampler(...), batch_size=None)`` needs no collation. Items
    are image (float), label (int64) and trust (float in [0, 1], 1 for synthetic samples).

    Examples
    --------
    >>> from noisyselect import MixupRecipes, Selection
    >>> recipe = MixupRecipes(anchors=[0], partners=[2], lam=[0.75], labels=[1])
    >>> selection = Selection(clean=[True, True, False], trust=[0.9, 0.8, 0], synthetic=recipe)
    >>> selected = SelectedImages(torch.tensor([[4.0], [5.0], [8.0]]), [1, 0, 0], selection)
    >>> selected[2]
    (tensor([5.]), tensor(1), tensor(1.))
    """

    def __init__(
        self, images: Tensor, labels: npt.ArrayLike | Tensor, selection: Selection
    ) -> None:
        given = integers("labels", labels)
        check_shape("images", selection.ids, {"n_samples": len(images)}, "Of one selection.")
        check_shape("labels", given, {"n_samples": len(images)}, "It must match `images`.")
        rows = np.flatnonzero(selection.clean)
        trust = selection.trust[rows]
        columns: list[AnyArray] = [rows, rows, np.ones(rows.size), given[rows], trust]
        recipes = selection.synthetic
        self.n_synthetic = 0 if recipes is None else len(recipes)
        if recipes is not None and self.n_synthetic:
            made = (
                _rows_of(recipes.anchors, selection.ids),
                _rows_of(recipes.partners, selection.ids),
                recipes.lam,
                recipes.labels,
                np.ones(self.n_synthetic),
            )
            columns = [np.concatenate(pair) for pair in zip(columns, made, strict=True)]

        def tensor(values: AnyArray, dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(values).to(images.device, dtype)

        self.images = images
        self.anchors, self.partners = (tensor(part, torch.int64) for part in columns[:2])
        self.lam, self.labels = tensor(columns[2], torch.float32), tensor(columns[3], torch.int64)
        self.trust = tensor(columns[4], torch.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image, label and trust; of a batch where `index` is a tensor."""
        images = self.images[self.anchors[index]].float()
        if self.n_synthetic:
            lam = self.lam[index]
            lam = lam.view(*lam.shape, *[1] * (self.images.ndim - 1))
            images = torch.lerp(self.images[self.partners[index]].float(), images, lam)
        return images, self.labels[index], self.trust[index]


def _rows_of(wanted: AnyArray, ids: AnyArray) -> npt.NDArray[np.intp]:
    order = np.argsort(ids, kind="stable")
    rows: npt.NDArray[np.intp] = order[np.searchsorted(ids, wanted, sorter=order)]
    return rows
