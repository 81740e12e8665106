import numpy as np
import pytest
import torch

from noisyselect.torch.augment import contrastive_view, crop_and_flip, distort
from noisyselect.torch.inputs import Pixels, Views

CPU = torch.device("cpu")


def views(n_samples=200, n_views=3, n_features=50):
    """Feature f of view v of sample i is 1000 i + 10 v + f / 10."""
    i, v, f = np.ogrid[:n_samples, :n_views, :n_features]
    return (1000.0 * i + 10 * v + f / 10).astype(np.float32)


def test_the_plain_view_is_the_first():
    inputs = Views(views(), CPU)
    rows = torch.tensor([3, 1])
    assert inputs.plain(inputs.raw(rows))[:, 0].tolist() == [3000, 1000]


def test_every_sample_gets_a_view_of_its_own_and_all_views_come_up():
    inputs = Views(views(), CPU)
    inputs.dropped = 0
    rows = torch.arange(200).flip(0)
    batch = inputs.augment(inputs.drawn(rows, generator()), generator())
    chosen = (batch - inputs.values[rows, 0])[:, 0] / 10
    assert set(chosen.tolist()) == {0, 1, 2}
    # One view for the whole sample, not one per feature.
    assert torch.equal(batch, inputs.values[rows, chosen.long()])


def test_a_view_may_be_named_for_each_sample():
    inputs = Views(views(), CPU)
    rows, view = torch.tensor([3, 1, 3]), torch.tensor([0, 2, 1])
    assert torch.equal(inputs.raw(rows, view), inputs.values[rows, view])


def test_images_have_no_views_to_draw():
    inputs, rows, untouched = Pixels(images(), CPU), torch.tensor([3, 1]), generator()
    assert torch.equal(inputs.drawn(rows, untouched), inputs.values[rows])
    assert torch.equal(untouched.get_state(), generator().get_state())


def test_a_fifth_of_the_features_is_set_to_the_mean_which_is_zero_when_normalised():
    inputs = Views(views(), CPU)
    given = inputs.values[:, 0].clone()
    batch = inputs.augment(given, generator())
    assert torch.equal(given, inputs.values[:, 0])
    dropped = inputs.normalise(batch) == 0
    assert 0.18 < dropped.float().mean() < 0.22
    assert len({tuple(row) for row in dropped.tolist()}) > 190


def test_test_features_are_normalised_as_the_training_set_was():
    inputs = Views(np.array([[[0.0, 5.0]], [[2.0, 5.0]]]), CPU)
    other = Views(np.array([[[4.0, 6.0]]]), CPU, like=inputs)
    first, second = inputs.normalise(inputs.plain(inputs.values)).tolist()
    assert first[0] == pytest.approx(-second[0])
    assert first[1] == second[1] == 0  # a constant feature stays 0
    assert other.normalise(other.plain(other.values))[0, 0] > second[0]


def test_features_have_one_augmentation_for_all_purposes():
    inputs = Views(views(), CPU)
    draws = [torch.Generator().manual_seed(4) for _ in range(3)]
    plain, strong, contrastive = (
        method(inputs.values[:, 0], generator)
        for method, generator in zip(
            (inputs.augment, inputs.augment_strongly, inputs.augment_contrastively),
            draws,
            strict=True,
        )
    )
    assert torch.equal(plain, strong) and torch.equal(plain, contrastive)


def images(n_samples=12, channels=3, height=9, width=10):
    """Pixel values tell sample, channel, row and column."""
    return np.arange(n_samples * channels * height * width, dtype=np.float32).reshape(
        n_samples, channels, height, width
    )


def generator():
    return torch.Generator().manual_seed(0)


def test_images_without_a_crop_are_evaluated_whole_and_shifted_in_training():
    inputs = Pixels(images(), CPU)
    assert inputs.plain(inputs.values) is inputs.values
    expected = crop_and_flip(inputs.values, generator())
    assert torch.equal(inputs.augment(inputs.values, generator()), expected)


def test_larger_images_are_evaluated_at_their_centre_and_trained_on_in_parts():
    inputs = Pixels(images(), CPU, crop=6)
    assert torch.equal(inputs.plain(inputs.values), inputs.values[:, :, 1:7, 2:8])
    windows = {
        tuple(window.flatten().tolist())
        for top in range(4)
        for left in range(5)
        for part in [inputs.values[0, :, top : top + 6, left : left + 6]]
        for window in (part, part.flip(2))
    }
    many = inputs.augment(inputs.values[:1].expand(1000, -1, -1, -1), generator())
    assert {tuple(image.flatten().tolist()) for image in many} == windows


@pytest.mark.parametrize("crop", [None, 6])
def test_strong_and_contrastive_views_know_black_white_and_mean(crop):
    inputs = Pixels(images(), CPU, crop=crop)
    ends = torch.tensor(0.0), torch.tensor(float(images().size - 1))
    fresh = generator()
    weak = inputs.augment(inputs.values, fresh)
    strong = distort(weak, fresh, *ends, inputs.values.mean((0, 2, 3), keepdim=True))
    assert torch.equal(inputs.augment_strongly(inputs.values, generator()), strong)
    contrastive = contrastive_view(inputs.values, generator(), *ends, crop)
    assert torch.equal(inputs.augment_contrastively(inputs.values, generator()), contrastive)
    assert strong.shape == contrastive.shape == weak.shape


def test_test_images_are_prepared_as_the_training_set_is():
    inputs = Pixels(images(), CPU, crop=6)
    test = Pixels(images(2) + 9000, CPU, like=inputs)
    assert test.crop == 6
    assert (test.black, test.white) == (inputs.black, inputs.white)
    assert test.plain(test.values).shape == (2, 3, 6, 6)
    assert Pixels(images(), CPU, like=inputs, crop=5).crop == 5


@pytest.mark.parametrize("crop", [0, 10])
def test_a_crop_that_no_image_has_is_refused(crop):
    with pytest.raises(ValueError, match=rf"\[1, 9\] for images of 9x10 pixels, got {crop}"):
        Pixels(images(), CPU, crop=crop)
