"""Images in an ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisyselect.arrays import AnyArray, check_shape, integers
from noisyselect.torch.data.class_names import numbered
from noisyselect.torch.data.training_data import TrainingData

_NAMES = ("x_train", "y_train", "x_test", "y_test")


def image_arrays(path: Path, arrays: dict[str, AnyArray]) -> TrainingData:
    """Return the data set of ``x_train``, ``y_train``, ``x_test``, ``y_test``, channels last.

    Raises
    ------
    ValueError
        If one is missing or of another shape.
    """
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} must hold {', '.join(_NAMES)}; it lacks {', '.join(missing)} and has "
            f"{', '.join(arrays)}."
        )
    labels, test_labels = (integers(name, arrays[name]).ravel() for name in ("y_train", "y_test"))
    truth = arrays.get("true_train")
    return TrainingData(
        inputs=_channels_first("x_train", arrays["x_train"]),
        labels=labels,
        test_inputs=_channels_first("x_test", arrays["x_test"]),
        test_labels=test_labels,
        class_names=numbered(labels, test_labels),
        true_labels=None if truth is None else integers("true_train", truth).ravel(),
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
