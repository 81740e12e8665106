"""TCL: a feature that lies with the prototype of its label, rather than another's, is clean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray, first
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.blocks import blocks
from noisyselect.numeric.mixture import fit_in_few_steps, low_mean_posteriors
from noisyselect.selection import Selection
from noisyselect.selector import Selector

# The defaults of scikit-learn's mixture, which the official code leaves as they are.
_FIT = partial(fit_in_few_steps, reg_covar=1e-6, least_gain=1e-3, max_iter=100)
_DIGITS = 12
# Samples at a time, so that the features are not copied as a whole.
_BLOCK = 4096


@dataclass(frozen=True, repr=False)
class TCLSelector(Selector, needs=("probabilities", "features")):
    r"""Keep the samples whose features lie with the prototype of their label.

    A prototype is the mean feature of all samples, weighted by how likely the network finds the
    class. The last epoch's probabilities count.

    Parameters
    ----------
    temperature : float > 0, default=0.25
        Temperature :math:`\tau` of the assignment to prototypes. A lower one is more decided.
    per_class : bool, default=False
        Fit a mixture for each class instead of one for all.
    threshold : float in [0, 1), default=0.5
        Least posterior of a clean sample, exclusive.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no probabilities or no features.

    Warns
    -----
    DegenerateWarning
        If the assignments, with `per_class` those of a class, are nearly equal, or fewer than 5:
        then nothing speaks against these labels, and all are kept with score 1. Also if nothing is
        kept.

    Notes
    -----
    The detection of out-of-distribution labels in [1]_. With the features :math:`z_i` of length 1
    and the probabilities :math:`p_i`,

    .. math:: \mu_c = \frac{\sum_i p_{ic} z_i}{\lVert \sum_i p_{ic} z_i \rVert}, \qquad
              a_i = \frac{\exp(z_i^\top \mu_{y_i} / \tau)}{\sum_c \exp(z_i^\top \mu_c / \tau)},

    two Gaussians are fitted to :math:`-a_i`, mapped onto [0, 1], and a sample is clean when its
    posterior :math:`w_i` of the one with the smaller mean exceeds `threshold`. `score` and `trust`
    are :math:`w_i`; TCL trains on the label with the weight :math:`w_i` times the share of clean
    samples.

    Departures: the mixture starts from the best split; in the code from one seeded start. With
    `per_class` each class is mapped onto [0, 1] by itself. Features that are all 0 lie with every
    prototype alike, and so do all features with a prototype that is 0.

    Defaults: 0.25 and one mixture are the code's for CIFAR-10 and CIFAR-100; it fits one for each
    class on CIFAR-100 with 90 % noise. Its features are those of the projection head.

    Cost: O(n_samples n_classes n_features).

    Fails where the features gather by the given label, as they do once wrong labels are memorised.

    References
    ----------
    .. [1] Huang, Zhang and Shan, "Twin contrastive learning with noisy labels", CVPR 2023.

    Examples
    --------
    >>> features = [[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0.2, 1]]
    >>> probabilities = [[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]]
    >>> log = TrainingLog(
    ...     labels=[0, 0, 0, 1, 1, 0], features=features, probabilities=probabilities
    ... )
    >>> TCLSelector().select(log).clean
    array([ True,  True,  True,  True,  True, False])
    """

    temperature: float = 0.25
    per_class: bool = False
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"`temperature` must be greater than 0, got {self.temperature!r}.")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"`threshold` must lie in [0, 1), got {self.threshold!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.features is not None
        assert log.probabilities is not None
        assigned = _assignment(log.features, log.probabilities[-1], log.labels, self.temperature)
        groups = log.labels if self.per_class else np.zeros_like(log.labels)
        posterior, collapsed = low_mean_posteriors(-assigned, groups, _FIT)
        clean = posterior > self.threshold
        if collapsed.size:
            where = f"in {collapsed.size} classes ({first(collapsed)}) " if self.per_class else ""
            self._warn(
                f"{where}the assignments are nearly equal or fewer than 5; every label is kept"
                f"{' there' if where else ''}"
            )
        elif not clean.any():
            self._warn(f"no posterior exceeds {self.threshold}; no label is kept")
        reason = np.where(clean, "lies with its class", "lies with another class")
        return Selection(clean=clean, score=posterior, trust=posterior, reason=reason)

    def _warn(self, text: str) -> None:
        warnings.warn(f"TCLSelector: {text}.", DegenerateWarning, stacklevel=6)


def _assignment(
    features: FloatArray, probabilities: FloatArray, labels: IntArray, temperature: float
) -> npt.NDArray[np.float64]:
    """Return the share of the prototype of the given label in each sample's assignment."""
    sums = np.zeros((probabilities.shape[1], features.shape[1]))
    for block in blocks(labels.size, _BLOCK):
        sums += probabilities[block].T.astype(np.float64) @ _of_length_one(features[block])
    prototypes = _of_length_one(sums)

    assigned = np.empty(labels.size)
    for block in blocks(labels.size, _BLOCK):
        cosines = _of_length_one(features[block]) @ prototypes.T
        shares = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperature)
        own = np.take_along_axis(shares, labels[block, None], axis=1)[:, 0]
        assigned[block] = own / shares.sum(axis=1)
    # Equal features differ by rounding errors, which are no evidence.
    return assigned.round(_DIGITS)


def _of_length_one(rows: FloatArray) -> npt.NDArray[np.float64]:
    """Return the rows in float64, each of Euclidean length 1; those of zeros as they are."""
    wide = rows.astype(np.float64)
    # The squares of very large or very small features would not be finite, or 0.
    largest = np.abs(wide).max(axis=1, keepdims=True)
    np.divide(wide, largest, out=wide, where=largest > 0)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    np.divide(wide, length, out=wide, where=length > 0)
    return wide
