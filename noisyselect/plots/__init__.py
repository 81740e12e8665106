"""Plots: each draws on the axes it is given and returns them. Needs matplotlib, imported late."""

from noisyselect.plots.auroc import plot_auroc
from noisyselect.plots.confusion import plot_confusion
from noisyselect.plots.critical_difference import plot_critical_difference
from noisyselect.plots.data_map import plot_data_map
from noisyselect.plots.losses import plot_loss_histogram
from noisyselect.plots.over_epochs import plot_over_epochs
from noisyselect.plots.per_class import plot_per_class
from noisyselect.plots.trajectories import plot_trajectories

__all__ = ["plot_critical_difference", "plot_over_epochs"]
__all__ = [
    "plot_auroc",
    "plot_confusion",
    "plot_data_map",
    "plot_loss_histogram",
    "plot_over_epochs",
    "plot_per_class",
    "plot_trajectories",
]
