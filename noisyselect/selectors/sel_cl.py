"""Sel-CL's choice of samples: MOIT's, with a quantile for the number kept of each class."""

from __future__ import annotations

from dataclasses import dataclass

from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.moit import (
    agreeing_selection,
    check_n_neighbors,
    equally_many,
    two_step_agreement,
)


@dataclass(frozen=True, repr=False)
class SelCLSelector(Selector, needs=()):
    r"""Keep the labels that the nearest neighbours agree with, a chosen number of each class.

    Parameters
    ----------
    n_neighbors : int, default=250
        Neighbours per sample, the sample itself excluded. Of a log's `neighbours` the first so
        many columns; otherwise cosine neighbours of its `features`.
    alpha : float in [0, 1], default=0.5
        Quantile over the classes of the number of labels that the vote confirms: so many are kept
        of each class. 0.5 is the median, 1 the greatest number, which keeps the most.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has neither neighbours nor features.

    Warns
    -----
    DegenerateWarning
        If nothing is kept.

    See Also
    --------
    MOITSelector : The rule of the vote.

    Notes
    -----
    The choice of confident samples in [1]_: the two votes, the order and the ties are those of
    `MOITSelector`, and of each class as many samples are kept as the :math:`\alpha`-quantile over
    the classes of the number of confirmed labels.

    Departures: a quantile between two numbers is the lower one (the code interpolates, but takes
    the lower one at 0.5), over the classes that labels name. The code means to leave the sample
    itself out of its neighbours, but does so in the first batch only; a second version of it weighs
    votes by similarity. Sel-CL also chooses pairs of samples for a contrastive loss. They are
    left out: a selection is of samples, and there are as many pairs as the square of a class.

    Defaults: K = 250 and 0.5 are the code's for CIFAR-10; for CIFAR-100 it takes 0.75 on symmetric
    and 0.25 on asymmetric noise.

    Cost: O(n_samples (n_neighbors + n_classes)), beside the search for neighbours.

    Fails where wrong labels lie together, as `MOITSelector` does, and where classes have very
    different numbers of right labels: the quantile is one number for all.

    References
    ----------
    .. [1] Li, Xia, Ge and Liu, "Selective-supervised contrastive learning with noisy labels",
       CVPR 2022.

    Examples
    --------
    >>> features = [[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0.2, 1], [0.3, 1]]
    >>> log = TrainingLog(labels=[0, 0, 0, 1, 1, 1, 0], features=features)
    >>> SelCLSelector(n_neighbors=2).select(log).clean
    array([ True,  True,  True,  True,  True,  True, False])
    """

    n_neighbors: int = 250
    alpha: float = 0.5

    def __post_init__(self) -> None:
        check_n_neighbors(self.n_neighbors)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"`alpha` must lie in [0, 1], got {self.alpha!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        agreement = two_step_agreement(log, self.n_neighbors)
        clean = equally_many(log, agreement, self.alpha)
        return agreeing_selection(type(self).__name__, agreement, clean)
