"""Label noise of known kind: transition matrices, and the labels they corrupt."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
    check_classes,
    check_shape,
    floats,
    integers,
    to_numpy,
)

# Truck to automobile, bird to airplane, cat and dog to each other, deer to horse: the flips of
# Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017, section 5.
CIFAR10_FLIPS: Mapping[int, int] = MappingProxyType({9: 1, 2: 0, 3: 5, 5: 3, 4: 7})

# How far the flip rates of single samples deviate from the nominal one in `instance_dependent`.
_FLIP_DEVIATION = 0.1
# Numbers in one block of features: 32 MB.
_BLOCK = 2**22


def symmetric(n_classes: int, ratio: float, include_true: bool = True) -> FloatArray:
    r"""Return the transition matrix of labels resampled uniformly, shape (n_classes, n_classes).

    Parameters
    ----------
    n_classes : int
        At least 2.
    ratio : float in [0, 1]
        Share r of labels that are resampled.
    include_true : bool, default=True
        Resample from all classes, the true one included, as DivideMix does: then only
        :math:`r (K-1)/K` of the labels are wrong, 36 % for a nominal 0.4 on 10 classes. With False
        the share of wrong labels is r.

    Raises
    ------
    ValueError
        If `n_classes` is below 2 or `ratio` outside [0, 1].

    Examples
    --------
    >>> symmetric(4, 0.4).diagonal()
    array([0.7, 0.7, 0.7, 0.7])
    """
    _check(n_classes, ratio)
    if include_true:
        return (1 - ratio) * np.eye(n_classes) + ratio / n_classes
    elsewhere = (1 - np.eye(n_classes)) / (n_classes - 1)
    return (1 - ratio) * np.eye(n_classes) + ratio * elsewhere


def asymmetric(n_classes: int, ratio: float, flips: Mapping[int, int]) -> FloatArray:
    """Return the transition matrix of classes mistaken for a similar one.

    Parameters
    ----------
    n_classes : int
        At least 2.
    ratio : float in [0, 1]
        Share of the labels of each class in `flips` that become its partner.
    flips : mapping of int to int
        Class to the class it is mistaken for, for example `CIFAR10_FLIPS`. Other classes keep their
        labels.

    Returns
    -------
    array of float in [0, 1], shape (n_classes, n_classes)
        Row: true class; column: given label; rows sum to 1.

    Raises
    ------
    ValueError
        If `n_classes` is below 2, `ratio` outside [0, 1], or a class is out of range or flips to
        itself.

    Examples
    --------
    >>> asymmetric(10, 0.4, CIFAR10_FLIPS)[9, [1, 9]]
    array([0.4, 0.6])
    """
    _check(n_classes, ratio)
    transition = np.eye(n_classes)
    for source, target in flips.items():
        if not (0 <= source < n_classes and 0 <= target < n_classes and source != target):
            raise ValueError(
                f"`flips` must map classes in [0, n_classes) = [0, {n_classes}) to other such "
                f"classes, got {source} -> {target}."
            )
        transition[source, source] = 1 - ratio
        transition[source, target] = ratio
    return transition


def pair(n_classes: int, ratio: float) -> FloatArray:
    """Return the transition matrix of each class mistaken for the next, and the last for the first.

    Parameters
    ----------
    n_classes : int
        At least 2.
    ratio : float in [0, 1]
        Share of wrong labels in every class.

    Returns
    -------
    array of float in [0, 1], shape (n_classes, n_classes)

    Raises
    ------
    ValueError
        If `n_classes` is below 2 or `ratio` outside [0, 1].
    """
    return asymmetric(n_classes, ratio, {c: (c + 1) % n_classes for c in range(n_classes)})


def corrupt(
    true_labels: npt.ArrayLike, transition: npt.ArrayLike, random_state: int
) -> npt.NDArray[np.int64]:
    """Draw a given label for each true one.

    Labels are drawn one by one, so the realised shares differ a little from those of `transition`;
    `noise_rate` tells what came out.

    Parameters
    ----------
    true_labels : array of int in [0, n_classes), shape (n_samples,)
    transition : array of float in [0, 1], shape (n_classes, n_classes)
        Row: true class; column: given label; rows sum to 1.
    random_state : int
        Seed. The global random state is neither read nor changed.

    Returns
    -------
    array of int64 in [0, n_classes), shape (n_samples,)

    Raises
    ------
    ValueError
        If a label is out of range or `transition` is no transition matrix.

    Examples
    --------
    >>> corrupt([0, 1, 2, 2], pair(3, 1.0), random_state=0)
    array([1, 2, 0, 0])
    """
    truth = integers("true_labels", true_labels)
    check_shape("true_labels", truth, {"n_samples": None})
    matrix = _transition(transition)
    check_classes("true_labels", truth, len(matrix))
    draws = np.random.default_rng(random_state).random(truth.size)
    steps = matrix.cumsum(axis=1)
    steps /= steps[:, -1:]  # a last step of 1 - 1e-16 could be below a draw
    labels = np.empty(truth.size, dtype=np.int64)
    by_class = np.argsort(truth, kind="stable")
    ends = np.cumsum(np.bincount(truth, minlength=len(matrix)))
    for source, rows in enumerate(np.split(by_class, ends[:-1])):
        labels[rows] = np.searchsorted(steps[source], draws[rows], side="right")
    return labels


def instance_dependent(
    features: npt.ArrayLike,
    true_labels: npt.ArrayLike,
    rate: float,
    random_state: int,
    n_classes: int | None = None,
) -> npt.NDArray[np.int64]:
    r"""Draw a given label for each true one, wrong in a way that depends on the sample itself.

    The protocol of Xia et al., "Part-dependent label noise: towards instance-dependent label
    noise", NeurIPS 2020, algorithm 2. With :math:`x_i` the features of sample i, :math:`y_i` its
    true class and r the rate,

    .. math::

        q_i \sim N(r, 0.1^2) \text{ truncated to } [0, 1], \qquad W_c \sim N(0, 1)^{S \times K},

        p_i = q_i \, \mathrm{softmax}_{k \ne y_i}(x_i W_{y_i}), \qquad p_i[y_i] = 1 - q_i,

    and the given label is drawn from :math:`p_i`.

    Departure: features are standardised first, each to mean 0 and deviation 1 over the samples
    given, so that neither their scale nor their offset matters; the authors' program normalises
    images with fixed constants per channel. In both, the softmax over hundreds of features is
    nearly an argmax: whether a label is wrong is chance, which class it becomes is not.

    Parameters
    ----------
    features : array of real numbers, shape (n_samples, ...)
        Images or features; all axes but the first are taken as one. Constant ones have no effect.
    true_labels : array of int in [0, n_classes), shape (n_samples,)
    rate : float in [0, 1]
        Nominal share of wrong labels. The truncation pushes the expected one inwards: 0.40 stays
        0.40 and 0.2 becomes 0.206, but 0.1 becomes 0.129 and 0 becomes 0.08.
    random_state : int
        Seed. The global random state is neither read nor changed. Another order of the samples or
        other numbers for the classes are another draw.
    n_classes : int, optional
        By default one more than the highest label.

    Returns
    -------
    array of int64 in [0, n_classes), shape (n_samples,)

    Raises
    ------
    ValueError
        If shapes disagree, a label or `rate` is out of range, features are not finite, or there
        are no samples or fewer than 2 classes.
    """
    from scipy.special import softmax
    from scipy.stats import truncnorm

    truth, values = integers("true_labels", true_labels), to_numpy(features)
    check_shape("true_labels", truth, {"n_samples": len(values)}, "It must match `features`.")
    if truth.size == 0:
        raise ValueError("`features` must hold at least one sample, got none.")
    classes = int(truth.max()) + 1 if n_classes is None else n_classes
    _check(classes, rate, "rate")
    check_classes("true_labels", truth, classes)
    mean, deviation = _moments(values)

    rng = np.random.default_rng(random_state)
    low, high = (0 - rate) / _FLIP_DEVIATION, (1 - rate) / _FLIP_DEVIATION
    flips = truncnorm.rvs(low, high, rate, _FLIP_DEVIATION, truth.size, random_state=rng)
    draws = rng.random(truth.size)
    labels = truth.astype(np.int64)
    for source in range(classes):
        # Drawn for classes without samples too, so that their absence changes nothing.
        weights = rng.standard_normal((mean.size, classes))
        for rows in _blocks(np.flatnonzero(truth == source), mean.size):
            scores = (_flat(values[rows]) - mean) / deviation @ weights
            scores[:, source] = -np.inf
            chances = flips[rows, None] * softmax(scores, axis=1)
            chances[:, source] = 1 - flips[rows]
            steps = chances.cumsum(axis=1)
            steps /= steps[:, -1:]  # a last step of 1 - 1e-16 could be below a draw
            labels[rows] = (steps <= draws[rows, None]).sum(axis=1)
    return labels


def _moments(values: AnyArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation of each feature; a deviation of 1 where a feature is constant."""
    n_samples, n_features = len(values), values[:1].size
    blocks = _blocks(np.arange(n_samples), n_features)
    mean, variance = np.zeros(n_features), np.zeros(n_features)
    with np.errstate(invalid="ignore", over="ignore"):  # it is reported below
        for rows in blocks:
            mean += _flat(values[rows]).sum(axis=0) / n_samples
        for rows in blocks:
            variance += ((_flat(values[rows]) - mean) ** 2).sum(axis=0) / n_samples
    deviation = np.sqrt(variance)
    if not np.isfinite(deviation).all():
        raise ValueError("`features` must be finite, got NaN, infinite or overflowing ones.")
    # The mean of equal numbers is rounded, which must not count as variation.
    return mean, np.where(deviation > 1e-9 * np.abs(mean), deviation, 1.0)


