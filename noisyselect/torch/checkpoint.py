"""The state of a run after a closed epoch, in one file that is there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisyselect.torch.learner import Learner
from noisyselect.torch.tensors import read_tensors, write_tensors

_FILE = "checkpoint/state.safetensors"


def save_checkpoint(run: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Replace the checkpoint of a run.

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
    write_tensors(run / _FILE, tensors, meta)


def load_checkpoint(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and meta of a run's checkpoint, or None where it has none yet.

    Raises
    ------
    DamagedRunError
        If the file is truncated, altered or of another version.
    """
    path = run / _FILE
    return read_tensors(path, f"Delete {path.parent} to train the run again from its beginning.")


def training_state(network: Learner) -> dict[str, Tensor]:
    """Return weights, buffers, momenta, and what else of a network goes on from epoch to epoch."""
    state = {f"network.{name}": value for name, value in network.module.state_dict().items()}
    for index, slots in network.optimiser.state_dict()["state"].items():
        if slots.get("momentum_buffer") is not None:
            state[f"momentum.{index}"] = slots["momentum_buffer"]
    for name, module in (("head", network.head), ("average", network.average)):
        if module is not None:
            state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    return state


@torch.no_grad()
def load_training_state(network: Learner, state: dict[str, Tensor]) -> None:
    """Restore what `training_state` returned.

    Raises
    ------
    ValueError
        If the network has other weights than the saved one.
    """
    try:
        network.module.load_state_dict(part(state, "network."))
    except RuntimeError as error:
        raise ValueError(
            f"The network must be the one that the run was started with. {error}"
        ) from error
    weights = list(network.module.parameters())
    slots = {
        # In the layout of the weight, which decides the order of the additions in a step.
        int(index): {"momentum_buffer": torch.empty_like(weights[int(index)]).copy_(value)}
        for index, value in part(state, "momentum.").items()
    }
    groups = network.optimiser.state_dict()["param_groups"]
    network.optimiser.load_state_dict({"state": slots, "param_groups": groups})
    head = part(state, "head.")
    if head:
        network.new_head()
        assert network.head is not None
        network.head.load_state_dict(head)
    if network.average is not None:
        network.average.load_state_dict(part(state, "average."))


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
