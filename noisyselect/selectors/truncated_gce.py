"""The truncated loss's choice: labels to which the network gives a probability above a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import warn


@dataclass(frozen=True, repr=False)
class TruncatedGCESelector(Selector, needs=("losses",)):
    r"""Keep the samples to whose label the network gives a probability above a constant.

    No noise rate enters, nor how other samples fare. The last epoch counts; a `peer` is not read.
    `score` is the probability of the given label.

    Parameters
    ----------
    k : float in [0, 1), default=0.5
        Probability above which a label is kept.

    Raises
    ------
    ValueError
        If `k` is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If nothing is kept, as before anything was learnt, or if all losses are equal and large.

    Notes
    -----
    The truncated generalised cross-entropy of [1]_, :math:`L_q(p) = (1 - p^q) / q` and constant
    from :math:`p = k` downwards, is minimised in turns over the network and over weights
    :math:`v_i`,

    .. math:: \min_{\theta, v \in [0, 1]^n} \sum_i v_i L_q(p_i) - L_q(k) \sum_i v_i,
              \qquad v_i = [p_i > k],

    with :math:`p_i = e^{-\ell_i}` the probability of the given label. `weights` are these
    :math:`v_i`, whatever q is. They belong to a training with :math:`L_q` and are renewed every 10
    epochs from epoch 40 on in the published settings, which is the trainer's matter: here they are
    those of the last epoch of the log.

    Departures: the paper keeps :math:`p_i = k` as well, where the weight does not matter.

    Defaults: k 0.5, with q 0.7, on CIFAR-10, CIFAR-100 and Fashion-MNIST.

    Cost: O(n_samples).

    Fails where the network is not sure of anything, as early in training or with many classes:
    right labels have probabilities below k, and next to nothing is kept.

    References
    ----------
    .. [1] Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks
       with noisy labels", NeurIPS 2018.

    Examples
    --------
    The probabilities are 0.90, 0.61, 0.30 and 0.05.

    >>> log = TrainingLog(labels=[0, 1, 1, 0], losses=[[0.1, 0.5, 1.2, 3.0]])
    >>> TruncatedGCESelector().select(log).clean
    array([ True,  True, False, False])
    """

    k: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.k < 1:
            raise ValueError(f"`k` must lie in [0, 1), got {self.k!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        # A loss of 0 may be recorded as a little less.
        probability = np.exp(-np.maximum(log.losses[-1].astype(np.float64), 0))
        clean = probability > self.k
        if not clean.any():
            warn(type(self).__name__, f"no label has a probability above {self.k}; none is kept")
        return Selection(
            clean=clean,
            score=probability,
            reason=np.where(clean, "probable label", "improbable label"),
        )
