"""Jo-SRC: how close a prediction comes to its label, by the Jensen-Shannon divergence."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import warn

# What the threshold rises to by the end of training, in the official code.
_LAST_THRESHOLD = 0.95


@dataclass(frozen=True, repr=False)
class JoSRCSelector(Selector, needs=("probabilities",)):
    r"""Keep the samples whose prediction comes close enough to the given label.

    Each sample is judged by itself, so `batches` do not matter. With a `second_view` of the log,
    `reason` says of the others whether the two views agree on the class: then their label is
    probably wrong, and the class predicted serves instead; or not, and they are probably of no
    class at all. A `peer` is not read.

    Parameters
    ----------
    smoothing : float in [0, 1), default=0.0
        Share :math:`\epsilon` of the label that is spread over the other classes. Give what the
        network was trained on: 0 for hard labels.
    threshold : float in [0, 1], default=0.75
        Least likelihood :math:`\tau_{clean}` of a clean label when warm-up ends.
    warm_up : int, default=10
        Number of first epochs over which the threshold rises from 0.
    n_epochs : int, optional
        Number of all epochs of training, at whose end the threshold is 0.95. By default it stays
        as it was when warm-up ended: a log does not say how long training will last.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Warns
    -----
    DegenerateWarning
        If no label is kept.

    Notes
    -----
    The rule of [1]_: with :math:`g_i` the smoothed label, :math:`1 - \epsilon` on :math:`y_i` and
    :math:`\epsilon / (C - 1)` on each other class,

    .. math:: P^{clean}_i = 1 - JS(p_i, g_i), \qquad
              JS(p, g) = \tfrac12 D_{KL}\big(p \,\|\, \tfrac{p + g}{2}\big)
              + \tfrac12 D_{KL}\big(g \,\|\, \tfrac{p + g}{2}\big),

    with logarithms to base 2, so that it lies in [0, 1]; it is the `score`. A sample is clean when
    :math:`P^{clean}_i` is at least :math:`\tau(t)`, which rises from 0 to `threshold` over
    `warm_up` epochs, and from there to 0.95 at `n_epochs`, with t the number of the last epoch,
    from 0. Where all predictions are the same, so are all answers of a class.

    Departures: the views are those of the log, of which only the first is compared with the label;
    the method also averages the network and refurbishes labels, which a selection cannot say.

    Defaults: the code trains and judges with a `smoothing` of 0.6 on CIFAR-100, 0.65 on Food-101N
    and 0.7 on Clothing1M. Ours is 0, as most networks are trained on hard labels. `threshold` is
    0.75 on CIFAR-100 and Food-101N, and 0.9 on Clothing1M; `warm_up` 10, 5 and 5; and `n_epochs`
    200, 50 and 15.

    Cost: O(n_samples n_classes), of the last epoch alone.

    Fails where `smoothing` is not what the network was trained on. With 0.6 a network that is sure
    of a right label, as after training on hard labels, is too sure: its likelihood is 0.6 at 10
    classes, and all such labels are dropped.

    References
    ----------
    .. [1] Yao et al., "Jo-SRC: A contrastive approach for combating noisy labels", CVPR 2021.

    Examples
    --------
    Of the last two samples, only the third is predicted alike in both views.

    >>> log = TrainingLog(
    ...     labels=[0, 1, 1, 0],
    ...     probabilities=[[[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.3, 0.7]]],
    ...     second_view=[[[0.8, 0.2], [0.2, 0.8], [0.8, 0.2], [0.6, 0.4]]],
    ... )
    >>> selection = JoSRCSelector(warm_up=0).select(log)
    >>> selection.clean
    array([ True,  True, False, False])
    >>> selection.reason[2:].tolist()
    ['another class in both views', 'the views disagree']
    """

    smoothing: float = 0.0
    threshold: float = 0.75
    warm_up: int = 10
    n_epochs: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"`smoothing` must lie in [0, 1), got {self.smoothing!r}.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"`threshold` must lie in [0, 1], got {self.threshold!r}.")
        if not isinstance(self.warm_up, Integral) or self.warm_up < 0:
            raise ValueError(f"`warm_up` must be at least 0 epochs, got {self.warm_up!r}.")
        if self.n_epochs is not None and self.n_epochs <= self.warm_up:
            raise ValueError(
                f"`n_epochs` must be greater than `warm_up` = {self.warm_up}, "
                f"got {self.n_epochs!r}."
            )

    def threshold_at(self, epoch: int) -> float:
        r"""Return :math:`\tau(t)` of an epoch, counted from 0."""
        if epoch < self.warm_up:
            return self.threshold * epoch / self.warm_up
        if self.n_epochs is None:
            return self.threshold
        share = min(1.0, (epoch - self.warm_up) / (self.n_epochs - self.warm_up))
        return self.threshold + share * (_LAST_THRESHOLD - self.threshold)

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.probabilities is not None
        probabilities = log.probabilities[-1].astype(np.float64)
        likelihood = 1 - _divergence(probabilities, log.labels, self.smoothing)
        threshold = self.threshold_at(int(log.epochs[-1]))
        clean = likelihood >= threshold
        if not clean.any():
            warn(type(self).__name__, f"no likelihood reaches {threshold:.3g}; no label is kept")
        return Selection(
            clean=clean,
            # Rounding may lead out of the interval by a digit.
            score=np.clip(likelihood, 0, 1),
            reason=np.where(clean, "prediction is close to the label", _otherwise(log)),
        )


def _divergence(probabilities: FloatArray, labels: IntArray, smoothing: float) -> FloatArray:
    """Return the Jensen-Shannon divergence from the smoothed labels, in bits."""
    n_samples, n_classes = probabilities.shape
    spread = smoothing / (n_classes - 1) if n_classes > 1 else 0.0
    smoothed = np.full((n_samples, n_classes), spread)
    smoothed[np.arange(n_samples), labels] = 1 - spread * (n_classes - 1)
    middle = (probabilities + smoothed) / 2
    divergence: FloatArray = (_bits(probabilities, middle) + _bits(smoothed, middle)) / 2
    return divergence


def _bits(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return the Kullback-Leibler divergence of rows, where 0 log 0 is 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    bits: FloatArray = (p * np.log2(ratio)).sum(axis=1)
    return bits


def _otherwise(log: TrainingLog) -> IntArray | str:
    """Return the reason of a sample that is dropped."""
    if log.second_view is None:
        return "prediction is far from the label"
    assert log.probabilities is not None
    alike = log.probabilities[-1].argmax(axis=1) == log.second_view[-1].argmax(axis=1)
    return np.where(alike, "another class in both views", "the views disagree")
