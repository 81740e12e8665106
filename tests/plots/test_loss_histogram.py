import numpy as np
import pytest
from matplotlib.figure import Figure

from noisyselect.plots import plot_loss_histogram


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_each_group_has_its_counts(axes):
    rng = np.random.default_rng(0)
    losses, good = rng.gamma(2, size=1000), rng.random(1000) < 0.7
    assert plot_loss_histogram(axes, losses, good, labels=("right", "wrong")) is axes
    for stairs, group in zip(axes.patches, (good, ~good), strict=True):
        counts, edges, _ = stairs.get_data()
        inside = losses[group] <= edges[-1]
        assert counts.sum() == inside.sum()
        assert counts.sum() > 0.99 * group.sum(), "only a tail may be cut off"
        np.testing.assert_array_equal(counts, np.histogram(losses[group], edges)[0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["right", "wrong"]


def test_the_gaussians_enclose_as_much_as_the_bars(axes):
    losses = np.random.default_rng(0).normal(3, 0.4, 20_000)
    plot_loss_histogram(
        axes,
        losses,
        np.ones(20_000, dtype=bool),
        shares=np.array([0.75, 0.25]),
        means=np.array([3.0, 3.0]),
        deviations=np.array([0.4, 0.4]),
    )
    first, second = axes.lines
    assert max(first.get_ydata()) == pytest.approx(3 * max(second.get_ydata()))
    counts = axes.patches[0].get_data().values
    assert max(first.get_ydata()) + max(second.get_ydata()) == pytest.approx(counts.max(), rel=0.1)


@pytest.mark.parametrize("losses", [[np.nan, np.inf], [0.0, 0.0], [2.0], [np.nan, 1.0, -0.1]])
def test_losses_that_are_not_finite_or_all_alike_can_be_drawn(axes, losses):
    plot_loss_histogram(axes, np.array(losses), np.arange(len(losses)) == 0)
    axes.figure.canvas.draw()
    assert (
        sum(stairs.get_data().values.sum() for stairs in axes.patches) == np.isfinite(losses).sum()
    )
