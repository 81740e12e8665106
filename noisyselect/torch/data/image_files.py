"""Images that stay in their files until a batch wants them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray, IntArray

# What PIL raises for files that are no images or end too early.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
# Files that a thread decodes in one go.
_BATCH = 256


class ImageFiles:
    """Image files as if they were an array of shape (n_samples, 3, size, size), uint8.

    Indexing picks files, `read` decodes them. It has what the shape of an array is asked for
    (`shape`, `ndim`, `dtype`, `len`), but is none: numpy refuses it rather than decode it all.

    Parameters
    ----------
    folder : path
    names : sequence of str
        Paths of the files relative to `folder`. They are not looked for before they are read.
    size : int, default=256
        Height and width in pixels of what `read` returns.

    Raises
    ------
    ValueError
        If `size` is below 1.

    Examples
    --------
    >>> files = ImageFiles("photos", ["a.jpg", "b.jpg", "c.jpg"], size=224)
    >>> files.shape
    (3, 3, 224, 224)
    >>> list(files[[2, 0]].names)
    ['c.jpg', 'a.jpg']
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, folder: str | Path, names: Sequence[str] | AnyArray, size: int = 256
    ) -> None:
        if size < 1:
            raise ValueError(f"`size` must be at least 1 pixel, got {size!r}.")
        self.folder = Path(folder)
        # Of objects: strings of one fixed length would take four bytes for each character.
        self.names = np.array(names, dtype=np.object_)
        self.size = size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of all files decoded, (n_samples, 3, size, size)."""
        return (len(self), 3, self.size, self.size)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: slice | Sequence[int] | npt.NDArray[Any]) -> ImageFiles:
        """Return these files only, in this order; `rows` is a slice, row numbers or a mask."""
        names = self.names[rows]
        if isinstance(names, str):
            raise TypeError(f"`rows` must be several, got {rows!r}. Use a list, [{rows!r}].")
        return ImageFiles(self.folder, names, self.size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError(
            f"{len(self)} image files are no array and are not decoded all at once. Decode some "
            "with `files[rows].read()`."
        )

    def read(self, rows: Sequence[int] | IntArray | None = None) -> npt.NDArray[np.uint8]:
        """Return the decoded files of `rows`, or all, shape (n_rows, 3, size, size).

        The shorter side of an image is resized to `size` (bilinear, with antialiasing; up where it
        is shorter), and its centre cut out. JPEG files of at least four times `size` are decoded at
        half of their resolution or less, but no less than twice `size`, which changes pixels
        little and is several times as fast. Files are decoded in threads.

        Parameters
        ----------
        rows : array of int in [0, n_samples), shape (n_rows,), optional
            May repeat. By default all.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        ValueError
            If a file is damaged or no image; the message names it.
        """
        names = self.names if rows is None else self.names[np.asarray(rows, dtype=np.intp)]
        images = np.empty((len(names), 3, self.size, self.size), dtype=np.uint8)

        def fill(place: int) -> None:
            images[place] = _decode(self.folder / names[place], self.size)

        with ThreadPoolExecutor() as threads:
            # The list asks each thread for its error.
            list(threads.map(fill, range(len(names))))
        return images

    def __repr__(self) -> str:
        return f"<ImageFiles {self.folder}: {len(self)} of {self.size}x{self.size} pixels>"


def read_unresized(folder: Path, names: AnyArray, max_bytes: int) -> npt.NDArray[np.uint8] | None:
    """Return all files decoded as they are, or None if they differ in size or need more memory.

    Returns
    -------
    array of uint8, shape (n_files, 3, height, width), or None

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or damaged.
    """
    first = _decode(folder / names[0])
    if len(names) * first.nbytes > max_bytes:
        return None
    images = np.empty((len(names), *first.shape), dtype=np.uint8)

    def fill(start: int) -> bool:
        for place in range(start, min(start + _BATCH, len(names))):
            image = _decode(folder / names[place])
            if image.shape != first.shape:
                return False
            images[place] = image
        return True

    with ThreadPoolExecutor() as threads:
        return images if all(threads.map(fill, range(0, len(names), _BATCH))) else None


def _decode(path: Path, size: int | None = None) -> npt.NDArray[np.uint8]:
    """Return an image, shape (3, height, width), as it is or fitted into a square of `size`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            if size is not None:
                file.draft(None, (2 * size, 2 * size))
            image = file.convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"The image {path} is missing.") from None
    except _DAMAGE as error:
        raise ValueError(
            f"{path} cannot be read as an image: {error}. Replace it, or take it out of the list."
        ) from None
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
