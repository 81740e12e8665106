"""The reference trainer, and the parts of it that serve in other people's loops. Needs torch."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "noisyselect.torch needs torch, an optional extra: install noisyselect[torch]."
    ) from error

from noisyselect.torch.data import ImageData, SelectedImages, load_data, with_noise
from noisyselect.torch.models import SmallCNN
from noisyselect.torch.settings import Settings
from noisyselect.torch.trainer import EpochResult, TrainResult, train

__all__ = [
    "EpochResult",
    "ImageData",
    "SelectedImages",
    "Settings",
    "SmallCNN",
    "TrainResult",
    "load_data",
    "train",
    "with_noise",
]
