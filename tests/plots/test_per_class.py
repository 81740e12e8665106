import numpy as np
import pytest
from matplotlib.figure import Figure

from noisyselect.plots import plot_per_class

KEPT, DROPPED, WRONG = np.array([5, 2, 0]), np.array([1, 2, 3]), np.array([2, 0, 0])


@pytest.fixture
def axes():
    return Figure().add_subplot()


def bars(axes):
    """Return where the bars of each kind begin and end, by what the legend calls them."""
    return {
        bar.get_label(): [(one.get_x(), one.get_x() + one.get_width()) for one in bar]
        for bar in axes.containers
    }


def test_kept_stand_first_and_dropped_after_them(axes):
    assert plot_per_class(axes, KEPT, DROPPED, names=["a", "b", "c"]) is axes
    assert bars(axes) == {
        "kept": [(0, 5), (0, 2), (0, 0)],
        "dropped": [(5, 6), (2, 4), (0, 3)],
    }
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first class must be on top"


def test_wrong_labels_are_split_from_those_kept(axes):
    plot_per_class(axes, KEPT, DROPPED, WRONG)
    drawn = bars(axes)
    assert drawn["kept, right"] == [(0, 3), (0, 2), (0, 0)]
    assert drawn["kept, wrong"] == [(3, 5), (2, 2), (0, 0)]
    assert drawn["dropped"] == [(5, 6), (2, 4), (0, 3)]


def test_the_line_stands_where_every_class_would_be_if_all_were_even(axes):
    plot_per_class(axes, KEPT, DROPPED)
    assert axes.lines[0].get_xdata()[0] == pytest.approx(7 / 3)


def test_the_legend_fits_above_the_axes(axes):
    plot_per_class(axes, KEPT, DROPPED, WRONG)
    axes.figure.canvas.draw()
    assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1
