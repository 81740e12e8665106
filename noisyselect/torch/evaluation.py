"""What a network says of every image, in evaluation mode and without augmentation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyselect.torch.data import Pixels
from noisyselect.torch.models import penultimate

# Images of one forward pass: enough to fill a processor, little enough for any memory.
_BATCH = 500


class Evaluation(NamedTuple):
    """One network's answers for the training images, on the host.

    Attributes
    ----------
    losses : array of float32, shape (n_samples,)
        Cross-entropy of the given labels, in nats.
    predictions : array of int64, shape (n_samples,)
    confidences : array of float32, shape (n_samples,)
        Probability of the predicted class.
    """

    losses: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.int64]
    confidences: npt.NDArray[np.float32]


def evaluate(network: nn.Module, pixels: Pixels, labels: Tensor) -> Evaluation:
    """Return loss, prediction and confidence for every image; the host waits once, at the end."""
    logits = all_logits(network, pixels)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    confidences, predictions = logits.softmax(dim=1).max(dim=1)
    return Evaluation(losses.cpu().numpy(), predictions.cpu().numpy(), confidences.cpu().numpy())


def accuracy(networks: list[nn.Module], pixels: Pixels, labels: Tensor) -> float:
    """Return the share of images that the mean of the networks' softmaxes classifies right."""
    probabilities = sum(all_logits(network, pixels).softmax(dim=1) for network in networks)
    assert isinstance(probabilities, Tensor)
    return float((probabilities.argmax(dim=1) == labels).float().mean())


@torch.no_grad()
def all_logits(network: nn.Module, pixels: Pixels) -> Tensor:
    """Return the logits of every image, shape (n_samples, n_classes), on the device."""
    network.eval()
    batches = torch.split(pixels.images, _BATCH)
    return torch.cat([network(pixels.normalise(images)) for images in batches])


@torch.no_grad()
def all_features(network: nn.Module, pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return what the last linear layer is given for every image, shape (n_samples, n_features)."""
    network.eval()
    batches = torch.split(pixels.images, _BATCH)
    parts = [penultimate(network, pixels.normalise(images))[1] for images in batches]
    features: npt.NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
    return features
