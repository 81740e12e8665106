"""What a network says of every sample, in evaluation mode and without augmentation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyselect.torch.inputs import Inputs
from noisyselect.torch.models import penultimate

# Samples of one forward pass: enough to fill a processor, little enough for any memory.
_BATCH = 500


class Evaluation(NamedTuple):
    """One network's answers for the training samples, on the host.

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


def evaluate(network: nn.Module, inputs: Inputs, labels: Tensor) -> Evaluation:
    """Return loss, prediction and confidence for every sample; the host waits once, at the end."""
    logits = all_logits(network, inputs)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    confidences, predictions = logits.softmax(dim=1).max(dim=1)
    return Evaluation(losses.cpu().numpy(), predictions.cpu().numpy(), confidences.cpu().numpy())


def accuracy(networks: list[nn.Module], inputs: Inputs, labels: Tensor) -> float:
    """Return the share of samples that the mean of the networks' softmaxes classifies right."""
    probabilities = sum(all_logits(network, inputs).softmax(dim=1) for network in networks)
    assert isinstance(probabilities, Tensor)
    return float((probabilities.argmax(dim=1) == labels).float().mean())


@torch.no_grad()
def all_logits(network: nn.Module, inputs: Inputs) -> Tensor:
    """Return the logits of every sample, shape (n_samples, n_classes), on the device."""
    network.eval()
    batches = torch.split(inputs.values, _BATCH)
    return torch.cat([network(inputs.normalise(inputs.plain(batch))) for batch in batches])


@torch.no_grad()
def all_features(network: nn.Module, inputs: Inputs) -> npt.NDArray[np.float32]:
    """Return what the last linear layer is given, shape (n_samples, n_features)."""
    network.eval()
    batches = torch.split(inputs.values, _BATCH)
    parts = [penultimate(network, inputs.normalise(inputs.plain(b)))[1] for b in batches]
    features: npt.NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
    return features
