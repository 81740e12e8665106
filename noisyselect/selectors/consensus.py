"""Consensus: every kind of evidence in the log is heard as far as the others agree with it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.evidence import (
    agreement,
    correlations_with_groups,
    neighbour_shares,
    normal_scores,
    vote_margin,
    vote_shares,
)
from noisyselect.numeric.mixture import fit_two_gaussians, low_mean_posterior, unit_interval
from noisyselect.numeric.ranks import lowest, midranks, rank_variance
from noisyselect.selection import Selection
from noisyselect.selector import Selector

# Of the mixtures only the split is read, of which a converged fit moves less than a hundredth, in
# three times the time.
_TOLERANCE = 1e-4
# The probability of the label and that of the predicted class are the same number where the label
# is predicted, up to what float16 rounds. Nearer than this, no margin depends on which it is.
_SAME = 1e-3

# Evidence is rounded to so many digits before it is ranked: the order of the samples sets the order
# of additions, which must not break ties.
_DIGITS = 12

Vector = npt.NDArray[np.float64]


# Evidence by source and kind, a number per sample: higher is cleaner.
Evidence = dict[tuple[str, str], Vector]


@dataclass(frozen=True, repr=False)
class ConsensusSelector(Selector, needs=("losses",)):
    r"""Keep the labels for which losses, predictions and neighbours speak together.

    A rule of this library. It reads whatever the log has, and has nothing to be tuned.

    Parameters
    ----------
    window : int, optional
        Number of last epochs that are read. By default all: what early epochs show of a wrong label
        is hidden by the later ones, in which it has been memorised.
    n_neighbors : int, default=20
        Neighbours per sample, where the log has `neighbours` or `features`.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If the losses of no epoch fall into two groups: then nothing speaks against any label, and
        all are kept with score 1. Also if nothing is kept.

    Notes
    -----
    Evidence comes from up to three sources, of each in several kinds. Each kind j is a number per
    sample, of which only the rank counts, as a normal score :math:`z_{ij}`:

    - losses: minus the mean over epochs of the rank of the loss; minus the variance of the rank of
      the loss change (from 3 epochs on, see `LossVariationSelector`); and the mean over epochs of
      the margin :math:`p[y] - \max_{k \ne y} p[k]`, from the loss, as :math:`p[y] = e^{-\ell}`, and
      the confidence c: :math:`p[y] - c` where another class is predicted, and otherwise the least
      it can be, :math:`\max(0, 2 p[y] - 1)`. Without confidences it is taken from the
      `probabilities`, where the log has them.
    - `predictions`: the share of epochs that predict each class.
    - neighbours: the share of neighbours that are labelled as each class, and the mean of the
      neighbours' shares of predictions.

    Shares :math:`s_{ik}` speak for the label by their margin
    :math:`(s_{iy} - t_y) - \max_{k \ne y} (s_{ik} - t_k)`, where :math:`t_k` is the mean of
    :math:`s_{ik}` over the samples labelled k, as `ConfidentMarginSelector` does with
    probabilities. With a `peer`, a kind is the mean of both networks' normal scores; neighbours are
    those of `log`.

    A source shares its errors with itself, so the other sources judge it: :math:`r_j` is the
    mean correlation of :math:`z_j` with the kinds of other sources (of the other kinds where
    there is one source), at least 0. Each source is heard once, by its kind :math:`j^*` of largest
    r:

    .. math:: c_i = \sum_{\text{sources}} r_{j^*} z_{i j^*} \Big/ \sum r_{j^*}.

    What is kept are the largest :math:`c_i`, of equal ones the smaller last losses. How many: at
    each epoch (of each network) two Gaussians on the losses, those of `GMMSelector` but fitted to
    convergence, divide the samples in two groups; that epoch counts whose groups part :math:`c`
    best, by the share of its variance that lies between them. `score` is the rank of :math:`c_i`.

    Departures: none, as it is not published; its parts are from [1]_, [2]_ and [3]_.

    Defaults: 20 neighbours as `ENNCleaner`, and all epochs. The rule was decided on two logs that
    are not among those on which it is judged, see ``docs/consensus.md``.

    Cost: O(n_epochs n_samples log n_samples + n_neighbors n_samples n_classes), beside the search
    for neighbours.

    Fails where wrong labels come in clusters that a network learns as early as the right ones: all
    sources then agree on the wrong thing. How many to keep is read off the losses of one epoch; it
    is too many or too few where right and wrong fall into two groups at none. A sample that lacks a
    valid loss in one of all epochs is not kept.

    References
    ----------
    .. [1] Li, Socher and Hoi, "DivideMix: Learning with noisy labels as semi-supervised learning",
       ICLR 2020.
    .. [2] Wang, Jiang, Tu and Ding, "VRLVMix: Combating noisy labels with sample selection based
       on loss variation".
    .. [3] Northcutt, Jiang and Chuang, "Confident learning: Estimating uncertainty in dataset
       labels", Journal of Artificial Intelligence Research, 2021.

    Examples
    --------
    The third sample has been memorised: its last loss is small. Its earlier ones were not, and two
    of three epochs predict another class.

    >>> log = TrainingLog(
    ...     labels=[0, 1, 1, 0],
    ...     losses=[[0.3, 0.4, 2.3, 0.2], [0.2, 0.3, 1.9, 0.1], [0.1, 0.2, 0.1, 0.1]],
    ...     predictions=[[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]],
    ... )
    >>> ConsensusSelector().select(log).clean
    array([ True,  True, False,  True])
    """

    window: int | None = None
    n_neighbors: int = 20

    def __post_init__(self) -> None:
        if self.window is not None and (not isinstance(self.window, Integral) or self.window < 1):
            raise ValueError(f"`window` must be at least 1 epoch, or None, got {self.window!r}.")
        if not isinstance(self.n_neighbors, Integral) or self.n_neighbors < 1:
            raise ValueError(
                f"`n_neighbors` must be at least 1 neighbour, got {self.n_neighbors!r}."
            )

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads; ``sys.maxsize`` for all of them."""
        return sys.maxsize if self.window is None else self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        networks = [part.last(self.history) for part in (log, peer) if part is not None]
        neighbours = None
        if log.neighbours is not None or log.features is not None:
            neighbours = log.nearest(self.n_neighbors)
        evidence = _combined([dict(_of_training(network, neighbours)) for network in networks])
        if neighbours is not None:
            evidence |= _combined([{("neighbours", "labels"): _of_labels(log, neighbours)}])
        losses = [row for network in networks for row in _losses(network)]
        consensus = _consensus(evidence) if evidence else np.zeros(log.n_samples)
        n_keep = _number_to_keep(losses, consensus)
        if n_keep is None:
            self._warn("the losses of no epoch fall into two groups; every label is kept")
            return Selection(
                clean=np.ones(log.n_samples, dtype=bool),
                reason=np.full(log.n_samples, "nothing speaks against it"),
            )
        last_loss = np.sum([_losses(network)[-1] for network in networks], axis=0)
        clean = lowest(-consensus, n_keep, ties=last_loss)
        if not clean.any():
            self._warn("no loss belongs to the lower group; no label is kept")
        return Selection(
            clean=clean,
            score=midranks(consensus),
            reason=np.where(clean, "evidence speaks for it", "evidence speaks against it"),
        )

    def _warn(self, text: str) -> None:
        warnings.warn(f"ConsensusSelector: {text}.", DegenerateWarning, stacklevel=6)


