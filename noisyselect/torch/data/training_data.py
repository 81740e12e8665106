"""A training set and its test set as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from noisyselect.arrays import (
    AnyArray,
    IntArray,
    check_classes,
    check_shape,
    integers,
    read_only,
    sample_ids,
)
from noisyselect.torch.data.image_files import ImageFiles

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
            (n_samples, n_views, n_features), or ImageFiles
        Images, or features of one or several views of each sample, the first that of the sample
        itself. Of any real type and scale, for example uint8; the trainer normalises them. Images
        may stay in their files.
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
    val_inputs, val_labels : optional
        Like `test_inputs` and `test_labels`: samples with right labels to choose a model by, for
        data sets that come with them. Both or neither.

    Raises
    ------
    ValueError
        If shapes disagree or a label is out of range.
    """

    inputs: AnyArray | ImageFiles
    labels: IntArray
    test_inputs: AnyArray | ImageFiles
    test_labels: IntArray
    class_names: tuple[str, ...]
    true_labels: IntArray | None = None
    ids: AnyArray = None  # type: ignore[assignment]
    name: str = "data"
    noise: dict[str, Any] | None = None
    folder: Path | None = None
    superclasses: tuple[int, ...] | None = None
    kind: Literal["images", "features"] = "images"
    val_inputs: AnyArray | ImageFiles | None = None
    val_labels: IntArray | None = None

    def __post_init__(self) -> None:
        if self.kind not in _AXES:
            raise ValueError(f"`kind` must be 'images' or 'features', got {self.kind!r}.")
        if (self.val_inputs is None) != (self.val_labels is None):
            raise ValueError("`val_inputs` and `val_labels` must be given together, got one.")
        self._check_part("inputs", "labels", "n_samples")
        self._check_part("test_inputs", "test_labels", "n_test")
        if self.val_inputs is not None:
            self._check_part("val_inputs", "val_labels", "n_val")
        if self.true_labels is not None:
            self._check_labels("true_labels", {"n_samples": self.n_samples})
        object.__setattr__(self, "ids", read_only(sample_ids(self.ids, self.n_samples)))

    def _check_part(self, inputs: str, labels: str, axis: str) -> None:
        axes, hint = _AXES[self.kind]
        values = getattr(self, inputs)
        check_shape(inputs, values, dict.fromkeys((axis, *axes)), hint)
        if values.shape[2:] != self.inputs.shape[2:]:
            raise ValueError(
                f"`{inputs}` must have the size of `inputs`, {self.inputs.shape[2:]}, "
                f"got {values.shape[2:]}."
            )
        if isinstance(values, np.ndarray):
            object.__setattr__(self, inputs, read_only(values))
        self._check_labels(labels, {axis: len(values)}, f"It must match `{inputs}`.")

    def _check_labels(self, name: str, shape: dict[str, int | None], hint: str = "") -> None:
        labels = integers(name, getattr(self, name))
        check_shape(name, labels, shape, hint)
        check_classes(name, labels, self.n_classes)
        object.__setattr__(self, name, read_only(labels.astype(np.int64)))

    @property
    def n_samples(self) -> int:
        """Number of training samples."""
        return len(self.inputs)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def take(self, rows: IntArray) -> TrainingData:
        """Return these training samples only, in this order, with the ids that they have."""
        return replace(
            self,
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            true_labels=None if self.true_labels is None else self.true_labels[rows],
            ids=self.ids[rows],
        )
