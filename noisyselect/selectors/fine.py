"""FINE: a feature that points where most of its class point has a clean label."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray, first
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.directions import along_main_directions
from noisyselect.numeric.groups import rows_by_group
from noisyselect.numeric.mixture import fit_two_gaussians, low_mean_posteriors
from noisyselect.selection import Selection
from noisyselect.selector import Selector

# The regulariser of scikit-learn's mixture, which the official code leaves as it is.
_FIT = partial(fit_two_gaussians, reg_covar=1e-6)
_DIGITS = 12


@dataclass(frozen=True, repr=False)
class FINESelector(Selector, needs=("features",)):
    r"""Keep the samples whose features point in the main direction of their class.

    Parameters
    ----------
    threshold : float in [0, 1), default=0.5
        Least posterior :math:`\zeta` of a clean sample, exclusive.

    Raises
    ------
    ValueError
        If `threshold` is out of range.
    MissingEvidenceError
        If the log has no features.

    Warns
    -----
    DegenerateWarning
        If the alignments of a class do not fall into two groups, or it has fewer than 5 samples:
        then nothing speaks against its labels, and all are kept with score 1.

    Notes
    -----
    Algorithm 1 of [1]_. With :math:`z_i` the features of sample i and :math:`u_k` the first
    eigenvector of the gram matrix of class k,

    .. math:: \Sigma_k = \sum_{i : y_i = k} z_i z_i^\top, \qquad
              a_i = \frac{|\langle u_{y_i}, z_i \rangle|}{\lVert z_i \rVert},

    two Gaussians are fitted to the alignments :math:`a_i` of each class, and a sample is clean when
    its posterior of the one with the greater mean exceeds :math:`\zeta`. The features are not
    centred. `score` and `trust` are the posterior.

    Departures: :math:`a_i` follows the code; its square, of which the paper speaks, has the same
    order. The mixture is fitted to convergence from the best split of the alignments mapped onto
    [0, 1] (in the code from an unseeded start). After its first round the code takes the gram
    matrix over the samples it selected before; a log does not tell which these were, so here it is
    always over the whole class. Features that are all 0 have no direction and alignment 0.

    Defaults: 0.5 is that of the code's sample selection on CIFAR-10, CIFAR-100 and Clothing1M; with
    DivideMix's training it takes 0.6 at 90 % noise.

    Cost: O(n_samples n_features^2) for the gram matrices and O(n_classes n_features^3) for their
    eigenvectors; of a class of fewer samples than features, by the matrix of their products.

    Fails where more than half of a class are wrong labels of one other class: the main direction is
    then that of the other one, and the wrong labels are kept.

    References
    ----------
    .. [1] Kim, Ko, Cho, Choi and Yun, "FINE samples for learning with noisy labels", NeurIPS 2021.

    Examples
    --------
    >>> features = [[1, 0], [1, 0.1], [2, 0.1], [3, 0], [0.1, 1], [0, 1]]
    >>> log = TrainingLog(labels=[0, 0, 0, 0, 0, 0], features=features)
    >>> FINESelector().select(log).clean
    array([ True,  True,  True,  True, False, False])
    """

    reads_epochs = False

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"`threshold` must lie in [0, 1), got {self.threshold!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.features is not None
        alignment = _alignment(log.features, log.labels)
        posterior, collapsed = low_mean_posteriors(-alignment, log.labels, _FIT)
        if collapsed.size:
            warnings.warn(
                f"FINESelector: in {collapsed.size} classes ({first(collapsed)}) the alignments do "
                "not fall into two groups; every label is kept there.",
                DegenerateWarning,
                stacklevel=5,
            )
        clean = posterior > self.threshold
        reason = np.where(clean, "points with its class", "points away from its class")
        return Selection(clean=clean, score=posterior, trust=posterior, reason=reason)


def _alignment(features: FloatArray, labels: IntArray) -> npt.NDArray[np.float64]:
    """Return the cosine, without its sign, to the main direction of the class."""
    alignment = np.zeros(labels.size)
    for _, rows in rows_by_group(labels):
        own = features[rows].astype(np.float64)
        # Products of very large or very small features would not be finite, or 0.
        own /= max(np.abs(own).max(), np.finfo(np.float64).tiny)
        length = np.linalg.norm(own, axis=1)
        along = np.abs(along_main_directions(own, 1)[:, 0])
        alignment[rows] = np.divide(along, length, out=np.zeros(rows.size), where=length > 0)
    # Equal features differ by rounding errors, which are no evidence.
    return alignment.round(_DIGITS)
