import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from noisyselect.plots import plot_data_map
from noisyselect.plots.palette import DISTRUSTED, TRUSTED


@pytest.fixture
def axes():
    return Figure().add_subplot()


def cell(axes, confidence, variability):
    """Return red, green, blue and opacity at a place of the map."""
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    pixels = image.get_array()
    row = int((confidence - bottom) / (top - bottom) * pixels.shape[0])
    return pixels[row, int((variability - left) / (right - left) * pixels.shape[1])]


def test_the_colour_is_that_of_the_group_and_opacity_that_of_the_number(axes):
    confidence = np.array([0.9] * 50 + [0.1] + [0.5, 0.5])
    variability = np.array([0.05] * 50 + [0.2] + [0.1, 0.1])
    good = np.array([True] * 50 + [False] + [True, False])
    assert plot_data_map(axes, confidence, variability, good) is axes
    many, one, mixed = cell(axes, 0.9, 0.05), cell(axes, 0.1, 0.2), cell(axes, 0.5, 0.1)
    np.testing.assert_allclose(many[:3], to_rgb(TRUSTED))
    np.testing.assert_allclose(one[:3], to_rgb(DISTRUSTED))
    np.testing.assert_allclose(mixed[:3], np.mean([to_rgb(TRUSTED), to_rgb(DISTRUSTED)], axis=0))
    assert 1 == many[3] > mixed[3] > one[3] > 0.1
    assert cell(axes, 0.3, 0.05)[3] == 0


def test_what_is_not_known_is_left_out(axes):
    plot_data_map(axes, np.array([np.nan, 0.5]), np.array([0.1, 0.1]), np.array([True, True]))
    assert np.count_nonzero(axes.images[0].get_array()[..., 3]) == 1
    empty = plot_data_map(Figure().add_subplot(), *np.full((2, 3), np.nan), np.ones(3, dtype=bool))
    assert not empty.images[0].get_array()[..., 3].any()
