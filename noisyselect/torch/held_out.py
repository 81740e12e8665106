"""What small networks say of samples that they did not train on, epoch by epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.torch.models import SmallMLP
from noisyselect.torch.seeding import seeded

# Measured on scikit-learn's small sets, see docs/audit.md: as good as the larger default layers in
# a third of the time, for what is wanted of these networks is not memory.
_HIDDEN = (128, 64)
_LR = 1e-3
# Small sets are cut into about ten batches, or an epoch would be a step or two.
_BATCHES, _LEAST_BATCH, _LARGEST_BATCH = 10, 8, 512
# So many epochs without a smaller held-out loss end the training.
_PATIENCE = 3
# The default window of VRLVSelector and its peers, and one.
_LEAST_EPOCHS = 6


class HeldOutEpoch(NamedTuple):
    """What the networks show of the samples after one epoch; all arrays start with two networks.

    Attributes
    ----------
    losses : array of float32, shape (2, n_samples)
        Cross-entropy of the given label under the mean probabilities of the restarts, in nats.
    predictions : array of int, shape (2, n_samples)
        Their likeliest class.
    confidences : array of float32, shape (2, n_samples)
        Its probability.
    """

    losses: FloatArray
    predictions: IntArray
    confidences: FloatArray


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the networks show of samples they did not train on.

    Attributes
    ----------
    epochs : tuple of HeldOutEpoch
        Up to the one with the smallest loss.
    probabilities : array of float32, shape (2, n_samples, n_classes)
        Of the last of these epochs.
    lr : float
        Learning rate of all epochs.
    """

    epochs: tuple[HeldOutEpoch, ...]
    probabilities: FloatArray
    lr: float = _LR


