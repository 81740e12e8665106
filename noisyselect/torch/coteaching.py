"""Co-teaching: each network learns from the samples of a batch that the other finds easiest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from noisyselect.selectors.co_teaching import CoTeachingSelector
from noisyselect.torch.inputs import Inputs
from noisyselect.torch.learner import Learner
from noisyselect.torch.mixmatch import Draws, given, shuffled_batches
from noisyselect.torch.select_batch import select_batch
from noisyselect.torch.settings import Settings


class CoteachingEpoch(NamedTuple):
    """What one epoch of Co-teaching came to, for both networks.

    Attributes
    ----------
    losses : tuple of two Tensors of shape (n_steps,)
        Mean loss of the samples that each network learnt from, in nats.
    kept : tuple of two Tensors of bool, shape (n_samples,)
        The samples that each network learnt from.
    batches : Tensor of int32, shape (n_samples,)
        Step that each sample was part of, for both networks; those that were dropped in it, too.
    """

    losses: tuple[Tensor, Tensor]
    kept: tuple[Tensor, Tensor]
    batches: Tensor


def coteaching_epoch(
    networks: Sequence[Learner],
    inputs: Inputs,
    labels: Tensor,
    forgotten: float,
    settings: Settings,
    draws: Draws,
) -> CoteachingEpoch:
    """Train both networks for one epoch, each on the small losses of the other.

    Parameters
    ----------
    networks : sequence of two Learners
        Both are changed; they see the same batches.
    inputs : Inputs
    labels : Tensor of int64, shape (n_samples,)
        Given labels.
    forgotten : float in [0, 1)
        Share of each batch that is dropped; at least one sample is kept.
    settings : Settings
    draws : Draws

    Returns
    -------
    CoteachingEpoch

    Notes
    -----
    Of a batch of B samples each network names the ``int((1 - forgotten) * B)`` of least loss, as
    `CoTeachingSelector` has it, and the other takes a step on the mean loss of these. The official
    code divides that mean once more by their number; this does not. There `forgotten` rises from
    the first epoch on, from 0; here after warm-up, to the noise rate that was estimated at its end,
    as no method is told the true one.

    References
    ----------
    .. [1] Han et al., "Co-teaching: robust training of deep neural networks with extremely noisy
       labels", NeurIPS 2018, Algorithm 1.
    """
    selector = CoTeachingSelector(clean_rate=1 - forgotten, n_gradual=0)
    for network in networks:
        network.module.train()
    batches = shuffled_batches(len(labels), 2 * settings.batch_size, draws)
    losses = torch.empty(2, len(batches), device=labels.device)
    kept = torch.zeros(2, len(labels), dtype=torch.bool, device=labels.device)
    step_of = torch.empty(len(labels), dtype=torch.int32, device=labels.device)
    for step, rows in enumerate(batches):
        step_of.index_fill_(0, rows, step)
        batch = given(inputs, rows, settings, draws)
        own = [
            functional.cross_entropy(network.logits(batch), labels[rows], reduction="none")
            for network in networks
        ]
        for index, network in enumerate(networks):
            mine, other = own[index], own[1 - index]
            chosen = select_batch(selector, losses=mine, peer_losses=other)
            # As a sum over the mask: to index by it would be to wait for the device.
            loss = torch.where(chosen, mine, 0).sum() / chosen.sum()
            network.descend(loss)
            losses[index, step] = loss.detach()
            kept[index, rows] = chosen
    return CoteachingEpoch((losses[0], losses[1]), (kept[0], kept[1]), step_of)
