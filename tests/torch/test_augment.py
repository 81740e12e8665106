import pytest
import torch

from noisyselect.torch.augment import crop_and_flip

IMAGES = torch.arange(1, 1 + 2 * 3 * 6 * 5).reshape(2, 3, 6, 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def all_crops(image, padding):
    """Every result that is allowed, made the slow way."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + height, left : left + width]
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
