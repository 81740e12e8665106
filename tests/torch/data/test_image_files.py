import numpy as np
import pytest
from PIL import Image

from noisyselect.torch.data import ImageFiles


def photo(path, width, height, mode="RGB"):
    rng = np.random.default_rng(width)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def test_files_of_the_right_size_are_read_pixel_by_pixel_in_the_order_asked_for(tmp_path):
    whole = [photo(tmp_path / f"{i}.png", 8, 8) for i in range(3)]
    files = ImageFiles(tmp_path, ["0.png", "1.png", "2.png"], size=8)
    images = files.read([2, 0, 2])
    assert images.dtype == np.uint8
    assert images.shape == (3, 3, 8, 8)
    for image, row in zip(images, (2, 0, 2), strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), whole[row])


def test_it_has_the_shape_of_an_array_and_its_parts_are_files_again(tmp_path):
    files = ImageFiles(tmp_path, list("abcd"), size=5)
    assert (files.shape, files.ndim, files.dtype) == ((4, 3, 5, 5), 4, np.uint8)
    part = files[np.array([True, False, True, True])][1:]
    assert part.names.tolist() == ["c", "d"]
    assert [part.folder / name for name in part.names] == [tmp_path / "c", tmp_path / "d"]
    assert part.size == 5
    assert files[[]].read().shape == (0, 3, 5, 5)


@pytest.mark.parametrize("size", [4, 40])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(tmp_path, size):
    photo(tmp_path / "wide.png", 60, 20)
    photo(tmp_path / "high.png", 20, 60)
    wide, high = ImageFiles(tmp_path, ["wide.png", "high.png"], size).read().astype(int)
    long, middle = 3 * size, slice(size, 2 * size)
    resized = Image.open(tmp_path / "wide.png").resize((long, size), Image.Resampling.BILINEAR)
    # One level of rounding: what is cut off is not resized at all.
    assert np.abs(wide.transpose(1, 2, 0) - np.asarray(resized)[:, middle]).max() <= 1
    resized = Image.open(tmp_path / "high.png").resize((size, long), Image.Resampling.BILINEAR)
    assert np.abs(high.transpose(1, 2, 0) - np.asarray(resized)[middle]).max() <= 1


def test_pixels_are_averaged_not_skipped_when_an_image_shrinks(tmp_path):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[::4] = 240
    Image.fromarray(pixels).save(tmp_path / "lines.png")
    assert np.abs(ImageFiles(tmp_path, ["lines.png"], size=4).read() - 60.0).max() < 15


def test_large_photographs_are_decoded_at_less_than_full_resolution_but_look_the_same(tmp_path):
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:480, None], 128), axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg", quality=95)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    fast, full = ImageFiles(tmp_path, ["x.jpg", "x.png"], size=32).read().astype(int)
    assert np.abs(fast - full).max() <= 4


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_images_of_any_mode_have_three_channels(tmp_path, mode):
    photo(tmp_path / "x.png", 8, 8, mode)
    image = ImageFiles(tmp_path, ["x.png"], size=8).read()
    expected = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    assert np.array_equal(image[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_damaged_file_is_named(tmp_path, ending):
    for name in ("a", "b"):
        photo(tmp_path / f"{name}.{ending}", 64, 64)
    whole = (tmp_path / f"b.{ending}").read_bytes()
    files = ImageFiles(tmp_path, [f"a.{ending}", f"b.{ending}"], size=8)
    for damaged in (whole[: len(whole) // 2], whole[:30], b"not an image", b""):
        (tmp_path / f"b.{ending}").write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"b\.{ending} cannot be read as an image"):
            files.read()
    (tmp_path / f"b.{ending}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"b\.{ending} is missing"):
        files.read([1])
    assert files.read([0]).shape == (1, 3, 8, 8)


def test_files_are_never_taken_for_an_array():
    files = ImageFiles("nowhere", ["a.png", "b.png"])
    with pytest.raises(TypeError, match="2 image files are no array"):
        np.asarray(files)
    with pytest.raises(TypeError, match=r"Use a list, \[1\]"):
        files[1]
    with pytest.raises(ValueError, match="`size` must be at least 1 pixel, got 0"):
        ImageFiles("nowhere", ["a.png"], size=0)
