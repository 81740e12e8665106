"""MixMatch against a second reading of its steps: plain loops over rows, and the same draws."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from noisyselect import MixupRecipes, Selection
from noisyselect.torch import SelectedSamples, Settings
from noisyselect.torch.augment import crop_and_flip
from noisyselect.torch.inputs import Pixels
from noisyselect.torch.learner import Learner
from noisyselect.torch.mixmatch import Draws, mixmatch_epoch

CPU = torch.device("cpu")
N_CLASSES = 4
# No two terms of the loss have one weight, and no setting its default.
LAMBDA_U, LAMBDA_R, TEMPERATURE, BATCH_SIZE = 7.0, 0.6, 0.4, 8

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (44, 2, 6, 6), dtype=np.uint8)
LABELS = RNG.integers(0, N_CLASSES, 44)
CLEAN = np.arange(44) < 25
TRUST = np.where(CLEAN, RNG.uniform(0.05, 0.95, 44), 0.0)
# Fewer than the labelled rows, so that their order begins again within the epoch.
UNLABELLED = list(range(25, 44))
# Anchor, partner, share and label.
SYNTHETIC = [(0, 30, 0.7, 2), (1, 31, 0.8, 0), (2, 40, 0.55, 3)]


def network(seed):
    """A network whose answer depends on its mode, and on the other rows of a batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(
            nn.Flatten(), nn.Linear(72, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, N_CLASSES)
        )
        # Far from uniform predictions: there sharpening and guessing matter.
        nn.init.normal_(made[4].weight, std=1.5)
        nn.init.normal_(made[2].running_mean)
    return made


def optimiser_of(net):
    return torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)


def settings(augment):
    return Settings(
        batch_size=BATCH_SIZE,
        augment=augment,
        lambda_r=LAMBDA_R,
        temperature=TEMPERATURE,
        alpha=2,
        lr=0.05,
        weight_decay=0,
        precision="float32",
    )


def draws():
    return Draws.of(seed=5, epoch=3, network=1, device=CPU)


def batches(n, generator):
    """Rows in random order, in parts whose sizes differ by one at most, the larger ones first."""
    order = torch.randperm(n, generator=generator).tolist()
    n_parts = math.ceil(n / BATCH_SIZE)
    parts = []
    for part in range(n_parts):
        size = n // n_parts + (part < n % n_parts)
        parts.append(order[:size])
        order = order[size:]
    return parts


def sharpened(probabilities):
    powers = [p ** (1 / TEMPERATURE) for p in probabilities]
    return [power / sum(powers) for power in powers]


