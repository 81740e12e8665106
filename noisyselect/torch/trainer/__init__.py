"""The reference trainer: two networks, a selection per epoch, and everything written down."""

from noisyselect.torch.trainer.result import NAMES, EpochResult, TrainResult
from noisyselect.torch.trainer.run import train

__all__ = ["NAMES", "EpochResult", "TrainResult", "train"]
