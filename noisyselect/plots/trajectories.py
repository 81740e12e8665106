"""How the losses of a group of samples went over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.plots.palette import TRUSTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXAMPLES = (0.1, 0.3, 0.5, 0.7, 0.9)


def plot_trajectories(
    axes: Axes, losses: FloatArray, *, colour: str = TRUSTED, title: str = ""
) -> Axes:
    """Draw the median loss of a group over epochs, the middle 80 %, and five samples of it.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    losses : array of float, shape (n_epochs, n_samples)
        In nats. Values that are not finite are left out; a line has a gap there.
    colour : str, optional
    title : str, default=""

    Returns
    -------
    matplotlib.axes.Axes
        `axes`. The five samples are those whose mean loss stands at 10, 30, 50, 70 and 90 % of the
        group.
    """
    from matplotlib.ticker import MaxNLocator

    # A copy: infinite losses would stretch the axis out of sight.
    values = np.where(np.isfinite(losses), losses, np.nan)
    epochs = np.arange(1, len(values) + 1)
    low, middle, high = _quantiles(values, (0.1, 0.5, 0.9))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.18, lw=0)
    for sample in _examples(values):
        axes.plot(epochs, values[:, sample], color=colour, lw=0.8, alpha=0.75)
    axes.plot(epochs, middle, color=colour, lw=2.4, marker="o" if len(epochs) == 1 else "")
    axes.set_xlim(1, max(2, len(epochs)))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss of the given label, nats")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _quantiles(values: FloatArray, shares: tuple[float, ...]) -> FloatArray:
    """Return quantiles of the finite values of each epoch, shape (n_shares, n_epochs)."""
    found = np.full((len(shares), len(values)), np.nan)
    for epoch, row in enumerate(values):
        known = row[np.isfinite(row)]
        if known.size:
            found[:, epoch] = np.quantile(known, shares)
    return found


def _examples(values: FloatArray) -> list[int]:
    """Return the samples whose mean loss stands at the quantiles of the group, each once."""
    complete = np.flatnonzero(np.isfinite(values).all(axis=0))
    if complete.size == 0:
        return []
    order = complete[np.argsort(values[:, complete].mean(axis=0), kind="stable")]
    places = [round(share * (order.size - 1)) for share in _EXAMPLES]
    return list(dict.fromkeys(order[places].tolist()))
