import colorsys
import math

import pytest
import torch

from noisyselect.torch import augment
from noisyselect.torch.augment import contrastive_view, crop_and_flip, distort

IMAGES = torch.arange(1, 1 + 2 * 3 * 6 * 5).reshape(2, 3, 6, 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def all_crops(image, padding, size=None):
    """Every result that is allowed, made the slow way."""
    channels, height, width = image.shape
    rows, columns = (size or height), (size or width)
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    for top in range(2 * padding + height - rows + 1):
        for left in range(2 * padding + width - columns + 1):
            crop = padded[:, top : top + rows, left : left + columns]
            yield from (crop, crop.flip(2))


def test_each_image_becomes_one_of_its_own_crops_flipped_or_not():
    for image, result in zip(IMAGES, crop_and_flip(IMAGES, seeded(), padding=2), strict=True):
        assert any(torch.equal(result, crop) for crop in all_crops(image, padding=2))


def test_every_crop_and_both_flips_occur():
    many = crop_and_flip(IMAGES[:1].expand(2000, -1, -1, -1), seeded(), padding=1)
    assert {tuple(image.flatten().tolist()) for image in many} == {
        tuple(crop.flatten().tolist()) for crop in all_crops(IMAGES[0], padding=1)
    }


def test_images_of_one_batch_are_drawn_independently():
    same = IMAGES[:1].expand(20, -1, -1, -1)
    assert len(torch.unique(crop_and_flip(same, seeded()), dim=0)) > 10


def test_a_generator_decides_everything():
    again = crop_and_flip(IMAGES, seeded(3))
    torch.manual_seed(99)
    assert torch.equal(crop_and_flip(IMAGES, seeded(3)), again)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_input_stays_and_so_does_its_type(dtype):
    images = IMAGES.clamp(max=255).to(dtype)
    before = images.clone()
    assert crop_and_flip(images, seeded()).dtype == dtype
    assert torch.equal(images, before)


def test_windows_of_a_size_are_all_inside_the_image():
    many = crop_and_flip(IMAGES[:1].expand(2000, -1, -1, -1), seeded(), padding=0, size=4)
    assert {tuple(image.flatten().tolist()) for image in many} == {
        tuple(crop.flatten().tolist()) for crop in all_crops(IMAGES[0], padding=0, size=4)
    }


BLACK, WHITE = torch.tensor(-2.0), torch.tensor(6.0)
FILL = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)


def photos(n=6, channels=3, height=20, width=20):
    noise = torch.rand((n, channels, height, width), generator=seeded(9))
    return torch.lerp(BLACK, WHITE, noise)


def strong(images, generator):
    return distort(images, generator, BLACK, WHITE, FILL[:, : images.shape[1]])


def contrastive(images, generator):
    return contrastive_view(images, generator, BLACK, WHITE)


@pytest.mark.parametrize("change", [strong, contrastive])
@pytest.mark.parametrize("shape", [(6, 3, 20, 20), (6, 1, 8, 12), (6, 2, 33, 20), (8, 3, 1, 1)])
def test_images_of_any_shape_stay_on_their_scale_and_follow_the_generator(change, shape):
    images = photos(*shape)
    before = images.clone()
    made = change(images, seeded(3))
    torch.manual_seed(99)
    assert torch.equal(change(images, seeded(3)), made)
    assert torch.equal(images, before)
    assert made.shape == images.shape and made.dtype == torch.float32
    assert made.min() >= BLACK - 1e-5 and made.max() <= WHITE + 1e-5
    assert not torch.allclose(made, images)


@pytest.mark.parametrize("change", [strong, contrastive])
def test_each_image_is_changed_in_its_own_way(change):
    same = photos(1).expand(20, -1, -1, -1)
    assert len(torch.unique(change(same, seeded()), dim=0)) == 20


@pytest.mark.parametrize("change", [strong, contrastive])
def test_bytes_and_floats_are_changed_alike(change):
    images = photos().round().clamp(0, 6)
    assert torch.equal(change(images.to(torch.uint8), seeded()), change(images, seeded()))


def test_a_scale_of_one_value_leaves_that_value():
    images, end = torch.full((3, 3, 6, 6), 4.0), torch.tensor(4.0)
    assert torch.equal(contrastive_view(images, seeded(), end, end), images)
    assert torch.equal(distort(images, seeded(), end, end, end), images)


def test_a_fifth_of_the_contrastive_views_is_grey():
    made = contrastive(photos(1).expand(2000, -1, -1, -1), seeded())
    spread = (made - made.mean(1, keepdim=True)).abs().amax((1, 2, 3))
    assert (spread < 1e-4).float().mean() == pytest.approx(0.2, abs=0.03)