def _flat(block: AnyArray) -> FloatArray:
    return block.reshape(len(block), -1).astype(np.float64)


def _blocks(rows: IntArray, n_features: int) -> list[IntArray]:
    size = max(1, _BLOCK // max(1, n_features))
    return [rows[start : start + size] for start in range(0, rows.size, size)]


def noise_rate(labels: npt.ArrayLike, true_labels: npt.ArrayLike) -> float:
    """Return the realised share of wrong labels, in [0, 1].

    Parameters
    ----------
    labels, true_labels : array of int, shape (n_samples,)
        Given and true labels, at least one.

    Raises
    ------
    ValueError
        If the shapes differ or there is no label.

    Examples
    --------
    >>> noise_rate([0, 1, 1, 0], [0, 1, 0, 0])
    0.25
    """
    given, truth = integers("labels", labels), integers("true_labels", true_labels)
    check_shape("labels", given, {"n_samples": None})
    check_shape("true_labels", truth, {"n_samples": given.size}, "It must match `labels`.")
    if given.size == 0:
        raise ValueError("`labels` must hold at least one sample, got none.")
    return float(np.mean(given != truth))


def _check(n_classes: int, ratio: float, name: str = "ratio") -> None:
    if n_classes < 2:
        raise ValueError(f"`n_classes` must be at least 2, got {n_classes!r}.")
    if not 0 <= ratio <= 1:
        raise ValueError(f"`{name}` must lie in [0, 1], got {ratio!r}.")


def _transition(values: npt.ArrayLike) -> FloatArray:
    matrix = floats("transition", values).astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"`transition` must have shape (n_classes, n_classes), got {matrix.shape}."
        )
    # Written so that NaN fails too.
    if not ((matrix >= 0).all() and np.allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-6)):
        raise ValueError(
            "`transition` must have entries of at least 0 and rows that sum to 1, got entries from "
            f"{matrix.min():g} and sums from {matrix.sum(axis=1).min():g} to "
            f"{matrix.sum(axis=1).max():g}. Rows are true classes."
        )
    return matrix
