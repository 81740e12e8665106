import numpy as np
import pytest
from matplotlib.figure import Figure

from noisyselect.plots import plot_trajectories


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_the_thick_line_is_the_median_and_the_band_the_middle_eighty_percent(axes):
    losses = np.random.default_rng(0).gamma(2, size=(4, 101))
    assert plot_trajectories(axes, losses) is axes
    median = max(axes.lines, key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(median.get_ydata(), np.median(losses, axis=1))
    corners = axes.collections[0].get_paths()[0].vertices
    for epoch in range(4):
        at = corners[corners[:, 0] == epoch + 1, 1]
        ends = np.quantile(losses[epoch], [0.1, 0.9])
        np.testing.assert_allclose([at.min(), at.max()], ends)


def test_the_thin_lines_are_samples_from_low_to_high(axes):
    losses = np.tile(np.random.default_rng(0).permutation(np.arange(11.0)), (3, 1))
    plot_trajectories(axes, losses)
    thin = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() < 1]
    assert thin == [1, 3, 5, 7, 9]


def test_losses_that_are_not_finite_leave_a_gap(axes):
    losses = np.array([[1.0, 2.0, np.inf], [np.nan, np.nan, np.nan], [1.0, 2.0, 3.0]])
    plot_trajectories(axes, losses)
    axes.figure.canvas.draw()
    (median,) = axes.lines
    np.testing.assert_array_equal(median.get_ydata(), [1.5, np.nan, 2.0])


def test_one_sample_of_one_epoch_can_be_drawn(axes):
    plot_trajectories(axes, np.array([[0.5]]))
    axes.figure.canvas.draw()
