"""The networks of the trainer, by name, and the features that any network has."""

from __future__ import annotations

from noisyselect.torch.models.build import default_network, make_network
from noisyselect.torch.models.features import classifier_of, penultimate, through_head
from noisyselect.torch.models.preact_resnet import PreActResNet18
from noisyselect.torch.models.resnet50 import ResNet50
from noisyselect.torch.models.small import SmallCNN, SmallMLP
from noisyselect.torch.models.weights import load_weights

__all__ = [
    "PreActResNet18",
    "ResNet50",
    "SmallCNN",
    "SmallMLP",
    "classifier_of",
    "default_network",
    "load_weights",
    "make_network",
    "penultimate",
    "through_head",
]
