"""SELC: a moving average that starts at the given label and moves to the predictions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from noisyselect.arrays import FloatArray
from noisyselect.corrector import LabelCorrector, one_hot
from noisyselect.log import TrainingLog
from noisyselect.numeric.averages import decayed_mean


@dataclass(frozen=True, repr=False)
class SELCCorrector(LabelCorrector, needs=("probabilities",)):
    r"""Move every label from the given one to the predictions, a little with each epoch.

    SELC has one network; a `peer` is not read.

    Parameters
    ----------
    alpha : float in (0, 1), default=0.9
        Share :math:`\alpha` of the soft label that each epoch keeps.
    window : int, default=20
        Number of last epochs that move the labels, those after the turning point at which the
        network begins to memorise; fewer where the log has fewer.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Notes
    -----
    The update of [1]_: :math:`s_i \leftarrow \alpha s_i + (1 - \alpha) p_i` after every epoch,
    starting at the given label. After T epochs

    .. math:: s_i = \alpha^T y_i + (1 - \alpha) \sum_{t=1}^T \alpha^{T - t} p_i^t,

    so :math:`0.9^{20} = 12 \%` of the given label are left after 20 epochs, and after a few epochs
    no other class can be the likeliest.

    Departures: the turning point, which the paper estimates from the losses and the code reads from
    a table of the known noise, is where the window begins. The code averages outputs of the
    training steps, and trains on the soft labels meanwhile; the loss is for the training loop.

    Defaults: the code has ``alpha=0.9`` for all data sets, and its turning points lie at epochs 20
    to 40 of 200 on CIFAR-10 and CIFAR-100. The window of 20 is ours.

    Cost: O(window n_samples n_classes).

    Fails where the window begins after wrong labels are memorised, for then the predictions repeat
    them.

    References
    ----------
    .. [1] Lu and He, "SELC: Self-ensemble label correction improves learning with noisy labels",
       IJCAI 2022.

    Examples
    --------
    >>> probabilities = [[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.2, 0.8]]]
    >>> log = TrainingLog(labels=[1, 1], probabilities=probabilities)
    >>> corrected = SELCCorrector(alpha=0.5).correct(log)
    >>> corrected.probabilities
    array([[0.675, 0.325],
           [0.15 , 0.85 ]])
    >>> corrected.labels
    array([0, 1])
    """

    alpha: float = 0.9
    window: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"`alpha` must lie in (0, 1), got {self.alpha!r}.")
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _correct(self, log: TrainingLog, peer: TrainingLog | None) -> FloatArray:
        assert log.probabilities is not None
        recent = log.probabilities[-self.window :]
        left = self.alpha ** len(recent)
        soft: FloatArray = left * one_hot(log.labels, log.n_classes)
        return soft + (1 - left) * decayed_mean(recent, self.alpha)
