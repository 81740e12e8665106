"""Images of a few samples, small and inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray
from noisyselect.errors import NoisySelectError

if TYPE_CHECKING:
    from noisyselect.torch import TrainingData

# Pixels of the longer side. They are shown at up to 48, which is half of this on a fine screen.
_EDGE = 96
# Up to this size nothing may be lost to compression.
_TINY = 16


def images_of(images: TrainingData | str | Path) -> TrainingData:
    """Return a data set of images, read if it is a name or path.

    Raises
    ------
    NoisySelectError
        If torch, which reads data sets, is not installed.
    FileNotFoundError, ValueError
        If there is no such data set, or it has no images.
    """
    if isinstance(images, str | Path):
        try:
            from noisyselect.torch import load_data
        except ImportError:
            raise NoisySelectError(
                "Reading images needs torch, an optional extra: install noisyselect[torch]."
            ) from None
        images = load_data(str(images))
    if images.kind != "images":
        raise ValueError(f"`images` must be a data set of images, but {images.name} has features.")
    return images


def thumbnails(images: TrainingData, ids: AnyArray, rows: npt.NDArray[np.intp]) -> dict[int, str]:
    """Return the images of these rows as ``data:`` addresses of WebP, by row.

    Parameters
    ----------
    images : TrainingData
        Samples are found in it by their id.
    ids : array of int or str, shape (n_samples,)
        Ids of the run.
    rows : array of int, shape (n,)
        Rows of the run. Those that `images` lacks have no thumbnail.

    Raises
    ------
    ValueError
        If `images` has none of these samples, or pictures cannot be made of them.
    """
    place = {sample: i for i, sample in enumerate(images.ids.tolist())}
    found = [
        (row, place[sample])
        for row, sample in zip(rows.tolist(), ids[rows].tolist(), strict=True)
        if sample in place
    ]
    if rows.size and not found:
        raise ValueError(
            f"`images` must be of the samples of the run: {images.name} has none of the ids shown, "
            f"such as {ids[rows].tolist()[0]!r}; it has such as {images.ids.tolist()[0]!r}."
        )
    pixels = _pixels(images, [at for _, at in found])
    return {row: _encoded(image) for (row, _), image in zip(found, pixels, strict=True)}


def _pixels(images: TrainingData, places: list[int]) -> npt.NDArray[np.uint8]:
    """Return these images, channels last, shape (n, height, width, n_channels)."""
    inputs = images.inputs
    if not isinstance(inputs, np.ndarray):
        # Files are read no larger than they are shown.
        small = type(inputs)(inputs.folder, inputs.names, min(inputs.size, _EDGE))
        return small.read(np.array(places, dtype=np.intp)).transpose(0, 2, 3, 1)
    chosen = inputs[places]
    if chosen.shape[1] not in (1, 3, 4):
        raise ValueError(f"`images` must have 1, 3 or 4 channels, got {chosen.shape[1]}.")
    if chosen.dtype != np.uint8:
        low, high = (float(chosen.min()), float(chosen.max())) if chosen.size else (0.0, 0.0)
        chosen = (255 * (chosen - low) / max(high - low, 1e-12)).round().astype(np.uint8)
    return np.ascontiguousarray(chosen.transpose(0, 2, 3, 1))


def _encoded(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((_EDGE, _EDGE))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80, lossless=max(image.size) <= _TINY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
