import numpy as np
import pytest
from matplotlib.figure import Figure

from noisyselect.plots import plot_confusion

COUNTS = np.array([[300, 100, 0], [1, 299, 0], [0, 0, 0]])


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_cells_are_percent_of_their_row(axes):
    assert plot_confusion(axes, COUNTS, names=["a", "b", "c"]) is axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "75", (1, 0): "25", (0, 1): "<1", (1, 1): "100"}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]


def test_opacity_grows_with_the_share_and_the_diagonal_has_its_own_colour(axes):
    plot_confusion(axes, COUNTS)
    image = axes.images[0].get_array()
    assert image[0, 0, 3] > image[0, 1, 3] > image[1, 0, 3] > image[2, 0, 3] == 0
    assert (image[0, 0, :3] == image[1, 1, :3]).all()
    assert (image[0, 0, :3] != image[0, 1, :3]).any()


def test_many_classes_are_numbered_without_text_in_the_cells(axes):
    plot_confusion(axes, np.eye(50, dtype=int), names=[str(i) for i in range(50)])
    assert not axes.texts
    assert len(axes.get_yticks()) < 15
