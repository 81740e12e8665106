"""The methods that are compared: those of the trainer, and other readings of VRLVMix.

A new method is one line of `METHODS`. A reading changes fields of `VRLVSelector`, or one of its
steps by a subclass; the library has no options for these.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from noisyselect import (
    ConsensusSelector,
    GMMSelector,
    Selection,
    Selector,
    TrainingLog,
    VRLVSelector,
)
from noisyselect.numeric.ranks import loss_changes, midranks, variance_of_ranks


class LiteralArgsort(VRLVSelector):
    """Eq. 3 as printed: `argsort` is a permutation, so the variance is as good as random."""

    def _variance(self, log):
        changes = loss_changes(log.losses[-(self.window + 1) :], self.change)
        orders = (np.argsort(change, kind="stable") / (change.size - 1) for change in changes)
        return variance_of_ranks(orders, log.n_samples)


class RateAnew(VRLVSelector):
    """The clean rate of every epoch, not that of the end of warm-up."""

    def _gather(self, log_a, log_b):
        return VRLVSelector._gather(replace(self, clean_rate=None), log_a, log_b)


class WithoutRescue(VRLVSelector):
    """After a change of the learning rate nothing from V_h: (V_l & G_l), adapted."""

    def _core_after_change(self, log_b, small_loss, adapted, calm, wild):
        return calm & small_loss & adapted


class TrustedFirst(VRLVSelector):
    """A's fill is drawn first from V_c & G_l, which both rules trust, then from the rest of V_c."""

    def _balanced(self, evidence, core_counts, neighbours, role, log, source, criterion, pool):
        if role == 0:
            # A rank is at most 1: within each part by variance, as before.
            criterion = midranks(criterion) + np.where(evidence.small_loss, 0, 2)
        return super()._balanced(
            evidence, core_counts, neighbours, role, log, source, criterion, pool
        )


class CoreOnly(VRLVSelector):
    """No fill and nothing synthetic: D_x = D_c, with the weights of Eq. 10."""

    def _selection(self, role, log, evidence, clean, criterion, counts=None, recipes=None):
        core = evidence.core
        return super()._selection(role, log, evidence, core, criterion, by_class(log, core))


class WithoutQuotas(VRLVSelector):
    """All of V_c fills A and all of G_l fills B, as without balance, with the weights of Eq. 10.

    Without quotas no class has a surplus for ENN or a gap for KNN mixup.
    """

    def _balanced(self, evidence, core_counts, neighbours, role, log, source, criterion, pool):
        clean = evidence.core | source
        return self._selection(role, log, evidence, clean, criterion, by_class(log, clean))

    def _quotas(self, evidence, core_counts):
        # After a change of the rate: all of G_l.
        return np.full(core_counts.size, evidence.core.size)


class WithoutENN(VRLVSelector):
    """Classes with a surplus are filled by variance or loss alone."""

    def _edited(self, labels, neighbours, core, rows, quotas):
        return rows, rows[:0]


class WithoutSynthetic(VRLVSelector):
    """Short classes stay short."""

    def _selection(self, role, log, evidence, clean, criterion, counts=None, recipes=None):
        return super()._selection(role, log, evidence, clean, criterion, counts)


class WithoutWeights(VRLVSelector):
    """Without Eq. 10: every class weighs 1."""

    def _selection(self, role, log, evidence, clean, criterion, counts=None, recipes=None):
        selection = super()._selection(role, log, evidence, clean, criterion, counts, recipes)
        return replace(selection, weights=clean.astype(np.float64))


class TrustAll(VRLVSelector):
    """No label refinement: the fill's labels are trusted like those of the core."""

    def _selection(self, role, log, evidence, clean, criterion, counts=None, recipes=None):
        selection = super()._selection(role, log, evidence, clean, criterion, counts, recipes)
        return replace(selection, trust=clean.astype(np.float64))


class TrustPosterior(VRLVSelector):
    """Label refinement by the posterior everywhere, as DivideMix does, the core included."""

    def _gather(self, log_a, log_b):
        posterior = GMMSelector(self.threshold, self.n_average).select(log_a).score
        return super()._gather(log_a, log_b)._replace(trusts=(posterior, posterior))


def by_class(log, clean):
    """Return how many of these samples each class has, shape (n_classes,)."""
    return np.bincount(log.labels[clean], minlength=log.n_classes)


