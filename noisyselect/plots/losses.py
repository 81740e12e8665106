"""Histograms of losses, with the mixture that divides them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray
from noisyselect.plots.palette import DISTRUSTED, TRUSTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_N_BINS = 60
# Losses above this quantile are few and would squeeze all others.
_SHOWN = 0.998


def plot_loss_histogram(
    axes: Axes,
    losses: FloatArray,
    good: BoolArray,
    *,
    shares: FloatArray | None = None,
    means: FloatArray | None = None,
    deviations: FloatArray | None = None,
    labels: tuple[str, str] = ("kept", "dropped"),
    title: str = "",
) -> Axes:
    """Draw how losses are distributed in two groups, and the fitted mixture over both.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    losses : array of float, shape (n_samples,)
        In nats. Those that are not finite are left out, and the axis ends at the 99.8 % quantile.
    good : array of bool, shape (n_samples,)
        Which samples are of the first group.
    shares, means, deviations : array of float, shape (n_components,), optional
        Of Gaussians, in nats; drawn as lines, scaled to all samples.
    labels : tuple of str, default=("kept", "dropped")
        Names of both groups.
    title : str, default=""

    Returns
    -------
    matplotlib.axes.Axes
        `axes`. Counts stand on a scale of square roots, on which a tail can be seen beside a peak.
    """
    finite = np.isfinite(losses)
    values, group = losses[finite].astype(np.float64), good[finite]
    end = float(np.quantile(values, _SHOWN, method="higher")) if values.size else 1.0
    edges = np.linspace(min(0.0, values.min(initial=0.0)), end if end > 0 else 1.0, _N_BINS + 1)
    counts = [np.histogram(values[group == which], edges)[0] for which in (True, False)]
    axes.stairs(counts[0], edges, fill=True, color=TRUSTED, alpha=0.55, label=labels[0])
    axes.stairs(counts[1], edges, fill=True, color=DISTRUSTED, alpha=0.55, label=labels[1])
    if shares is not None and means is not None and deviations is not None:
        x = np.linspace(edges[0], edges[-1], 300)
        scale = values.size * (edges[1] - edges[0]) / np.sqrt(2 * np.pi)
        for i, (share, mean, deviation) in enumerate(zip(shares, means, deviations, strict=True)):
            density = scale * share / deviation * np.exp(-(((x - mean) / deviation) ** 2) / 2)
            name = "" if i else "fitted Gaussians"
            axes.plot(x, density, color="black", lw=1.2, label=name)
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    axes.set_ylim(0, 1.1 * max(1, *(int(count.max()) for count in counts)))
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.get_major_locator().set_params(nbins=5, integer=True)  # type: ignore[call-arg]
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("loss of the given label, nats")
    axes.set_ylabel("samples")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, handlelength=1.2)
    return axes
