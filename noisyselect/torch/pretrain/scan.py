"""SCAN: a sample and its neighbours belong to one cluster, and all clusters are used."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyselect.torch.inputs import Inputs
from noisyselect.torch.mixmatch import Draws, shuffled_batches
from noisyselect.torch.models import through_head
from noisyselect.torch.pretrain.simclr import Forward


def scan_loss(anchor_logits: Tensor, neighbour_logits: Tensor, lambda_e: float) -> Tensor:
    r"""Return the clustering loss of samples and one neighbour each, in nats.

    Parameters
    ----------
    anchor_logits, neighbour_logits : Tensor of shape (batch, n_clusters)
        Of any float type: computed is in 32 bits at least.
    lambda_e : float >= 0
        Weight of the entropy.

    Returns
    -------
    Tensor of shape ()
        At least :math:`-\lambda_e \log n_{clusters}`, where neighbours agree for certain and all
        clusters are of one size.

    Notes
    -----
    Eq. 12 of VRLVMix, after [1]_, with :math:`a_i, b_i` the softmax of a sample and its neighbour,

    .. math:: L_e = -\frac{1}{n} \sum_i \log(a_i \cdot b_i) - \lambda_e H(\bar a).

    The sign of the entropy is not printed there; it is maximised, as in [1]_. Computed in logs, so
    that certain and contrary answers have a finite loss.

    References
    ----------
    .. [1] Van Gansbeke et al., "SCAN: Learning to classify images without labels", ECCV 2020.
    """
    anchors, neighbours = (
        functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
        for logits in (anchor_logits, neighbour_logits)
    )
    consistency = -(anchors + neighbours).logsumexp(dim=1).mean()
    mean = anchors.logsumexp(dim=0) - math.log(len(anchors))
    entropy = -(mean.exp() * mean).sum()
    return consistency - lambda_e * entropy


def draw_neighbours(
    neighbours: Tensor, predictions: Tensor | None, rows: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw a neighbour for each row: one of those that are predicted the same class.

    Parameters
    ----------
    neighbours : Tensor of int64, shape (n_samples, k)
        Row positions; -1 for none.
    predictions : Tensor of int64, shape (n_samples,), or None
        Predicted labels, of the other network in ScanMix. With None all neighbours will do.
    rows : Tensor of int64, shape (batch,)
    generator : torch.Generator
        On the device of `neighbours`.

    Returns
    -------
    Tensor of int64, shape (batch,)
        All neighbours will do where none is predicted the class of the row; a row without
        neighbours draws itself.
    """
    near = neighbours[rows]
    usable = near >= 0
    if predictions is not None:
        agreeing = usable & (predictions[near] == predictions[rows][:, None])
        usable = torch.where(agreeing.any(dim=1, keepdim=True), agreeing, usable)
    keys = torch.rand(near.shape, generator=generator, device=near.device)
    drawn = keys.masked_fill(~usable, -1).argmax(dim=1, keepdim=True)
    return torch.where(usable.any(dim=1), near.gather(1, drawn)[:, 0], rows)


def scan_epoch(
    network: nn.Module,
    head: nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: Inputs,
    neighbours: Tensor,
    predictions: Tensor | None,
    *,
    batch_size: int,
    lambda_e: float,
    draws: Draws,
    strong: bool = True,
    forward: Forward = through_head,
) -> Tensor:
    """Cluster all samples, each an anchor once, and return the loss of each step.

    Parameters
    ----------
    network, head, optimiser
        All are changed; `head` maps features to clusters, the network's own classifier has no part.
    inputs : Inputs
    neighbours : Tensor of int64, shape (n_samples, k)
    predictions : Tensor of int64, shape (n_samples,), or None
        See `draw_neighbours`.
    batch_size : int >= 1
        Anchors of a step, at most.
    lambda_e : float >= 0
    draws : Draws
    strong : bool, default=True
        Augment strongly; else as in training.
    forward : callable, default=through_head
        Network, head and normalised batch, shape (2 * batch, ...), to the logits of the clusters.

    Returns
    -------
    Tensor of shape (n_steps,)
        In nats, on the device.

    Notes
    -----
    Departure: anchors and neighbours go through the network together (in ScanMix one after the
    other), so that batch normalisation is over both.
    """
    network.train()
    head.train()
    augment = inputs.augment_strongly if strong else inputs.augment
    batches = shuffled_batches(len(inputs.values), batch_size, draws)
    losses = torch.empty(len(batches), device=inputs.device)
    for step, rows in enumerate(batches):
        near = draw_neighbours(neighbours, predictions, rows, draws.pixels)
        both = inputs.drawn(torch.cat([rows, near]), draws.pixels)
        batch = inputs.normalise(augment(both, draws.pixels))
        anchor_logits, neighbour_logits = forward(network, head, batch).chunk(2)
        loss = scan_loss(anchor_logits, neighbour_logits, lambda_e)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses[step] = loss.detach()
    return losses
