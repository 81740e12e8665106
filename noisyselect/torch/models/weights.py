"""Pre-trained weights: from a file, or ImageNet's from torchvision."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from noisyselect.torch.models.features import classifier_of

# Names listed in an error; the rest are counted.
_LISTED = 3


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load the weights in a file into a network.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place. Where its classifier has another shape than the file's, as ImageNet's
        1000 classes do, it stays as it is; all else must match.
    path : path
        A ``.safetensors`` file, or what ``torch.save`` wrote of a ``state_dict`` or of a dict with
        one under ``"state_dict"`` or ``"model"``. No code in it is run. The prefix ``module.`` of
        parallel training may stand before the names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no weights, or others than the network has.
    """
    fit_weights(network, _read(Path(path)), str(path))


def load_imagenet_weights(network: nn.Module) -> None:
    """Load torchvision's weights ``IMAGENET1K_V2`` into a `ResNet50`, as `load_weights` does.

    torchvision downloads them once, into its cache.

    Raises
    ------
    ValueError
        If torchvision is not installed, or cannot get the weights.
    """
    way_out = "Pass `weights` a file of them, or weights='none' to train from scratch"
    try:
        from torchvision.models import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            ResNet50_Weights,
        )
    # A torchvision of another torch fails with a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"`network` 'resnet50' starts from ImageNet weights, which come with torchvision, and "
            f"that cannot be imported ({error}). {way_out}, or install torchvision."
        ) from error
    try:
        # As everywhere: weights alone, of the digest in their name, and no bar in the log.
        state = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"`network` 'resnet50' starts from ImageNet weights, and torchvision could not get "
            f"them: {error}. {way_out}."
        ) from error
    fit_weights(network, state, "torchvision")


def fit_weights(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into a network as `load_weights` describes; `source` is for errors."""
    own = network.state_dict()
    # A network may have a part called "module" itself.
    state = {key if key in own else key.removeprefix("module."): state[key] for key in state}
    state = {**state, **_other_classifier(network, state)}
    reshaped = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    missing: list[str] = []
    unexpected: list[str] = []
    if not reshaped:
        # Not compared by name here: old files lack counters that torch adds by itself.
        missing, unexpected = network.load_state_dict(state, strict=False)
    problems = [
        f"{what}: {_first(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"The weights in {source} must be those of a {type(network).__name__}, but "
            f"{'; '.join(problems)}. Pass the file of this network, or leave `weights` out."
        )


def _other_classifier(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's own classifier by name, where it and `state` have it in two shapes."""
    try:
        classifier = classifier_of(network)
    except TypeError:
        return {}
    prefix = next(name for name, module in network.named_modules() if module is classifier)
    own = {f"{prefix}.{name}": value for name, value in classifier.state_dict().items()}
    if not own.keys() <= state.keys():
        return {}
    return own if any(state[name].shape != value.shape for name, value in own.items()) else {}


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"`weights` must name a file of weights, or be 'none', and there is no file {path}."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"`weights` must name a .safetensors file or a state_dict that torch.save wrote, and "
            f"{path} is neither, is damaged, or holds more than tensors. Save the state_dict alone."
        ) from error
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not (
        isinstance(content, dict)
        and content
        and all(isinstance(value, Tensor) for value in content.values())
    ):
        raise ValueError(
            f"`weights` must name a file with a state_dict, by itself or under 'state_dict' or "
            f"'model', and {path} holds a {type(content).__name__} without one. Save the "
            "state_dict alone."
        )
    return content


def _first(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