def held_out(
    features: FloatArray,
    labels: IntArray,
    n_classes: int,
    *,
    n_folds: int,
    n_restarts: int,
    max_epochs: int,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> HeldOut:
    """Train networks on folds of the samples, and record what each shows of the fold left out.

    Parameters
    ----------
    features : array of float, shape (n_samples, n_features)
        Standardised.
    labels : array of int in [0, n_classes), shape (n_samples,)
        Every class occurs.
    n_classes : int
    n_folds : int >= 2
    n_restarts : int >= 1
        Each with folds of its own, for each of the two networks.
    max_epochs : int
    seed : int
    on_epoch : callable, optional
        Called after each epoch with its number and the mean held-out loss in nats.

    Returns
    -------
    HeldOut
        In the order of the samples. It depends neither on their order nor on the numbers of the
        classes: both are put into an order of their own first.
    """
    order, rank = _content_order(features, labels, n_classes)
    rows = np.empty(order.size, dtype=np.intp)
    rows[order] = np.arange(order.size)
    X, y = features[order], rank[labels[order]]
    learners = _learners(X, y, n_classes, n_folds, 2 * n_restarts, seed)

    epochs: list[HeldOutEpoch] = []
    n_kept, least, kept = 0, math.inf, np.empty(0, dtype=np.float32)
    for epoch in range(max_epochs):
        log_p = torch.empty(2 * n_restarts, len(y), n_classes)
        for restart, learner in learners:
            learner.train_epoch()
            log_p[restart, learner.left_out] = learner.judge()
        # The logarithm of the mean over restarts, and back to the caller's samples and classes.
        both = log_p.view(2, n_restarts, len(y), n_classes)
        log_p = both.logsumexp(dim=1) - math.log(n_restarts)
        mean = log_p.numpy()[:, rows][..., rank]
        epochs.append(_epoch(mean, labels))
        loss = float(log_p[:, torch.arange(len(y)), torch.from_numpy(y)].mean().neg())
        if on_epoch is not None:
            on_epoch(epoch, loss)
        if loss < least or epoch < _LEAST_EPOCHS:
            n_kept, least, kept = epoch + 1, loss, np.exp(mean)
        elif epoch + 1 >= n_kept + _PATIENCE:
            break
    return HeldOut(tuple(epochs[:n_kept]), kept)


def standardised(features: FloatArray) -> tuple[npt.NDArray[np.float32], BoolArray]:
    """Return features of mean 0 and deviation 1, and a mask of the constant ones, which become 0.

    Parameters
    ----------
    features : array of float, shape (n_samples, n_features)
        Finite.

    Raises
    ------
    ValueError
        If the deviation of a feature overflows.
    """
    made = np.zeros(features.shape, dtype=np.float32)
    constant = np.zeros(features.shape[1], dtype=bool)
    for j, column in enumerate(features.T):
        wide = column.astype(np.float64)
        # In ascending order, for the last digits of a sum depend on the order.
        ordered = np.sort(wide)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = ordered.mean()
            deviation = np.sqrt(((ordered - mean) ** 2).mean())
        if not np.isfinite(deviation):
            raise ValueError(f"`features` must have finite deviations, got an overflow in {j}.")
        # The mean of equal numbers is rounded, which must not count as variation.
        constant[j] = deviation == 0 or ordered[0] == ordered[-1]
        if not constant[j]:
            made[:, j] = (wide - mean) / deviation
    return made, constant


class _Learner:
    """A network, the samples it trains on, and those it judges."""

    def __init__(
        self, X: Tensor, y: Tensor, left_out: BoolArray, n_classes: int, rng: np.random.Generator
    ) -> None:
        self.left_out = torch.from_numpy(np.flatnonzero(left_out))
        self._rows = np.flatnonzero(~left_out)
        self._X, self._y, self._rng = X, y, rng
        with seeded(int(rng.integers(2**63)), torch.device("cpu")):
            self._network = SmallMLP(X.shape[1], n_classes, _HIDDEN)
        self._optimiser = torch.optim.AdamW(self._network.parameters(), _LR)
        size = self._rows.size // _BATCHES
        self._batch_size = min(max(size, _LEAST_BATCH), _LARGEST_BATCH)

    def train_epoch(self) -> None:
        order = torch.from_numpy(self._rng.permutation(self._rows))
        for batch in torch.split(order, self._batch_size):
            loss = functional.cross_entropy(self._network(self._X[batch]), self._y[batch])
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    @torch.no_grad()
    def judge(self) -> Tensor:
        """Return log-probabilities of the samples left out, shape (n_left_out, n_classes)."""
        return functional.log_softmax(self._network(self._X[self.left_out]), dim=1)


def _learners(
    X: FloatArray, y: IntArray, n_classes: int, n_folds: int, n_restarts: int, seed: int
) -> list[tuple[int, _Learner]]:
    """Return the learners of all folds of all restarts, each with the number of its restart."""
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    learners = []
    for restart in range(n_restarts):
        folds = _folds(X, y, n_folds, np.random.default_rng([seed, restart]))
        for fold in range(n_folds):
            rng = np.random.default_rng([seed, restart, fold])
            learner = _Learner(inputs, targets, folds == fold, n_classes, rng)
            learners.append((restart, learner))
    return learners


def _folds(X: FloatArray, y: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    """Return the fold of each sample: classes dealt out evenly, equal rows together.

    A twin in training would tell the network the label that it is to judge. `X` comes in the order
    of `_content_order`, so that equal rows stand together.
    """
    first = np.append(True, (X[1:] != X[:-1]).any(axis=1))
    group = np.cumsum(first) - 1
    class_of_group = y[first]
    dealt = np.lexsort((rng.permutation(class_of_group.size), class_of_group))
    fold = np.empty(dealt.size, dtype=np.intp)
    fold[dealt] = np.arange(dealt.size) % n_folds
    folds: npt.NDArray[np.intp] = fold[group]
    return folds


def _content_order(
    features: FloatArray, labels: IntArray, n_classes: int
) -> tuple[IntArray, IntArray]:
    """Return an order of the samples, and a number of each class, that depend on content alone.

    Samples are ordered by a digest of their features. Classes are ordered by the digests of their
    samples, so that two of them can be told apart unless they are the same samples twice.
    """
    digests = np.array(
        [
            int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "big")
            for row in np.ascontiguousarray(features + 0.0)  # -0.0 is 0.0
        ],
        dtype=np.uint64,
    )
    members = [np.sort(digests[labels == c]).tolist() for c in range(n_classes)]
    rank = np.empty(n_classes, dtype=np.int64)
    rank[sorted(range(n_classes), key=lambda c: members[c])] = np.arange(n_classes)
    return np.lexsort((rank[labels], digests)), rank


def _epoch(log_p: FloatArray, labels: IntArray) -> HeldOutEpoch:
    predictions = log_p.argmax(axis=2)
    top = np.take_along_axis(log_p, predictions[..., None], axis=2)[..., 0]
    return HeldOutEpoch(
        losses=-log_p[:, np.arange(labels.size), labels],
        predictions=predictions,
        confidences=np.exp(top),
    )
