"""Data sets by name or path."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisyselect.torch.data.cifar import read_cifar_binary
from noisyselect.torch.data.clothing1m import read_clothing1m
from noisyselect.torch.data.digits import digits
from noisyselect.torch.data.features import (
    feature_arrays,
    read_feature_files,
    read_feature_parquet,
)
from noisyselect.torch.data.image_arrays import image_arrays
from noisyselect.torch.data.image_folder import read_image_folder
from noisyselect.torch.data.image_parquet import read_image_parquet
from noisyselect.torch.data.subset import subset_rows
from noisyselect.torch.data.training_data import TrainingData

# Where `load_data` looks for data sets that it knows by name, relative to the working directory.
DATA_HOME = Path("../shared/data")

_IN_DATA_HOME = ("cifar10", "cifar100", "clothing1m")


def load_data(
    name: str,
    data_dir: str | Path | None = None,
    *,
    subset: int | None = None,
    size: int | None = None,
) -> TrainingData:
    """Return a data set with the labels that it comes with.

    Parameters
    ----------
    name : str
        ``"digits"`` (1437 and 360 images of 8x8, embedded in scikit-learn; one fixed stratified
        split), ``"cifar10"``, ``"cifar100"``, ``"clothing1m"``, or a path, see Notes.
    data_dir : path, optional
        The folder of ``"cifar10"``, ``"cifar100"`` or ``"clothing1m"``. By default `DATA_HOME` /
        `name`.
    subset : int, optional
        Use so many training samples, always the same ones. They keep the ids that they have in the
        whole set.
    size : int, optional
        Of image folders and Clothing1M: height and width in pixels to which images are brought
        when they are read. By default 256; a folder of images of one size keeps it.

    Returns
    -------
    TrainingData
        Ids are row numbers where nothing else is said.

    Raises
    ------
    FileNotFoundError
        If nothing is where the data set was looked for; the message names the files.
    ValueError
        If the files are not as described, or `subset` or `size` is out of range.

    Notes
    -----
    What a path holds is told by its files, in this order.

    An ``.npz`` file of images: ``x_train``, ``y_train``, ``x_test``, ``y_test``, channels last, and
    ``true_train`` where the true labels of training are known.

    An ``.npz`` file of features, as `save_features` writes it: ``features``, shape (n_samples,
    n_features) or (n_samples, n_views, n_features), ``labels``, ``test_features``,
    ``test_labels``, and, where known, ``true_labels``, ``ids`` and ``class_names``.

    A folder with ``labels.csv`` and images anywhere below it. Columns: `file` (path relative to the
    folder), `label` (class name or number), `split` (train, val or test), and, if wanted,
    `true_label` (kept if every training row has one) and `id` (by default the number of the row,
    the first below the header being 0). Labels of val and test are taken for right. Which rows test
    has to be said: no split is drawn. ``classes.json`` (a list) or ``classes.txt`` (a name a line)
    gives the order of the classes, else it is alphabetical, or that of the numbers. Images of one
    size that take at most 2 GB are decoded at once; others, and all where `size` is given, stay in
    their files (`ImageFiles`).

    A folder with Clothing1M's own lists, ``noisy_train_key_list.txt`` and so on, itself or in
    ``annotations``. The training set has the noisy labels (the clean training images are not
    used), ``clean_val`` is for choosing a model, ``clean_test`` for testing. The id of a sample is
    its line in the list. Images stay in their files.

    A folder with ``features.npy``, ``labels.npy``, ``test_features.npy`` and ``test_labels.npy``
    (``true_labels.npy``, ``ids.npy``) as in an ``.npz`` file. Features are memory-mapped.

    A folder with ``train.parquet`` and ``test.parquet``: encoded images in `image`, or features as
    lists of one length in `feature` (or `feature_0`, `feature_1`, ... for several views); integers
    in `label`; with features, if wanted, `true_label` and `id`.

    A folder with the binary files of CIFAR-10, ``data_batch_1.bin`` ... and ``test_batch.bin``.

    Class names of ``.npy`` files and Parquet are read from ``classes.json`` or ``classes.txt``.
    """
    if name == "digits":
        data = digits()
    else:
        path = Path(data_dir or DATA_HOME / name if name in _IN_DATA_HOME else name)
        data = _read(path, subset, size)
    if subset is None or data.n_samples == subset:
        return data
    return data.take(subset_rows(data.n_samples, subset))


def _read(path: Path, subset: int | None, size: int | None) -> TrainingData:
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path)
    if (path / "labels.csv").is_file():
        return read_image_folder(path, subset, size)
    for lists in (path, path / "annotations"):
        if (lists / "noisy_train_key_list.txt").is_file():
            return read_clothing1m(path, lists, subset, 256 if size is None else size)
    if (path / "features.npy").is_file():
        return read_feature_files(path)
    if (path / "train.parquet").is_file():
        return _read_parquet(path, subset)
    if (path / "data_batch_1.bin").is_file():
        return read_cifar_binary(path)
    looked_for = (
        *("labels.csv", "noisy_train_key_list.txt", "features.npy", "train.parquet"),
        "data_batch_1.bin",
    )
    raise FileNotFoundError(
        f"No data set at {path}: looked there for {', '.join(looked_for)}, and for {path} as an "
        ".npz file. Pass the folder (`data_dir`, --data-dir) or file that holds one of them."
    )


def _read_npz(path: Path) -> TrainingData:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return feature_arrays(path, arrays) if "features" in arrays else image_arrays(path, arrays)


def _read_parquet(folder: Path, subset: int | None) -> TrainingData:
    import pyarrow.parquet as pq

    columns = pq.read_schema(folder / "train.parquet").names
    if "image" not in columns and any(name.startswith("feature") for name in columns):
        return read_feature_parquet(folder, subset)
    return read_image_parquet(folder, subset)
