import numpy as np
import pytest
import torch
from torch import nn

from noisyselect import MixupRecipes, Selection
from noisyselect.torch import SelectedSamples, Settings, SmallCNN
from noisyselect.torch.inputs import Pixels
from noisyselect.torch.learner import Learner
from noisyselect.torch.mixmatch import (
    Draws,
    endless_batches,
    mix,
    mixmatch_epoch,
    refine_labels,
    sharpen,
    shuffled_batches,
    warm_up_epoch,
)

CPU = torch.device("cpu")
SETTINGS = Settings(batch_size=8, augment=False, alpha=0.5, precision="float32")


def draws(epoch=0, network=0):
    return Draws.of(seed=0, epoch=epoch, network=network, device=CPU)


class Counting(nn.Module):
    """A network that notes how many images each call had, and in which mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = SmallCNN(1, 3, width=2, n_hidden=4)
        self.calls = []

    def forward(self, images):
        self.calls.append((len(images), self.training))
        return self.inner(images)


def run_mixmatch(data, clean, settings=SETTINGS, unlabelled=None, synthetic=None, weights=None):
    """One epoch on the samples in `clean`; returns its losses and both networks."""
    pixels = Pixels(data.inputs, CPU)
    mask = np.isin(np.arange(data.n_samples), clean)
    trust = np.where(mask, 0.8, 0)
    selection = Selection(clean=mask, trust=trust, ids=data.ids, synthetic=synthetic)
    rest = np.flatnonzero(~mask) if unlabelled is None else np.array(unlabelled, dtype=np.int64)
    network, peer = Counting(), Counting()
    epoch = mixmatch_epoch(
        Learner("a", network, settings, CPU),
        Learner("b", peer, settings, CPU),
        pixels,
        SelectedSamples(pixels.values, data.labels, selection),
        torch.from_numpy(rest),
        weights,
        5.0,
        settings,
        draws(),
    )
    return epoch.losses, network, peer


def test_every_row_is_in_one_batch_and_batches_are_about_equal():
    batches = shuffled_batches(17, 8, draws())
    assert sorted(torch.cat(batches).tolist()) == list(range(17))
    assert [len(batch) for batch in batches] == [6, 6, 5]


def test_endless_batches_begin_again_in_another_order():
    batches = endless_batches(6, 3, draws())
    first, second = (torch.cat([next(batches), next(batches)]).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second


def test_endless_batches_of_few_rows_have_no_duplicates():
    assert sorted(next(endless_batches(3, 64, draws())).tolist()) == [0, 1, 2]


def test_draws_follow_from_seed_epoch_and_network_alone():
    order = [draws(*key).order.initial_seed() for key in [(0, 0), (1, 0), (0, 1), (0, 0)]]
    assert order[0] == order[3]
    assert len(set(order)) == 3


def test_sharpening_squares_and_normalises_at_temperature_one_half():
    sharp = sharpen(torch.tensor([[0.6, 0.3, 0.1]]), 0.5)
    torch.testing.assert_close(sharp, torch.tensor([[0.36, 0.09, 0.01]]) / 0.46)


def test_sharpening_small_numbers_does_not_divide_by_zero():
    assert sharpen(torch.full((1, 4), 1e-30), 0.5).tolist() == [[0.25] * 4]


def test_refinement_trusts_the_label_as_far_as_it_is_told():
    labels, predictions = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.2, 0.8]] * 3)
    refined = refine_labels(labels, torch.tensor([1.0, 0.5, 0.0]), predictions)
    torch.testing.assert_close(refined, torch.tensor([[1.0, 0.0], [0.6, 0.4], [0.2, 0.8]]))


def test_mixing_uses_one_share_and_the_same_partner_for_image_and_target():
    images = torch.arange(6.0)[:, None]
    mixed, targets = mix(images, images * 10, 0.75, torch.Generator().manual_seed(0))
    partners = (mixed - 0.75 * images) / 0.25
    assert sorted(partners[:, 0].round().tolist()) == list(range(6))
    torch.testing.assert_close(targets, mixed * 10)


def test_without_augmentation_no_image_is_seen_twice_in_a_step(blobs):
    _, network, peer = run_mixmatch(blobs, range(40))
    # Guesses, then the mixed images; the peer sees the unlabelled ones only, in evaluation mode.
    assert network.calls[:2] == [(16, True), (16, True)]
    assert peer.calls[0] == (8, False)
    assert len(network.calls) == 2 * len(peer.calls) == 10


def test_with_augmentation_there_are_two_views_of_each_image(blobs):
    _, network, peer = run_mixmatch(blobs, range(40), Settings(batch_size=8))
    assert network.calls[:2] == [(32, True), (32, True)]
    assert peer.calls[0] == (16, False)


def test_the_labelled_images_decide_the_length_of_the_epoch(blobs):
    losses, _, _ = run_mixmatch(blobs, range(80))
    assert len(losses) == 10


@pytest.mark.parametrize(
    ("clean", "unlabelled"),
    [(range(90), []), (range(88), [88, 89]), ([5], range(90)), ([5], []), ([5], [6])],
    ids=["no unlabelled", "few unlabelled", "one labelled", "only one image", "one of each"],
)
@pytest.mark.parametrize("augment", [True, False])
def test_small_and_empty_sets_train_without_nan(blobs, clean, unlabelled, augment):
    settings = Settings(batch_size=8, augment=augment)
    losses, network, _ = run_mixmatch(blobs, clean, settings, unlabelled=unlabelled)
    assert losses.isfinite().all()
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_synthetic_images_lengthen_the_labelled_epoch(blobs):
    recipes = MixupRecipes(
        anchors=blobs.ids[:24], partners=blobs.ids[24:48], lam=[0.7] * 24, labels=[0] * 24
    )
    losses, _, _ = run_mixmatch(blobs, range(40), synthetic=recipes)
    assert len(losses) == (40 + 24) / 8


@pytest.mark.parametrize("n_synthetic", [0, 24])
@pytest.mark.parametrize(
    ("clean", "unlabelled"),
    [(range(40), range(60, 90)), (range(80), range(80, 90)), (range(40), []), ([5], range(90))],
    ids=["some left out", "few unlabelled", "none unlabelled", "one labelled"],
)
def test_the_batch_of_a_sample_is_the_last_step_that_it_was_labelled_or_unlabelled_in(
    blobs, monkeypatch, clean, unlabelled, n_synthetic
):
    steps = []
    mixed, raw = SelectedSamples.mixed, Pixels.raw

    def labelled(self, index, view=None):
        n_real = len(self) - self.n_synthetic
        steps.append([self.anchors[row].item() for row in index if row < n_real])
        return mixed(self, index, view)

    def drawn(self, rows, view=None):
        steps[-1] += rows.tolist()
        return raw(self, rows, view)

    monkeypatch.setattr(SelectedSamples, "mixed", labelled)
    monkeypatch.setattr(Pixels, "raw", drawn)
    pixels = Pixels(blobs.inputs, CPU)
    # Parents of synthetic samples are no part of a step.
    parents = blobs.ids[40 : 40 + n_synthetic]
    recipes = MixupRecipes(parents, parents, [0.7] * n_synthetic, [0] * n_synthetic)
    mask = np.isin(np.arange(90), clean)
    selection = Selection(clean=mask, ids=blobs.ids, synthetic=recipes)
    epoch = mixmatch_epoch(
        *(Learner(name, Counting(), SETTINGS, CPU) for name in "ab"),
        pixels,
        SelectedSamples(pixels.values, blobs.labels, selection),
        torch.tensor(list(unlabelled), dtype=torch.int64),
        None,
        5.0,
        SETTINGS,
        draws(),
    )
    expected = np.full(90, -1)
    for step, rows in enumerate(steps):
        expected[rows] = step
    assert len(steps) == len(epoch.losses)
    assert epoch.batches.tolist() == expected.tolist()


def test_class_weights_of_zero_leave_the_unlabelled_loss(blobs):
    unweighted, _, _ = run_mixmatch(blobs, range(40))
    weighted, _, _ = run_mixmatch(blobs, range(40), weights=torch.zeros(3))
    assert 0 < weighted[0] < unweighted[0]


def test_an_epoch_is_the_same_whatever_the_global_random_state(blobs):
    first, _, _ = run_mixmatch(blobs, range(40))
    np.random.seed(7)
    second, _, _ = run_mixmatch(blobs, range(40))
    assert torch.equal(first, second)


def test_the_confidence_penalty_lowers_the_loss_by_the_entropy(blobs):
    def first_loss(penalise):
        network = Learner("a", Counting(), SETTINGS, CPU)
        pixels, labels = Pixels(blobs.inputs, CPU), torch.from_numpy(blobs.labels.copy())
        return warm_up_epoch(network, pixels, labels, SETTINGS, draws(), penalise).losses[0]

    # A new network is nearly uniform: its entropy is nearly log 3.
    assert first_loss(False) - first_loss(True) == pytest.approx(np.log(3), abs=0.3)


def test_warm_up_has_batches_of_twice_the_size(blobs):
    network = Counting()
    pixels, labels = Pixels(blobs.inputs, CPU), torch.from_numpy(blobs.labels.copy())
    learner = Learner("a", network, SETTINGS, CPU)
    losses, batches = warm_up_epoch(learner, pixels, labels, SETTINGS, draws(), False)
    assert [size for size, _ in network.calls] == [15] * 6
    assert len(losses) == 6
    assert batches.bincount().tolist() == [15] * 6
