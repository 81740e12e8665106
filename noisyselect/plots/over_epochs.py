"""Shares over epochs: lines with bands, their names at the ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by lightness and dashes as well as by hue, for the colour-blind and for grey print:
# after Okabe and Ito (jfly.uni-koeln.de/color), without its yellow, which is faint on white.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)))
_WIDTH = 1.6


def plot_over_epochs(
    axes: Axes,
    curves: Mapping[str, FloatArray],
    *,
    title: str = "",
    warm_up: int | None = None,
    labels: bool = True,
) -> Axes:
    """Draw shares over epochs: a line for the mean over runs, a band from least to greatest.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    curves : mapping of str to array of float in [0, 1], shape (n_runs, n_epochs)
        By the name that stands at the end of the line. NaN where there is no value, so that a line
        may start late; a curve of NaN alone is left out, but keeps its colour, so that a name looks
        the same in every plot of the same names.
    title : str, default=""
    warm_up : int, optional
        Mark the end of so many epochs. The scale then suits what comes after half of them; what
        lies lower before that, as all accuracies do at first, is cut off.
    labels : bool, default=True
        Write the names beside the lines, in places that suit the present size of the axes.

    Returns
    -------
    matplotlib.axes.Axes
        `axes`.
    """
    from matplotlib.ticker import MaxNLocator

    ends, least = [], []
    for i, (name, values) in enumerate(curves.items()):
        shown = np.flatnonzero(np.isfinite(values).all(axis=0))
        if shown.size == 0:
            continue
        percent = 100 * np.asarray(values)[:, shown]
        colour = _COLOURS[i % len(_COLOURS)]
        epochs, mean = shown + 1, percent.mean(axis=0)
        axes.plot(epochs, mean, color=colour, linestyle=_DASHES[i % len(_DASHES)], lw=_WIDTH)
        axes.fill_between(
            epochs, percent.min(axis=0), percent.max(axis=0), color=colour, alpha=0.15, lw=0
        )
        ends.append((float(epochs[-1]), float(mean[-1]), name, colour))
        least.append(percent[:, epochs > (warm_up or 0) / 2].min(initial=100))
    axes.set_xlim(1, max([2, *(values.shape[1] for values in curves.values())]))
    if warm_up is not None:
        _mark_warm_up(axes, warm_up, bottom=min(least, default=0))
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.grid(axis="y", color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if labels:
        _label_ends(axes, ends)
    return axes


def _mark_warm_up(axes: Axes, warm_up: int, bottom: float) -> None:
    _, top = axes.get_ylim()
    axes.set_ylim(bottom - 0.05 * (top - bottom), top)
    axes.axvline(warm_up + 0.5, color="0.6", lw=0.8, zorder=0)
    axes.annotate(
        "warm-up",
        (warm_up + 0.5, 0.01),
        xycoords=("data", "axes fraction"),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="0.45",
    )


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Write names beside the ends of lines, moved apart where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end[1])
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    wanted = np.array([(value - low) / (high - low) * height for _, value, _, _ in ends])
    # Letters of 9 points, with air between the lines.
    places = _apart(wanted, 12.0, height)
    for (epoch, value, name, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (epoch, value),
            xytext=(1.03, place / height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.8,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _apart(wanted: FloatArray, size: float, height: float) -> FloatArray:
    """Return the places nearest to the wanted ones, which ascend, for things of this size.

    They do not overlap and, where there is room for all, lie within the height.
    """
    from sklearn.isotonic import isotonic_regression

    # Packed without gaps they would stand here; from there none may fall behind the one below.
    packed = size * (np.arange(len(wanted)) + 0.5)
    room = max(0.0, height - size * len(wanted))
    apart: FloatArray = isotonic_regression(wanted - packed, y_min=0, y_max=room) + packed
    return apart
