"""What a network says of every sample: in evaluation mode, without augmentation, in 32 bits.

With fewer bits many losses would be equal, and what ranks them would rank little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """What one network shows of the training samples, on the host.

    Attributes
    ----------
    losses : array of float32, shape (n_samples,)
        Cross-entropy of the given labels, in nats.
    predictions : array of int64, shape (n_samples,)
    confidences : array of float32, shape (n_samples,)
        Probability of the predicted class.
    probabilities : array of float32, shape (n_samples, n_classes), optional
        Softmax outputs.
    second_view : array of float32, shape (n_samples, n_classes), optional
        Softmax outputs on augmented samples.
    features : array of float32, shape (n_samples, n_features), optional
        What the last linear layer is given.
    batches : array of int32, shape (n_samples,), optional
        Step of the epoch that each sample was last part of; -1 for none.
    """

    losses: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.int64]
    confidences: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32] | None = None
    second_view: npt.NDArray[np.float32] | None = None
    features: npt.NDArray[np.float32] | None = None
    batches: npt.NDArray[np.int32] | None = None

    @property
    def columns(self) -> dict[str, AnyArray]:
        """What there is, by name."""
        return {name: values for name, values in self._asdict().items() if values is not None}

    def spread(self, rows: IntArray, n_samples: int) -> dict[str, AnyArray]:
        """Return the columns for all samples, NaN and -1 beside `rows`, which they are of."""
        spread: dict[str, AnyArray] = {}
        for name, values in self.columns.items():
            missing = -1 if values.dtype.kind == "i" else np.nan
            spread[name] = np.full((n_samples, *values.shape[1:]), missing, dtype=values.dtype)
            spread[name][rows] = values
        return spread


def evaluate(
    network: nn.Module,
    inputs: Inputs,
    labels: Tensor,
    shards: Shards | None = None,
    *,
    keep_probabilities: bool = False,
) -> Evaluation:
    """Return loss, prediction and confidence for every sample; the host waits once, at the end.

    With `keep_probabilities` the softmax outputs, too.
    """
    logits = all_logits(network, inputs, shards)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    probabilities = logits.softmax(dim=1)
    confidences, predictions = probabilities.max(dim=1)
    return Evaluation(
        losses.cpu().numpy(),
        predictions.cpu().numpy(),
        confidences.cpu().numpy(),
        probabilities.cpu().numpy() if keep_probabilities else None,
    )


def evaluate_second_view(
    network: nn.Module, inputs: Inputs, key: Sequence[int], shards: Shards | None = None
) -> npt.NDArray[np.float32]:
    """Return the softmax outputs on samples augmented as in training, in evaluation mode.

    Parameters
    ----------
    network : torch.nn.Module
    inputs : Inputs
    key : sequence of int
        Where all random numbers come from: seed, epoch and network. The stream is none that
        training draws from.
    shards : Shards, optional

    Returns
    -------
    array of float32, shape (n_samples, n_classes)
        The same for any number of processes.
    """
    network.eval()
    generator = torch.Generator(inputs.device)

    def augmented(batch: Tensor, start: int) -> Tensor:
        # Training's key ends before the 1. Batch by batch, as each process draws for its own alone.
        state = np.random.SeedSequence([*key, 1, start]).generate_state(1, np.uint64)[0]
        generator.manual_seed(int(state >> np.uint64(1)))
        rows = torch.arange(start, start + len(batch), device=inputs.device)
        return inputs.augment(inputs.drawn(rows, generator), generator)

    logits = _of_all(network, inputs, shards or Shards(), augmented)
    return logits.softmax(dim=1).cpu().numpy()


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
def _of_all(
    answer: Callable[[Tensor], Tensor],
    inputs: Inputs,
    shards: Shards,
    augmented: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Return the answer for every sample, as it is or augmented."""
    whole: Tensor | None = None
    starts = range(0, len(inputs.values), _BATCH)
    # The first batch by every process: it tells the size of an answer.
    for start in sorted({0, *starts[shards.rank :: shards.world]}):
        batch = inputs.values[start : start + _BATCH]
        view = inputs.plain(batch) if augmented is None else augmented(batch, start)
        part = answer(inputs.normalise(view))
        if whole is None:
            whole = part.new_zeros((len(inputs.values), *part.shape[1:]))
        if (start // _BATCH) % shards.world == shards.rank:
            whole[start : start + len(part)] = part
    assert whole is not None
    return shards.sum(whole)
