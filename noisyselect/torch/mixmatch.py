"""One epoch of training: cross-entropy on all samples, or MixMatch on a selection."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from noisyselect.torch.inputs import Inputs, SelectedSamples
from noisyselect.torch.learner import Learner
from noisyselect.torch.losses import (
    negative_entropy,
    prior_divergence,
    soft_cross_entropy,
    squared_error,
)
from noisyselect.torch.settings import Settings


@dataclass(frozen=True)
class Draws:
    """Where one network's epoch gets its random numbers from: all of them, and nowhere else.

    They follow from the run's seed, the epoch and the network alone. So a resumed epoch draws what
    the unbroken run drew, and methods with one seed see their samples in one order.

    Parameters
    ----------
    order : torch.Generator
        On the CPU, for the order of the samples.
    pixels : torch.Generator
        On the device of the samples, for augmentation and mixup partners.
    shares : numpy.random.Generator
        For mixing shares.
    """

    order: torch.Generator
    pixels: torch.Generator
    shares: np.random.Generator

    @classmethod
    def of(cls, seed: int, epoch: int, network: int, device: torch.device) -> Draws:
        """Return the draws of a network's epoch."""
        states = np.random.SeedSequence([seed, epoch, network]).generate_state(3, np.uint64)
        order, pixels, shares = (int(state >> np.uint64(1)) for state in states)
        return cls(
            torch.Generator().manual_seed(order),
            torch.Generator(device).manual_seed(pixels),
            np.random.default_rng(shares),
        )


class TrainedEpoch(NamedTuple):
    """What one network's epoch of training came to.

    On the device: reading it is left to the caller, once per epoch.

    Attributes
    ----------
    losses : Tensor of shape (n_steps,)
        Loss of each step, in nats.
    batches : Tensor of int32, shape (n_samples,)
        Step that each sample was part of, from 0; the last one of several, -1 for none.
    """

    losses: Tensor
    batches: Tensor


def shuffled_batches(n: int, batch_size: int, draws: Draws) -> tuple[Tensor, ...]:
    """Return the rows 0..n-1 in random order, in as few batches as `batch_size` allows.

    Their sizes differ by one at most, so that no last batch is too small to be normalised.
    """
    order = torch.randperm(n, generator=draws.order).to(draws.pixels.device, non_blocking=True)
    return order.tensor_split(math.ceil(n / batch_size))


def endless_batches(n: int, batch_size: int, draws: Draws) -> Iterator[Tensor]:
    """Yield batches of rows 0..n-1, in a new random order whenever all have been used.

    No batch is larger than n: with fewer rows than `batch_size` each batch is all of them.
    """
    while True:
        yield from shuffled_batches(n, batch_size, draws)


def warm_up_epoch(
    network: Learner,
    inputs: Inputs,
    labels: Tensor,
    settings: Settings,
    draws: Draws,
    penalise: bool,
) -> TrainedEpoch:
    """Train one epoch by cross-entropy on all samples.

    Parameters
    ----------
    network : Learner
        Is changed.
    inputs : Inputs
    labels : Tensor of int64, shape (n_samples,)
        Given labels.
    settings : Settings
    draws : Draws
    penalise : bool
        Whether to add the negative entropy.

    Returns
    -------
    TrainedEpoch
    """
    network.module.train()
    batches = shuffled_batches(len(labels), 2 * settings.batch_size, draws)
    losses = torch.empty(len(batches), device=labels.device)
    step_of = torch.empty(len(labels), dtype=torch.int32, device=labels.device)
    for step, rows in enumerate(batches):
        step_of.index_fill_(0, rows, step)
        logits = network.logits(given(inputs, rows, settings, draws))
        loss = functional.cross_entropy(logits, labels[rows])
        if penalise:
            loss = loss + negative_entropy(logits)
        network.descend(loss)
        losses[step] = loss.detach()
    return TrainedEpoch(losses, step_of)


