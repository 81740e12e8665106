"""The reference trainer, and the parts of it that serve in other people's loops. Needs torch."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "noisyselect.torch needs torch, an optional extra: install noisyselect[torch]."
    ) from error

from noisyselect.torch.all_ranks import AllRanks
from noisyselect.torch.audit import AuditResult, audit
from noisyselect.torch.compare import MethodSummary, compare
from noisyselect.torch.data import (
    ImageFiles,
    TrainingData,
    load_data,
    save_features,
    with_labels,
    with_noise,
)
from noisyselect.torch.inputs import SelectedSamples
from noisyselect.torch.models import PreActResNet18, ResNet50, SmallCNN, SmallMLP, make_network
from noisyselect.torch.presets import Preset, load_preset, preset_names
from noisyselect.torch.select_batch import select_batch
from noisyselect.torch.settings import Settings
from noisyselect.torch.trainer import EpochResult, TrainResult, train

__all__ = [
    "AllRanks",
    "AuditResult",
    "EpochResult",
    "ImageFiles",
    "MethodSummary",
    "PreActResNet18",
    "Preset",
    "ResNet50",
    "SelectedSamples",
    "Settings",
    "SmallCNN",
    "SmallMLP",
    "TrainResult",
    "TrainingData",
    "audit",
    "compare",
    "load_data",
    "load_preset",
    "make_network",
    "preset_names",
    "save_features",
    "select_batch",
    "train",
    "with_labels",
    "with_noise",
]
