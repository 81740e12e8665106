"""The samples of an epoch: all of them, or the pool that is drawn for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from noisyselect.arrays import IntArray
from noisyselect.torch.data import TrainingData
from noisyselect.torch.data.pool import balanced_pool
from noisyselect.torch.inputs import INPUTS, Inputs, Pixels
from noisyselect.torch.settings import Settings

# Of decoded images that are held at once.
_MOST_BYTES = 64 * 2**30


class EpochSamples:
    """Training samples on a device, epoch by epoch.

    Where `Settings.epoch_samples` is set, an epoch has a pool, class-balanced by the given labels.
    A sample stays in it for three times as many epochs as VRLV looks back on, so that most samples
    of a pool have the loss history that VRLV asks for.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    device : torch.device
    """

    def __init__(self, data: TrainingData, settings: Settings, device: torch.device) -> None:
        self._data, self._settings, self._device = data, settings, device
        self.pooled = settings.epoch_samples is not None
        self._epoch = 0
        _check_size(data, self.pooled)
        self._inputs = self._load(self.rows(0), None)
        self.test_inputs = self._load_all(data.test_inputs)
        self.val_inputs = None if data.val_inputs is None else self._load_all(data.val_inputs)

    def rows(self, epoch: int) -> IntArray:
        """Return the row numbers of an epoch's samples, ascending."""
        data, settings = self._data, self._settings
        if settings.epoch_samples is None:
            return np.arange(data.n_samples)
        stay = 3 * (settings.vrlv_window + 1)
        return balanced_pool(
            data.labels, data.n_classes, settings.epoch_samples, epoch, stay, settings.seed
        )

    def inputs(self, epoch: int) -> Inputs:
        """Return the samples of an epoch; those of the last call are kept."""
        if self.pooled and epoch != self._epoch:
            self._inputs = self._next(self._inputs, self.rows(self._epoch), self.rows(epoch))
            self._epoch = epoch
        return self._inputs

    def _next(self, inputs: Inputs, rows: IntArray, wanted: IntArray) -> Inputs:
        """Return the samples of another pool; only those that are new to it are read."""
        fresh = np.setdiff1d(wanted, rows, assume_unique=True)
        if not fresh.size:
            loaded, held = inputs.values, rows
        else:
            read = self._load(fresh, inputs).values
            loaded, held = torch.cat([inputs.values, read]), np.concatenate([rows, fresh])
        order = np.argsort(held)
        places = order[np.searchsorted(held[order], wanted)]
        return inputs.of(loaded[torch.from_numpy(places).to(self._device)])

    def labels(self, epoch: int) -> torch.Tensor:
        """Return the given labels of an epoch's samples."""
        return torch.from_numpy(self._data.labels[self.rows(epoch)]).to(self._device)

    def _load(self, rows: IntArray, like: Inputs | None) -> Inputs:
        source = self._data.inputs
        values = source[rows] if self.pooled else source
        return self._made(values, like)

    def _load_all(self, values: Any) -> Inputs:
        return self._made(values, self._inputs)

    def _made(self, values: Any, like: Inputs | None) -> Inputs:
        if isinstance(values, np.ndarray):
            return INPUTS[self._data.kind](values, self._device, like=like)
        # As for ImageNet: of 256 pixels a network is given 224.
        return Pixels(values.read(), self._device, like=like, crop=values.size * 7 // 8)


def _check_size(data: TrainingData, pooled: bool) -> None:
    if pooled or isinstance(data.inputs, np.ndarray):
        return
    n_bytes = math.prod(data.inputs.shape)
    if n_bytes > _MOST_BYTES:
        raise ValueError(
            f"{data.n_samples} images of {data.inputs.shape[1:]} need {n_bytes / 2**30:.0f} GiB at "
            f"once, more than {_MOST_BYTES / 2**30:.0f}: set `epoch_samples`, of which each epoch "
            "has so many, or load smaller images (`size`)."
        )
