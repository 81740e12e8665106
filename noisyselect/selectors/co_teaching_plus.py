"""Co-teaching+: Co-teaching on the samples that the two networks predict differently."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.numeric.batches import last_batches, lowest_of_batches
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.co_teaching import CoTeachingSelector, check_schedule, keep_rate
from noisyselect.selectors.shares import given_or_estimated, keep_all, warn


@dataclass(frozen=True, repr=False)
class CoTeachingPlusSelector(Selector, needs=("losses", "predictions")):
    r"""Keep the samples that the two networks predict differently and the other one finds easy.

    The answer is what the network of `log` trains on, chosen by the `peer`, by its own losses.
    Before `init_epoch`, and without a `peer`, it is that of `CoTeachingSelector`. A batch is one of
    the last epoch. A log without `batches` is taken as one batch, and so are the samples that no
    batch was recorded of.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` to keep in the end of the samples in disagreement, of each batch. By
        default the share that `GMMSelector` keeps on the last epoch of the log that chooses.
    n_gradual : int, default=10
        Number :math:`E_k` of epochs over which the share kept falls to `clean_rate`; 0 has it there
        from the first.
    init_epoch : int, default=20
        Number of first epochs with plain Co-teaching.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses or no predictions.

    Warns
    -----
    DegenerateWarning
        If all losses are equal: then all samples are kept with score 1. If the networks predict
        every sample alike: then none is kept, for neither has anything to teach the other.

    Notes
    -----
    The rule of [1]_: of a batch :math:`B`, with :math:`\hat y^1` and :math:`\hat y^2` the
    predictions of the two networks,

    .. math:: D = \{i \in B : \hat y_i^1 \ne \hat y_i^2\}, \qquad
              R(t) = 1 - \tau \min\Big(1, \frac{t}{E_k - 1}\Big),

    and of :math:`D` the :math:`R(t)\,|D|` samples of smallest loss are kept. `score` is 1 minus the
    rank of the loss among all samples: that the networks agree says of a label only that it would
    teach them nothing.

    Departures: the noise rate :math:`\tau` is given to the published method and estimated here.
    Counts are rounded down, as in the official code, and at least one sample of :math:`D` is kept,
    where the code keeps all that there are if the count is 0. Equal losses share their fate: all
    that equal the largest kept one are kept. Of a batch without disagreement nothing is kept; the
    code trains on the whole batch in its first steps, and on none of it later. Two slips of the
    code are not followed: it applies softmax twice, so that its losses are not in the order of the
    cross-entropy, and it never uses the first sample of the data set.

    Defaults: the code has 10 gradual epochs, and an `init_epoch` of 20 on CIFAR-10, 5 on CIFAR-100,
    0 on MNIST and News, and 100 on Tiny-ImageNet; mini-batches of 128 samples.

    Cost: O(n_samples log n_samples), of the last epoch alone.

    Fails where the networks agree on what is right, as well-trained ones do: most right labels are
    left out, and what is in disagreement are hard samples and wrong labels.

    References
    ----------
    .. [1] Yu et al., "How does disagreement help generalization against label corruption?",
       ICML 2019.

    Examples
    --------
    The networks differ in the first two samples and the last; the last has a large loss.

    >>> labels = [0, 1, 1, 0]
    >>> a = TrainingLog(labels, losses=[[0.9, 0.8, 0.1, 2.0]], predictions=[[1, 0, 1, 0]])
    >>> b = TrainingLog(labels, losses=[[0.2, 0.3, 0.1, 2.5]], predictions=[[0, 1, 1, 1]])
    >>> selector = CoTeachingPlusSelector(clean_rate=0.7, n_gradual=0, init_epoch=0)
    >>> selector.select(a, peer=b).clean
    array([ True,  True, False, False])
    """

    clean_rate: float | None = None
    n_gradual: int = 10
    init_epoch: int = 20

    def __post_init__(self) -> None:
        check_schedule(self.clean_rate, self.n_gradual)
        if not isinstance(self.init_epoch, Integral) or self.init_epoch < 0:
            raise ValueError(f"`init_epoch` must be at least 0, got {self.init_epoch!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        epoch = int(log.epochs[-1])
        if peer is None or epoch < self.init_epoch:
            return CoTeachingSelector(self.clean_rate, self.n_gradual)._select(log, peer)
        assert log.predictions is not None
        assert peer.predictions is not None
        assert peer.losses is not None
        method, losses = type(self).__name__, peer.losses[-1]
        if losses.min() == losses.max():
            return keep_all(log, method, "all losses are equal")
        disagree = log.predictions[-1] != peer.predictions[-1]
        if not disagree.any():
            warn(method, "the networks predict every sample alike; no label is kept")
        rate = given_or_estimated(self.clean_rate, peer, method)
        rows, batches = np.flatnonzero(disagree), last_batches(log.batches, log.n_samples)
        clean = np.zeros(log.n_samples, dtype=bool)
        share = keep_rate(epoch, rate, self.n_gradual)
        clean[rows] = lowest_of_batches(losses[rows], batches[rows], share)
        return Selection(
            clean=clean,
            score=1 - midranks(losses),
            reason=np.select([clean, disagree], ["small loss", "large loss"], "networks agree"),
        )
