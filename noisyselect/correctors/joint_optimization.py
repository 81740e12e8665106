"""Joint Optimization: the mean prediction of the last epochs becomes the label."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from noisyselect.arrays import FloatArray
from noisyselect.corrector import LabelCorrector
from noisyselect.log import TrainingLog
from noisyselect.numeric.averages import decayed_mean


@dataclass(frozen=True, repr=False)
class JointOptimizationCorrector(LabelCorrector, needs=("probabilities",)):
    r"""Replace every label by the mean prediction of the last epochs, the given label forgotten.

    The method has one network; a `peer` is not read.

    Parameters
    ----------
    window : int, default=10
        Number of last epochs whose probabilities are averaged; fewer where the log has fewer.

    Raises
    ------
    ValueError
        If `window` is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Notes
    -----
    The update of soft labels of [1]_: :math:`y_i \leftarrow \frac1T \sum_t
    s(x_i)^t` over the last T epochs, s being the softmax output.

    Departures: the first epochs on the given labels, the regularisers that keep the labels from
    collapsing into few classes, and the second training on the final labels are for the training
    loop. Where all classes are equally likely, the given label stays.

    Defaults: the paper and its code average 10 epochs, and begin after 70 of 200 on CIFAR-10.

    Cost: O(window n_samples n_classes).

    Fails where wrong labels are memorised: they are then the predictions. Nothing of the given
    label is left where the network is wrong, as on hard classes.

    References
    ----------
    .. [1] Tanaka, Ikami, Yamasaki and Aizawa, "Joint optimization framework for learning with noisy
       labels", CVPR 2018.

    Examples
    --------
    >>> probabilities = [[[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]]
    >>> log = TrainingLog(labels=[1, 1], probabilities=probabilities)
    >>> corrected = JointOptimizationCorrector().correct(log)
    >>> corrected.probabilities
    array([[0.8, 0.2],
           [0.4, 0.6]])
    >>> corrected.labels
    array([0, 1])
    """

    window: int = 10

    def __post_init__(self) -> None:
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _correct(self, log: TrainingLog, peer: TrainingLog | None) -> FloatArray:
        assert log.probabilities is not None
        return decayed_mean(log.probabilities[-self.window :], decay=1.0)