def test_a_crop_is_a_part_of_the_image_of_the_size_and_shape_that_are_asked():
    # Two ramps tell where each pixel was read: x and y, from 0 to 1.
    side = 64
    at = (torch.arange(side) + 0.5) / side
    ramps = torch.stack([at.expand(side, side), at[:, None].expand(side, side)])
    made = augment._resized_crop(ramps.expand(3000, -1, -1, -1), seeded(), None)
    x, y = made[:, 0, side // 2, :], made[:, 1, :, side // 2]
    middle = slice(side // 4, 3 * side // 4)
    slopes = [(part[:, middle][:, -1] - part[:, middle][:, 0]) for part in (x, y)]
    width, height = (slope.abs() * side / (side // 2 - 1) for slope in slopes)
    assert (slopes[0] < 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert (slopes[1] > 0).all()
    whole = (width > 0.999) | (height > 0.999)
    area, ratio = width * height, width / height
    assert area[~whole].min() >= 0.199 and area.max() <= 1.001
    assert ratio.min() >= 0.74 and ratio.max() <= 1.34
    assert area.quantile(0.1) == pytest.approx(0.28, abs=0.02)
    # Centres lie so that the crop is inside, and reach both ends.
    for part, length in ((x, width), (y, height)):
        centre = (part[:, side // 2 - 1] + part[:, side // 2]) / 2
        place = ((centre - length / 2) / (1 - length).clamp_min(1e-6))[~whole]
        assert place.min() >= -0.01 and place.max() <= 1.01
        assert place.mean() == pytest.approx(0.5, abs=0.03)


def test_a_view_of_another_size_is_the_whole_part_resampled():
    images = photos(4, 3, 20, 20)
    assert contrastive_view(images, seeded(), BLACK, WHITE, 12).shape == (4, 3, 12, 12)


def test_turns_and_shears_keep_shapes_in_images_that_are_not_square():
    height, width = 40, 80
    x = torch.arange(width).expand(height, width) - (width - 1) / 2
    y = (torch.arange(height)[:, None] - (height - 1) / 2).expand(height, width)
    ramps = (torch.stack([x, y]) / 200 + 0.5).expand(2000, -1, -1, -1)
    made = (augment._turn_and_shear(ramps, seeded()) - 0.5) * 200
    row, column = height // 2, width // 2
    along_x = made[:, :, row, column + 3] - made[:, :, row, column]
    along_y = made[:, :, row + 3, column] - made[:, :, row, column]
    maps = torch.stack([along_x, along_y], dim=2).double() / 3
    # No turn changes the singular values, and a shear of s changes them by s at most.
    values = torch.linalg.svdvals(maps)
    assert values.max() <= 1.101 and values.min() >= 0.899
    assert torch.linalg.det(maps).sub(1).abs().max() <= 0.0101
    still = (maps - torch.eye(2)).abs().amax((1, 2)) < 1e-4
    assert still.float().mean() == pytest.approx(1 / 8, abs=0.03)
    turned = torch.atan2(maps[:, 1, 0] - maps[:, 0, 1], maps[:, 0, 0] + maps[:, 1, 1])
    # Two shears against each other turn by a tenth of a radian themselves.
    assert turned.abs().max() <= math.radians(30) + 0.1
    assert (turned.abs() > math.radians(15)).float().mean() == pytest.approx(0.25, abs=0.04)


def test_brightness_changes_as_often_and_as_much_as_asked():
    images = torch.full((3000, 1, 4, 4), 0.5)
    made = augment._jitter(images, seeded(), 0.8, 0.4, 0.1)
    # Contrast has no hold on an image of one grey.
    assert torch.equal(made.amin((1, 2, 3)), made.amax((1, 2, 3)))
    factor = made[:, 0, 0, 0] / 0.5
    assert (factor == 1).float().mean() == pytest.approx(0.2, abs=0.03)
    assert 0.6 <= factor.min() < 0.61 and 1.39 < factor.max() <= 1.4


def test_contrast_keeps_the_mean_and_scales_what_differs_from_it():
    images = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(3000, -1, -1, -1)
    low, high = augment._jitter(images, seeded(), 1.0, 0.4, 0.1)[:, 0, 0].unbind(1)
    mean = (low + high) / 2
    factor = (high - low) / (0.2 * mean / 0.5)
    assert 0.6 <= factor.min() < 0.61 and 1.39 < factor.max() <= 1.4001


def test_hues_turn_as_the_standard_library_turns_them():
    images = torch.rand((4, 3, 5, 5), generator=seeded(1)).double()
    images[0, :, 0, 0] = 0.3  # a grey
    images[0, :, 0, 1] = 0  # and black
    images[0, :, 0, 2] = torch.tensor([0.7, 0.7, 0.1])  # and ties
    turn = torch.tensor([0.1, -0.1, 0.05, 0.0]).double().view(4, 1, 1, 1)
    made = augment._turn_hue(images, turn)
    for image, result, by in zip(images, made, turn.flatten().tolist(), strict=True):
        for pixel, got in zip(image.flatten(1).T.tolist(), result.flatten(1).T, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            expected = colorsys.hsv_to_rgb((hue + by) % 1, saturation, value)
            assert got.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("side", "hole"), [(32, 16), (8, 4), (64, 16)])
def test_holes_are_squares_with_their_centre_in_the_image(side, hole):
    images = torch.zeros(1500, 3, side, side)
    made = augment._cut_hole(images, seeded(), FILL)
    assert torch.equal(made[:, 1], 2 * made[:, 0]) and torch.equal(made[:, 2], 3 * made[:, 0])
    cut = made[:, 0] == 1
    heights, widths = cut.any(2).sum(1), cut.any(1).sum(1)
    assert torch.equal(cut.sum((1, 2)), heights * widths)
    for lengths in (heights, widths):
        assert lengths.max() == hole and lengths.min() == hole // 2
        inside = (side - hole + 1) / side
        assert (lengths == hole).float().mean() == pytest.approx(inside, abs=0.05)
    assert cut.any(0).all()
