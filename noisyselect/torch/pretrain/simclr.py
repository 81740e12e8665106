"""SimCLR: features that tell two views of one sample from all views of others."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyselect.torch.inputs import Inputs
from noisyselect.torch.mixmatch import Draws, shuffled_batches
from noisyselect.torch.models import through_head

# Network, head and normalised batch to the head's answer, shape (batch, n_out).
Forward = Callable[[nn.Module, nn.Module, Tensor], Tensor]

# What divides the cosines, in SCAN and ScanMix.
TEMPERATURE = 0.1

# SCAN's "decay rate 0.1": the rate falls to so much of what it was at first.
_LAST_RATE = 0.1**3

# Epochs over which the rate rises, in SimCLR.
_RISE = 10


class ProjectionHead(nn.Sequential):
    """Features to what SimCLR compares: a hidden layer of their own width, then `n_out` numbers.

    Parameters
    ----------
    n_features : int
    n_out : int, default=128

    Examples
    --------
    >>> ProjectionHead(256)(torch.zeros(5, 256)).shape
    torch.Size([5, 128])
    """

    def __init__(self, n_features: int, n_out: int = 128) -> None:
        super().__init__(nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, n_out))


def nt_xent(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    r"""Return the normalised, temperature-scaled cross-entropy of two views, in nats.

    Parameters
    ----------
    first, second : Tensor of shape (batch, n_out)
        Of any length and float type: compared are directions, in 32 bits. Row i of both is of one
        sample.
    temperature : float > 0, default=0.1

    Returns
    -------
    Tensor of shape ()
        Mean over the 2 * batch views; :math:`\log(2\,\mathrm{batch} - 1)` where all are alike.

    Notes
    -----
    Eq. 1 of [1]_,

    .. math:: -\log \frac{\exp(z_i \cdot z_j / \tau)}{\sum_{k \ne i} \exp(z_i \cdot z_k / \tau)},

    both ways: with each view as the anchor of the other. (SCAN and ScanMix have the first views as
    anchors only.)

    References
    ----------
    .. [1] Chen et al., "A simple framework for contrastive learning of visual representations",
       ICML 2020.
    """
    # In 32 bits under autocast, too, which would take the product for one to shorten.
    with torch.autocast(first.device.type, enabled=False):
        views = functional.normalize(torch.cat([first, second]).float(), dim=1)
        cosines = views @ views.T / temperature
    own = torch.eye(len(views), dtype=torch.bool, device=views.device)
    others = torch.arange(len(views), device=views.device).roll(len(first))
    return functional.cross_entropy(cosines.masked_fill(own, -math.inf), others)


def simclr_rate(lr: float, epoch: int, n_epochs: int) -> float:
    r"""Return the learning rate of an epoch: a short rise to `lr`, then a cosine down from it.

    Notes
    -----
    The cosine is SCAN's, over all epochs towards a thousandth of `lr`. Departure: in the first 10
    epochs, or the first tenth of fewer than 100, it is multiplied by a share that rises to 1, as in
    SimCLR: large first steps can leave a network with one answer for all images, a loss that stays
    at :math:`\log(2\,\mathrm{batch} - 1)`. Where it does so all the same, `lr` is too large: for
    `SmallCNN` on 2000 images of CIFAR-10 the paper's 0.4 is, and 0.05 is not.

    Examples
    --------
    >>> [round(simclr_rate(0.4, epoch, 500), 4) for epoch in (0, 4, 9, 250, 499)]
    [0.04, 0.2, 0.3997, 0.2002, 0.0004]
    """
    last = lr * _LAST_RATE
    cosine = last + (lr - last) * (1 + math.cos(math.pi * epoch / n_epochs)) / 2
    return cosine * min(1.0, (epoch + 1) / max(1, min(_RISE, n_epochs // 10)))


def simclr_epoch(
    network: nn.Module,
    head: nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: Inputs,
    *,
    batch_size: int,
    draws: Draws,
    forward: Forward = through_head,
) -> Tensor:
    """Train network and projection head on all samples once, and return the loss of each step.

    Parameters
    ----------
    network, head, optimiser
        All are changed, but for the network's classifier.
    inputs : Inputs
    batch_size : int >= 2
        Samples of a step, at most: two views of each go through the network together, in one batch
        of twice the size.
    draws : Draws
    forward : callable, default=through_head
        Network, head and normalised views, shape (2 * batch, ...), to projections.

    Returns
    -------
    Tensor of shape (n_steps,)
        In nats, on the device: reading it is left to the caller, once per epoch.
    """
    network.train()
    head.train()
    batches = shuffled_batches(len(inputs.values), batch_size, draws)
    losses = torch.empty(len(batches), device=inputs.device)
    for step, rows in enumerate(batches):
        both = inputs.drawn(torch.cat([rows, rows]), draws.pixels)
        views = inputs.normalise(inputs.augment_contrastively(both, draws.pixels))
        first, second = forward(network, head, views).chunk(2)
        loss = nt_xent(first, second)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses[step] = loss.detach()
    return losses


@torch.no_grad()
def projections(network: nn.Module, head: nn.Module, inputs: Inputs, *, batch_size: int) -> Tensor:
    """Return the projections of all samples, of length 1, by which neighbours are found.

    In evaluation mode, without augmentation, in 32 bits; shape (n_samples, n_out), on the device.
    """
    network.eval()
    head.eval()
    rows = torch.arange(len(inputs.values), device=inputs.device)
    parts = []
    for batch in torch.split(rows, batch_size):
        plain = inputs.normalise(inputs.plain(inputs.raw(batch)))
        parts.append(functional.normalize(through_head(network, head, plain), dim=1))
    return torch.cat(parts)
