"""Forgetting events: how often a sample goes from predicted as labelled to predicted otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest_or_equal, midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import (
    check_clean_rate,
    given_or_estimated,
    keep_all,
    require_epochs,
    warn,
)


@dataclass(frozen=True, repr=False)
class ForgettingEventsSelector(Selector, needs=("predictions",)):
    r"""Keep the share of samples that the network forgot the fewest times after learning them.

    A sample is learnt when its given label is predicted, and forgotten when it no longer is an
    epoch later. One that was never learnt counts as forgotten most often. A `peer` is not read.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share of samples to keep. By default the share that `GMMSelector` keeps on the last epoch
        of the same log, which needs `losses`.
    window : int, default=200
        Number of last epochs read, at most.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no predictions or fewer than two epochs, or if it has no losses and
        `clean_rate` is not given.

    Warns
    -----
    DegenerateWarning
        If all samples fare alike: then nothing speaks against any label, and all are kept with
        score 1. Also if the share is less than one sample.

    Notes
    -----
    Definition of section 3 of [1]_, with :math:`\mathrm{acc}_i^t = [\hat y_i^t = y_i]`:

    .. math:: f_i = \sum_t [\mathrm{acc}_i^t > \mathrm{acc}_i^{t+1}], \qquad
              f_i = \infty \text{ if } \mathrm{acc}_i^t = 0 \text{ for all } t.

    Departures: the paper counts at each presentation of the sample in training, here at the end of
    each epoch; it finds wrong labels among the most forgotten samples but gives no cut, the share
    is ours. Counts are few, so of equally many events the sample that was predicted as labelled in
    more epochs comes first; where the cut falls among samples alike in both, all of them are kept.
    `score` is 1 minus the rank in this order.

    Defaults: the paper reads the 200 epochs of its training on MNIST, permuted MNIST and CIFAR-10.

    Cost: O(n_samples n_epochs) and one sort.

    Fails where wrong labels are learnt by heart quickly and kept: they are then as unforgettable as
    right ones, while hard samples with right labels, which the paper says matter most, are dropped.

    References
    ----------
    .. [1] Toneva, Sordoni, Tachet des Combes, Trischler, Bengio and Gordon, "An empirical study of
       example forgetting during deep neural network learning", ICLR 2019.

    Examples
    --------
    The second sample is forgotten once, the third is never learnt.

    >>> log = TrainingLog(labels=[0, 1, 1], predictions=[[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    >>> ForgettingEventsSelector(clean_rate=0.33).select(log).clean
    array([ True, False, False])
    """

    clean_rate: float | None = None
    window: int = 200

    def __post_init__(self) -> None:
        check_clean_rate(self.clean_rate)
        if not isinstance(self.window, Integral) or self.window < 2:
            raise ValueError(f"`window` must be at least 2 epochs, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.predictions is not None
        method = type(self).__name__
        require_epochs(log, method, 2)
        learnt = log.predictions[-self.window :] == log.labels
        forgotten = forgetting(learnt)
        if forgotten.min() == forgotten.max():
            return keep_all(log, method, "all samples are learnt and forgotten alike")
        rate = given_or_estimated(self.clean_rate, log, method)
        clean = lowest_or_equal(forgotten, round(rate * log.n_samples))
        if not clean.any():
            warn(method, f"a share of {rate:.3g} is less than one sample; no label is kept")
        reason = np.where(
            ~learnt.any(axis=0), "never learnt", np.where(clean, "remembered", "forgotten")
        )
        return Selection(clean=clean, score=1 - midranks(forgotten), reason=reason)


def forgetting(learnt: BoolArray) -> FloatArray:
    """Return the number of forgetting events, and a fraction that orders equally many of them.

    Parameters
    ----------
    learnt : array of bool, shape (n_epochs, n_samples)
        Whether the given label is predicted.

    Returns
    -------
    array of float64, shape (n_samples,)
        One that was never learnt has `n_epochs` events, more than any other; of equally many events
        the more often learnt have the smaller fraction.
    """
    n_epochs, n_learnt = len(learnt), learnt.sum(axis=0)
    events = (learnt[:-1] & ~learnt[1:]).sum(axis=0)
    events[n_learnt == 0] = n_epochs
    forgotten: FloatArray = events + (n_epochs - n_learnt) / (n_epochs + 1)
    return forgotten
