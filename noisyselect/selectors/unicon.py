"""UNICON's uniform selection: as many samples of every class, those nearest to their label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest_per_group
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import warn

# Below this divergence UNICON's code takes the label as it is in label refinement.
_FULL_TRUST = 0.5
_KEPT, _DROPPED = "small loss in its class", "large loss in its class"


@dataclass(frozen=True, repr=False)
class UNICONSelector(Selector, needs=("losses",)):
    r"""Keep the same number of samples of every class, those whose label the networks agree with.

    As many are kept as are nearer to their label than the average sample; which ones is decided
    within each class. With a `peer`, the mean prediction of both networks counts, and both train on
    the one selection.

    Parameters
    ----------
    d_mu : float in [0, 1], default=0.7
        Average divergence :math:`d_\mu` above which the cut-off is lowered.
    tau : float >= 1, default=5.0
        Filter coefficient :math:`\tau`: the cut-off is lowered by :math:`1/\tau` of its distance
        to the smallest divergence.
    log_base : {2, "e"}, default=2
        Base of the logarithms of the divergence: in bits it is at most 1, in nats at most 0.693,
        and then the default `d_mu` of 0.7 is never exceeded.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all divergences are equal: then nothing speaks against any label, and all are kept with
        score 1. Also if fewer samples lie below the cut-off than there are classes: then nothing is
        kept.

    Notes
    -----
    The uniform selection of [1]_. With :math:`p_i` the mean over the networks of the probability of
    the given label, and :math:`d_i` the Jensen-Shannon divergence of the mean prediction from it,

    .. math:: d_i = \mathrm{JS}(q_i, y_i) = \log 2 -
              \tfrac12 \big[(1 + p_i) \log(1 + p_i) - p_i \log p_i\big], \qquad
              d_{cut} = \begin{cases} \bar d & \bar d \le d_\mu \\
              \bar d - (\bar d - \min_i d_i) / \tau & \bar d > d_\mu, \end{cases}

    and :math:`R` the share of samples with :math:`d_i < d_{cut}`, the :math:`\lfloor R N / C
    \rfloor` samples of smallest :math:`d_i` are kept of each of the :math:`C` classes, or all of a
    smaller class. Towards a single label the divergence depends on :math:`p_i` alone, so losses
    suffice: :math:`p_i` is the mean of :math:`e^{-\ell_i}`. `score` is 1 minus the divergence in
    bits, `trust` is 1 where :math:`d_i < 0.5` and :math:`1 - d_i` elsewhere, in the chosen base.

    Departures: the code fills up the places that small classes leave with the first sample of the
    data, here they stay empty; of equal divergences the smaller id comes first; equal divergences
    are answered (there nothing is below the cut-off).

    Defaults: ``d_mu=0.7`` and ``tau=5`` in the code for all data sets. It takes natural logarithms,
    with which the second case never holds; in bits, the base in which 0.7 has a meaning, it holds
    where labels are mostly not believed. ``log_base="e"`` gives the split that the published
    numbers rest on. The two differ only there, and in `trust`.

    Cost: O(n_samples log n_samples).

    Fails where classes differ in the number or in the share of wrong labels, for every class gets
    the same number: the wrong labels of a bad class are kept beside the right ones of a good class
    that are not.

    References
    ----------
    .. [1] Karim, Rizve, Rahnavard, Mian and Shah, "UNICON: Combating label noise through uniform
       selection and contrastive learning", CVPR 2022.

    Examples
    --------
    Class 1 is harder: its right labels have greater losses than the wrong one of class 0.

    >>> losses = [[0.1, 0.2, 0.6, 0.8, 0.9, 3.0]]
    >>> log = TrainingLog(labels=[0, 0, 0, 1, 1, 1], losses=losses)
    >>> UNICONSelector().select(log).clean
    array([ True, False, False,  True, False, False])
    """

    d_mu: float = 0.7
    tau: float = 5.0
    log_base: Literal[2, "e"] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.d_mu <= 1:
            raise ValueError(f"`d_mu` must lie in [0, 1], got {self.d_mu!r}.")
        if not self.tau >= 1:
            raise ValueError(f"`tau` must be at least 1, got {self.tau!r}.")
        if self.log_base not in (2, "e"):
            raise ValueError(f"`log_base` must be 2 or 'e', got {self.log_base!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        bits = _divergence(_given_probability(log, peer))
        if bits.min() == bits.max():
            warn(type(self).__name__, "all divergences are equal; every label is kept")
            return Selection(clean=np.ones(bits.size, dtype=bool), reason=np.full(bits.size, _KEPT))
        divergence = bits if self.log_base == 2 else bits * np.log(2)
        cut = divergence.mean()
        if cut > self.d_mu:
            cut -= (cut - divergence.min()) / self.tau
        # Whole numbers: R N / C in floats may fall short of a multiple of C.
        quota = int(np.count_nonzero(divergence < cut)) // log.n_classes
        if quota == 0:
            warn(
                type(self).__name__,
                "fewer samples lie below the cut-off than there are classes; none is kept",
            )
        clean = lowest_per_group(bits, log.labels, quota, ties=log.ids)
        return Selection(
            clean=clean,
            score=1 - bits,
            trust=np.where(divergence < _FULL_TRUST, 1.0, 1 - divergence),
            reason=np.where(clean, _KEPT, _DROPPED),
        )


def _given_probability(log: TrainingLog, peer: TrainingLog | None) -> FloatArray:
    """Return the probability of the given label, the mean over the networks."""
    probability = _last_probability(log)
    return probability if peer is None else (probability + _last_probability(peer)) / 2


def _last_probability(log: TrainingLog) -> FloatArray:
    assert log.losses is not None
    probability: FloatArray = np.exp(-log.losses[-1].astype(np.float64))
    return probability


def _divergence(probability: FloatArray) -> FloatArray:
    """Return the Jensen-Shannon divergence, in bits, of a prediction from one label.

    It depends on the predicted probability of that label alone, and falls with it from 1 to 0.
    """
    # 0 log 0 is 0.
    safe = np.where(probability > 0, probability, 1.0)
    both = (1 + probability) * np.log2(1 + probability) - probability * np.log2(safe)
    # A loss of 0 may be recorded as a digit less.
    return np.clip(1 - both / 2, 0, 1)