def mixmatch_epoch(
    network: Learner,
    peer: Learner,
    inputs: Inputs,
    labelled: SelectedSamples,
    unlabelled: Tensor,
    class_weights: Tensor | None,
    lambda_u: float,
    settings: Settings,
    draws: Draws,
    *,
    strong: bool = False,
    refine_together: bool = False,
) -> TrainedEpoch:
    r"""Train one epoch of MixMatch as in DivideMix.

    Parameters
    ----------
    network : Learner
        Is changed.
    peer : Learner
        The other network, which takes part in guessing.
    inputs : Inputs
    labelled : SelectedSamples
        Decides the length of the epoch: each of its rows is used once.
    unlabelled : Tensor of int64, shape (n_unlabelled,)
        Rows of `inputs` to be used without their label, over and over where they are fewer than the
        labelled ones. Where there are none, each step is on labelled samples alone.
    class_weights : Tensor of shape (n_classes,), optional
        For the labelled half of the loss.
    lambda_u : float >= 0
        Weight of the unlabelled half.
    settings : Settings
    draws : Draws
    strong : bool, default=False
        Augment strongly, as ScanMix does where there is much noise.
    refine_together : bool, default=False
        Refine labels by what both networks predict, as guesses are made, and not by what the
        trained one does.

    Returns
    -------
    TrainedEpoch
        A sample is part of a step as a labelled or as an unlabelled one; not as a parent of a
        synthetic one, nor as a partner in mixing.

    Notes
    -----
    A step, of DivideMix's Algorithm 1: refine labels, guess labels, mix all samples with one share,
    and descend on Eq. 11 of VRLVMix,

    .. math:: L = L_x + \lambda_u L_u + \lambda_r \sum_c \pi_c \log(\pi_c / \bar p_c).

    Departure: the network's own guesses, on labelled and unlabelled samples, come from one forward
    pass (there four), as training-mode batch normalisation over one batch. Without augmentation
    both views of a sample would be the same, so there is only one.
    """
    network.module.train()
    peer.module.eval()
    batches = shuffled_batches(len(labelled), settings.batch_size, draws)
    losses = torch.empty(len(batches), device=inputs.device)
    others = endless_batches(len(unlabelled), settings.batch_size, draws)
    n_samples, n_real = len(inputs.values), len(labelled) - labelled.n_synthetic
    # The extra last place is that of synthetic samples.
    step_of = torch.full((n_samples + 1,), -1, dtype=torch.int32, device=inputs.device)
    places = labelled.anchors.clone()
    places[n_real:] = n_samples
    for step, rows in enumerate(batches):
        u_rows = unlabelled[next(others)] if len(unlabelled) else unlabelled
        step_of.index_fill_(0, places[rows], step)
        step_of.index_fill_(0, u_rows, step)
        batch, targets, n_labelled = _inputs_and_targets(
            network,
            peer,
            inputs,
            labelled,
            rows,
            u_rows,
            settings,
            draws,
            strong,
            refine_together,
        )
        share = float(draws.shares.beta(settings.alpha, settings.alpha))
        mixed, mixed_targets = mix(batch, targets, max(share, 1 - share), draws.pixels)
        logits = network.logits(mixed)
        loss = soft_cross_entropy(logits[:n_labelled], mixed_targets[:n_labelled], class_weights)
        if len(u_rows) and lambda_u:
            unlabelled_loss = squared_error(logits[n_labelled:], mixed_targets[n_labelled:])
            loss = loss + lambda_u * unlabelled_loss
        loss = loss + settings.lambda_r * prior_divergence(logits)
        network.descend(loss)
        losses[step] = loss.detach()
    return TrainedEpoch(losses, step_of[:-1])