class BelievedInPart(Selector, needs=("losses",)):
    """Every label, trusted as `VRLVPlusSelector` does, but for what is changed.

    `evidence` is ``"posterior"``, ``"probability"`` or the mean of both; the logs are that of the
    peer or those of both networks; of more epochs than one the losses and probabilities are
    averaged; with `cut` a label that is more likely wrong than right is not trusted at all.
    """

    def __init__(self, evidence="mean", networks="peer", window=1, cut=False):
        self.evidence, self.networks = evidence, networks
        self.window, self.cut = window, cut

    @property
    def history(self):
        """Number of last epochs that are read."""
        return self.window

    def _select(self, log, peer):
        logs = [log] if self.networks == "peer" else [log, peer]
        recent = [of.losses[-self.window :].astype(float) for of in logs]
        probability = np.mean([np.exp(-losses).mean(axis=0) for losses in recent], axis=0)
        mean_loss = np.mean([losses.mean(axis=0) for losses in recent], axis=0)
        posterior = GMMSelector().select(TrainingLog(labels=log.labels, losses=[mean_loss])).score
        trust = {
            "posterior": posterior,
            "probability": np.minimum(1, probability),
            "mean": (posterior + np.minimum(1, probability)) / 2,
        }[self.evidence]
        if self.cut:
            trust = np.where(trust > 0.5, trust, 0)
        return Selection(clean=np.ones(log.n_samples, dtype=bool), trust=trust)


class TrustedConsensus(ConsensusSelector):
    """What the consensus keeps, trusted as DivideMix does: by the mixture on the peer's losses."""

    def _select(self, log, peer):
        selection = super()._select(log, peer)
        posterior = GMMSelector().select(log).score
        return replace(selection, trust=np.where(selection.clean, posterior, 1.0))


class Method(NamedTuple):
    """How the trainer trains (`Settings.method`), and on what: by default its own selector.

    `changes` are to fields of the selector, `settings` to the trainer's.
    """

    trainer: str
    selector: type[Selector] | None = None
    changes: Mapping[str, Any] = MappingProxyType({})
    settings: Mapping[str, Any] = MappingProxyType({})

    def selector_for(self, settings):
        """Return the selector to pass to `train`, or None for the trainer's own."""
        if self.selector is None:
            return None
        if not issubclass(self.selector, VRLVSelector):
            return self.selector(**self.changes)
        # As the trainer makes its own, but for what this reading changes.
        own = {
            "window": settings.vrlv_window,
            "n_neighbors": settings.n_neighbors,
            "short_history": "gmm",
            "random_state": settings.seed,
        }
        return self.selector(**own | dict(self.changes))


def reading(selector=VRLVSelector, **changes):
    return Method("vrlvmix", selector, changes)


def plus(**changes):
    return Method("vrlvmix-plus", BelievedInPart, changes)


# The paper has 500 epochs of SimCLR, and here all else is shorter, too.
SCAN = {"pretrain_epochs": 20, "scan": "on"}

METHODS = {
    "ce": Method("ce"),
    "coteaching": Method("coteaching"),
    "dividemix": Method("dividemix"),
    # DivideMix's training on other selections
    "consensus": Method("dividemix", ConsensusSelector),
    "consensus-trust": Method("dividemix", TrustedConsensus),
    "all-posterior": Method("dividemix", BelievedInPart, {"evidence": "posterior"}),
    "all-probability": Method(
        "dividemix", BelievedInPart, {"evidence": "probability", "networks": "both"}
    ),
    "vrlvmix": Method("vrlvmix"),
    "vrlvmix-plus": Method("vrlvmix-plus"),
    # One part of it changed
    "plus-posterior": plus(evidence="posterior"),
    "plus-probability": plus(evidence="probability"),
    "plus-both-networks": plus(networks="both"),
    "plus-window-5": plus(window=5),
    "plus-cut": plus(cut=True),
    "plus-own-guess": Method("dividemix", BelievedInPart),
    # Eq. 3
    "absolute": reading(change="absolute"),
    "window-3": reading(window=3),
    "window-10": reading(window=10),
    "argsort": reading(LiteralArgsort),
    "no-variance": reading(variation=False),
    # Eq. 4
    "rate-anew": reading(RateAnew),
    # Eqs. 5 and 6
    "moved-and-returned": reading(adaptability="moved-and-returned"),
    "printed-adaptability": reading(adaptability="printed"),
    "printed-rescue": reading(rescue="printed"),
    "no-rescue": reading(WithoutRescue),
    "no-rate-change": reading(lr_change_epochs=0),
    # Eqs. 7 to 10, one part less each
    "trusted-first": reading(TrustedFirst),
    "core-only": reading(CoreOnly),
    "no-balance": reading(balance=False),
    "no-quotas": reading(WithoutQuotas),
    "no-enn": reading(WithoutENN),
    "no-synthetic": reading(WithoutSynthetic),
    "no-weights": reading(WithoutWeights),
    "trust-all": reading(TrustAll),
    "trust-posterior": reading(TrustPosterior),
    # Semantic clustering; with no-variance and no-balance, above, all rows of Table IV.
    "with-scan": Method("vrlvmix", settings=SCAN),
    "with-scan-no-variance": Method("vrlvmix", settings=SCAN | {"without": ("vrlv",)}),
    "with-scan-no-balance": Method("vrlvmix", settings=SCAN | {"without": ("balancing",)}),
}
