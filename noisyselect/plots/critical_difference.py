"""Mean ranks on a line, with bars over those that cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT = "0.15", "0.6"
# Heights, in lines of text: above the line of ranks the critical difference, below it the bars and
# then the names.
_ABOVE = 2.6
_BAR, _FIRST_NAME = 0.55, 0.9


def plot_critical_difference(
    axes: Axes, mean_ranks: Mapping[str, float], critical_difference: float, *, title: str = ""
) -> Axes:
    """Draw mean ranks on a line; a bar joins those that differ by less than luck can explain.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Axes 7 inches wide have room for the names; of height they need about an inch, and another
        for every five names.
    mean_ranks : mapping of str to float in [1, n], of n names
        The best rank is 1, at the left. The better half of the names stands at the left.
    critical_difference : float
        Drawn to scale above the line. Bars join each longest group of neighbours of which the first
        and the last differ by no more than this.
    title : str, default=""

    Returns
    -------
    matplotlib.axes.Axes
        `axes`.

    Raises
    ------
    ValueError
        If there are fewer than two names.

    Notes
    -----
    The diagram of Demšar, "Statistical comparisons of classifiers over multiple data sets", Journal
    of Machine Learning Research, 2006, with the better end at the left.
    """
    if len(mean_ranks) < 2:
        raise ValueError(f"`mean_ranks` must hold at least two names, got {len(mean_ranks)}.")
    names = sorted(mean_ranks, key=mean_ranks.__getitem__)
    ranks = np.array([mean_ranks[name] for name in names])
    n = len(names)
    groups = _groups(ranks, critical_difference)
    first_name = _FIRST_NAME + _BAR * len(groups)
    # A third of the width on each side is for names.
    axes.set_xlim(1 - 0.6 * (n - 1), n + 0.6 * (n - 1))
    axes.set_ylim(first_name + (n + 1) // 2 - 0.4, -_ABOVE)
    axes.axis("off")
    axes.set_title(title, loc="left", fontsize="medium")
    _draw_scale(axes, n, critical_difference)
    for i, (start, stop) in enumerate(groups):
        ends = [ranks[start], ranks[stop]]
        axes.plot(ends, [_BAR * (i + 1)] * 2, color=_INK, lw=4, solid_capstyle="round")
    better = (n + 1) // 2
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        # From the outside in, so that no line crosses another.
        left = i < better
        height = first_name + (i if left else n - 1 - i)
        edge = 0.94 - 0.07 * (n - 1) if left else n + 0.06 + 0.07 * (n - 1)
        axes.plot([rank, rank, edge], [0, height, height], color=_INK, lw=0.9)
        axes.annotate(
            f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}",
            (edge, height),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
        )
    return axes


def _draw_scale(axes: Axes, n: int, critical_difference: float) -> None:
    axes.plot([1, n], [0, 0], color=_INK, lw=1.2, solid_capstyle="butt")
    ticks = np.arange(1, n + 1, 1 + n // 16)
    axes.vlines(ticks, -0.2, 0, color=_INK, lw=1.2)
    for tick in ticks:
        axes.text(float(tick), -0.35, str(tick), ha="center", va="bottom", fontsize=9, color=_INK)
    end = 1 + critical_difference
    axes.plot([1, end], [-1.6, -1.6], color=_FAINT, lw=1.2)
    axes.vlines([1, end], -1.75, -1.45, color=_FAINT, lw=1.2)
    axes.annotate(
        f"critical difference {critical_difference:.2f}",
        (1, -1.6),
        xytext=(0, 5),
        textcoords="offset points",
        fontsize=9,
        color="0.35",
    )


def _groups(ranks: FloatArray, critical_difference: float) -> list[tuple[int, int]]:
    """Return first and last place of each longest run of ascending ranks within the difference."""
    groups: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        stop = int(np.searchsorted(ranks, ranks[start] + critical_difference, side="right")) - 1
        if stop > start and (not groups or stop > groups[-1][1]):
            groups.append((start, stop))
    return groups
