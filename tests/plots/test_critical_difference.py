"""The diagram is looked at through its lines: where they stand and what they join."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noisyselect.plots import plot_critical_difference

RANKS = {"third": 3.0, "first": 1.2, "second": 2.0, "last": 4.6, "fourth": 4.2}


def draw(ranks, critical_difference, size=(7.5, 2.5)):
    axes = Figure(figsize=size).add_subplot()
    assert plot_critical_difference(axes, ranks, critical_difference, title="ranks") is axes
    FigureCanvasAgg(axes.figure).draw()
    return axes


def bars(axes):
    """Return from where to where each thick line reaches."""
    return [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() > 3]


def names(axes):
    """Return the texts that name a selector, by name."""
    return {name: text for text in axes.texts for name in text.get_text().split() if name in RANKS}


def test_bars_join_the_longest_groups_within_the_critical_difference():
    assert bars(draw(RANKS, 1.8)) == [(1.2, 3.0), (3.0, 4.6)]
    assert bars(draw(RANKS, 1.0)) == [(1.2, 2.0), (2.0, 3.0), (4.2, 4.6)]
    assert bars(draw(RANKS, 0.1)) == []
    assert bars(draw(RANKS, 9.0)) == [(1.2, 4.6)]


def test_bars_are_those_of_a_search_over_all_groups():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranks = sorted(rng.uniform(1, 8, 8))
        alike = [(low, high) for low, high in itertools.combinations(ranks, 2) if high - low <= 1.5]
        longest = [
            (low, high)
            for low, high in alike
            if not any(a <= low and high <= b and (a, b) != (low, high) for a, b in alike)
        ]
        found = bars(draw({str(i): rank for i, rank in enumerate(ranks)}, 1.5))
        assert found == longest


def test_each_name_stands_with_its_rank_and_its_line_starts_there():
    axes = draw(RANKS, 1.8)
    texts = names(axes)
    assert {name: text.get_text() for name, text in texts.items()} == {
        "first": "first  1.20",
        "second": "second  2.00",
        "third": "third  3.00",
        "fourth": "4.20  fourth",
        "last": "4.60  last",
    }
    for name, text in texts.items():
        edge, height = text.xy
        (line,) = [
            one
            for one in axes.lines
            if one.get_xdata()[-1] == edge and one.get_ydata()[-1] == height
        ]
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (RANKS[name], 0)


def test_no_line_to_a_name_crosses_another():
    texts = names(draw(RANKS, 1.8))
    # Downwards on each side from the outside in: the axis points down.
    for side in (("first", "second", "third"), ("last", "fourth")):
        heights = [texts[name].xy[1] for name in side]
        assert heights == sorted(heights)
        assert len(set(heights)) == len(heights)


def test_the_critical_difference_is_drawn_to_scale():
    axes = draw(RANKS, 1.8)
    assert "critical difference 1.80" in [text.get_text() for text in axes.texts]
    spans = [np.ptp(line.get_xdata()) for line in axes.lines if max(line.get_ydata()) < -1]
    assert spans == [pytest.approx(1.8)]


@pytest.mark.parametrize("n", [2, 5, 15, 24])
def test_names_do_not_overlap_and_stay_within_the_picture(n):
    ranks = {f"prediction-stability-{i}": 1 + i / 2 for i in range(n)}
    axes = draw(ranks, 2.0, size=(7.5, 1.2 + 0.18 * n))
    boxes = [text.get_window_extent() for text in axes.texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    picture = axes.figure.bbox
    for box in boxes:
        assert picture.x0 <= box.x0 and box.x1 <= picture.x1
        assert picture.y0 <= box.y0 and box.y1 <= picture.y1


def test_one_name_has_no_ranks():
    with pytest.raises(ValueError, match="at least two names, got 1"):
        plot_critical_difference(Figure().add_subplot(), {"alone": 1.0}, 1.0)
