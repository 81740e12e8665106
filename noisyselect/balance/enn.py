"""Edited nearest neighbours: a label that its neighbours contradict is probably wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from imblearn.under_sampling.base import BaseCleaningSampler
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, StrOptions

from noisyselect.arrays import AnyArray, BoolArray, FloatArray, IntArray, first
from noisyselect.balance.rows import nearest_rows
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.numeric.neighbours import label_agreement
from noisyselect.selection import Reasons, Selection
from noisyselect.selector import Selector


class ENNCleaner(Selector, BaseCleaningSampler):  # type: ignore[misc]
    """Keep the samples whose label most of their nearest neighbours carry.

    Two uses of one rule: ``select(log)`` on the neighbours or features of a training log, as any
    other selector, and ``fit_resample(X, y)`` on plain rows, as an imbalanced-learn sampler.

    Parameters
    ----------
    n_neighbors : int, default=20
        Neighbours per sample, the sample itself excluded. Of a log's `neighbours` the first so
        many columns; otherwise cosine neighbours of its `features`. Of plain rows Euclidean ones.
    vote : {"majority", "all"}, default="majority"
        Keep a sample when more than half of its neighbours carry its label, or when all do.
    sampling_strategy : str, list or callable, default="all"
        The classes that `fit_resample` cleans, as imbalanced-learn defines it. Wrong labels occur
        in every class; imbalanced-learn's own default leaves the smallest class alone. `select`
        cleans all classes.

    Attributes
    ----------
    sample_indices_ : array of int, shape (n_kept,)
        After `fit_resample`, the rows that were kept, in ascending order.
    sampling_strategy_ : dict
        After `fit_resample`, the classes that were cleaned.

    See Also
    --------
    VRLVSelector : Cleans the classes that have more candidates than their quota.

    Notes
    -----
    Wilson's rule [1]_, decided for all samples at once. ``vote="all"`` is imbalanced-learn's
    ``kind_sel="all"``. Its ``kind_sel="mode"`` takes the most frequent label and, of equally
    frequent ones, the smallest, so that renaming the classes changes the answer; a strict majority
    has no ties. A class of fewer than n_neighbors / 2 + 1 samples cannot keep any by a majority. A
    sample without neighbours is kept with score 1/2. `score` is the share of
    neighbours that agree.

    Cost: O(n_samples n_neighbors) on given neighbours; the search for them is
    O(n_samples^2 n_features), and less beyond 100,000 samples.

    Fails where neighbours share the mistake, as when one labeller errs on all pictures of a kind,
    and for classes rarer than half of `n_neighbors`.

    Warns
    -----
    DegenerateWarning
        If all samples of a class are removed.

    References
    ----------
    .. [1] Wilson, "Asymptotic properties of nearest neighbor rules using edited data", IEEE
       Transactions on Systems, Man, and Cybernetics, 1972.

    Examples
    --------
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [5.3]]
    >>> y = [0, 0, 0, 1, 1, 1, 0]
    >>> cleaner = ENNCleaner(n_neighbors=2)
    >>> X_clean, y_clean = cleaner.fit_resample(X, y)
    >>> cleaner.sample_indices_
    array([0, 1, 2, 3, 4])
    """

    reads_epochs = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "vote": [StrOptions({"majority", "all"})],
        "sampling_strategy": BaseCleaningSampler._parameter_constraints["sampling_strategy"],
    }

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        vote: Literal["majority", "all"] = "majority",
        sampling_strategy: str | list[Any] | Callable[..., Any] = "all",
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.n_neighbors = n_neighbors
        self.vote = vote

    # As an estimator, not as a dataclass.
    __repr__ = BaseCleaningSampler.__repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ENNCleaner):
            return NotImplemented
        return bool(self.get_params() == other.get_params())

    __hash__ = None  # type: ignore[assignment]

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        self._validate_params()
        clean, score = self._judge(log.labels, log.nearest(self.n_neighbors))
        _warn_of_lost_classes(np.unique(log.labels), np.unique(log.labels[clean]))
        reason = Reasons.either(clean, "neighbours agree", "neighbours disagree")
        return Selection(clean=clean, score=score, reason=reason)

    def _judge(self, labels: IntArray, neighbours: IntArray) -> tuple[BoolArray, FloatArray]:
        agreeing, voting = label_agreement(labels, neighbours, np.arange(labels.size))
        score = np.where(voting > 0, agreeing / np.maximum(voting, 1), 0.5)
        clean = agreeing == voting if self.vote == "all" else 2 * agreeing > voting
        return clean | (voting == 0), score

    def _fit_resample(self, X: Any, y: AnyArray) -> tuple[Any, AnyArray]:
        classes, labels = np.unique(y, return_inverse=True)
        clean, _ = self._judge(labels, nearest_rows(X, self.n_neighbors))
        cleaned = np.isin(classes, list(self.sampling_strategy_))
        self.sample_indices_: npt.NDArray[np.intp] = np.flatnonzero(clean | ~cleaned[labels])
        _warn_of_lost_classes(classes, np.unique(y[self.sample_indices_]))
        return _safe_indexing(X, self.sample_indices_), y[self.sample_indices_]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.sampler_tags.sample_indices = True
        return tags


def _warn_of_lost_classes(before: AnyArray, after: AnyArray) -> None:
    lost = np.setdiff1d(before, after)
    if lost.size:
        warnings.warn(
            f"ENNCleaner: {lost.size} of {before.size} classes lose all samples: {first(lost)}. "
            "Smaller classes need a smaller `n_neighbors`.",
            DegenerateWarning,
            stacklevel=6,
        )
