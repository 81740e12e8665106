"""CurriculumNet: of each class, what lies densely in feature space is learnt first."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, first
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.density import count_near
from noisyselect.numeric.directions import along_main_directions
from noisyselect.numeric.groups import rows_by_group
from noisyselect.numeric.kmeans import cluster_line
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector

_N_TIERS = 3
_REASONS = np.array(
    ["densest tier of its class", "middle tier of its class", "sparsest tier of its class"]
)
# Longer features are reduced to so many principal components in each class, as in the code.
_N_COMPONENTS = 256


@dataclass(frozen=True, repr=False)
class CurriculumNetSelector(Selector, needs=("features",)):
    r"""Keep the samples whose features lie most densely within their class.

    Parameters
    ----------
    stage : {1, 2}, default=1
        Stage of the curriculum: in the first the densest of three tiers of each class is kept, in
        the second the middle one too. The third stage keeps all and needs no selector.
    density_t : float in (0, 1), default=0.6
        Share of the distances within a class that lie below its cut-off :math:`d_c`.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no features.

    Warns
    -----
    DegenerateWarning
        If the samples of a class have fewer than three different densities, as fewer than three
        samples or equal features have: then nothing speaks against its labels, and all are kept
        with score 1.

    Notes
    -----
    Section 3.2 of [1]_. With the Euclidean distances :math:`d_{ij}` within a class and the
    `density_t`-quantile :math:`d_c` of them, the density of a sample is

    .. math:: \rho_i = |\{j \ne i : d_{ij} < d_c\}|,

    and k-means divides the densities of the class into three tiers. `score` is that of the tier, in
    thirds, and rises within it by the rank of :math:`\rho_i` in the class; the reason names the
    tier.

    Departures: the distances of the code are float32's, here the counts are those of float64; a
    distance that equals the cut-off but for rounding is not below it. The clustering is the best
    one (in the code the best of several random starts). A class that cannot be divided is an error
    in the code. Beyond 256 features, the first 256 principal components of each class are taken, as
    in the code, which does not say what a smaller class has: here it keeps its features.

    Defaults: three tiers and 0.6 are the code's and those of WebVision.

    Cost: O(n^2 n_features) for each class of n samples, in about O(n^1.5) memory; beyond 256
    features also O(n_features^3) for each class.

    Fails where a class has several looks: the rare ones are sparse, though their labels are right.
    Also where many labels are wrong: with a share :math:`\tau` of them,
    :math:`(1 - \tau)^2` of the distances are between right ones, and where this is less than
    `density_t` the cut-off reaches beyond them. A smaller `density_t` helps.

    References
    ----------
    .. [1] Guo et al., "CurriculumNet: Weakly supervised learning from large-scale web images",
       ECCV 2018.

    Examples
    --------
    >>> log = TrainingLog(labels=[0, 0, 0, 0, 0, 0], features=[[0], [1], [2], [3], [6], [20]])
    >>> selection = CurriculumNetSelector(stage=2).select(log)
    >>> selection.clean
    array([ True,  True,  True,  True, False, False])
    >>> print(selection.reason[3])
    densest tier of its class
    """

    reads_epochs = False

    stage: Literal[1, 2] = 1
    density_t: float = 0.6

    def __post_init__(self) -> None:
        if self.stage not in (1, 2):
            raise ValueError(f"`stage` must be 1 or 2, got {self.stage!r}.")
        if not 0 < self.density_t < 1:
            raise ValueError(f"`density_t` must lie in (0, 1), got {self.density_t!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.features is not None
        tier = np.zeros(log.n_samples, dtype=np.intp)
        score = np.ones(log.n_samples)
        undivided = []
        for label, rows in rows_by_group(log.labels):
            density = count_near(_reduced(log.features[rows]), self.density_t)
            if np.unique(density).size < _N_TIERS:
                undivided.append(label)
                continue
            cluster = cluster_line(density, _N_TIERS)
            tier[rows] = _N_TIERS - 1 - cluster
            score[rows] = (cluster + midranks(density)) / _N_TIERS
        if undivided:
            warnings.warn(
                f"CurriculumNetSelector: {len(undivided)} classes ({first(np.array(undivided))}) "
                "cannot be divided into three tiers of density; every label is kept there.",
                DegenerateWarning,
                stacklevel=5,
            )
        return Selection(clean=tier < self.stage, score=score, reason=_REASONS[tier])


def _reduced(features: FloatArray) -> npt.NDArray[np.float64]:
    """Return the features of a class, or their principal components where there are many."""
    wide = features.astype(np.float64)
    if min(wide.shape) <= _N_COMPONENTS:
        return wide
    # The squares of very large or very small features would not be finite, or 0.
    wide /= max(np.abs(wide).max(), np.finfo(np.float64).tiny)
    return along_main_directions(wide - wide.mean(axis=0), _N_COMPONENTS)