def mean_of(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def combined(share, first, second):
    return [share * one + (1 - share) * two for one, two in zip(first, second, strict=True)]


def labelled_rows():
    """(image, label, trust) of the real rows, then of the synthetic ones, which are trusted."""
    images = torch.tensor(IMAGES).double()
    real = [(images[row], LABELS[row], TRUST[row]) for row in np.flatnonzero(CLEAN)]
    made = [
        (share * images[anchor] + (1 - share) * images[partner], label, 1.0)
        for anchor, partner, share, label in SYNTHETIC
    ]
    return real + made


def probabilities_of(net, batch):
    with torch.no_grad():
        return net(batch).softmax(dim=1).tolist()


def targets_of(net, peer, batch, labels, trusts, n_views, together):
    """Refined labels of the labelled rows, then guesses for the others; each once per view."""
    n_x = len(labels)
    n_u = len(batch) // n_views - n_x
    own = probabilities_of(net, batch)
    of_peer = probabilities_of(peer, batch)
    others = of_peer[n_views * n_x :]
    refined = []
    for row in range(n_x):
        asked = [own, of_peer] if together else [own]
        predicted = mean_of([of[view * n_x + row] for of in asked for view in range(n_views)])
        given = [float(c == labels[row]) for c in range(N_CLASSES)]
        refined.append(sharpened(combined(trusts[row], given, predicted)))
    guessed = []
    for row in range(n_u):
        answers = []
        for view in range(n_views):
            answers += [own[n_views * n_x + view * n_u + row], others[view * n_u + row]]
        guessed.append(sharpened(mean_of(answers)))
    return refined * n_views + guessed * n_views


def loss_of(logits, targets, n_labelled, class_weights):
    """Eq. 11, term by term."""
    probabilities = logits.softmax(dim=1)
    labelled = unlabelled = divergence = 0.0
    for row, target in enumerate(targets):
        for c in range(N_CLASSES):
            if row < n_labelled:
                weight = mean_weight(target, class_weights)
                labelled -= weight * target[c] * probabilities[row, c].log() / n_labelled
            else:
                n_terms = (len(targets) - n_labelled) * N_CLASSES
                unlabelled += (probabilities[row, c] - target[c]) ** 2 / n_terms
    for c in range(N_CLASSES):
        mean = sum(probabilities[:, c]) / len(targets)
        divergence += ((1 / N_CLASSES) / mean).log() / N_CLASSES
    return labelled + LAMBDA_U * unlabelled + LAMBDA_R * divergence


def mean_weight(target, class_weights):
    if class_weights is None:
        return 1.0
    return sum(q * weight for q, weight in zip(target, class_weights, strict=True))


def oracle_epoch(net, peer, optimiser, n_views, class_weights, draws, together):
    """The losses of an epoch, and the shares that it drew."""
    pixels = torch.tensor(IMAGES).double()
    mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    rows, others = labelled_rows(), []
    losses, shares = [], []
    net.train()
    peer.eval()
    for chosen in batches(len(rows), draws.order):
        others = others or batches(len(UNLABELLED), draws.order)
        x, labels, trusts = zip(*[rows[row] for row in chosen], strict=True)
        u = [pixels[UNLABELLED[row]] for row in others.pop(0)]
        raw = torch.stack([*x] * n_views + u * n_views)
        if n_views == 2:
            raw = crop_and_flip(raw, draws.pixels)
        batch = ((raw - mean) / std).float()
        targets = targets_of(net, peer, batch, labels, trusts, n_views, together)

        drawn = draws.shares.beta(2, 2)
        shares.append(drawn)
        share = max(drawn, 1 - drawn)
        partners = torch.randperm(len(batch), generator=draws.pixels).tolist()
        mixed = [share * batch[i] + (1 - share) * batch[j] for i, j in enumerate(partners)]
        mixed_targets = [combined(share, targets[i], targets[j]) for i, j in enumerate(partners)]
        loss = loss_of(net(torch.stack(mixed)), mixed_targets, n_views * len(x), class_weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, shares


@pytest.mark.parametrize("class_weights", [None, [0.3, 1.0, 2.5, 0.7]], ids=["plain", "weighted"])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_an_epoch_of_mixmatch_is_what_plain_loops_make_of_it(augment, class_weights, together):
    net, peer = network(1), network(2)
    pixels = Pixels(IMAGES, CPU)
    anchors, partners, lam, labels = zip(*SYNTHETIC, strict=True)
    recipes = MixupRecipes(anchors, partners, lam, labels)
    selection = Selection(clean=CLEAN, trust=TRUST, synthetic=recipes)
    losses, _ = mixmatch_epoch(
        Learner("a", net, settings(augment), CPU),
        Learner("b", peer, settings(augment), CPU),
        pixels,
        SelectedSamples(pixels.values, LABELS, selection),
        torch.tensor(UNLABELLED),
        None if class_weights is None else torch.tensor(class_weights),
        LAMBDA_U,
        settings(augment),
        draws(),
        refine_together=together,
    )

    other_net, other_peer = network(1), network(2)
    expected, shares = oracle_epoch(
        other_net,
        other_peer,
        optimiser_of(other_net),
        1 + augment,
        class_weights,
        draws(),
        together,
    )
    assert min(shares) < 0.5 < max(shares)  # else the larger of both shares is not seen
    assert losses.tolist() == pytest.approx(expected, rel=2e-5)
    for trained, wanted in ((net, other_net), (peer, other_peer)):
        torch.testing.assert_close(trained.state_dict(), wanted.state_dict(), rtol=1e-4, atol=2e-5)
