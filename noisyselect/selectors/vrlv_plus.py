"""VRLV plus: how far to believe every label, instead of which labels to throw away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.numeric.mixture import fit_in_few_steps, low_mean_posterior, unit_interval
from noisyselect.selection import Reasons, Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import keep_all, warn


@dataclass(frozen=True, repr=False)
class VRLVPlusSelector(Selector, needs=("losses",)):
    r"""Keep the labels that are more likely right than wrong, and believe every label in part.

    A rule of this library, for the place that `VRLVSelector` has in VRLVMix; it shares no step with
    it. What counts is ``trust``: no label is thrown away, each is believed as far as its loss is
    small, among the others and by itself. ``clean`` is for those who need a set. Nothing is to be
    tuned.

    A `peer` is not read. With two networks give each the selection made from the *other's* log, as
    DivideMix does, so that a network's errors do not confirm themselves.

    Raises
    ------
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all losses are nearly equal: then nothing speaks against any label, and all are kept with
        score 1. Also if no label is more likely right than wrong, and none is kept.

    Notes
    -----
    With the losses :math:`\ell_i`, in nats, of the last epoch, the trust in the label of sample i
    is the mean of two probabilities that it is right,

    .. math:: w_i = \tfrac12 \big( P(\text{small} \mid \ell_i) + e^{-\ell_i} \big),

    the posterior of the mixture of `GMMSelector`, which compares the loss with all others, and the
    probability that the network itself gives the label. Where losses hardly differ yet, the mixture
    is sure too early and the network is not; where the network learns everything by heart, it is
    sure and the mixture less so. A sample is clean when :math:`w_i > 1/2`; `score` is :math:`w_i`.

    Train on every sample, with the target :math:`w_i y_i + (1 - w_i) q_i`, where :math:`q_i` is the
    mean prediction of both networks in the current step, sharpened. The trainer's method
    ``"vrlvmix-plus"`` does so.

    Departures: none, as it is not published. Soft bootstrapping [1]_ has one w for all samples;
    M-correction [2]_ the posterior of a mixture on a network's own losses; DivideMix [3]_ refines
    the labels of small loss so, and drops the others.

    Cost: O(n_samples), that of `GMMSelector` and an exponential.

    Fails where both networks have learnt the wrong labels by heart. It keeps some belief in every
    wrong label: in training, trusting none below 1/2 was better under some kinds of noise, and
    worse under others.

    References
    ----------
    .. [1] Reed, Lee, Anguelov, Szegedy, Erhan and Rabinovich, "Training deep neural networks on
       noisy labels with bootstrapping", ICLR 2015 workshop.
    .. [2] Arazo, Ortego, Albert, O'Connor and McGuinness, "Unsupervised label noise modeling and
       loss correction", ICML 2019.
    .. [3] Li, Socher and Hoi, "DivideMix: Learning with noisy labels as semi-supervised learning",
       ICLR 2020.

    Examples
    --------
    >>> log = TrainingLog(labels=[0, 1, 1, 0], losses=[[0.1, 0.2, 2.3, 0.3]])
    >>> selection = VRLVPlusSelector().select(log)
    >>> selection.clean, selection.trust.round(2)
    (array([ True,  True, False,  True]), array([0.95, 0.91, 0.05, 0.87]))
    """

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        unit = unit_interval(log.losses[-1])
        mixture = fit_in_few_steps(unit)
        if mixture.collapsed:
            return keep_all(log, type(self).__name__, "all losses are nearly equal")
        # A loss may have been rounded to just below 0.
        probability = np.minimum(1, np.exp(-log.losses[-1].astype(np.float64)))
        trust = (low_mean_posterior(unit, mixture) + probability) / 2
        clean = trust > 0.5
        if not clean.any():
            warn(type(self).__name__, "no label is more likely right than wrong; none is kept")
        return Selection(
            clean=clean,
            score=trust,
            trust=trust,
            reason=Reasons.either(clean, "more likely right", "more likely wrong"),
        )
