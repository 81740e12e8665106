"""Features of any encoder: ``.npz`` and ``.npy`` files, or Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from noisyselect.arrays import AnyArray, FloatArray, integers
from noisyselect.errors import DamagedRunError
from noisyselect.torch.data.class_names import numbered, read_class_names
from noisyselect.torch.data.subset import subset_rows
from noisyselect.torch.data.training_data import TrainingData

_NAMES = ("features", "labels", "test_features", "test_labels")


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


def feature_arrays(path: Path, arrays: dict[str, AnyArray]) -> TrainingData:
    """Return the data set of the arrays that `save_features` names.

    Raises
    ------
    ValueError
        If one that is needed is missing, or shapes disagree.
    """
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise ValueError(f"{path} must hold {', '.join(_NAMES)}; it lacks {', '.join(missing)}.")
    labels, test_labels = (integers(name, arrays[name]) for name in ("labels", "test_labels"))
    names = arrays.get("class_names", np.array(numbered(labels, test_labels)))
    return TrainingData(
        inputs=_with_views(arrays["features"]),
        labels=labels,
        test_inputs=_with_views(arrays["test_features"]),
        test_labels=test_labels,
        class_names=tuple(str(name) for name in names.tolist()),
        true_labels=arrays.get("true_labels"),
        ids=arrays.get("ids"),  # type: ignore[arg-type]
        name=str(arrays.get("name", path.stem)),
        folder=Path(str(arrays.get("folder", path.parent))),
        superclasses=tuple(arrays["superclasses"].tolist()) if "superclasses" in arrays else None,
        kind="features",
    )


def _with_views(features: AnyArray) -> AnyArray:
    # Features of one view need no axis for it.
    return features[:, None] if features.ndim == 2 else features


def read_feature_files(folder: Path) -> TrainingData:
    """Return the data set of ``features.npy``, ``labels.npy`` and so on; features stay on disk.

    Raises
    ------
    ValueError
        If a file is missing or damaged, or shapes disagree.
    """
    arrays: dict[str, AnyArray] = {}
    for name in (*_NAMES, "true_labels", "ids"):
        path = folder / f"{name}.npy"
        if path.is_file():
            mapped: Literal["r"] | None = "r" if name.endswith("features") else None
            try:
                arrays[name] = np.load(path, mmap_mode=mapped, allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise ValueError(f"{path} cannot be read as an array: {error}.") from None
    names = read_class_names(folder)
    if names is not None:
        arrays["class_names"] = np.array(names)
    arrays |= {"name": np.array(folder.name), "folder": np.array(str(folder))}
    return feature_arrays(folder, arrays)


def read_feature_parquet(folder: Path, subset: int | None) -> TrainingData:
    """Return the data set of ``train.parquet`` and ``test.parquet``, lists in `feature`.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file or column is absent, or lists differ in length.
    """
    train, test = _table(folder / "train.parquet"), _table(folder / "test.parquet")
    rows = subset_rows(train.num_rows, subset)
    train = train.take(rows)
    arrays = {
        "features": _views(folder / "train.parquet", train),
        "labels": _column(folder / "train.parquet", train, "label"),
        "test_features": _views(folder / "test.parquet", test),
        "test_labels": _column(folder / "test.parquet", test, "label"),
        "ids": rows,
        "name": np.array(folder.name),
        "folder": np.array(str(folder)),
    }
    if "id" in train.column_names:
        arrays["ids"] = _column(folder / "train.parquet", train, "id")
    if "true_label" in train.column_names:
        arrays["true_labels"] = _column(folder / "train.parquet", train, "true_label")
    names = read_class_names(folder)
    if names is not None:
        arrays["class_names"] = np.array(names)
    return feature_arrays(folder, arrays)


def _table(path: Path) -> Any:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise FileNotFoundError(f"The data set needs {path}, which is absent.")
    return pq.read_table(path)


def _column(path: Path, table: Any, name: str) -> AnyArray:
    if name not in table.column_names:
        raise ValueError(
            f"{path} must have the column {name}, got {', '.join(table.column_names)}."
        )
    if table[name].null_count:
        raise ValueError(
            f"{path}: `{name}` must be known for all, got {table[name].null_count} that are null."
        )
    values: AnyArray = table[name].to_numpy()
    return values


def _views(path: Path, table: Any) -> AnyArray:
    """Return the lists of `feature`, or of `feature_0`, ..., shape (n_samples, n_views, k)."""
    from noisyselect.store.columns import list_column

    names = ["feature"]
    if "feature" not in table.column_names:
        n_views = sum(name.startswith("feature_") for name in table.column_names)
        names = [f"feature_{view}" for view in range(max(1, n_views))]
    views = []
    for name in names:
        if name not in table.column_names:
            raise ValueError(
                f"{path} must have the column feature, or feature_0, feature_1, ... without a gap, "
                f"got {', '.join(table.column_names)}."
            )
        try:
            flat, length = list_column(path, table, name)
        except DamagedRunError as error:
            raise ValueError(str(error)) from None
        views.append(flat.to_numpy(zero_copy_only=False).reshape(-1, length))
    if len({view.shape for view in views}) != 1:
        raise ValueError(f"{path}: the views must have one number of features.")
    return np.stack(views, axis=1)
