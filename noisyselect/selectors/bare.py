"""BARE: a label is trusted if its probability stands out of what the batch gives that class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.batches import last_batches
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import keep_all, warn

# Probabilities are clamped to [LEAST, 1 - LEAST], as in the official code.
LEAST = 1e-8


@dataclass(frozen=True, repr=False)
class BARESelector(Selector, needs=("probabilities",)):
    r"""Keep the labels that are far more probable than their class usually is in the mini-batch.

    It needs to know no noise rate. A batch is one of the last epoch. A log without `batches` is
    taken as one batch, and so are the samples that no batch was recorded of. A `peer` is not read.

    Parameters
    ----------
    k : float >= 0, default=1.0
        Number :math:`\kappa` of standard deviations by which a label must stand out.

    Raises
    ------
    ValueError
        If `k` is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Warns
    -----
    DegenerateWarning
        If all samples of each batch have the same probabilities: then nothing speaks against any
        label, and all are kept with score 1. Also if no label is kept.

    Notes
    -----
    The rule of [1]_: with :math:`\mu_c` and :math:`\sigma_c` mean and standard deviation of the
    probability of class c over all samples of the batch, whatever their label, a sample is kept
    when

    .. math:: p_{i y_i} - \mu_{y_i} \ge \kappa \, \sigma_{y_i}.

    `score` is the rank of :math:`(p_{i y_i} - \mu_{y_i}) / \sigma_{y_i}` among all samples, and so
    of one order with the mask, over all batches.

    Departures: where a batch keeps nothing, the official code takes a step on the whole batch; here
    nothing of it is kept, as this is evidence against its labels and not for them. As in the code,
    :math:`\sigma_c` has the denominator :math:`|B| - 1`, and probabilities are clamped to
    :math:`[10^{-8}, 1 - 10^{-8}]`. A batch of one sample has :math:`\sigma_c = 0`, and it is kept.

    Defaults: :math:`\kappa = 1` on MNIST, CIFAR-10, Clothing1M and Food-101N, with mini-batches of
    128 or 256 samples.

    Cost: O(n_samples (n_classes + log n_samples)), of the last epoch alone.

    Fails where a class is more than half of a batch: networks that are sure give it a mean above
    1/2 and nearly as great a deviation, and no label of it stands out, however right. With two
    classes, one of them always is about half.

    References
    ----------
    .. [1] Patel and Sastry, "Adaptive sample selection for robust learning under label noise",
       WACV 2023.

    Examples
    --------
    Class 1 is predicted with less certainty, so that 0.6 is much for it and little for class 0.

    >>> probabilities = [[[0.9, 0.1], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6], [0.9, 0.1]]]
    >>> log = TrainingLog([0, 0, 0, 1, 1], probabilities=probabilities)
    >>> BARESelector(k=0.5).select(log).clean
    array([ True,  True, False,  True, False])
    """

    k: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.k < np.inf:
            raise ValueError(f"`k` must be at least 0 standard deviations, got {self.k!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.probabilities is not None
        method = type(self).__name__
        probabilities = np.clip(log.probabilities[-1].astype(np.float64), LEAST, 1 - LEAST)
        batches = last_batches(log.batches, log.n_samples)
        excess, deviation = _excess(probabilities, log.labels, batches)
        if not excess.any():
            return keep_all(log, method, "no sample differs from the rest of its batch")
        clean = excess >= self.k * deviation
        if not clean.any():
            warn(method, f"no label stands out by {self.k:g} standard deviations; none is kept")
        return Selection(
            clean=clean,
            score=midranks(excess / np.where(deviation > 0, deviation, 1)),
            reason=np.where(clean, "stands out in its batch", "does not stand out in its batch"),
        )


def _excess(
    probabilities: FloatArray, labels: IntArray, batches: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return what a label's probability exceeds its class's mean by, and the class's deviation."""
    by_batch = np.argsort(batches, kind="stable")
    sizes = np.bincount(batches)[:, None]
    starts = (np.cumsum(sizes) - sizes[:, 0]).astype(np.intp)
    # Counted from the least, so that equal probabilities have exactly their mean.
    least = np.minimum.reduceat(probabilities[by_batch], starts, axis=0)
    above = probabilities - least[batches]
    mean = np.add.reduceat(above[by_batch], starts, axis=0) / sizes
    square = np.add.reduceat((above - mean[batches])[by_batch] ** 2, starts, axis=0)
    deviation = np.sqrt(square / np.maximum(sizes - 1, 1))
    rows = np.arange(labels.size)
    return above[rows, labels] - mean[batches, labels], deviation[batches, labels]
