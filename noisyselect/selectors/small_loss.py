"""Small loss: what a network finds easy is probably labelled right."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest_or_equal, midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import (
    check_clean_rate,
    forget_rate,
    given_or_estimated,
    keep_all,
    warn,
)


@dataclass(frozen=True, repr=False)
class SmallLossSelector(Selector, needs=("losses",)):
    r"""Keep the share of samples with the smallest losses of the last epoch.

    The plain baseline against which selectors are judged. A `peer` is not read: networks that
    exchange their choices are `CoTeachingSelector`'s.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of samples to keep. By default the share that `GMMSelector` keeps on
        the last epoch of the same log.
    per_class : bool, default=False
        Keep this share of every class, by given label, instead of the whole.
    n_gradual : int, default=0
        Number of first epochs in which Co-teaching keeps more than that; 0 always keeps
        `clean_rate`.
    exponent : float > 0, default=1.0
        Exponent :math:`c` of the schedule.

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
        1. Also if the share is less than one sample.

    Notes
    -----
    With :math:`N` samples in the log, or in a class, and :math:`t` the number of the last epoch,

    .. math:: R(t) = \begin{cases} \tau^c \, t / (T_k - 1) & t < T_k \\ \tau & t \ge T_k
              \end{cases}, \qquad
              \{x_i : \ell_i \text{ among the } (1 - R(t)) N \text{ smallest}\},

    where :math:`T_k` is `n_gradual`: line 4 and 8 of Algorithm 1 of [1]_, the schedule as its code
    has it, with both ends of the rise included. With an exponent other than 1 it jumps from
    :math:`\tau^c` to :math:`\tau` when the rise is over, there as here.

    Departures: the choice is made once from all samples, not from each mini-batch, and their number
    is rounded, not cut off. Where the cut falls among equal losses, all of these are kept: one
    epoch of losses has nothing to tell them apart. `score` is 1 minus the rank of the loss, within
    the class where `per_class`.

    Defaults: Co-teaching is told the noise rate, and its code has 10 gradual epochs and the
    exponent 1 on MNIST, CIFAR-10 and CIFAR-100. Here the rate is estimated, and there is no
    schedule, because a log is mostly judged after its first epochs.

    Cost: O(n log n) in n = n_samples; with `per_class` also O(n n_classes).

    Fails where right labels are hard, such as those of a class that is learnt late: their losses
    are as large as those of wrong labels. `per_class` helps if the classes differ in this, and
    harms if they differ in their share of wrong labels.

    References
    ----------
    .. [1] Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy
       labels", NeurIPS 2018.

    Examples
    --------
    >>> log = TrainingLog(labels=[0, 0, 1, 1], losses=[[0.1, 0.2, 0.9, 1.5]])
    >>> SmallLossSelector(clean_rate=0.5).select(log).clean
    array([ True,  True, False, False])
    >>> SmallLossSelector(clean_rate=0.5, per_class=True).select(log).clean
    array([ True, False,  True, False])
    """

    clean_rate: float | None = None
    per_class: bool = False
    n_gradual: int = 0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        check_clean_rate(self.clean_rate)
        if not isinstance(self.n_gradual, Integral) or self.n_gradual < 0:
            raise ValueError(f"`n_gradual` must be at least 0 epochs, got {self.n_gradual!r}.")
        if not 0 < self.exponent < np.inf:
            raise ValueError(f"`exponent` must be greater than 0, got {self.exponent!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        method, loss = type(self).__name__, log.losses[-1]
        if loss.min() == loss.max():
            return keep_all(log, method, "all losses are equal")
        rate = given_or_estimated(self.clean_rate, log, method)
        keep_rate = 1 - forget_rate(int(log.epochs[-1]), 1 - rate, self.n_gradual, self.exponent)
        groups = log.labels if self.per_class else np.zeros_like(log.labels)
        clean, rank = np.zeros(log.n_samples, dtype=bool), np.zeros(log.n_samples)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            clean[rows] = lowest_or_equal(loss[rows], round(keep_rate * rows.size))
            rank[rows] = midranks(loss[rows])
        if not clean.any():
            warn(method, f"a share of {keep_rate:.3g} is less than one sample; no label is kept")
        return Selection(
            clean=clean,
            score=1 - rank,
            reason=np.where(clean, "small loss", "large loss"),
        )
