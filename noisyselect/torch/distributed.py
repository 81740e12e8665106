"""Several processes as one: each computes a share of every batch, and all know the whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Shards:
    """How a batch is shared out between processes that draw alike.

    Every process prepares the same batch, puts its share through the network, gathers the logits
    of all and computes the whole loss. Gradients flow into the own share alone, and their sum over
    the processes is that of the whole batch. So no term of a loss needs to know of processes, and
    the result is that of one process but for the order of additions.

    Parameters
    ----------
    rank : int in [0, world), default=0
        Number of this process.
    world : int >= 1, default=1
        Number of processes.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls) -> Shards:
        """Return the shards of the process group, or of a single process where there is none."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def own(self, batch: Tensor) -> Tensor:
        """Return this process's rows of a batch."""
        return batch if self.world == 1 else batch[self.rank :: self.world]

    def gather(self, own: Tensor, n: int) -> Tensor:
        """Return all n rows of what every process computed for its own, in order.

        Parameters
        ----------
        own : Tensor of shape (n_own, ...)
            Of the rows that `own` returned.
        n : int
            Rows of the batch.

        Returns
        -------
        Tensor of shape (n, ...)
            Gradients flow into `own` alone.
        """
        if self.world == 1:
            return own
        most = -(-n // self.world)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        whole = torch.stack(parts, dim=1).flatten(0, 1)[:n]
        whole[self.rank :: self.world] = own
        return whole

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, which replaces `values`."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def join(self, optimiser: torch.optim.Optimizer) -> None:
        """Let each step of an optimiser go down the sum of all processes' gradients."""
        if self.world > 1:
            optimiser.register_step_pre_hook(lambda stepping, *_: self._sum_gradients(stepping))

    def _sum_gradients(self, optimiser: torch.optim.Optimizer) -> None:
        weights = (weight for group in optimiser.param_groups for weight in group["params"])
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        # In one exchange.
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.world > 1:
            distributed.barrier()

    def normalising_alike(self, network: nn.Module) -> nn.Module:
        """Return the network with batch normalisation over the shares of all processes."""
        if self.world == 1:
            return network
        if next(network.parameters()).is_cuda:
            joined: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
            return joined
        return _with_shared_statistics(network)


@contextmanager
def process_group(device: torch.device) -> Iterator[Shards]:
    """Join the processes that torchrun started, for as long as the block runs.

    A group that is there already is used and left as it is; without torchrun there is one process.
    """
    joining = started_by_torchrun() and not distributed.is_initialized()
    if joining and device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", device_id=device)
    elif joining:
        distributed.init_process_group("gloo")
    try:
        yield Shards.of_this_process()
    finally:
        if joining:
            distributed.destroy_process_group()


def started_by_torchrun() -> bool:
    """Return whether this is one of several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Return the number of this process on its machine, by which it takes its accelerator."""
    return int(os.environ.get("LOCAL_RANK", "0"))


class _Sum(torch.autograd.Function):
    """A sum over processes whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


class _SharedStatistics(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the rows of all processes; torch has it for accelerators alone."""

    def _check_input_dim(self, _: Tensor) -> None:
        """Take any shape of two axes and more."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        axes = [axis for axis in range(values.dim()) if axis != 1]
        shape = [1, -1, *[1] * (values.dim() - 2)]
        wide = values.float()
        n_own = values.numel() // values.shape[1]
        n = _Sum.apply(wide.new_tensor([float(n_own)]))  # type: ignore[no-untyped-call]
        mean = _Sum.apply(wide.sum(axes)) / n  # type: ignore[no-untyped-call]
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / n  # type: ignore[no-untyped-call]
        self._remember(mean.detach(), (variance * n / (n - 1).clamp_min(1)).detach())
        answer: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            answer = answer * self.weight.view(shape) + self.bias.view(shape)
        return answer.to(values.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch's own layer does."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _with_shared_statistics(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        shared = _SharedStatistics(
            module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
        )
        shared.load_state_dict(module.state_dict())
        return shared.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, _with_shared_statistics(child))
    return module
