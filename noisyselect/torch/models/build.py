"""A network by its name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from torch import nn

from noisyselect.torch.models.preact_resnet import PreActResNet18
from noisyselect.torch.models.resnet50 import ResNet50
from noisyselect.torch.models.small import SmallCNN, SmallMLP
from noisyselect.torch.models.weights import load_imagenet_weights, load_weights


def default_network(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a new `SmallCNN` for images of this shape, or a `SmallMLP` for features."""
    if len(shape) == 4:
        return SmallCNN(shape[1], n_classes)
    return SmallMLP(shape[2], n_classes)


def make_network(
    name: str, shape: tuple[int, ...], n_classes: int, weights: str | Path | None = None
) -> nn.Module:
    """Return a new network that maps a batch of inputs to logits of shape (batch, n_classes).

    Parameters
    ----------
    name : str
        ``"small-cnn"``, ``"preact-resnet18"`` or ``"resnet50"`` for images, ``"small-mlp"`` for
        features, or ``"auto"``, the small one that suits the data. ``"package.module:callable"`` is
        imported and called with `n_classes`; it must return a ``torch.nn.Module``.
    shape : tuple of int
        Of `TrainingData.inputs`: (n_samples, n_channels, height, width) for images, (n_samples,
        n_views, n_features) for features.
    n_classes : int
    weights : path, optional
        File of pre-trained weights, see `load_weights`. By default ``"resnet50"`` has torchvision's
        of ImageNet, and the other networks are trained from scratch, as is any network with
        ``weights="none"``.

    Returns
    -------
    torch.nn.Module
        On the CPU, initialised from torch's global generator.

    Raises
    ------
    FileNotFoundError
        If there is no file `weights`.
    ValueError
        If `name` is none of these, does not suit the data, or names nothing that makes a network;
        if the weights are not those of the network; if ImageNet's cannot be had.

    Examples
    --------
    >>> make_network("auto", (50_000, 1, 512), 10).classifier
    Linear(in_features=256, out_features=10, bias=True)
    """
    network = _imported(name, n_classes) if ":" in name else _known(name, shape, n_classes)
    if weights == "none":
        return network
    if weights is not None:
        load_weights(network, weights)
    elif name == "resnet50":
        load_imagenet_weights(network)
    return network


def _known(name: str, shape: tuple[int, ...], n_classes: int) -> nn.Module:
    images = len(shape) == 4
    match name:
        case "auto":
            return default_network(shape, n_classes)
        case "small-cnn" if images:
            return SmallCNN(shape[1], n_classes)
        case "preact-resnet18" if images:
            return PreActResNet18(shape[1], n_classes)
        case "resnet50" if images:
            return ResNet50(shape[1], n_classes)
        case "small-mlp" if not images:
            return SmallMLP(shape[2], n_classes)
        case "small-cnn" | "preact-resnet18" | "resnet50":
            raise ValueError(
                f"`network` {name!r} is for images, and the data are features. Use 'small-mlp', or "
                "'auto'."
            )
        case "small-mlp":
            raise ValueError(
                "`network` 'small-mlp' is for features, and the data are images. Use 'small-cnn', "
                "'preact-resnet18', 'resnet50' or 'auto'."
            )
    raise ValueError(
        "`network` must be 'auto', 'small-cnn', 'small-mlp', 'preact-resnet18', 'resnet50' or "
        f"'package.module:callable', got {name!r}."
    )


def _imported(path: str, n_classes: int) -> nn.Module:
    module_name, _, attribute = path.partition(":")
    if not (attribute.isidentifier() and all(map(str.isidentifier, module_name.split(".")))):
        raise ValueError(
            f"`network` must name a callable as 'package.module:callable', got {path!r}."
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"`network` {path!r} cannot be imported: {error}. Install its package, or add its "
            "folder to PYTHONPATH."
        ) from error
    if not hasattr(module, attribute):
        raise ValueError(
            f"`network` {path!r} does not exist: {module.__name__} has no {attribute!r}. Give the "
            f"name of something callable in {module.__file__}."
        )
    make = getattr(module, attribute)
    if not callable(make):
        raise ValueError(
            f"`network` {path!r} must be callable with the number of classes, and is a "
            f"{type(make).__name__}. Name a function or class that returns a torch.nn.Module."
        )
    try:
        inspect.signature(make).bind(n_classes)
    # A ValueError is of what has no signature, as some builtins.
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`network` {path!r} must be callable with the number of classes alone, and is not: "
            f"{error}. Write a function of one argument around it."
        ) from error
    network = make(n_classes)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"`network` {path!r} must return a torch.nn.Module, and returned a "
            f"{type(network).__name__}. Return the network itself."
        )
    return network
