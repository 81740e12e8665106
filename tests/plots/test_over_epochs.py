"""Plots are looked at through what they drew: lines, bands and where the names stand."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from noisyselect.plots import plot_over_epochs


@pytest.fixture
def axes():
    return Figure(figsize=(6, 3)).add_axes((0.1, 0.1, 0.6, 0.8))


def names_at(axes):
    """Return where each name begins and ends in height, in pixels, without the line to it."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    places = {}
    for text in axes.texts:
        text.update_positions(canvas.get_renderer())
        box = Text.get_window_extent(text)
        places[text.get_text()] = (box.y0, box.y1)
    return places


def test_the_line_is_the_mean_and_the_band_reaches_from_least_to_greatest(axes):
    runs = np.array([[0.1, 0.4], [0.3, 0.5], [0.2, 0.9]])
    assert plot_over_epochs(axes, {"one": runs}) is axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 20], [2, 60]])
    corners = axes.collections[0].get_paths()[0].vertices
    for epoch, least, greatest in ((1, 10, 30), (2, 40, 90)):
        at = corners[corners[:, 0] == epoch, 1]
        assert (at.min(), at.max()) == pytest.approx((least, greatest))


def test_a_line_starts_where_its_values_start(axes):
    runs = np.array([[np.nan, np.nan, 0.5, 0.6], [np.nan, 0.4, 0.5, 0.8]])
    plot_over_epochs(axes, {"late": runs})
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[3, 50], [4, 70]])
    assert axes.get_xlim()[0] == 1


def test_a_curve_without_values_is_left_out_and_keeps_its_colour():
    empty, full = np.full((1, 3), np.nan), np.full((1, 3), 0.5)
    colours = []
    for first in (empty, full):
        axes = Figure().add_subplot()
        plot_over_epochs(axes, {"first": first, "second": full})
        colours.append(axes.lines[-1].get_color())
    assert colours[0] == colours[1]
    bare = plot_over_epochs(Figure().add_subplot(), {"first": empty})
    assert len(bare.lines) == len(bare.texts) == 0


def test_the_names_of_lines_that_end_together_do_not_overlap_and_keep_their_order(axes):
    ends = dict(zip("abcdef", (0.5, 0.501, 0.502, 0.9, 0.1, 0.9), strict=True))
    plot_over_epochs(axes, {name: np.array([[0.3, end]]) for name, end in ends.items()})
    places = names_at(axes)
    order = sorted(places, key=lambda name: places[name][0])
    assert order[:4] == ["e", "a", "b", "c"]
    for lower, upper in pairwise(order):
        assert places[lower][1] <= places[upper][0]
    box = axes.get_window_extent()
    assert places[order[0]][0] >= box.y0 - 1 and places[order[-1]][1] <= box.y1 + 1


def test_more_names_than_there_is_room_for_are_still_written_apart():
    axes = Figure(figsize=(6, 1)).add_axes((0.1, 0.2, 0.6, 0.6))
    plot_over_epochs(axes, {f"line {i}": np.array([[0.1, 0.5]]) for i in range(9)})
    spans = sorted(names_at(axes).values())
    assert all(below[1] <= above[0] for below, above in pairwise(spans))


def test_every_line_of_seven_differs_in_colour_and_from_its_neighbours_in_dashes(axes):
    plot_over_epochs(axes, {str(i): np.array([[0.1, i / 10]]) for i in range(7)})
    assert len({line.get_color() for line in axes.lines}) == 7
    dashes = [repr(line._unscaled_dash_pattern) for line in axes.lines]
    assert all(one != other for one, other in pairwise(dashes))


def test_the_first_epochs_do_not_squeeze_what_comes_after_warm_up(axes):
    accuracy = np.array([[0.1, 0.3, 0.8, 0.85, 0.9, 0.91]])
    plot_over_epochs(axes, {"one": accuracy}, warm_up=4)
    low, high = axes.get_ylim()
    assert 70 < low < 80 and high > 91
    assert "warm-up" in names_at(axes)


def test_one_epoch_of_one_run_can_be_drawn(axes):
    plot_over_epochs(axes, {"one": np.array([[0.5]])}, warm_up=1)
    axes.figure.canvas.draw()


def test_importing_the_plots_does_not_import_matplotlib():
    code = "import sys, noisyselect.plots; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
