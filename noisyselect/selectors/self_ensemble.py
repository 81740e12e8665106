"""SELF's filter: the label that the predictions of many epochs agree on."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.averages import decayed_mean
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import warn


@dataclass(frozen=True, repr=False)
class SELFSelector(Selector, needs=("probabilities",)):
    r"""Keep the samples whose given label is the likeliest class on average over the last epochs.

    SELF has one network; a `peer` is not read.

    Parameters
    ----------
    window : int, default=10
        Number of last epochs whose probabilities are averaged; fewer where the log has fewer.
    momentum : float in (0, 1], default=1.0
        Factor :math:`\alpha` by which an epoch counts less than the next one. 1 is the plain mean;
        less is SELF's moving average, which forgets.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Warns
    -----
    DegenerateWarning
        If no class is likelier than the given one for any sample, nor less likely: then nothing
        speaks against any label, and all are kept with score 1. Also if nothing is kept.

    Notes
    -----
    Algorithm 1 of [1]_ keeps sample i when its given label is the likeliest class of
    :math:`\bar z_i \leftarrow \alpha \bar z_i + (1 - \alpha) z_i` after every epoch, z being the
    softmax output. Here, over the `window` last epochs :math:`t = 1, \dots, T`,

    .. math:: \bar z_i = \frac{\sum_t \alpha^{T - t} z_i^t}{\sum_t \alpha^{T - t}}, \qquad
              m_i = \bar z_{i y_i} - \max_{k \ne y_i} \bar z_{ik},

    a sample is clean when :math:`m_i \ge 0`, and `score` is :math:`(1 + m_i) / 2`.

    Departures: the average begins with the window, and of two classes equally likely the given one
    counts. SELF averages what a mean teacher predicts, here it is what the log has. It stops when
    the accuracy on clean validation data does, and starts anew from its best network; both are for
    the training loop.

    Defaults: no public code was found to read the momentum and the number of epochs from. A plain
    mean over 10 epochs is ours.

    Cost: O(window n_samples n_classes).

    Fails where the wrong labels are memorised for longer than the window: then they are the
    likeliest classes on average too.

    References
    ----------
    .. [1] Nguyen, Mummadi, Ngo, Nguyen, Beggel and Brox, "SELF: Learning to filter noisy labels
       with self-ensembling", ICLR 2020.

    Examples
    --------
    The label of the second sample is the likeliest class in the last epoch alone.

    >>> probabilities = [[[0.9, 0.1], [0.9, 0.1]], [[0.8, 0.2], [0.4, 0.6]]]
    >>> log = TrainingLog(labels=[0, 1], probabilities=probabilities)
    >>> SELFSelector().select(log).clean
    array([ True, False])
    >>> SELFSelector(momentum=0.1).select(log).clean
    array([ True,  True])
    """

    window: int = 10
    momentum: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")
        if not 0 < self.momentum <= 1:
            raise ValueError(f"`momentum` must lie in (0, 1], got {self.momentum!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.probabilities is not None
        recent = log.probabilities[-self.window :]
        margin = _margin(decayed_mean(recent, self.momentum), log.labels)
        clean = margin >= 0
        if not margin.any():
            warn(type(self).__name__, "all classes are equally likely; every label is kept")
            margin = np.ones(clean.size)
        elif not clean.any():
            warn(type(self).__name__, "no label is the likeliest class of its sample; none is kept")
        return Selection(
            clean=clean,
            # Rounding may lead out of the interval by a digit.
            score=np.clip((1 + margin) / 2, 0, 1),
            reason=np.where(clean, "given class is likeliest", "another class is likelier"),
        )


def _margin(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Return by how much the given class is likelier than the likeliest other, in [-1, 1]."""
    rows = np.arange(labels.size)
    rivals = probabilities.copy()
    rivals[rows, labels] = 0
    margin: FloatArray = probabilities[rows, labels] - rivals.max(axis=1)
    return margin
