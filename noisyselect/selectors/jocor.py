"""JoCoR: small joint loss of two networks, which is also small where they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.batches import last_batches, lowest_of_batches
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.co_teaching import check_schedule, keep_rate
from noisyselect.selectors.shares import given_or_estimated, keep_all

# Probabilities are raised to the least of float32, for their logarithms.
LEAST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, repr=False)
class JoCoRSelector(Selector, needs=("probabilities",)):
    r"""Keep the samples of each mini-batch that two networks both fit and predict alike.

    Both networks train on the one answer, so `log` and `peer` may change places. Without a `peer`
    a network is taken as its own: the two agree, and what remains is small loss. A batch is one of
    the last epoch. A log without `batches` is taken as one batch, and so are the samples that no
    batch was recorded of.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of each batch to keep in the end. By default the share that
        `GMMSelector` keeps of the mean cross-entropy of both networks.
    n_gradual : int, default=10
        Number :math:`T_k` of epochs over which the share kept falls to `clean_rate`; 0 has it there
        from the first.
    co_lambda : float in [0, 1], default=0.1
        Weight :math:`\lambda` of the divergence of the networks; that of their losses is
        :math:`1 - \lambda`.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities.

    Warns
    -----
    DegenerateWarning
        If the joint loss of all samples is equal: then nothing speaks against any label, and all
        are kept with score 1. Without `clean_rate` also if the cross-entropies are, see
        `GMMSelector`; then all are kept too.

    Notes
    -----
    The rule of [1]_: of a batch, the share :math:`R(t)` of `CoTeachingSelector` is kept by
    smallest joint loss

    .. math:: \ell_i = (1 - \lambda)\big(-\log p^1_{i y_i} - \log p^2_{i y_i}\big)
              + \lambda \big(D_{KL}(p^1_i \| p^2_i) + D_{KL}(p^2_i \| p^1_i)\big),

    with :math:`p^1` and :math:`p^2` the probabilities of the two networks. `score` is 1 minus the
    rank of :math:`\ell_i` among all samples.

    Departures: the noise rate :math:`\tau` is given to the published method, which takes half of it
    for asymmetric noise; here it is estimated. Counts are rounded down, as in the official code;
    but rounding errors do not count, at least one sample is kept, and equal losses share their
    fate: all that equal the largest kept one are kept. Probabilities below 1.2e-38 are raised to
    that.

    Defaults: 10 gradual epochs and a `co_lambda` of 0.1 in the code, and mini-batches of 128
    samples. For networks that train on the joint loss, which draws them together, the authors
    recommend 0.5 to 0.9: 0.9 on CIFAR-10 at 20 % and 50 % symmetric and 40 % asymmetric noise, 0.65
    at 80 %, and 0.85 on CIFAR-100.

    Cost: O(n_samples (n_classes + log n_samples)), of the last epoch alone.

    Fails where the networks agree on wrong labels, as late in training on labels that both have
    memorised; and, with a large `co_lambda`, where they did not train on the joint loss: one is
    surer than the other of right labels, and so they diverge on these too.

    References
    ----------
    .. [1] Wei, Feng, Chen and An, "Combating noisy labels by agreement: A joint training method
       with co-regularization", CVPR 2020.

    Examples
    --------
    The first network has learnt the third label by heart, the second has not.

    >>> a = TrainingLog([0, 1, 1], probabilities=[[[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]]])
    >>> b = TrainingLog([0, 1, 1], probabilities=[[[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]]])
    >>> JoCoRSelector(clean_rate=0.67, n_gradual=0).select(a, peer=b).clean
    array([ True,  True, False])
    """

    clean_rate: float | None = None
    n_gradual: int = 10
    co_lambda: float = 0.1

    def __post_init__(self) -> None:
        check_schedule(self.clean_rate, self.n_gradual)
        if not 0 <= self.co_lambda <= 1:
            raise ValueError(f"`co_lambda` must lie in [0, 1], got {self.co_lambda!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.probabilities is not None
        own = log.probabilities[-1]
        other = own
        if peer is not None:
            assert peer.probabilities is not None
            other = peer.probabilities[-1]
        fit, divergence = _fit_and_divergence(own, other, log.labels)
        joint = (1 - self.co_lambda) * fit + self.co_lambda * divergence
        method = type(self).__name__
        if joint.min() == joint.max():
            return keep_all(log, method, "all joint losses are equal")
        fitted = TrainingLog(log.labels, losses=fit[None] / 2)
        rate = given_or_estimated(self.clean_rate, fitted, method)
        share = keep_rate(int(log.epochs[-1]), rate, self.n_gradual)
        clean = lowest_of_batches(joint, last_batches(log.batches, log.n_samples), share)
        return Selection(
            clean=clean,
            score=1 - midranks(joint),
            reason=np.where(clean, "small joint loss", "large joint loss"),
        )


def _fit_and_divergence(
    own: FloatArray, other: FloatArray, labels: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return the sum of both cross-entropies and of both KL divergences, in nats."""
    p, q = (np.maximum(each.astype(np.float64), LEAST) for each in (own, other))
    log_p, log_q = np.log(p), np.log(q)
    rows = np.arange(labels.size)
    # Both divergences in one: sum p (log p - log q) + sum q (log q - log p).
    divergence: FloatArray = ((p - q) * (log_p - log_q)).sum(axis=1)
    return -log_p[rows, labels] - log_q[rows, labels], divergence
