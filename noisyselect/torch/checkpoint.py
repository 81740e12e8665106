"""The state of a run after a closed epoch, in one file that is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn, optim

from noisyselect.errors import DamagedRunError
from noisyselect.store.files import write_file

# Version of the file.
_FORMAT = 1
_FILE = "checkpoint/state.safetensors"


def save_checkpoint(run: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Replace the checkpoint of a run.

    The JSON stands in the header of the safetensors file: two files could disagree after a crash.

    Parameters
    ----------
    run : Path
        The run directory.
    tensors : dict of str to Tensor
    meta : dict
        Anything that JSON can hold.

    Raises
    ------
    OSError
        If the file cannot be written; the previous checkpoint stays.
    """
    # Clones: safetensors refuses tensors that share memory, as tied weights do.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": _FORMAT, **meta})
    write_file(run, _FILE, save(plain, metadata={"state": text, "sha256": _digest(text, plain)}))


def load_checkpoint(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and meta of a run's checkpoint, or None where it has none yet.

    Raises
    ------
    DamagedRunError
        If the file is truncated, altered or of another version.
    """
    path = run / _FILE
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata()
            meta = json.loads(header["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(
            f"{path} must be a checkpoint of this library, got: {error}. Delete {path.parent} to "
            "train the run again from its beginning."
        ) from error
    if meta.get("format") != _FORMAT:
        raise DamagedRunError(
            f"{path} must have format {_FORMAT}, got {meta.get('format')!r}: it was written by "
            "another version of noisyselect."
        )
    if header.get("sha256") != _digest(header["state"], tensors):
        raise DamagedRunError(
            f"{path} was altered after it was written. Delete {path.parent} to train the run again "
            "from its beginning."
        )
    return tensors, meta


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def training_state(network: nn.Module, optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """Return weights, buffers and momenta by name."""
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        if slots.get("momentum_buffer") is not None:
            state[f"momentum.{index}"] = slots["momentum_buffer"]
    return state


@torch.no_grad()
def load_training_state(
    network: nn.Module, optimiser: optim.Optimizer, state: dict[str, Tensor]
) -> None:
    """Restore what `training_state` returned.

    Raises
    ------
    ValueError
        If the network has other weights than the saved one.
    """
    try:
        network.load_state_dict(part(state, "network."))
    except RuntimeError as error:
        raise ValueError(
            f"The network must be the one that the run was started with. {error}"
        ) from error
    weights = list(network.parameters())
    slots = {
        # In the layout of the weight, which decides the order of the additions in a step.
        int(index): {"momentum_buffer": torch.empty_like(weights[int(index)]).copy_(value)}
        for index, value in part(state, "momentum.").items()
    }
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": slots, "param_groups": groups})


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
