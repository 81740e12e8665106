"""ProMix's selection: the small losses of each class, and every label predicted with confidence."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest_per_group, midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import given_or_estimated

_KEPT = "small loss in its class"


@dataclass(frozen=True, repr=False)
class ProMixSelector(Selector, needs=("losses",)):
    r"""Keep the samples of smallest loss in each class, and all whose label is predicted surely.

    Each network chooses for itself; a `peer` is not read.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`\rho` of an average class to keep. By default the share that `GMMSelector`
        keeps on the same log.
    tau : float in (0, 1], default=0.99
        Confidence :math:`\tau` that the probability of the given label exceeds to be kept beyond
        the share; 1 keeps the share alone.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all losses are equal: then nothing speaks against any label, and all are kept with score
        1. Also where `GMMSelector`, which is asked for the share, warns.

    Notes
    -----
    The class-wise small losses and the matched high confidence of [1]_. Of the :math:`n_j` samples
    with label j, the :math:`k_j` of smallest loss are kept, and of all others those that match with
    high confidence:

    .. math:: k_j = \max\big(1, \min(n_j, \lceil \rho N / C \rceil)\big), \qquad
              p_{i y_i} = e^{-\ell_i} > \tau.

    `score` is 1 minus the rank of the loss over all samples; within a class it is the order of the
    rule.

    Departures: :math:`\rho` is estimated, where the code has it set by hand from the known noise;
    its ramp from one share to another over the first epochs is for the caller, who gives
    `clean_rate` by the epoch. Confidence is that of the recorded losses, where the code takes the
    output on the augmented image of the training step. Labels guessed from two networks that agree
    carry predicted labels, and are no selection of given ones; the debiased predictions are
    training: both are left out. Of equal losses the smaller id comes first.

    Defaults: ``tau=0.99`` on CIFAR-10 and 0.95 on CIFAR-100; the share 0.7 at 20 % and 0.5 at 50 %
    symmetric or 40 % asymmetric noise.

    Cost: O(n_samples log n_samples), and one fit of `GMMSelector` without `clean_rate`.

    Fails where wrong labels gather in a few classes, which keep as many as the others, and where
    they are memorised, for then they are predicted with confidence.

    References
    ----------
    .. [1] Xiao, Dong, Wang, Feng, Wu, Chen and Zhao, "ProMix: Combating label noise via maximizing
       clean sample utility", IJCAI 2023.

    Examples
    --------
    A quarter of each class, and the label of the second sample, predicted with 0.995.

    >>> losses = [[0.001, 0.005, 2.0, 3.0, 0.3, 0.6, 0.9, 1.2]]
    >>> log = TrainingLog(labels=[0, 0, 0, 0, 1, 1, 1, 1], losses=losses)
    >>> ProMixSelector(clean_rate=0.25).select(log).clean
    array([ True,  True, False, False,  True, False, False, False])
    """

    clean_rate: float | None = None
    tau: float = 0.99

    def __post_init__(self) -> None:
        if self.clean_rate is not None and not 0 < self.clean_rate <= 1:
            raise ValueError(f"`clean_rate` must lie in (0, 1], got {self.clean_rate!r}.")
        if not 0 < self.tau <= 1:
            raise ValueError(f"`tau` must lie in (0, 1], got {self.tau!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        loss = log.losses[-1].astype(np.float64)
        if loss.min() == loss.max():
            warnings.warn(
                "ProMixSelector: all losses are equal; every label is kept.",
                DegenerateWarning,
                stacklevel=5,
            )
            return Selection(clean=np.ones(loss.size, dtype=bool), reason=np.full(loss.size, _KEPT))
        rate = given_or_estimated(self.clean_rate, log, type(self).__name__)
        # The small term absorbs float error: 0.7 * 10 is 7.000000000000001 in some products.
        quota = max(1, math.ceil(rate * log.n_samples / log.n_classes - 1e-9))
        base = lowest_per_group(loss, log.labels, quota, ties=log.ids)
        confident = loss < -math.log(self.tau)
        return Selection(
            clean=base | confident,
            score=1 - midranks(loss),
            reason=np.select(
                [base, confident],
                [_KEPT, "predicted with confidence"],
                "large loss in its class",
            ),
        )
