"""The classifier of any network, and the features that it is given."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def classifier_of(network: nn.Module) -> nn.Linear:
    """Return the last registered ``nn.Linear`` of a network, which makes logits of features.

    Raises
    ------
    TypeError
        If the network has no linear layer.

    Examples
    --------
    >>> classifier_of(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)))
    Linear(in_features=4, out_features=3, bias=True)
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise TypeError(
            f"Features are what the last nn.Linear is given, but {type(network).__name__} has no "
            "nn.Linear. Let its classifier be one, or pass `neighbours` to `train`."
        )
    return linear[-1]


def penultimate(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of a batch and what the network's last linear layer was given.

    Parameters
    ----------
    network : torch.nn.Module
        Any network whose last registered ``nn.Linear`` is its classifier. A compiled one runs
        uncompiled here.
    inputs : Tensor of shape (batch, channels, height, width) or (batch, n_inputs)

    Returns
    -------
    logits : Tensor of shape (batch, n_classes)
    features : Tensor of shape (batch, n_features)

    Raises
    ------
    TypeError
        If the network has no linear layer.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    >>> logits, features = penultimate(network, torch.zeros(5, 8))
    >>> features.shape
    torch.Size([5, 4])
    """
    seen: list[Tensor] = []
    hook = classifier_of(network).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with _uncompiled():
            logits: Tensor = network(inputs)
    finally:
        hook.remove()
    return logits, seen[-1].flatten(1)


def through_head(network: nn.Module, head: nn.Module, batch: Tensor) -> Tensor:
    """Return a head's answer to the network's features; the network's classifier has no part.

    Parameters
    ----------
    network : torch.nn.Module
        Any of which `penultimate` finds the features.
    head : torch.nn.Module
    batch : Tensor of shape (batch, ...)
        Normalised.

    Returns
    -------
    Tensor of shape (batch, n_out)
    """
    answer: Tensor = head(penultimate(network, batch)[1])
    return answer


def _uncompiled() -> AbstractContextManager[object]:
    # Compiled code runs no hooks that came after it. Without dynamo, whose import takes a second,
    # nothing is compiled yet; before torch 2.6 there is no way to switch it off.
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance
    return nullcontext()
