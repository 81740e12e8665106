"""ELR's targets: the moving average of predictions that early learning is held to."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.corrector import LabelCorrector
from noisyselect.log import TrainingLog
from noisyselect.numeric.averages import decayed_mean

# Bounds of the probabilities in ELR's code.
_LEAST, _MOST = 1e-4, 1 - 1e-4


@dataclass(frozen=True, repr=False)
class ELRCorrector(LabelCorrector, needs=("probabilities",)):
    r"""Replace every label by the moving average of predictions that ELR holds a network to.

    With a `peer`, the targets of this network come from the predictions of the other, as in ELR+.

    Parameters
    ----------
    beta : float in (0, 1), default=0.7
        Momentum :math:`\beta` of the average: an epoch counts :math:`\beta` times the next one.
    window : int, default=10
        Number of last epochs that are averaged; fewer where the log has fewer. Earlier ones would
        weigh :math:`\beta^{10}`, 3 % by default, together.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Notes
    -----
    The temporal ensembling of [1]_: :math:`t_i \leftarrow \beta t_i + (1 - \beta) p_i` after every
    epoch, with p the softmax output, in the code clipped to [0.0001, 0.9999] and normalised.

    Departures: the average begins with the window, and is divided by the weight it has gathered,
    so that rows sum to 1 (in the code they start at 0 and sum to :math:`1 - \beta^T`). ELR does not
    train on its targets as labels: it adds :math:`\lambda \log(1 - \langle p_i, t_i \rangle)` to
    the cross-entropy of the given labels, which is for the training loop. In ELR+ the other network
    is an average of weights, and targets are mixed with the images.

    Defaults: ELR's paper has ``beta=0.7`` for symmetric noise on CIFAR-10 and for Clothing1M, and
    0.9 for asymmetric noise and CIFAR-100, for which 20 to 30 epochs are worth their memory.

    Cost: O(window n_samples n_classes).

    Fails where wrong labels were memorised for as long as the average remembers: it is meant to be
    begun before, and to be trained with.

    References
    ----------
    .. [1] Liu, Niles-Weed, Razavian and Fernandez-Granda, "Early-learning regularization prevents
       memorization of noisy labels", NeurIPS 2020.

    Examples
    --------
    The last epoch counts twice as much as the first.

    >>> probabilities = [[[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.15, 0.85]]]
    >>> log = TrainingLog(labels=[1, 1], probabilities=probabilities)
    >>> corrected = ELRCorrector(beta=0.5).correct(log)
    >>> corrected.probabilities
    array([[0.7, 0.3],
           [0.4, 0.6]])
    >>> corrected.labels
    array([0, 1])
    """

    beta: float = 0.7
    window: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.beta < 1:
            raise ValueError(f"`beta` must lie in (0, 1), got {self.beta!r}.")
        if not isinstance(self.window, Integral) or self.window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _correct(self, log: TrainingLog, peer: TrainingLog | None) -> FloatArray:
        predicted = (log if peer is None else peer).probabilities
        assert predicted is not None
        recent = np.clip(predicted[-self.window :], _LEAST, _MOST)
        recent /= recent.sum(axis=2, keepdims=True)
        return decayed_mean(recent, self.beta)
