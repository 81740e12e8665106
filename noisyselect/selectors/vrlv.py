"""VRLV: small loss, loss variation and prediction stability, balanced between the classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray, FloatArray, IntArray, first, frozen
from noisyselect.balance.quotas import class_quotas, class_weights
from noisyselect.balance.recipes import knn_mixup_recipes
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.numeric.blocks import blocks
from noisyselect.numeric.groups import count_groups
from noisyselect.numeric.neighbours import label_agreement
from noisyselect.numeric.ranks import lowest, lowest_per_group, ranks_in_tiers
from noisyselect.selection import MixupRecipes, Reasons, Selection
from noisyselect.selector import Selector
from noisyselect.selectors.gmm import GMMSelector
from noisyselect.selectors.loss_variation import LossVariationSelector
from noisyselect.selectors.prediction_stability import Adaptability, PredictionStabilitySelector

Rows = npt.NDArray[np.intp]


class _Evidence(NamedTuple):
    """What both networks say, before any balancing; masks and values of shape (n_samples,)."""

    small_loss: BoolArray  # G_l
    trusts: tuple[FloatArray, FloatArray]  # of A and of B: 1 on the core, else the posterior
    loss: FloatArray  # of network A, which G_l was fitted to
    stable: BoolArray  # V_c, or without variation G_l of network B
    variance: FloatArray  # or the loss of network B
    core: BoolArray  # D_c
    clean_rate: float  # rho
    after_change: bool


@dataclass(frozen=True, repr=False)
class VRLVSelector(Selector, needs=("losses", "predictions")):
    r"""Keep small, steady losses with stable predictions, balanced by class, as VRLVMix does.

    Two networks give the evidence: A its losses, B its loss history and predictions. Their common
    core :math:`D_c` is filled up class by class, for A with samples of stable loss, for B with
    samples of small loss. `select_pair` returns one selection per network; `select` the first of
    them, with one network in both roles where there is no `peer`.

    ``reason`` is ``"core"``, ``"fill"`` or ``"dropped"``, and `score` ranks them in this order.
    ``trust`` is 1 on the core and the posterior of the mixture elsewhere, ``weights`` are those of
    Eq. 10, and ``synthetic`` holds the recipes of KNN mixup.

    Parameters
    ----------
    window : int, default=5
        Number :math:`\tau` of loss changes and of steps between predictions; `window` + 1 epochs.
        The paper gives no value.
    clean_rate : float in (0, 1], optional
        Share :math:`\rho = |G_l| / N` of samples to train on with their label. By default that of
        the last epoch of A's log; a trainer estimates it once, at the end of warm-up.
    gamma1, gamma2 : float in (0, 1], optional
        Quantiles of the variance: :math:`V_l` are the `gamma1` share of samples with the least
        variance, :math:`V_h` those above the `gamma2` quantile. By default both are :math:`\rho`.
    change : {"signed", "absolute"}, default="signed"
        What is ranked, see `LossVariationSelector`.
    adaptability : {"returns", "moved-and-returned", "printed"}, default="returns"
        The reading of Eq. 5, see `PredictionStabilitySelector`.
    lr_change_epochs : int, optional
        Number of epochs for which the second case of Eq. 6 holds. By default `window`.
    threshold : float in [0, 1), default=0.5
    n_average : int, default=1
        Of the mixture, see `GMMSelector`.
    variation : bool, default=True
        Rank the variance of loss changes. Without it (an ablation of the paper's Table IV) both
        networks give a mixture on their losses: :math:`V_c` is then the samples of small loss of B,
        ordered by B's loss, :math:`D_c = V_c \cap G_l` at all times, and the trust in what A is
        filled with is B's posterior.
    balance : bool, default=True
        Fill by class quotas, with ENN and KNN mixup. Without balance (the ablation of the paper's
        Table IV) the fill is all of :math:`V_c` for A and all of :math:`G_l` for B, the weights are
        1, and no neighbours are needed.
    n_neighbors : int, default=20
        Neighbours per sample: of the log's `neighbours` the first so many columns, or cosine
        neighbours of its `features`.
    unsupported : {"last", "drop", "keep"}, default="last"
        What ENN does with a candidate of whose neighbours none is in the core: fill with it after
        all others, drop it, or treat it like the others.
    knn_pool : {"complement", "printed"}, default="complement"
        Where A's mixup partners come from: the complement of :math:`V_c`, or :math:`V_c` as Eq. 9
        prints. B's come from the complement of :math:`G_l` (Eq. 8).
    alpha : float > 0, default=4.0
        Of the Beta distribution of the mixing share. The paper gives no value.
    rescue : {"agreeing", "printed"}, default="agreeing"
        Which samples of :math:`V_h` outside :math:`G_l` the second case of Eq. 6 takes in after a
        change of the rate: those that B now predicts as labelled, or, as printed, all that adapted.
    unlabelled : {"rest", "printed"}, default="rest"
        Samples to be used without their label: all that are not selected, or, as line 30 of the
        algorithm prints, all outside the core, the fill included.
    short_history : {"error", "gmm"}, default="error"
        What to do with fewer than `window` + 1 epochs: refuse, or answer as `GMMSelector` does
        (A's posterior for both networks, nothing synthetic).
    random_state : int, default=0
        Seed of KNN mixup; the number of the last epoch is mixed into it.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log lacks losses, predictions, enough epochs, or, with `balance`, both neighbours
        and features.

    Warns
    -----
    DegenerateWarning
        If classes have neither a core nor a sample of small loss: they stay empty, with weight 0.

    Notes
    -----
    Equations 3 to 10 and Algorithm 1 of [1]_. With :math:`G_l` the samples of small loss of A,
    :math:`V_c` the :math:`\rho N` samples of least variance of B, and :math:`\beta` whether B's
    prediction moved (constant rate) or adapted (changed rate),

    .. math:: D_c = \begin{cases}
        \{V_c \cap G_l : \beta = 0\} & \text{learning rate constant} \\
        \{(V_l \cap G_l) \cup V_h : \beta = 1\} & \text{learning rate changed.}
        \end{cases}

    Class j is filled up to :math:`\lfloor \rho N / C \rfloor` samples, from :math:`V_c \setminus
    D_c` by ascending variance (A) or :math:`G_l \setminus D_c` by ascending loss (B). A class with
    more candidates than that keeps those with whose label the majority of their neighbours in
    :math:`D_c` agrees; a class still short of its quota is filled with KNN mixup. A class without a
    core takes its smallest losses of :math:`G_l`. After a change of the rate both networks take the
    smallest losses of :math:`G_l \setminus D_c`, and nothing is synthetic.

    A departure from Eq. 6 is `rescue`: printed, the second case admits every sample of large loss
    whose prediction settled, on whichever class. This and the other readings and departures, one by
    one, stand in ``docs/paper.md``.

    Cost: that of its parts, O(`window` n_samples log n_samples) and O(n_samples n_neighbors); from
    131,072 samples on no sort is left, and it is linear. The search for neighbours, where the log
    has only features, is far dearer.

    Fails where the kept share is estimated too high, as on asymmetric noise late in training: the
    quotas then fill classes with what both networks have learnt by heart.

    References
    ----------
    .. [1] Wang, Jiang, Tu and Ding, "VRLVMix: Combating noisy labels with sample selection based
       on loss variation".

    Examples
    --------
    >>> losses = [[0.9, 0.8, 0.9, 2.5], [0.6, 0.5, 0.6, 1.5], [0.3, 0.2, 0.3, 2.4]]
    >>> predictions = [[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 1, 1]]
    >>> log = TrainingLog(labels=[0, 0, 1, 0], losses=losses, predictions=predictions)
    >>> VRLVSelector(window=2, balance=False).select(log).reason
    array(['core', 'core', 'core', 'dropped'], dtype='<U7')
    """

    window: int = 5
    clean_rate: float | None = None
    gamma1: float | None = None
    gamma2: float | None = None
    change: Literal["signed", "absolute"] = "signed"
    adaptability: Adaptability = "returns"
    lr_change_epochs: int | None = None
    threshold: float = 0.5
    n_average: int = 1
    variation: bool = True
    balance: bool = True
    n_neighbors: int = 20
    unsupported: Literal["last", "drop", "keep"] = "last"
    knn_pool: Literal["complement", "printed"] = "complement"
    alpha: float = 4.0
    rescue: Literal["agreeing", "printed"] = "agreeing"
    unlabelled: Literal["rest", "printed"] = "rest"
    short_history: Literal["error", "gmm"] = "error"
    random_state: int = 0

    def __post_init__(self) -> None:
        # Making the parts refuses what is out of their range.
        _ = self._gmm, self._variation, self._stability
        for name in ("gamma1", "gamma2"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"`{name}` must be a quantile in (0, 1], got {value!r}.")
        if self.n_neighbors < 1:
            raise ValueError(f"`n_neighbors` must be at least 1, got {self.n_neighbors!r}.")
        if self.random_state < 0:
            raise ValueError(f"`random_state` must be at least 0, got {self.random_state!r}.")
        if not self.alpha > 0:
            raise ValueError(f"`alpha` must be positive, got {self.alpha!r}.")
        for name, known in (
            ("unsupported", ("last", "drop", "keep")),
            ("knn_pool", ("complement", "printed")),
            ("rescue", ("agreeing", "printed")),
            ("unlabelled", ("rest", "printed")),
            ("short_history", ("error", "gmm")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {known}, got {getattr(self, name)!r}.")

    @property
    def _gmm(self) -> GMMSelector:
        return GMMSelector(threshold=self.threshold, n_average=self.n_average)

    @property
    def _variation(self) -> LossVariationSelector:
        return LossVariationSelector(self.window, self.clean_rate, self.change)

    @property
    def _stability(self) -> PredictionStabilitySelector:
        return PredictionStabilitySelector(self.window, self.adaptability, self.lr_change_epochs)

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        parts = (self._gmm, self._variation, self._stability)
        return max(part.history for part in (parts if self.variation else parts[:1]))

    def select_pair(self, log_a: TrainingLog, log_b: TrainingLog) -> tuple[Selection, Selection]:
        """Decide for both networks at once.

        Parameters
        ----------
        log_a, log_b : TrainingLog
            Logs of networks A and B over the same samples in the same order. The neighbours, or
            the features to find them with, are those of A, or else of B.

        Returns
        -------
        selection_a, selection_b : Selection
            What A and what B is to be trained on. They share the core and differ in the fill.
        """
        first_of_pair, second = self._answer(log_a, log_b, self._select_pair, n_answers=2)
        return first_of_pair, second

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        return self._select_pair(log, peer)[0]

    def _select_pair(
        self, log_a: TrainingLog, log_b: TrainingLog | None
    ) -> tuple[Selection, Selection]:
        log_b = log_a if log_b is None else log_b
        n_epochs = min(log_a.n_epochs, log_b.n_epochs)
        if not self.variation:
            evidence = self._small_losses_of_both(log_a, log_b)
        elif n_epochs > self.window:
            evidence = self._gather(log_a, log_b)
        else:
            return self._with_short_history(log_a, n_epochs)
        core, stable, small_loss = evidence.core, evidence.stable, evidence.small_loss
        if not self.balance:
            return (
                self._selection(0, log_a, evidence, core | stable, evidence.variance),
                self._selection(1, log_b, evidence, core | small_loss, evidence.loss),
            )
        core_counts = count_groups(log_a.labels, core, log_a.n_classes)
        if evidence.after_change:
            quotas = self._quotas(evidence, core_counts)
            fill = self._lowest_losses(log_a, evidence, quotas)
            filled = core.copy()
            filled[fill] = True
            counts = core_counts + np.bincount(log_a.labels[fill], minlength=log_a.n_classes)
            return (
                self._selection(0, log_a, evidence, filled, evidence.loss, counts),
                self._selection(1, log_b, evidence, filled, evidence.loss, counts),
            )
        neighbours = self._neighbours(log_a, log_b)
        pool_a = stable if self.knn_pool == "printed" else ~stable
        pool_b = ~small_loss
        balanced = partial(self._balanced, evidence, core_counts, neighbours)
        return (
            balanced(0, log_a, stable, evidence.variance, pool_a),
            balanced(1, log_b, small_loss, evidence.loss, pool_b),
        )

    def _with_short_history(self, log: TrainingLog, n_epochs: int) -> tuple[Selection, Selection]:
        if self.short_history == "error":
            raise MissingEvidenceError(
                f"VRLVSelector needs {self.window + 1} epochs of the log (`window` + 1), got "
                f"{n_epochs}. Record more (and keep them: `window` of the bank), make `window` "
                "smaller, or pass short_history='gmm'."
            )
        selection = self._gmm.select(log)
        return selection, selection

    def _gather(self, log_a: TrainingLog, log_b: TrainingLog) -> _Evidence:
        """Return the evidence of Eqs. 3 to 6."""
        assert log_a.losses is not None and log_b.losses is not None
        small = self._gmm.select(log_a)
        rho = float(small.clean.mean()) if self.clean_rate is None else self.clean_rate
        n = log_a.n_samples
        variance = self._variance(log_b)
        last = log_b.losses[-1]
        stable = lowest(variance, round(rho * n), ties=last)
        beta, _, after_change = self._stability.stability(log_b)
        if after_change:
            calm = lowest(variance, round((self.gamma1 or rho) * n), ties=last)  # V_l
            wild = ~lowest(variance, round((self.gamma2 or rho) * n), ties=last)  # V_h
            if rho == 0:  # no quantile to be above
                wild[:] = False
            core = self._core_after_change(log_b, small.clean, beta, calm, wild)
        else:
            core = stable & small.clean & beta
        trust = _trust(core, small.score)
        return _Evidence(
            small_loss=small.clean,
            trusts=(trust, trust),
            loss=log_a.losses[-1],
            stable=stable,
            variance=variance,
            core=core,
            clean_rate=rho,
            after_change=after_change,
        )

    def _variance(self, log: TrainingLog) -> FloatArray:
        """Return Eq. 3: how unsteady each loss is, shape (n_samples,)."""
        return log.rank_variance(self.window, self.change)

    def _core_after_change(
        self,
        log_b: TrainingLog,
        small_loss: BoolArray,
        adapted: BoolArray,
        calm: BoolArray,
        wild: BoolArray,
    ) -> BoolArray:
        """Return the second case of Eq. 6, of V_l and V_h."""
        assert log_b.predictions is not None
        if self.rescue == "agreeing":
            # A prediction that returns to another class than the given one speaks against the
            # label, not for it; and once the rate has dropped, most predictions stay.
            wild = wild & (small_loss | (log_b.predictions[-1] == log_b.labels))
        # Eq. 6 prints V_l & G_l | V_h without brackets.
        core: BoolArray = ((calm & small_loss) | wild) & adapted
        return core

    def _small_losses_of_both(self, log_a: TrainingLog, log_b: TrainingLog) -> _Evidence:
        """Return the evidence of two mixtures, with B's in the place of its variance."""
        assert log_a.losses is not None and log_b.losses is not None
        of_a, of_b = self._gmm.select(log_a), self._gmm.select(log_b)
        rho = float(of_a.clean.mean()) if self.clean_rate is None else self.clean_rate
        core = of_a.clean & of_b.clean
        # Of the mixture that admits them: each fills from what the other network has.
        trust_a, trust_b = _trust(core, of_b.score), _trust(core, of_a.score)
        return _Evidence(
            small_loss=of_a.clean,
            trusts=(trust_a, trust_b),
            loss=log_a.losses[-1],
            stable=of_b.clean,
            variance=log_b.losses[-1],
            core=core,
            clean_rate=rho,
            after_change=False,
        )

    def _neighbours(self, log_a: TrainingLog, log_b: TrainingLog) -> IntArray:
        for log in (log_a, log_b):
            if log.neighbours is not None or log.features is not None:
                return log.nearest(self.n_neighbors)
        raise MissingEvidenceError(
            "VRLVSelector needs `neighbours` or `features` to balance the classes, but this log "
            f"has only {', '.join(log_a.columns)}. Record bank.record(ids, features=...), pass "
            "either to TrainingLog or `neighbours` to bank.set_neighbours, or use "
            "VRLVSelector(balance=False)."
        )

    def _quotas(self, evidence: _Evidence, core_counts: IntArray) -> npt.NDArray[np.int64]:
        """Return how many samples each class lacks, shape (n_classes,)."""
        return class_quotas(core_counts, evidence.clean_rate, evidence.core.size)

    def _lowest_losses(self, log: TrainingLog, evidence: _Evidence, quotas: IntArray) -> Rows:
        """Return the smallest losses of G_l outside the core, up to the quota of each class."""
        if not quotas.any():
            return np.zeros(0, dtype=np.intp)
        rows = np.flatnonzero(evidence.small_loss & ~evidence.core)
        rows = rows[quotas[log.labels[rows]] > 0]
        return _up_to_quota(log.labels, rows, evidence.loss, quotas)

    def _balanced(
        self,
        evidence: _Evidence,
        core_counts: IntArray,
        neighbours: IntArray,
        role: int,
        log: TrainingLog,
        source: BoolArray,
        criterion: FloatArray,
        pool: BoolArray,
    ) -> Selection:
        """Fill the core from `source`, least `criterion` first, then from mixup with `pool`."""
        labels, core = log.labels, evidence.core
        quotas = self._quotas(evidence, core_counts)
        # A class without a core has nothing to anchor on.
        anchored = core_counts > 0
        rows = np.flatnonzero(source & ~core)
        if not anchored.all():
            rows = rows[anchored[labels[rows]]]
        left, clean = quotas.copy(), core.copy()
        for part in self._edited(labels, neighbours, core, rows, np.where(anchored, quotas, 0)):
            fill = _up_to_quota(labels, part, criterion, left)
            clean[fill] = True
            left -= np.bincount(labels[fill], minlength=log.n_classes)
        fill = self._lowest_losses(log, evidence, np.where(anchored, 0, quotas))
        clean[fill] = True
        left -= np.bincount(labels[fill], minlength=log.n_classes)
        recipes = knn_mixup_recipes(
            labels,
            log.ids,
            neighbours,
            anchors=core,
            pool=pool,
            counts=left,
            alpha=self.alpha,
            rng=np.random.default_rng([self.random_state, int(log.epochs[-1]), role]),
        )
        counts = core_counts + (quotas - left)
        return self._selection(role, log, evidence, clean, criterion, counts, recipes)

    def _edited(
        self,
        labels: IntArray,
        neighbours: IntArray,
        core: BoolArray,
        rows: Rows,
        quotas: IntArray,
    ) -> tuple[Rows, Rows]:
        """Return the candidates that ENN keeps: those to fill with first, and those after them.

        Edited are the classes with more candidates than their quota.
        """
        classes = labels[rows]
        surplus = np.bincount(classes, minlength=quotas.size) > quotas
        edited = np.flatnonzero(surplus[classes])
        agreeing, voting = label_agreement(labels, neighbours, rows[edited], support=core)
        kept, unsupported = ~surplus[classes], np.zeros(rows.size, dtype=bool)
        kept[edited] = 2 * agreeing > voting
        unsupported[edited] = voting == 0
        match self.unsupported:
            case "keep":
                return rows[kept | unsupported], rows[:0]
            case "drop":
                return rows[kept], rows[:0]
            case "last":
                return rows[kept], rows[unsupported]

    def _selection(
        self,
        role: int,
        log: TrainingLog,
        evidence: _Evidence,
        clean: BoolArray,
        criterion: FloatArray,
        counts: IntArray | None = None,
        recipes: MixupRecipes | None = None,
    ) -> Selection:
        """Return the clean samples, which are balanced if their `counts` by class are given."""
        tier = evidence.core.astype(np.uint8)
        tier += clean
        weights: FloatArray = np.ones(log.n_classes)
        if counts is not None:
            if recipes is not None:
                counts = counts + np.bincount(recipes.labels, minlength=log.n_classes)
            weights = class_weights(counts)
            _warn_of_empty_classes(weights)
        return Selection(
            clean=frozen(clean),
            score=frozen(ranks_in_tiers(tier, criterion)),
            ids=log.ids,
            trust=evidence.trusts[role],
            weights=frozen(_where_clean(weights, log.labels, clean)),
            reason=Reasons(frozen(tier), ("dropped", "fill", "core")),
            synthetic=recipes,
            unlabelled_mask=frozen(~evidence.core if self.unlabelled == "printed" else ~clean),
        )


def _trust(core: BoolArray, posterior: FloatArray) -> FloatArray:
    """Return 1 on the core and the posterior elsewhere."""
    trust = posterior.copy()
    trust[core] = 1.0
    return frozen(trust)


def _where_clean(weights: FloatArray, labels: IntArray, clean: BoolArray) -> FloatArray:
    """Return the weight of each clean sample's class, 0 for the others."""
    of_sample = np.empty(labels.size)
    for block in blocks(labels.size):
        np.multiply(weights.take(labels[block]), clean[block], out=of_sample[block])
    return of_sample


def _up_to_quota(labels: IntArray, rows: Rows, criterion: FloatArray, quotas: IntArray) -> Rows:
    """Return the rows of each class with the least criterion, as many as its quota."""
    # Of equal values the first rows.
    ties = np.broadcast_to(0, rows.size)
    return rows[lowest_per_group(criterion[rows], labels[rows], quotas, ties)]


def _warn_of_empty_classes(weights: FloatArray) -> None:
    empty = np.flatnonzero(weights == 0)
    if empty.size:
        warnings.warn(
            f"VRLVSelector: {empty.size} of {weights.size} classes have neither a core nor a small "
            f"loss and stay empty, with weight 0: {first(empty)}.",
            DegenerateWarning,
            stacklevel=2,
        )
