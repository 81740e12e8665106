"""The map of a data set: how sure a network is of each given label, and how much that varies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray
from noisyselect.plots.palette import DISTRUSTED, TRUSTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = (64, 80)


def plot_data_map(
    axes: Axes,
    confidence: FloatArray,
    variability: FloatArray,
    good: BoolArray,
    *,
    labels: tuple[str, str] = ("kept", "dropped"),
    title: str = "",
) -> Axes:
    """Draw the density of samples over variability and confidence, coloured by two groups.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    confidence, variability : array of float in [0, 1], shape (n_samples,)
        Mean and standard deviation over epochs of the probability that the network gives to the
        given label. Samples where one is NaN are left out.
    good : array of bool, shape (n_samples,)
        Which samples are of the first group.
    labels : tuple of str, default=("kept", "dropped")
        Names of both groups.
    title : str, default=""

    Returns
    -------
    matplotlib.axes.Axes
        `axes`. Opacity follows the logarithm of the number of samples in a cell; the colour goes
        from that of the second group to that of the first with their shares.

    Notes
    -----
    After Swayamdipta et al., "Dataset Cartography: Mapping and diagnosing datasets with training
    dynamics", EMNLP 2020: easy samples lie at the top left, ambiguous ones at the right, and the
    hard ones, among them wrong labels, at the bottom left.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    known = np.isfinite(confidence) & np.isfinite(variability)
    # A probability varies by 0.5 at most.
    extent = (0.0, max(0.3, float(variability[known].max(initial=0.0))), 0.0, 1.0)

    def counts(which: BoolArray) -> FloatArray:
        chosen = known & which
        x, y = variability[chosen], confidence[chosen]
        return np.histogram2d(y, x, _BINS, (extent[2:], extent[:2]))[0]

    of_good, of_all = counts(good), counts(np.ones_like(good))
    share = (of_good / np.maximum(of_all, 1))[..., None]
    image = np.empty((*_BINS, 4))
    image[..., :3] = share * np.array(to_rgb(TRUSTED)) + (1 - share) * np.array(to_rgb(DISTRUSTED))
    fullness = np.log1p(of_all) / np.log1p(max(of_all.max(), 1))
    # A cell of one sample can still be seen.
    image[..., 3] = np.where(of_all > 0, 0.15 + 0.85 * fullness, 0)
    axes.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="none")
    axes.set_xlabel("variation over epochs (standard deviation)")
    axes.set_ylabel("mean probability of the given label")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    colours = (TRUSTED, DISTRUSTED)
    patches = [Patch(color=c, label=name) for c, name in zip(colours, labels, strict=True)]
    axes.legend(handles=patches, loc="upper right", frameon=False, handlelength=1.2)
    return axes
