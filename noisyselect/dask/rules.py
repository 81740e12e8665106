"""The selectors that decide from sums: for each, the passes it takes and the decision they give.

Each function follows the `_select` of its selector, line by line where it can.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from noisyselect.arrays import AnyArray, BoolArray, FloatArray
from noisyselect.dask.passes import Decision, Part, Passes
from noisyselect.dask.ranks import (
    Bits,
    Cut,
    RankTable,
    count_bins,
    find_cut,
    rank_table,
    sort_keys,
)
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.numeric.mixture import (
    TwoGaussians,
    Vector,
    bin_values,
    fit_points_in_few_steps,
    means_of_bins,
    onto_unit_interval,
)
from noisyselect.numeric.ranks import loss_changes, variance_of_ranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.gmm import GMMSelector
from noisyselect.selectors.loss_variation import LossVariationSelector
from noisyselect.selectors.prediction_stability import PredictionStabilitySelector
from noisyselect.selectors.shares import forget_rate
from noisyselect.selectors.small_loss import SmallLossSelector
from noisyselect.selectors.vrlv import VRLVSelector

# Of the two networks: the log, and the peer or, without one, the log again.
_A, _B = 0, 1


class _Mixture(NamedTuple):
    """A mixture fitted to the losses of one network, all blocks together."""

    selector: GMMSelector
    network: int
    lowest: AnyArray
    highest: AnyArray
    fitted: TwoGaussians | None = None

    def losses(self, part: Part) -> Vector:
        """Return the normalised losses of a block, as `GMMSelector` averages them."""
        losses = part.network(self.network).losses
        assert losses is not None
        recent = losses[-self.selector.n_average :]
        ends = zip(recent, self.lowest[-len(recent) :], self.highest[-len(recent) :], strict=True)
        mean: Vector = np.mean([onto_unit_interval(*values) for values in ends], axis=0)
        return mean

    def split(self, part: Part) -> Selection:
        """Return what `GMMSelector` decides of a block."""
        assert self.fitted is not None
        return self.selector._split(self.losses(part), self.fitted, part.log.ids)

    def count_clean(self, part: Part) -> AnyArray:
        return np.array(len(self.split(part)))

    def bins(self, part: Part) -> AnyArray:
        return bin_values(self.losses(part))

    def fit(self, bins: AnyArray) -> _Mixture:
        """Return the mixture fitted to the sum of `bins` over all blocks."""
        return self._replace(fitted=fit_points_in_few_steps(*means_of_bins(*bins)))


def _mixture(passes: Passes, selector: GMMSelector, network: int = _A) -> _Mixture:
    survey = passes.survey
    network = min(network, len(survey.lowest) - 1)
    return _Mixture(selector, network, survey.lowest[network], survey.highest[network])


def gmm(selector: GMMSelector, passes: Passes) -> Decision:
    """One pass for the bins of the mixture."""
    mixture = _mixture(passes, selector)
    mixture = mixture.fit(*passes.total(mixture.bins))
    if mixture.fitted is not None and mixture.fitted.collapsed:
        _warn(selector, "all losses are nearly equal; every label is kept")
    return partial(_decide_gmm, mixture)


def _decide_gmm(mixture: _Mixture, part: Part) -> Selection:
    return mixture.split(part)


def small_loss(selector: SmallLossSelector, passes: Passes) -> Decision:
    """One pass for counts, one for the share of clean samples, more where many losses tie."""
    low, high = passes.survey.lowest[_A, -1], passes.survey.highest[_A, -1]
    if low == high:
        _warn(selector, "all losses are equal; every label is kept")
        return _keep_all
    rows, keys = _last_losses, _loss_keys
    mixture = _mixture(passes, GMMSelector())
    (counts, bins) = passes.total(partial(count_bins, rows), mixture.bins)
    rate = selector.clean_rate
    if rate is None:
        (n_clean,) = passes.total(mixture.fit(bins).count_clean)
        rate = float(n_clean) / passes.survey.n_valid
    epoch = passes.last_epoch
    keep_rate = 1 - forget_rate(epoch, 1 - rate, selector.n_gradual, selector.exponent)
    n_keep = round(keep_rate * passes.survey.n_valid)
    cut = find_cut(passes, keys, counts[0], n_keep, equal_together=True)
    table = rank_table(passes, rows, counts)
    return partial(_decide_small_loss, table, cut, passes.survey.n_valid)


def _last_losses(part: Part) -> list[FloatArray]:
    return [part.last_losses(_A)]


def _loss_keys(part: Part) -> Bits:
    return sort_keys(_last_losses(part)[0])


def _decide_small_loss(table: RankTable, cut: Cut, n: int, part: Part) -> Selection:
    (loss,) = _last_losses(part)
    clean = cut.lowest(sort_keys(loss), part.block)
    return Selection(
        clean=clean,
        score=1 - table.lookup(0, loss) / max(1, n - 1),
        reason=np.where(clean, "small loss", "large loss"),
    )


def _keep_all(part: Part) -> Selection:
    everything = np.ones(part.log.n_samples, dtype=bool)
    return Selection(
        clean=everything,
        score=everything,
        reason=np.full(part.log.n_samples, "nothing speaks against it"),
    )


class _Variation(NamedTuple):
    """The variance of the ranks of loss changes of one network, all blocks together."""

    network: int
    window: int
    change: str
    n_valid: int
    table: RankTable | None = None

    def changes(self, part: Part) -> Iterator[FloatArray]:
        losses = part.network(self.network).losses
        assert losses is not None
        return loss_changes(losses[-(self.window + 1) :], self.change)  # type: ignore[arg-type]

    def variance(self, part: Part) -> FloatArray:
        assert self.table is not None
        table, n = self.table, max(1, self.n_valid - 1)
        changes = enumerate(self.changes(part))
        ranks = (table.lookup(row, values) / n for row, values in changes)
        return variance_of_ranks(ranks, part.log.n_samples)

    def rows(self, part: Part) -> list[FloatArray]:
        return [self.variance(part)]

    def keys(self, part: Part) -> Bits:
        return sort_keys(self.variance(part), ties=part.last_losses(self.network))


def loss_variation(selector: LossVariationSelector, passes: Passes) -> Decision:
    """Two passes for the counts of changes and of their variance, and those of cut and ties."""
    needed = selector.history if selector.short_history == "error" else 3
    n_epochs = passes.survey.lowest.shape[1]
    if n_epochs < needed:
        raise MissingEvidenceError(
            f"LossVariationSelector needs {needed} epochs of losses (`window` + 1), got "
            f"{n_epochs}. Make `window` smaller, or pass short_history='shrink'."
        )
    n = passes.survey.n_valid
    variation = _Variation(_A, selector.window, selector.change, n)
    mixture = _mixture(passes, GMMSelector())
    counts, bins = passes.total(partial(count_bins, variation.changes), mixture.bins)
    variation = variation._replace(table=rank_table(passes, variation.changes, counts))
    mixture = mixture.fit(bins)
    counts, n_clean = passes.total(partial(count_bins, variation.rows), mixture.count_clean)
    rate = float(n_clean) / n if selector.clean_rate is None else selector.clean_rate
    cut = find_cut(passes, variation.keys, counts[0], round(rate * n))
    table = rank_table(passes, variation.rows, counts)
    return partial(_decide_loss_variation, variation, cut, table)


def _decide_loss_variation(
    variation: _Variation,
    cut: Cut,
    table: RankTable,
    part: Part,
) -> Selection:
    variance = variation.variance(part)
    clean = cut.lowest(sort_keys(variance, ties=part.last_losses(_A)), part.block)
    return Selection(
        clean=clean,
        score=1 - table.lookup(0, variance) / max(1, variation.n_valid - 1),
        reason=np.where(clean, "stable loss", "varying loss"),
    )


def prediction_stability(selector: PredictionStabilitySelector, passes: Passes) -> Decision:
    """No pass: each sample is decided by itself."""
    return partial(_decide_prediction_stability, selector)


def _decide_prediction_stability(
    selector: PredictionStabilitySelector,
    part: Part,
) -> Selection:
    return selector._select(part.log, part.peer)


class _Evidence(NamedTuple):
    """What VRLV asks of both networks; masks and values of the samples of a block."""

    core: BoolArray
    clean: BoolArray
    criterion: FloatArray

    @property
    def tier(self) -> AnyArray:
        """2 in the core, 1 in the fill, 0 elsewhere."""
        return self.core.astype(np.int64) + self.clean


class _Variable(NamedTuple):
    """Evidence from the variance of loss changes, as `VRLVSelector._gather` gives it."""

    selector: VRLVSelector
    small_loss: _Mixture
    variation: _Variation
    stable: Cut
    calm: Cut | None
    wild: Cut | None

    def evidence(self, part: Part) -> _Evidence:
        small = self.small_loss.split(part).clean
        variance = self.variation.variance(part)
        keys = sort_keys(variance, ties=part.last_losses(_B))
        stable = self.stable.lowest(keys, part.block)
        beta, _, after_change = self.selector._stability.stability(part.network(_B))
        if after_change:
            assert self.calm is not None
            calm = self.calm.lowest(keys, part.block)
            wild = np.zeros_like(calm)
            if self.wild is not None:
                wild = ~self.wild.lowest(keys, part.block)
            core = self.selector._core_after_change(part.network(_B), small, beta, calm, wild)
        else:
            core = stable & small & beta
        return _Evidence(core, core | stable, variance)


class _SmallInBoth(NamedTuple):
    """Evidence from two mixtures, as `VRLVSelector._small_losses_of_both` gives it."""

    of_a: _Mixture
    of_b: _Mixture

    def evidence(self, part: Part) -> _Evidence:
        stable = self.of_b.split(part).clean
        core = self.of_a.split(part).clean & stable
        return _Evidence(core, core | stable, part.last_losses(_B))


def vrlv(selector: VRLVSelector, passes: Passes) -> Decision:
    """Those of its parts, and one for the ranks of its score."""
    n_epochs = passes.survey.lowest.shape[1]
    gatherer: _Variable | _SmallInBoth
    if not selector.variation:
        gatherer = _two_mixtures(selector, passes)
    elif n_epochs > selector.window:
        gatherer = _variable(selector, passes)
    elif selector.short_history == "gmm":
        return gmm(selector._gmm, passes)
    else:
        raise MissingEvidenceError(
            f"VRLVSelector needs {selector.window + 1} epochs of the log (`window` + 1), got "
            f"{n_epochs}. Make `window` smaller, or pass short_history='gmm'."
        )
    rows = partial(_criterion_by_tier, gatherer)
    (counts,) = passes.total(partial(count_bins, rows))
    table = rank_table(passes, rows, counts)
    return partial(_decide_vrlv, gatherer, table, counts.sum(axis=1))


def _two_mixtures(selector: VRLVSelector, passes: Passes) -> _SmallInBoth:
    of_a, of_b = (_mixture(passes, selector._gmm, network) for network in (_A, _B))
    bins_a, bins_b = passes.total(of_a.bins, of_b.bins)
    return _SmallInBoth(of_a.fit(bins_a), of_b.fit(bins_b))


def _variable(selector: VRLVSelector, passes: Passes) -> _Variable:
    n = passes.survey.n_valid
    small = _mixture(passes, selector._gmm)
    variation = _Variation(_B, selector.window, selector.change, n)
    counts, bins = passes.total(partial(count_bins, variation.changes), small.bins)
    variation = variation._replace(table=rank_table(passes, variation.changes, counts))
    small = small.fit(bins)
    counts, n_small = passes.total(partial(count_bins, variation.rows), small.count_clean)
    rho = float(n_small) / n if selector.clean_rate is None else selector.clean_rate

    cuts: dict[int, Cut] = {}

    def cut(share: float) -> Cut:
        n_keep = round(share * n)
        if n_keep not in cuts:
            cuts[n_keep] = find_cut(passes, variation.keys, counts[0], n_keep)
        return cuts[n_keep]

    calm = wild = None
    if selector._stability.after_change(passes.lr):
        calm = cut(selector.gamma1 or rho)
        wild = cut(selector.gamma2 or rho) if rho > 0 else None
    return _Variable(selector, small, variation, cut(rho), calm, wild)


def _criterion_by_tier(gatherer: _Variable | _SmallInBoth, part: Part) -> list[FloatArray]:
    evidence = gatherer.evidence(part)
    return [np.where(evidence.tier == tier, evidence.criterion, np.nan) for tier in range(3)]


def _decide_vrlv(
    gatherer: _Variable | _SmallInBoth, table: RankTable, n_of_tier: AnyArray, part: Part
) -> Selection:
    evidence = gatherer.evidence(part)
    score = np.zeros(part.log.n_samples)
    for tier in range(3):
        rows = np.flatnonzero(evidence.tier == tier)
        below = n_of_tier[:tier].sum()
        better = table.lookup(tier, evidence.criterion[rows])
        score[rows] = below + n_of_tier[tier] - 1 - better
    return Selection(
        clean=evidence.clean,
        score=score / max(1, n_of_tier.sum() - 1),
        reason=np.select([evidence.core, evidence.clean], ["core", "fill"], "dropped"),
    )


def _warn(selector: Selector, text: str) -> None:
    warnings.warn(f"{type(selector).__name__}: {text}.", DegenerateWarning, stacklevel=4)


# What `select` supports: by class, its rule.
RULES: dict[type[Selector], Callable[..., Decision]] = {
    GMMSelector: gmm,
    SmallLossSelector: small_loss,
    LossVariationSelector: loss_variation,
    PredictionStabilitySelector: prediction_stability,
    VRLVSelector: vrlv,
}


def check_supported(selector: Selector) -> None:
    """Raise TypeError, with the way out, unless there is a rule for this selector."""
    if type(selector) not in RULES:
        names = ", ".join(sorted(known.__name__ for known in RULES))
        raise TypeError(
            f"noisyselect.dask supports {names}, got {type(selector).__name__}. Others need the "
            "whole log: selector.select(*run.logs())."
        )
    if isinstance(selector, VRLVSelector) and selector.balance:
        raise TypeError(
            "noisyselect.dask does not support `balance` of VRLVSelector: ENN and KNN mixup ask "
            "for neighbours anywhere in the run. Use VRLVSelector(balance=False)."
        )
    if isinstance(selector, SmallLossSelector) and selector.per_class:
        raise TypeError(
            "noisyselect.dask does not support `per_class` of SmallLossSelector: it would count "
            "losses for each class. Use SmallLossSelector(per_class=False)."
        )
