import numpy as np
import pytest
from matplotlib.figure import Figure

from noisyselect.plots import plot_auroc


@pytest.fixture
def axes():
    return Figure(figsize=(6, 3)).add_axes((0.1, 0.1, 0.6, 0.8))


def ticks(axes):
    axes.figure.canvas.draw()
    return [text.get_text() for text in axes.get_yticklabels()]


def test_the_axis_is_in_parts_of_one_and_chance_is_marked_where_it_is_in_sight(axes):
    assert plot_auroc(axes, {"rule": np.array([[0.4, 0.9]])}) is axes
    assert "0.60" in ticks(axes)
    assert [line.get_ydata()[0] for line in axes.lines] == [40, 50]


def test_values_that_are_close_get_more_decimals(axes):
    plot_auroc(axes, {"rule": np.array([[0.9001, 0.9032]])})
    assert len(axes.lines) == 1
    assert len(set(ticks(axes))) == len(ticks(axes))
