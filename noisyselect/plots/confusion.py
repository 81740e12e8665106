"""Two labels of the same samples against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import IntArray
from noisyselect.plots.palette import DISTRUSTED, TRUSTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More classes than this have cells too small for a number.
_WRITTEN = 12


def plot_confusion(
    axes: Axes,
    counts: IntArray,
    *,
    names: Sequence[str] | None = None,
    rows: str = "given label",
    columns: str = "predicted label",
    title: str = "",
) -> Axes:
    """Draw a matrix of counts as shares of its rows.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    counts : array of int, shape (n_classes, n_classes)
        `counts[i, j]` samples have the label i by the rows and j by the columns.
    names : sequence of str, optional
        Of the classes. Without them, or with more than 12, numbers stand at the axes.
    rows, columns : str
        What the axes are.
    title : str, default=""

    Returns
    -------
    matplotlib.axes.Axes
        `axes`. The diagonal, where both agree, has a colour of its own; opacity is the square root
        of the share. With at most 12 classes the shares are written out, in percent.
    """
    from matplotlib.colors import to_rgb

    n_classes = len(counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = np.empty((n_classes, n_classes, 4))
    image[..., :3] = to_rgb(DISTRUSTED)
    image[np.eye(n_classes, dtype=bool), :3] = to_rgb(TRUSTED)
    image[..., 3] = 0.75 * np.sqrt(share)
    axes.imshow(image, interpolation="none")
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if n_classes > _WRITTEN:
        return axes
    places = np.arange(n_classes)
    shown = [str(place) for place in places] if names is None else list(names)
    if max(map(len, shown)) <= 3:
        axes.set_xticks(places, shown)
    else:
        axes.set_xticks(places, shown, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, shown)
    for row, column in zip(*np.nonzero(counts), strict=True):
        percent = 100 * share[row, column]
        text = f"{percent:.0f}" if percent >= 0.5 else "<1"
        axes.text(column, row, text, ha="center", va="center", fontsize="small")
    return axes
