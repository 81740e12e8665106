"""How well scores tell right labels from wrong ones, over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from noisyselect.arrays import FloatArray
from noisyselect.plots.over_epochs import plot_over_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_auroc(
    axes: Axes,
    curves: Mapping[str, FloatArray],
    *,
    title: str = "",
    warm_up: int | None = None,
    labels: bool = True,
) -> Axes:
    """Draw AUROC over epochs, as Figure 4 of the VRLVMix paper does, with a line for chance at 0.5.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    curves : mapping of str to array of float in [0, 1], shape (n_runs, n_epochs)
    title, warm_up, labels
        All as in `plot_over_epochs`.

    Returns
    -------
    matplotlib.axes.Axes
        `axes`.
    """
    plot_over_epochs(axes, curves, title=title, warm_up=warm_up, labels=labels)
    bottom, top = axes.get_ylim()
    # Enough for marks a tenth of the axis apart to differ.
    digits = max(2, 1 + math.ceil(-math.log10((top - bottom) / 100)))
    axes.yaxis.set_major_formatter(lambda percent, _: f"{percent / 100:.{digits}f}")
    if bottom < 50 < top:
        axes.axhline(50, color="0.6", lw=0.8, zorder=0)
    return axes
