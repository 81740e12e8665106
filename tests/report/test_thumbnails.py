import base64
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from noisyselect.errors import NoisySelectError
from noisyselect.report.thumbnails import images_of, thumbnails


def decoded(address):
    kind, text = address.split(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def data(inputs, ids=None, **options):
    ids = np.arange(len(inputs)) if ids is None else ids
    return SimpleNamespace(inputs=inputs, ids=ids, name="mine", **({"kind": "images"} | options))


def test_images_are_found_by_id_and_not_by_row(pictures):
    ids = np.arange(90)[::-1]
    found = thumbnails(pictures, ids, np.array([0, 7, 89]))
    for row, address in found.items():
        assert (decoded(address) == ids[row]).all(), "the shade of an image is its id"


def test_ids_may_be_strings_and_some_may_be_missing():
    some = data(np.zeros((2, 1, 8, 8), np.uint8), ids=np.array(["b", "a"]))
    assert list(thumbnails(some, np.array(["a", "x", "b"]), np.array([1, 2]))) == [2]


def test_images_of_other_samples_are_refused(pictures):
    with pytest.raises(ValueError, match="shades has none of the ids shown, such as 'a'"):
        thumbnails(pictures, np.array(["a", "b"]), np.array([0]))


def test_nothing_to_show_is_no_error(pictures):
    assert thumbnails(pictures, np.arange(3), np.array([], dtype=int)) == {}


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_images_are_no_larger_than_they_are_shown(n_channels):
    large = np.full((1, n_channels, 300, 200), 200, np.uint8)
    (address,) = thumbnails(data(large), np.arange(1), np.arange(1)).values()
    assert decoded(address).shape == (96, 64, 3)
    assert len(address) < 1000


def test_images_of_floats_are_stretched_to_the_range_of_pixels():
    shades = np.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    (address,) = thumbnails(data(shades), np.arange(1), np.arange(1)).values()
    assert (decoded(address).min(), decoded(address).max()) == (0, 255)
    flat = np.full((1, 1, 8, 8), 0.5)
    assert len(thumbnails(data(flat), np.arange(1), np.arange(1))) == 1


def test_what_no_picture_can_be_made_of_is_refused():
    with pytest.raises(ValueError, match="1, 3 or 4 channels, got 2"):
        thumbnails(data(np.zeros((1, 2, 8, 8))), np.arange(1), np.arange(1))
    with pytest.raises(ValueError, match="mine has features"):
        images_of(data(np.zeros((1, 1, 8)), kind="features"))


def test_a_name_is_read_as_the_trainer_reads_it():
    pytest.importorskip("torch", reason="reading data sets needs torch")
    digits = images_of("digits")
    assert decoded(thumbnails(digits, np.arange(5), np.arange(1))[0]).shape == (8, 8, 3)


def test_files_are_read_small(tmp_path):
    torch_room = pytest.importorskip("noisyselect.torch", reason="image files need torch")
    Image.new("RGB", (400, 300), (10, 200, 30)).save(tmp_path / "a.png")
    files = torch_room.ImageFiles(tmp_path, ["a.png"], size=256)
    (address,) = thumbnails(data(files), np.arange(1), np.arange(1)).values()
    assert decoded(address).shape == (96, 96, 3)


def test_without_torch_a_name_asks_for_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("noisyselect.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NoisySelectError, match=r"install noisyselect\[torch\]"):
        images_of("digits")
