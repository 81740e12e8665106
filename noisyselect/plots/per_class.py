"""What a selection keeps of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import IntArray
from noisyselect.plots.palette import DISTRUSTED, FAINT, MUTED, TRUSTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_per_class(
    axes: Axes,
    kept: IntArray,
    dropped: IntArray,
    kept_wrong: IntArray | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Axes:
    """Draw how many samples of each class are kept and dropped, a bar per class, the first on top.

    With `kept_wrong`, the kept samples are split into right and wrong labels, as Figure 3 of the
    VRLVMix paper does.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    kept, dropped : array of int, shape (n_classes,)
        Counts by given label.
    kept_wrong : array of int, shape (n_classes,), optional
        Of `kept`, those whose given label is wrong.
    names : sequence of str, optional
        Written beside the bars.

    Returns
    -------
    matplotlib.axes.Axes
        `axes`.
    """
    wrong = np.zeros_like(kept) if kept_wrong is None else kept_wrong
    places = np.arange(kept.size)
    # Many bars touch, and overlap a little, for renderers leave hairs between edges that meet.
    height = 0.72 if kept.size <= 40 else 1.2

    def bars(counts: IntArray, start: IntArray, colour: str, label: str) -> None:
        axes.barh(places, counts, height, left=start, color=colour, label=label)

    bars(
        kept - wrong, np.zeros_like(kept), TRUSTED, "kept" if kept_wrong is None else "kept, right"
    )
    if kept_wrong is not None:
        bars(wrong, kept - wrong, DISTRUSTED, "kept, wrong")
    bars(dropped, kept, FAINT, "dropped")
    axes.axvline(kept.mean(), color=MUTED, lw=1, ls=(0, (4, 2)), label="kept, if all were even")
    axes.set_ylim(kept.size - 0.5, -0.5)
    axes.set_yticks([] if names is None else places, [] if names is None else names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("samples")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)  # type: ignore[call-arg]
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, texts = axes.get_legend_handles_labels()
    axes.legend(
        [*handles[1:], handles[0]],  # the line last
        [*texts[1:], texts[0]],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.2,
        columnspacing=1.4,
    )
    return axes
