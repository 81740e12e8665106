import numpy as np
import pytest
import torch

from noisyselect import MixupRecipes, Selection
from noisyselect.torch import SelectedSamples
from noisyselect.torch.inputs import Pixels


def test_pixels_leave_with_mean_0_and_deviation_1_per_channel():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    images[:, 1] = 9
    pixels = Pixels(images, torch.device("cpu"))
    batch = pixels.normalise(pixels.raw(torch.arange(50)))
    assert batch.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(batch.std(dim=(0, 2, 3)), torch.tensor([1.0, 0.0, 1.0]))


def test_test_pixels_are_normalised_as_the_training_set():
    device, images = torch.device("cpu"), np.array([[[[0.0, 2.0]]]])
    training = Pixels(images, device)
    test = Pixels(images + 1, device, like=training)
    rows = torch.tensor([0])
    expected = training.normalise(training.raw(rows) + 1)
    torch.testing.assert_close(test.normalise(test.raw(rows)), expected)


RECIPES = MixupRecipes(anchors=["a", "d"], partners=["c", "b"], lam=[0.75, 0.5], labels=[1, 0])
SELECTION = Selection(
    clean=[True, False, False, True],
    trust=[0.6, 0, 0, 0.5],
    ids=["d", "c", "b", "a"],
    synthetic=RECIPES,
)
PIXELS = torch.tensor([[10.0], [20.0], [30.0], [40.0]])


def test_a_selection_becomes_its_real_and_then_its_synthetic_images():
    selected = SelectedSamples(PIXELS, [2, 0, 0, 1], SELECTION)
    images, labels, trust = selected[torch.arange(len(selected))]
    # 0.75 a + 0.25 c = 30 + 5 and 0.5 d + 0.5 b = 5 + 15.
    assert images[:, 0].tolist() == [10, 40, 35, 20]
    assert labels.tolist() == [2, 1, 1, 0]
    torch.testing.assert_close(trust, torch.tensor([0.6, 0.5, 1.0, 1.0]))


def test_a_data_loader_takes_a_selection_image_by_image_or_batch_by_batch():
    selected = SelectedSamples(PIXELS, [2, 0, 0, 1], SELECTION)
    singly = next(iter(torch.utils.data.DataLoader(selected, batch_size=4)))
    batches = torch.utils.data.BatchSampler(range(4), 4, drop_last=False)
    tensors = (torch.tensor(batch) for batch in batches)
    at_once = next(iter(torch.utils.data.DataLoader(selected, sampler=tensors, batch_size=None)))
    for one, other in zip(singly, at_once, strict=True):
        torch.testing.assert_close(one, other)


def test_a_selection_of_other_samples_is_refused():
    with pytest.raises(ValueError, match="n_samples"):
        SelectedSamples(PIXELS[:3], [2, 0, 0], SELECTION)


def test_a_synthetic_sample_is_made_of_one_view_of_both_parents():
    # Sample s has s in view 0 and -s in view 1.
    views = torch.stack([PIXELS, -PIXELS], dim=1)
    selected = SelectedSamples(views, [2, 0, 0, 1], SELECTION)
    index, view = torch.tensor([2, 3, 0, 2]), torch.tensor([0, 1, 1, 1])
    assert selected.mixed(index, view)[:, 0].tolist() == [35, -20, -10, -35]
    assert torch.equal(selected.mixed(index, view), selected[index][0][torch.arange(4), view])
