"""Co-teaching: in each mini-batch, a network learns from what the other finds easiest."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.numeric.batches import last_batches, lowest_of_batches
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import (
    check_clean_rate,
    forget_rate,
    given_or_estimated,
    keep_all,
)


@dataclass(frozen=True, repr=False)
class CoTeachingSelector(Selector, needs=("losses",)):
    r"""Keep the samples of each mini-batch whose loss is smallest for the other network.

    The answer is what the network of `log` trains on: where there is a `peer`, the peer chooses,
    by its own losses; alone, a network chooses for itself. A batch is one of the last epoch. A log
    without `batches` is taken as one batch, and so are the samples that no batch was recorded of.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of each batch to keep in the end. By default the share that
        `GMMSelector` keeps on the last epoch of the log that chooses.
    n_gradual : int, default=10
        Number :math:`T_k` of epochs over which the share kept falls to `clean_rate`; 0 has it there
        from the first.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all losses are equal: then nothing speaks against any label, and all are kept with
        score 1.

    Notes
    -----
    Algorithm 1 of [1]_: of a batch :math:`B`, the samples of smallest loss are kept, in number

    .. math:: R(t)\,|B|, \qquad R(t) = 1 - \tau \min\Big(1, \frac{t}{T_k - 1}\Big),

    with t the number of the last epoch; in epoch 0 all are kept. `score` is 1 minus the rank of the
    loss among all samples, which is the order of the mask within each batch.

    Departures: the noise rate :math:`\tau` is given to the published method and estimated here.
    The schedule is that of the official code, as are counts, rounded down (the paper has "at
    least"); but rounding errors do not count, at least one sample is kept, and equal losses share
    their fate: all that equal the largest kept one are kept. The exponent of the code's schedule is
    1, its default.

    Defaults: 10 gradual epochs in paper and code, on MNIST, CIFAR-10 and CIFAR-100; mini-batches of
    128 samples; :math:`\tau` the true noise rate.

    Cost: O(n_samples log n_samples), of the last epoch alone.

    Fails where both networks have learnt the same wrong labels, as late in training: their small
    losses agree, and the exchange corrects nothing. A batch that happens to hold few right labels
    must keep wrong ones, as its share is fixed.

    References
    ----------
    .. [1] Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy
       labels", NeurIPS 2018.

    Examples
    --------
    Two batches. The first network has learnt the third label, the second has not.

    >>> batches, labels = [[0, 0, 0, 1, 1, 1]], [0, 1, 1, 0, 1, 0]
    >>> a = TrainingLog(labels, losses=[[0.1, 0.9, 0.2, 0.3, 0.2, 2.0]], batches=batches)
    >>> b = TrainingLog(labels, losses=[[0.2, 0.8, 2.5, 0.1, 0.2, 2.2]], batches=batches)
    >>> CoTeachingSelector(clean_rate=0.67, n_gradual=0).select(a, peer=b).clean
    array([ True,  True, False,  True,  True, False])
    """

    clean_rate: float | None = None
    n_gradual: int = 10

    def __post_init__(self) -> None:
        check_schedule(self.clean_rate, self.n_gradual)

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        method, chooser = type(self).__name__, log if peer is None else peer
        assert chooser.losses is not None
        losses = chooser.losses[-1]
        if losses.min() == losses.max():
            return keep_all(log, method, "all losses are equal")
        rate = given_or_estimated(self.clean_rate, chooser, method)
        batches = last_batches(log.batches, log.n_samples)
        share = keep_rate(int(log.epochs[-1]), rate, self.n_gradual)
        clean = lowest_of_batches(losses, batches, share)
        return Selection(
            clean=clean,
            score=1 - midranks(losses),
            reason=np.where(clean, "small loss", "large loss"),
        )


def check_schedule(clean_rate: float | None, n_gradual: int) -> None:
    """Raise ValueError unless both options of the schedule are in range."""
    check_clean_rate(clean_rate)
    if not isinstance(n_gradual, Integral) or n_gradual < 0:
        raise ValueError(f"`n_gradual` must be at least 0 epochs, got {n_gradual!r}.")


def keep_rate(epoch: int, clean_rate: float, n_gradual: int) -> float:
    """Return the share of a batch to keep at `epoch`."""
    return 1 - forget_rate(epoch, 1 - clean_rate, n_gradual)
