"""What a run comes to: one value per epoch, and one for all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from noisyselect.torch.settings import Settings

# Of the two networks, in order.
NAMES = ("a", "b")


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to.

    Attributes
    ----------
    epoch : int
        From 0.
    phase : str
        ``"warm-up"``, ``"scan warm-up"``, or the method of the run.
    lr : float
        Learning rate of the epoch.
    test_accuracy : float in [0, 1]
        Of the mean of both networks' softmaxes.
    measures : dict of str to float
        ``train_loss_a`` and ``train_loss_b`` (means over the steps, in nats), with semantic
        clustering also ``scan_loss_a`` and ``scan_loss_b``; ``val_accuracy`` where the data have a
        validation set; ``noise_rate`` estimated, in the last epoch of warm-up;
        ``neighbours_recall`` after an approximate search; and what `noisyselect.torch.measures`
        returns.
    """

    epoch: int
    phase: str
    lr: float
    test_accuracy: float
    measures: dict[str, float]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes
    ----------
    run : Path
        The run directory: the log of both networks, and the last checkpoint.
    settings : Settings
    epochs : tuple of EpochResult
        All of the run, those before a resumption included.
    networks : tuple of two torch.nn.Module
        As they are after the last epoch; with `Settings.ema` the running means of their weights
        were tested, and these are the weights themselves.
    """

    run: Path
    settings: Settings
    epochs: tuple[EpochResult, ...]
    networks: tuple[nn.Module, nn.Module]

    @property
    def test_accuracy(self) -> list[float]:
        """Test accuracy of each epoch, in [0, 1]."""
        return [result.test_accuracy for result in self.epochs]

    @property
    def last(self) -> float:
        """Test accuracy of the last epoch."""
        return self.test_accuracy[-1]

    @property
    def best(self) -> float:
        """Best test accuracy of any epoch: what papers print, and nobody can choose honestly."""
        return max(self.test_accuracy)

    @property
    def last_5(self) -> float:
        """Mean test accuracy of the last 5 epochs, or of all where there are fewer."""
        return float(np.mean(self.test_accuracy[-5:]))

    @property
    def chosen(self) -> float | None:
        """Test accuracy of the epoch with the best validation accuracy, or None without one."""
        validated = [result for result in self.epochs if "val_accuracy" in result.measures]
        if not validated:
            return None
        return max(validated, key=lambda result: result.measures["val_accuracy"]).test_accuracy
