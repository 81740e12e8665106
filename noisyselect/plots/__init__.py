"""Plots: each draws on the axes it is given and returns them. Needs matplotlib, imported late."""

from noisyselect.plots.critical_difference import plot_critical_difference
from noisyselect.plots.over_epochs import plot_over_epochs

__all__ = ["plot_critical_difference", "plot_over_epochs"]