@torch.no_grad()
def _inputs_and_targets(
    network: Learner,
    peer: Learner,
    inputs: Inputs,
    labelled: SelectedSamples,
    x_rows: Tensor,
    u_rows: Tensor,
    settings: Settings,
    draws: Draws,
    strong: bool,
    refine_together: bool,
) -> tuple[Tensor, Tensor, int]:
    """Return all views (labelled, then unlabelled), their targets, and how many are labelled."""
    views = 2 if settings.augment else 1
    n_labelled = views * len(x_rows)
    raw = _raw_views(inputs, labelled, x_rows.repeat(views), u_rows.repeat(views), settings, draws)
    batch = _prepared(inputs, raw, settings, draws, strong)

    answers, n_x = [network.logits(batch)], n_labelled
    if refine_together:
        answers.insert(0, peer.logits(batch[:n_labelled]))
        n_x = 2 * n_labelled
    if len(u_rows):
        answers.append(peer.logits(batch[n_labelled:]))
    # One softmax, one mean and one sharpening for all: in a small network's step each counts.
    probabilities = torch.cat(answers).softmax(dim=1)
    n_classes = probabilities.shape[1]
    mean_x = probabilities[:n_x].view(-1, len(x_rows), n_classes).mean(dim=0)
    guess = probabilities[n_x:].view(2 * views, len(u_rows), n_classes).mean(dim=0)
    labels = functional.one_hot(labelled.labels[x_rows], n_classes).to(mean_x.dtype)
    refined = refine_labels(labels, labelled.trust[x_rows], mean_x)
    sharp = sharpen(torch.cat([refined, guess]), settings.temperature)
    x, u = torch.split(sharp, [len(x_rows), len(u_rows)])
    return batch, torch.cat([x] * views + [u] * views), n_labelled


def _raw_views(
    inputs: Inputs,
    labelled: SelectedSamples,
    x_rows: Tensor,
    u_rows: Tensor,
    settings: Settings,
    draws: Draws,
) -> Tensor:
    """Return labelled samples, then unlabelled ones, as floats that are not augmented yet."""
    n_labelled, n = len(x_rows), len(x_rows) + len(u_rows)
    view = inputs.draw_views(n, draws.pixels) if settings.augment else None
    x_view, u_view = (None, None) if view is None else (view[:n_labelled], view[n_labelled:])
    return torch.cat([labelled.mixed(x_rows, x_view), inputs.raw(u_rows, u_view).float()])


def given(inputs: Inputs, rows: Tensor, settings: Settings, draws: Draws) -> Tensor:
    """Return what the network is given of samples: augmented or plain, normalised."""
    raw = inputs.drawn(rows, draws.pixels) if settings.augment else inputs.raw(rows)
    return _prepared(inputs, raw, settings, draws)


def _prepared(
    inputs: Inputs, raw: Tensor, settings: Settings, draws: Draws, strong: bool = False
) -> Tensor:
    if not settings.augment:
        return inputs.normalise(inputs.plain(raw))
    augment = inputs.augment_strongly if strong else inputs.augment
    return inputs.normalise(augment(raw, draws.pixels))


def refine_labels(labels: Tensor, trust: Tensor, predictions: Tensor) -> Tensor:
    r"""Return :math:`w y + (1 - w) p`.

    Parameters
    ----------
    labels, predictions : Tensor of shape (batch, n_classes)
        Rows sum to 1.
    trust : Tensor of shape (batch,)
        :math:`w`, in [0, 1].
    """
    return torch.lerp(predictions, labels, trust[:, None])


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Return ``p ** (1 / temperature)``, rows summing to 1 again.

    Parameters
    ----------
    probabilities : Tensor of shape (batch, n_classes)
    temperature : float > 0
    """
    # By the largest first: a power of many small numbers may underflow to a row of zeros.
    relative = probabilities / probabilities.amax(dim=1, keepdim=True)
    powers = relative ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


def mix(
    batch: Tensor, targets: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every row with that of a random permutation; one `share`, of the first, for all."""
    partner = torch.randperm(len(batch), generator=generator, device=batch.device)
    return (
        batch.index_select(0, partner).lerp_(batch, share),
        targets.index_select(0, partner).lerp_(targets, share),
    )
