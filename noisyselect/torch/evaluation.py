"""What a network says of every sample: in evaluation mode, without augmentation, in 32 bits.

With fewer bits many losses would be equal, and what ranks them would rank little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyselect.arrays import AnyArray, IntArray
from noisyselect.torch.distributed import Shards
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

    def spread(self, rows: IntArray, n_samples: int) -> dict[str, AnyArray]:
        """Return the columns for all samples, NaN and -1 beside `rows`, which they are of."""
        columns: dict[str, AnyArray] = {}
        for name, values in self._asdict().items():
            missing = -1 if values.dtype.kind == "i" else np.nan
            columns[name] = np.full(n_samples, missing, dtype=values.dtype)
            columns[name][rows] = values
        return columns


def evaluate(
    network: nn.Module, inputs: Inputs, labels: Tensor, shards: Shards | None = None
) -> Evaluation:
    """Return loss, prediction and confidence for every sample; the host waits once, at the end."""
    logits = all_logits(network, inputs, shards)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    confidences, predictions = logits.softmax(dim=1).max(dim=1)
    return Evaluation(losses.cpu().numpy(), predictions.cpu().numpy(), confidences.cpu().numpy())


def accuracy(
    networks: list[nn.Module], inputs: Inputs, labels: Tensor, shards: Shards | None = None
) -> float:
    """Return the share of samples that the mean of the networks' softmaxes classifies right."""
    probabilities = sum(all_logits(network, inputs, shards).softmax(dim=1) for network in networks)
    assert isinstance(probabilities, Tensor)
    return float((probabilities.argmax(dim=1) == labels).float().mean())


def all_logits(network: nn.Module, inputs: Inputs, shards: Shards | None = None) -> Tensor:
    """Return the logits of every sample, shape (n_samples, n_classes), on the device.

    Several processes take turns with the batches, and all get the same answer.
    """
    network.eval()
    return _of_all(network, inputs, shards or Shards())


def all_features(network: nn.Module, inputs: Inputs, shards: Shards | None = None) -> Tensor:
    """Return what the last linear layer is given, shape (n_samples, n_features), on the device."""
    network.eval()
    return _of_all(lambda batch: penultimate(network, batch)[1], inputs, shards or Shards())


@torch.no_grad()
def _of_all(answer: Callable[[Tensor], Tensor], inputs: Inputs, shards: Shards) -> Tensor:
    whole: Tensor | None = None
    starts = range(0, len(inputs.values), _BATCH)
    # The first batch by every process: it tells the size of an answer.
    for start in sorted({0, *starts[shards.rank :: shards.world]}):
        batch = inputs.values[start : start + _BATCH]
        part = answer(inputs.normalise(inputs.plain(batch)))
        if whole is None:
            whole = part.new_zeros((len(inputs.values), *part.shape[1:]))
        if (start // _BATCH) % shards.world == shards.rank:
            whole[start : start + len(part)] = part
    assert whole is not None
    return shards.sum(whole)
