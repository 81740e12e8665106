"""KNN mixup: fill a short class with mixtures of its samples and their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling.base import BaseOverSampler
from scipy import sparse
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval

from noisyselect.arrays import AnyArray
from noisyselect.balance.recipes import knn_mixup_recipes
from noisyselect.balance.rows import nearest_rows
from noisyselect.log import TrainingLog
from noisyselect.selection import MixupRecipes, Selection


class KNNMixupOversampler(BaseOverSampler):  # type: ignore[misc]
    r"""Fill the short classes with mixtures of a sample and one of its nearest neighbours.

    Two uses of one rule: ``oversample(selection, log)`` adds recipes to a selection, and
    ``fit_resample(X, y)`` adds rows to plain data, as an imbalanced-learn sampler.

    Parameters
    ----------
    n_neighbors : int, default=20
        Neighbours per sample, the sample itself excluded. Of a log's `neighbours` the first so
        many columns; otherwise cosine neighbours of its `features`. Of plain rows Euclidean ones.
    alpha : float > 0, default=4.0
        :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`. The paper gives no value; this is that
        of the MixMatch it trains with.
    sampling_strategy : float, str, dict or callable, default="auto"
        The classes that `fit_resample` fills and up to where, as imbalanced-learn defines it. By
        default all up to the largest, as `oversample` does.
    random_state : int, RandomState or None, default=None
        Seed. None draws anew at every call.

    Attributes
    ----------
    sample_indices_ : array of int, shape (n_resampled,)
        After `fit_resample`, the source row of every row; of a synthetic row its anchor.
    recipes_ : MixupRecipes
        After `fit_resample`, both parents (row positions), mixing share and class (position in the
        sorted classes) of each synthetic row. Synthetic rows follow the given ones in this order.

    Notes
    -----
    Equations 8 and 9 of [1]_ leave label, share and pairing open. Here the anchor is a sample of
    the short class and the partner one of its neighbours, whatever that one's label; the row is
    :math:`\lambda x_i + (1 - \lambda) x_j` with :math:`\lambda \leftarrow \max(\lambda, 1 -
    \lambda)`; and its label is the anchor's, for the partner's is distrusted.

    References
    ----------
    .. [1] Wang, Jiang, Tu and Ding, "VRLVMix: Combating noisy labels with sample selection based
       on loss variation".

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [2.0], [9.0]], [0, 0, 0, 1]
    >>> sampler = KNNMixupOversampler(n_neighbors=1, random_state=0)
    >>> X_balanced, y_balanced = sampler.fit_resample(X, y)
    >>> y_balanced
    [0, 0, 0, 1, 1, 1]
    >>> sampler.recipes_.anchors, sampler.recipes_.partners
    (array([3, 3]), array([2, 2]))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "sampling_strategy": BaseOverSampler._parameter_constraints["sampling_strategy"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        alpha: float = 4.0,
        sampling_strategy: float | str | Mapping[Any, int] | Callable[..., Any] = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.n_neighbors = n_neighbors
        self.alpha = alpha
        self.random_state = random_state

    def oversample(self, selection: Selection, log: TrainingLog) -> Selection:
        """Return `selection` with recipes that fill every class it has up to its largest.

        Parameters
        ----------
        selection : Selection
            Its clean samples are the anchors; partners come from its unlabelled samples.
        log : TrainingLog
            Log of the same samples, with `neighbours` or `features`.

        Returns
        -------
        Selection
            With `synthetic` set; a class whose anchors have no unlabelled neighbour gets none.

        Raises
        ------
        MissingEvidenceError
            If the log has neither neighbours nor features.
        ValueError
            If `selection` is of other samples.
        """
        self._validate_params()
        if not np.array_equal(selection.ids, log.ids):
            raise ValueError("`selection` must be over the samples of `log` in the same order.")
        kept = np.bincount(log.labels[selection.clean], minlength=log.n_classes)
        recipes = knn_mixup_recipes(
            log.labels,
            log.ids,
            log.nearest(self.n_neighbors),
            anchors=selection.clean,
            pool=selection.unlabelled_mask,
            counts=np.where(kept > 0, kept.max() - kept, 0),
            alpha=self.alpha,
            rng=self._generator(),
        )
        return replace(selection, synthetic=recipes)

    def _fit_resample(self, X: Any, y: AnyArray) -> tuple[Any, AnyArray]:
        classes, labels = np.unique(y, return_inverse=True)
        everything = np.ones(labels.size, dtype=bool)
        self.recipes_: MixupRecipes = knn_mixup_recipes(
            labels,
            np.arange(labels.size),
            nearest_rows(X, self.n_neighbors),
            anchors=everything,
            pool=everything,
            counts=np.array([self.sampling_strategy_.get(name, 0) for name in classes]),
            alpha=self.alpha,
            rng=self._generator(),
        )
        recipes = self.recipes_
        self.sample_indices_: npt.NDArray[np.intp] = np.append(
            np.arange(labels.size), recipes.anchors
        )
        return _append(X, recipes), np.append(y, classes[recipes.labels]).astype(y.dtype)

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.sampler_tags.sample_indices = True
        return tags


def _append(X: Any, recipes: MixupRecipes) -> Any:
    anchors, partners = (
        _safe_indexing(X, recipes.anchors),
        _safe_indexing(X, recipes.partners),
    )
    if sparse.issparse(X):
        share = sparse.diags(recipes.lam)
        rest = sparse.diags(1 - recipes.lam)
        return sparse.vstack([X, share @ anchors + rest @ partners], format=X.format, dtype=X.dtype)
    share = recipes.lam[:, None]
    return np.vstack([X, (share * anchors + (1 - share) * partners).astype(X.dtype)])
