"""Plots: each draws on the axes it is given and returns them. Needs matplotlib, imported late."""

from noisyselect.plots.over_epochs import plot_over_epochs

__all__ = ["plot_over_epochs"]