def _losses(log: TrainingLog) -> FloatArray:
    assert log.losses is not None
    return log.losses


def _of_labels(log: TrainingLog, neighbours: IntArray) -> Vector:
    given = vote_shares(log.labels[None], log.n_classes)
    return vote_margin(neighbour_shares(given, neighbours), log.labels)


def _of_training(
    log: TrainingLog, neighbours: IntArray | None
) -> Iterator[tuple[tuple[str, str], Vector]]:
    """Yield what one network has shown, by source and kind."""
    losses = _losses(log)
    yield ("losses", "level"), -np.mean([midranks(row) for row in losses], axis=0)
    if log.n_epochs >= 3:
        yield ("losses", "variation"), -rank_variance(losses).astype(np.float64)
    if log.confidences is not None:
        yield ("losses", "margin"), _margin_of_losses(losses, log.confidences)
    elif log.probabilities is not None:
        yield ("losses", "margin"), _margin_of_probabilities(log.probabilities, log.labels)
    if log.predictions is not None:
        predicted = vote_shares(log.predictions, log.n_classes)
        yield ("predictions", "own"), vote_margin(predicted, log.labels)
        if neighbours is not None:
            among = neighbour_shares(predicted, neighbours)
            yield ("neighbours", "predictions"), vote_margin(among, log.labels)


def _combined(networks: list[Evidence]) -> Evidence:
    """Return as normal scores what all networks have, of two the mean, and what is not constant."""
    combined = {}
    for kind in networks[0]:
        if all(kind in network for network in networks):
            scores = [normal_scores(network[kind].round(_DIGITS)) for network in networks]
            combined[kind] = normal_scores(np.mean(scores, axis=0))
    return {kind: scores for kind, scores in combined.items() if scores.any()}


def _margin_of_losses(losses: FloatArray, confidences: FloatArray) -> Vector:
    total = np.zeros(losses.shape[1])
    for loss, confidence in zip(losses, confidences, strict=True):
        own = np.exp(-loss.astype(np.float64))
        ahead = confidence - own <= _SAME
        total += np.where(ahead, np.maximum(0, 2 * own - 1), own - confidence)
    return total / len(losses)


def _margin_of_probabilities(probabilities: FloatArray, labels: IntArray) -> Vector:
    rows = np.arange(labels.size)
    total = np.zeros(labels.size)
    for epoch in probabilities:
        rivals = epoch.astype(np.float64)
        own = rivals[rows, labels]
        rivals[rows, labels] = 0
        total += own - rivals.max(axis=1)
    return total / len(probabilities)


def _consensus(evidence: Evidence) -> Vector:
    """Return the mean of the sources, each by the kind that the others agree with most."""
    sources = [source for source, _ in evidence]
    scores = np.array([*evidence.values()])
    agreed = agreement(scores, sources)
    heard: dict[str, int] = {}
    for place, source in enumerate(sources):
        if source not in heard or agreed[place] > agreed[heard[source]]:
            heard[source] = place
    places = list(heard.values())
    weights = agreed[places] if agreed[places].any() else np.ones(len(places))
    consensus: Vector = (weights @ scores[places] / weights.sum()).round(_DIGITS)
    return consensus


def _number_to_keep(losses: list[FloatArray], consensus: Vector) -> int | None:
    """Return the size of the lower Gaussian of the losses whose two groups part `consensus` best.

    None where no losses fall into two groups.
    """
    splits = []
    for row in losses:
        unit = unit_interval(row)
        mixture = fit_two_gaussians(unit, tol=_TOLERANCE)
        if not mixture.collapsed:
            splits.append(low_mean_posterior(unit, mixture) > 0.5)
    if not splits:
        return None
    # The square is the share of the variance of the consensus that lies between the groups.
    parted = correlations_with_groups(splits, consensus)
    return int(np.count_nonzero(splits[parted.round(9).argmax()]))
