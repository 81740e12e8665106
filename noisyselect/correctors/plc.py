"""PLC: labels that are much less likely than another class give way, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.corrector import LabelCorrector, one_hot
from noisyselect.log import TrainingLog
from noisyselect.numeric.averages import decayed_mean

# Once fewer labels than this share change, the threshold rises; to this at most.
_FEW = 0.001
_MOST = 0.9


@dataclass(frozen=True, repr=False)
class PLCCorrector(LabelCorrector, needs=("probabilities",)):
    r"""Replace a label by the likeliest class where it is much less likely, epoch after epoch.

    PLC has one network; a `peer` is not read.

    Parameters
    ----------
    delta : float in (0, 0.9], default=0.3
        Ratio :math:`\delta` of the label's probability to the largest, below which the label is
        replaced; at the first epoch.
    increment : float >= 0, default=0.1
        By how much :math:`\delta` rises, to 0.9 at most, after an epoch that replaced fewer than
        0.1 % of the labels.
    window : int, default=5
        Number of epochs whose probabilities are averaged.
    rounds : int, default=10
        Number of last epochs after each of which labels are corrected, those after the warm-up;
        fewer where the log has not `rounds` + `window` - 1 epochs, and one at least.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Notes
    -----
    Algorithm 1 of [1]_. After each epoch, with f the mean of the last `window` softmax outputs and
    :math:`\tilde y` the labels as corrected so far,

    .. math:: \tilde y_i \leftarrow \arg\max_k f_{ik} \quad \text{where} \quad
              f_{i \tilde y_i} / \max_k f_{ik} < \delta .

    The soft labels are the corrected labels, with probability 1.

    Departures: the epochs are replayed from the log, of a network that need not have been trained
    on the corrected labels. An earlier version of the code raised the threshold to 0.9 at once by
    a slip, which its authors mended. The second variant in its file, which draws labels at random,
    is left out.

    Defaults: the code has ``delta=0.3``, ``increment=0.1`` and ``window=5`` on CIFAR-10 and
    CIFAR-100, and corrects after all of 180 epochs but the first 8. Ten rounds are ours: with
    nothing to correct, the threshold reaches 0.9 after six.

    Cost: O(rounds window n_samples n_classes).

    Fails where wrong labels are memorised before the rounds begin, and where a hard class is
    mistaken for another with confidence: its right labels are replaced.

    References
    ----------
    .. [1] Zhang, Zheng, Wu, Goswami and Chen, "Learning with feature-dependent label noise: A
       progressive approach", ICLR 2021.

    Examples
    --------
    >>> probabilities = [[[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]]
    >>> log = TrainingLog(labels=[1, 1, 1], probabilities=probabilities)
    >>> PLCCorrector().correct(log).labels
    array([0, 1, 1])
    >>> PLCCorrector(delta=0.5).correct(log).labels
    array([0, 0, 1])
    """

    delta: float = 0.3
    increment: float = 0.1
    window: int = 5
    rounds: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.delta <= _MOST:
            raise ValueError(f"`delta` must lie in (0, {_MOST}], got {self.delta!r}.")
        if not self.increment >= 0:
            raise ValueError(f"`increment` must be at least 0, got {self.increment!r}.")
        for name in ("window", "rounds"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"`{name}` must be at least 1 epoch, got {value!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window + self.rounds - 1

    def _correct(self, log: TrainingLog, peer: TrainingLog | None) -> FloatArray:
        assert log.probabilities is not None
        recent = log.probabilities[-self.history :]
        labels, delta = log.labels, self.delta
        rows = np.arange(log.n_samples)
        for stop in range(min(self.window, len(recent)), len(recent) + 1):
            mean = decayed_mean(recent[max(0, stop - self.window) : stop], decay=1.0)
            # f_y / max f < delta, without the division.
            replaced = mean[rows, labels] < delta * mean.max(axis=1)
            labels = np.where(replaced, mean.argmax(axis=1), labels)
            if np.count_nonzero(replaced) < _FEW * log.n_samples:
                delta = min(_MOST, delta + self.increment)
        return one_hot(labels, log.n_classes)
