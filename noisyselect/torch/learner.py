"""One network in training: how it answers, how it learns, and what of it is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from noisyselect.torch.distributed import Shards
from noisyselect.torch.models import classifier_of, through_head
from noisyselect.torch.precision import autocast, resolve_precision
from noisyselect.torch.settings import Settings


def in_shares(
    forward: Callable[[Tensor], Tensor],
    batch: Tensor,
    precision: Literal["float32", "bfloat16"],
    shards: Shards,
) -> Tensor:
    """Return a forward pass of a whole batch in 32 bits, of which every process computes a share.

    Parameters
    ----------
    forward : callable
        Rows of a batch to rows of an answer; computed with `precision`.
    batch : Tensor of shape (batch, ...)
    precision : {"float32", "bfloat16"}
    shards : Shards

    Returns
    -------
    Tensor of shape (batch, n_out)
        Gradients flow into this process's share alone.
    """
    with autocast(precision, batch.device):
        own = forward(shards.own(batch))
    return shards.gather(own.float(), len(batch))


class Learner:
    """A network with its optimiser, on a device, alone or as one of several equal processes.

    Parameters
    ----------
    name : str
    module : torch.nn.Module
        Moved to the device, and changed by training.
    settings : Settings
    device : torch.device
    shards : Shards, optional
        By default those of a single process.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        settings: Settings,
        device: torch.device,
        shards: Shards | None = None,
    ) -> None:
        self.name, self.device, self.shards = name, device, shards or Shards()
        # Twice as fast for convolutions, on CPUs as on GPUs.
        module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module = self.shards.normalising_alike(module)
        self.precision = resolve_precision(settings.precision, device)
        self.forward: Callable[[Tensor], Tensor] = (
            torch.compile(self.module) if settings.compile else self.module
        )
        # Users' networks may draw from other states than torch's.
        self.shards.spread([*self.module.parameters(), *self.module.buffers()])
        self._settings = settings
        # A second classifier on the same features, of semantic clustering.
        self.head: nn.Linear | None = None
        self.average: AveragedModel | None = None
        if settings.ema:
            mean = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.module, multi_avg_fn=mean, use_buffers=True)
        self.optimiser = self._new_optimiser()

    def _new_optimiser(self) -> torch.optim.Optimizer:
        settings = self._settings
        optimiser = torch.optim.SGD(
            self.module.parameters(),
            settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        # A fused step wants momenta of all its weights or of none, and the first ones may be of the
        # classifier alone. From 0 it makes of them what it would make of none.
        for weight in self.module.parameters():
            optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return self._joined(optimiser)

    def _joined(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Let the processes step together, and the running mean of the weights follow."""
        self.shards.join(optimiser)
        average = self.average
        if average is not None:
            optimiser.register_step_post_hook(lambda *_: average.update_parameters(self.module))
        return optimiser

    @property
    def tested(self) -> nn.Module:
        """What is tested: the running mean of the weights where there is one."""
        return self.module if self.average is None else self.average.module

    def set_lr(self, lr: float) -> None:
        """Set the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr

    def logits(self, batch: Tensor) -> Tensor:
        """Return the logits of a whole batch, shape (batch, n_classes), see `in_shares`."""
        return in_shares(self.forward, batch, self.precision, self.shards)

    def through_head(self, network: nn.Module, head: nn.Module, batch: Tensor) -> Tensor:
        """Return what a head makes of the network's features, see `in_shares`."""
        forward = partial(through_head, network, head)
        return in_shares(forward, batch, self.precision, self.shards)

    def clustering_optimiser(self, lr: float) -> torch.optim.Optimizer:
        """Return a new optimiser of the network's features and its clustering head.

        Departure: made for an epoch, it begins without momentum; in ScanMix one optimiser takes all
        steps.
        """
        assert self.head is not None
        weights = [*self.module.parameters(), *self.head.parameters()]
        return self._joined(torch.optim.SGD(weights, lr, momentum=0.9, weight_decay=5e-4))

    def descend(self, loss: Tensor) -> None:
        """Take one step down a loss of the whole batch."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def start_from(self, weights: dict[str, Tensor], head: dict[str, Tensor] | None) -> None:
        """Begin again from pre-trained weights, both classifiers from the clustering head.

        Parameters
        ----------
        weights : dict of str to Tensor
            State of a whole network, as that of SimCLR.
        head : dict of str to Tensor, optional
            State of a clustering head; without one the classifier is that of `weights`.
        """
        self.module.load_state_dict(weights)
        if head is not None:
            classifier_of(self.module).load_state_dict(head)
        self.new_head()
        self.optimiser = self._new_optimiser()
        if self.average is not None:
            self.average.module.load_state_dict(self.module.state_dict())
            self.average.n_averaged.zero_()

    def new_head(self) -> None:
        """Give the network a clustering head, for now equal to its classifier."""
        # As a copy: making a layer would draw from the global random state.
        self.head = copy.deepcopy(classifier_of(self.module))

    @contextmanager
    def only_classifier(self) -> Iterator[None]:
        """Train nothing but the classifier; the statistics of normalisation still move."""
        kept = [weight for weight in self.module.parameters() if weight.requires_grad]
        classifier = set(classifier_of(self.module).parameters())
        for weight in kept:
            weight.requires_grad_(weight in classifier)
        try:
            yield
        finally:
            for weight in kept:
                weight.requires_grad_(True)
