"""Pre-training as a whole: weights, neighbours and clusters, kept for all runs on the same data."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisyselect.errors import NonFiniteLossError
from noisyselect.torch.checkpoint import part
from noisyselect.torch.distributed import Shards
from noisyselect.torch.inputs import Inputs, Pixels
from noisyselect.torch.learner import in_shares
from noisyselect.torch.mixmatch import Draws
from noisyselect.torch.models import classifier_of, through_head
from noisyselect.torch.neighbours import find_neighbours
from noisyselect.torch.precision import resolve_precision
from noisyselect.torch.pretrain.scan import scan_epoch
from noisyselect.torch.pretrain.simclr import (
    ProjectionHead,
    projections,
    simclr_epoch,
    simclr_rate,
)
from noisyselect.torch.seeding import seeded
from noisyselect.torch.settings import Settings
from noisyselect.torch.tensors import read_tensors, write_tensors

Phase = Literal["simclr", "scan"]

# Part of every key: another number, and what an older version of this file made is made anew.
_VERSION = 2

# Of everything random here, whatever the seed of the run: runs of all seeds share the result.
_SEED = 0

# In the place of a network's number, of which runs have 0 and 1: no draws are shared with them.
_STREAM: dict[Phase, int] = {"simclr": 2, "scan": 3}

# SimCLR's as in SCAN, SCAN's as VRLVMix has it.
_MOMENTUM = 0.9
_WEIGHT_DECAY: dict[Phase, float] = {"simclr": 1e-4, "scan": 5e-4}

# What a killed pre-training loses at most, beside the epoch it was in.
_SECONDS_BETWEEN_SAVES = 60.0


class PretrainEpoch(NamedTuple):
    """An epoch of pre-training that has ended.

    Attributes
    ----------
    phase : {"simclr", "scan"}
    epoch : int
        From 0.
    n_epochs : int
        Of the phase.
    loss : float
        Mean over the steps, in nats.
    """

    phase: Phase
    epoch: int
    n_epochs: int
    loss: float


@dataclass(frozen=True)
class Pretrained:
    """What pre-training came to. No label has been read.

    Attributes
    ----------
    weights : dict of str to Tensor
        State of the whole network, on the CPU: after SCAN where samples were clustered, else after
        SimCLR. Its classifier is as it was made.
    head_weights : dict of str to Tensor, or None
        State of the clustering head, a linear layer from features to n_classes clusters, which are
        in no order. None where samples were not clustered.
    neighbours : array of int64, shape (n_samples, k)
        Row positions by the cosine of SimCLR's projections, or of the samples themselves where they
        are features, nearest first, the sample itself left out; -1 where there are fewer.
    recall : float in [0, 1]
        Share of the true neighbours that was found, see `noisyselect.torch.neighbours`; 1 where the
        search was exact.
    simclr_losses, scan_losses : array of float64, shape (n_epochs,)
        Mean loss of each epoch, in nats.
    """

    weights: dict[str, Tensor]
    head_weights: dict[str, Tensor] | None
    neighbours: npt.NDArray[np.int64]
    recall: float
    simclr_losses: npt.NDArray[np.float64]
    scan_losses: npt.NDArray[np.float64]


def pretrain(
    inputs: Inputs,
    make_network: Callable[[], nn.Module],
    n_classes: int,
    settings: Settings,
    device: torch.device,
    cache: Path,
    *,
    cluster: bool,
    on_epoch: Callable[[PretrainEpoch], None] | None = None,
    shards: Shards | None = None,
) -> Pretrained:
    """Pre-train a network without labels, or return what an earlier call with these inputs made.

    Parameters
    ----------
    inputs : Inputs
        All training samples.
    make_network : callable
        Returns a new network, of which `penultimate` finds the features.
    n_classes : int
        Number of clusters.
    settings : Settings
        Read are the keys on pre-training, `n_neighbors`, `lambda_e`, and what a network is made of.
        `seed` is not: runs of all seeds start from the same weights.
    device : torch.device
        That of `inputs`.
    cache : Path
        A folder for three files: weights after SimCLR, neighbours, weights after SCAN. Each is used
        again by whatever call asks for the same, so that another `scan_lr` costs the clustering
        alone. While a phase runs its state is written there once a minute; a killed pre-training
        goes on from it, on a CPU to the same result, bit for bit.
    cluster : bool
        Whether SCAN follows on SimCLR, in which all weights but the classifier's are updated.
    on_epoch : callable, optional
        Called with a `PretrainEpoch` when an epoch has ended; epochs of an earlier call are silent.
    shards : Shards, optional
        By default those of a single process. Of several the first writes.

    Returns
    -------
    Pretrained

    Raises
    ------
    NonFiniteLossError
        If a step's loss is NaN or infinite.
    DamagedRunError
        If a file in `cache` is truncated or altered.

    Notes
    -----
    SimCLR, then the nearest neighbours by its projections, then SCAN, as in VRLVMix and ScanMix.
    SGD with momentum 0.9; weight decay 1e-4 in SimCLR, 5e-4 in SCAN. Departures: SCAN's weights are
    those after its last epoch, not of the epoch with the least loss on a validation set, and it has
    one head.
    """
    shards = shards or Shards()
    with seeded(_SEED, device):
        network = make_network()
    keys = _Keys(cache, inputs, network, n_classes, settings)
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = shards.normalising_alike(network)
    n_features = classifier_of(network).in_features

    with seeded(_SEED, device):
        projection = ProjectionHead(n_features)
    simclr = _Phase("simclr", network, projection.to(device), settings, shards, on_epoch)
    simclr_losses = simclr.run(
        keys.simclr,
        settings.pretrain_epochs,
        lambda epoch: simclr_rate(settings.pretrain_lr, epoch, settings.pretrain_epochs),
        lambda draws: simclr_epoch(
            network,
            projection,
            simclr.optimiser,
            inputs,
            batch_size=settings.pretrain_batch_size,
            draws=draws,
            forward=simclr.through_head,
        ),
    )
    neighbours, recall = _neighbours(keys.neighbours, network, projection, inputs, settings, shards)
    head_weights, scan_losses = None, np.empty(0)
    if cluster:
        with seeded(_SEED, device):
            head = nn.Linear(n_features, n_classes)
        scan = _Phase("scan", network, head.to(device), settings, shards, on_epoch)
        near = torch.from_numpy(neighbours).to(device)
        scan_losses = scan.run(
            keys.scan,
            settings.clustering_epochs,
            lambda _: settings.scan_lr,
            lambda draws: scan_epoch(
                network,
                head,
                scan.optimiser,
                inputs,
                near,
                None,
                batch_size=settings.scan_batch_size,
                lambda_e=settings.lambda_e,
                draws=draws,
                forward=scan.through_head,
            ),
        )
        head_weights = _state(head)
    return Pretrained(_state(network), head_weights, neighbours, recall, simclr_losses, scan_losses)


class _Keys:
    """The files of a pre-training, named by everything that decides what is in them."""

    def __init__(
        self,
        cache: Path,
        inputs: Inputs,
        network: nn.Module,
        n_classes: int,
        settings: Settings,
    ) -> None:
        self._cache = cache
        asked = asdict(settings)

        def named(*names: str) -> dict[str, Any]:
            return {name: asked[name] for name in names}

        started = {
            "version": _VERSION,
            "values": _values_digest(inputs),
            "crop": inputs.crop if isinstance(inputs, Pixels) else None,
            "network made": _network_digest(network),
        }
        simclr = started | named(
            "network",
            "weights",
            "precision",
            "pretrain_epochs",
            "pretrain_lr",
            "pretrain_batch_size",
        )
        neighbours = simclr | named("n_neighbors")
        scan = neighbours | named("clustering_epochs", "scan_lr", "scan_batch_size", "lambda_e")
        self.simclr = self._path("simclr", simclr)
        self.neighbours = self._path("neighbours", neighbours)
        self.scan = self._path("scan", scan | {"n_classes": n_classes})

    def _path(self, name: str, asked: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        return self._cache / f"{name}-{digest[:16]}.safetensors"


class _Phase:
    """A network and a head on its features, and how both are trained."""

    def __init__(
        self,
        name: Phase,
        network: nn.Module,
        head: nn.Module,
        settings: Settings,
        shards: Shards,
        on_epoch: Callable[[PretrainEpoch], None] | None,
    ) -> None:
        self._name, self._shards, self._on_epoch = name, shards, on_epoch
        self._both = nn.ModuleDict({"network": network, "head": head})
        self._device = next(head.parameters()).device
        self._precision = resolve_precision(settings.precision, self._device)
        # The rate is set before every epoch. What gets no gradient, the classifier, does not decay.
        self.optimiser = torch.optim.SGD(
            self._both.parameters(), 0.0, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY[name]
        )
        shards.join(self.optimiser)

    def through_head(self, network: nn.Module, head: nn.Module, batch: Tensor) -> Tensor:
        """Return what the head says of a whole batch, of which each process computes a share."""
        forward = partial(through_head, network, head)
        return in_shares(forward, batch, self._precision, self._shards)

    def run(
        self,
        path: Path,
        n_epochs: int,
        rate: Callable[[int], float],
        train: Callable[[Draws], Tensor],
    ) -> npt.NDArray[np.float64]:
        """Train for `n_epochs`, or load the outcome from `path`; return the loss of each epoch."""
        partial = path.with_suffix(".partial.safetensors")
        losses = self._load(path, partial)
        # A process must not write on while another has still to read.
        self._shards.wait()
        saved = time.monotonic()
        for epoch in range(len(losses), n_epochs):
            losses.append(self._epoch(epoch, rate(epoch), train))
            if time.monotonic() - saved >= _SECONDS_BETWEEN_SAVES:
                self._save(partial, self._weights() | self._momenta(), losses)
                saved = time.monotonic()
            if self._on_epoch is not None:
                self._on_epoch(PretrainEpoch(self._name, epoch, n_epochs, losses[-1]))
        if not path.exists():
            self._save(path, self._weights(), losses)
        if self._shards.rank == 0:
            partial.unlink(missing_ok=True)
        return np.array(losses, dtype=np.float64)

    def _epoch(self, epoch: int, lr: float, train: Callable[[Draws], Tensor]) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self._both.train()
        draws = Draws.of(_SEED, epoch, _STREAM[self._name], self._device)
        # What a user's own network draws, dropout for one, comes from the global state.
        with seeded(draws.order.initial_seed(), self._device):
            steps = train(draws).cpu()
        if not torch.isfinite(steps).all():
            raise NonFiniteLossError(
                f"A loss of pre-training ({self._name}) must be finite, got "
                f"{steps[~torch.isfinite(steps)][0].item()} at epoch {epoch}. Train with a smaller "
                f"`{'pretrain_lr' if self._name == 'simclr' else 'scan_lr'}`, or look for NaN in "
                "the inputs."
            )
        return float(steps.double().mean())

    def _load(self, path: Path, partial: Path) -> list[float]:
        """Take over what is there, and return the losses of the epochs that it has behind it."""
        for file in (path, partial):
            saved = read_tensors(file, f"Delete {file} to pre-train again.")
            if saved is not None:
                tensors, meta = saved
                self._both.load_state_dict(part(tensors, "weights."))
                self._load_momenta(part(tensors, "momentum."))
                return list(meta["losses"])
        return []

    def _weights(self) -> dict[str, Tensor]:
        return {f"weights.{name}": value for name, value in self._both.state_dict().items()}

    def _momenta(self) -> dict[str, Tensor]:
        # The classifier, which gets no gradient, has none.
        slots = self.optimiser.state_dict()["state"].items()
        return {f"momentum.{index}": slot["momentum_buffer"] for index, slot in slots}

    def _load_momenta(self, saved: dict[str, Tensor]) -> None:
        weights = list(self._both.parameters())
        slots = {
            # In the layout of the weight, which decides the order of the additions in a step.
            int(index): {"momentum_buffer": torch.empty_like(weights[int(index)]).copy_(value)}
            for index, value in saved.items()
        }
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})

    def _save(self, path: Path, tensors: dict[str, Tensor], losses: list[float]) -> None:
        if self._shards.rank == 0:
            write_tensors(path, tensors, {"losses": losses}, shared=True)


def _neighbours(
    path: Path,
    network: nn.Module,
    projection: nn.Module,
    inputs: Inputs,
    settings: Settings,
    shards: Shards,
) -> tuple[npt.NDArray[np.int64], float]:
    """Return the neighbours by SimCLR's projections, and their recall."""
    saved = read_tensors(path, f"Delete {path} to find the neighbours again.")
    if saved is not None:
        tensors, meta = saved
        return tensors["neighbours"].numpy(), meta["recall"]
    # Who gives features has an encoder, and its neighbours are what SimCLR's would stand in for.
    features = inputs.encoded
    if features is None:
        batch_size = settings.pretrain_batch_size
        features = projections(network, projection, inputs, batch_size=batch_size)
    found = find_neighbours(features, settings.n_neighbors)
    if shards.rank == 0:
        tensors = {"neighbours": torch.from_numpy(found.neighbours)}
        write_tensors(path, tensors, {"recall": found.recall}, shared=True)
    return found.neighbours, found.recall


def _values_digest(inputs: Inputs) -> str:
    """Return a digest of the raw samples, their type and shape."""
    values = inputs.values
    digest = hashlib.sha256(f"{type(inputs).__name__} {values.dtype} {values.shape}".encode())
    for block in torch.split(values, 10_000):
        digest.update(np.ascontiguousarray(block.cpu().numpy()).data)
    return digest.hexdigest()


def _network_digest(network: nn.Module) -> str:
    """Return a digest of a network's layers and of the weights that it starts from."""
    digest = hashlib.sha256(str(network).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
