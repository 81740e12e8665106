"""Two Gaussians on a line, fitted by expectation-maximisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.numeric.blocks import blocks
from noisyselect.numeric.groups import rows_by_group

# Bins of the grid on which large samples are fitted. A bin of the unit interval is then about 1 %
# of the least standard deviation that `reg_covar` = 5e-4 allows, which moves no split measurably.
_N_BINS = 4096
# Below this share a component is empty: it holds less than one sample of any set we can hold.
_EMPTY = 1e-12
# Means closer than this, in deviations, do not tell a low component from a high one: fitted to
# convergence on a single heap, both end on top of each other.
_COINCIDE = 0.01
# A share, two means and two variances are five numbers, which fewer values do not determine.
_N_PARAMETERS = 5

Vector = npt.NDArray[np.float64]


class TwoGaussians(NamedTuple):
    """A fitted mixture; component 0 has the smaller mean.

    Attributes
    ----------
    shares, means, variances : array of shape (2,)
    collapsed : bool
        True if the values do not support two components.
    """

    shares: Vector
    means: Vector
    variances: Vector
    collapsed: bool


def unit_interval(values: FloatArray) -> Vector:
    """Return `values` mapped linearly onto [0, 1]; all 0 when they are equal."""
    return onto_unit_interval(values, values.min(), values.max())


def onto_unit_interval(values: FloatArray, lowest: float, highest: float) -> Vector:
    """Return `values` mapped linearly, `lowest` to 0 and `highest` to 1; all 0 if these are equal.

    For values of which each process holds a part.
    """
    low, high = float(lowest), float(highest)
    if high == low:
        return np.zeros(values.size)
    # Scaled before the difference: the range of float64 losses may exceed float64.
    scale = max(abs(low), abs(high))
    unit = values.astype(np.float64)
    unit /= scale
    unit -= low / scale
    unit /= high / scale - low / scale
    return unit


def fit_in_few_steps(
    values: Vector, reg_covar: float = 5e-4, least_gain: float = 1e-2, max_iter: int = 10
) -> TwoGaussians:
    """Fit two Gaussians to values in [0, 1] as scikit-learn does: by few steps from 2-means.

    Parameters
    ----------
    values : array of float in [0, 1], shape (n,)
    reg_covar : float > 0
        Added to each variance at every step.
    least_gain : float > 0
        Stop after the step before which the mean log-likelihood, in nats, had changed by less.
    max_iter : int
        Stop after this many steps at the latest.

    Returns
    -------
    TwoGaussians

    Notes
    -----
    The defaults are DivideMix's. Where two heaps overlap, the likelihood may be largest with both
    components on one spot: then all that the fit knows of two groups it has from its start, and
    `fit_two_gaussians`, which goes on, loses it.

    Start and bins are those of `fit_two_gaussians`. Cost: O(n), two passes over the values.
    """
    return fit_points_in_few_steps(*_gather(values), reg_covar, least_gain, max_iter)


def fit_points_in_few_steps(
    points: Vector,
    counts: Vector,
    reg_covar: float = 5e-4,
    least_gain: float = 1e-2,
    max_iter: int = 10,
) -> TwoGaussians:
    """Fit two Gaussians to gathered values: to `points` in [0, 1], ascending, and their `counts`.

    The rest is that of `fit_in_few_steps`, which gathers and then calls this.
    """
    if points.size < 2:
        return _of_equal_values(points, reg_covar)
    share, moments, now = _start(points, counts, reg_covar)
    before = -np.inf
    for _ in range(max_iter):
        likelihood = float(share @ _log_density(points, now))
        now = _maximise(moments, _responsibility(points, now), reg_covar)
        if abs(likelihood - before) < least_gain:
            break
        before = likelihood
    return _in_order(now)


def fit_two_gaussians(
    values: Vector, reg_covar: float = 5e-4, tol: float = 1e-8, max_iter: int = 20_000
) -> TwoGaussians:
    """Fit two Gaussians to values in [0, 1] by maximum likelihood.

    Parameters
    ----------
    values : array of float in [0, 1], shape (n,)
    reg_covar : float > 0
        Added to each variance at every step, as scikit-learn's GaussianMixture does.
    tol : float > 0
        Stop when a step changes no share, mean or variance by more than this.
    max_iter : int
        Stop after this many steps at the latest.

    Returns
    -------
    TwoGaussians

    Notes
    -----
    The start is the best split of the sorted values into two groups in the sense of 2-means, which
    on a line can be found exactly: the fit has no randomness. Large samples are first gathered on
    4096 bins, each at the mean of its values, so one step costs the same for any n. Convergence is
    read off the parameters: with the regulariser the likelihood need not rise, and may pass a
    maximum, at each step.

    Every two steps are extrapolated as SQUAREM does [1]_, scheme S3; where that does not bring the
    parameters closer to standing still, plain steps go on. It has the same fixed points in a
    fraction of the steps. Cost: O(n), two passes over the values. The split is that of
    scikit-learn's GaussianMixture, fitted to convergence, on all but 0.02 % of the values.

    References
    ----------
    .. [1] Varadhan and Roland, "Simple and globally convergent methods for accelerating the
       convergence of any EM algorithm", Scandinavian Journal of Statistics, 2008.
    """
    points, counts = _gather(values)
    if points.size < 2:
        return _of_equal_values(points, reg_covar)
    _, moments, now = _start(points, counts, reg_covar)

    def step(parameters: Vector) -> Vector:
        return _maximise(moments, _responsibility(points, parameters), reg_covar)

    for _ in range(0, max_iter, 3):
        if now[0].min() < _EMPTY:
            break
        after = step(now)
        if np.abs(after - now).max() < tol or after[0].min() < _EMPTY:
            now = after
            break
        now = _extrapolated(now, after, step, reg_covar)
    return _in_order(now)


def _start(points: Vector, counts: Vector, reg_covar: float) -> tuple[Vector, Vector, Vector]:
    """Return each point's share, its share of the moments, and the parameters to start from."""
    share = counts / counts.sum()
    moments = np.stack([share, share * points, share * points**2])
    return share, moments, _maximise(moments, _best_split(points, share), reg_covar)


def _of_equal_values(points: Vector, reg_covar: float) -> TwoGaussians:
    return TwoGaussians(np.array([1.0, 0.0]), np.full(2, points[0]), np.full(2, reg_covar), True)


def _in_order(parameters: Vector) -> TwoGaussians:
    """Return what was fitted, the component with the smaller mean first."""
    shares, means, variances = parameters
    low = int(np.argmin(means))
    order = [low, 1 - low]
    apart = abs(means[1] - means[0]) > _COINCIDE * np.sqrt(variances.max())
    collapsed = bool(shares.min() < _EMPTY or not apart)
    return TwoGaussians(shares[order], means[order], variances[order], collapsed)


def low_mean_posterior(values: Vector, mixture: TwoGaussians, out: Vector | None = None) -> Vector:
    """Return the probability, per value, of the component with the smaller mean; 1 if collapsed.

    It is written into `out`, which may be the values themselves.
    """
    posterior = np.empty(values.size) if out is None else out
    if mixture.collapsed:
        posterior[:] = 1
        return posterior
    parameters = np.stack([mixture.shares, mixture.means, mixture.variances])
    for block in blocks(values.size):
        posterior[block] = _responsibility(values[block], parameters)
    return posterior


def low_mean_posteriors(
    values: FloatArray, groups: IntArray, fit: Callable[[Vector], TwoGaussians]
) -> tuple[Vector, npt.NDArray[np.intp]]:
    """Fit two Gaussians to each group of values by itself, such as a class.

    Parameters
    ----------
    values : array of float, shape (n,)
        Each group is mapped onto [0, 1] before its fit.
    groups : array of int >= 0, shape (n,)
    fit : callable
        `fit_in_few_steps` or `fit_two_gaussians`, with its options.

    Returns
    -------
    posterior : array of float in [0, 1], shape (n,)
        Of the component of the value's group with the smaller mean; 1 where the group supports no
        two components.
    collapsed : array of int
        These groups, among them those of fewer than 5 values.
    """
    posterior = np.ones(values.size)
    collapsed = []
    for group, rows in rows_by_group(groups):
        unit = unit_interval(values[rows])
        mixture = fit(unit)
        if mixture.collapsed or unit.size < _N_PARAMETERS:
            collapsed.append(group)
        else:
            posterior[rows] = low_mean_posterior(unit, mixture)
    return posterior, np.array(collapsed, dtype=np.intp)


def _gather(values: Vector) -> tuple[Vector, Vector]:
    if values.size <= _N_BINS:
        points, copies = np.unique(values, return_counts=True)
        return points, copies.astype(np.float64)
    return means_of_bins(*bin_values(values))


def bin_values(values: Vector) -> Vector:
    """Return count and sum of the values in [0, 1] in each of 4096 bins, shape (2, 4096).

    These of several parts add up to those of the whole.
    """
    counts, sums = binned = np.zeros((2, _N_BINS))
    for block in blocks(values.size):
        bins = np.minimum((values[block] * _N_BINS).astype(np.intp), _N_BINS - 1)
        counts += np.bincount(bins, minlength=_N_BINS)
        sums += np.bincount(bins, weights=values[block], minlength=_N_BINS)
    return binned


def means_of_bins(counts: Vector, sums: Vector) -> tuple[Vector, Vector]:
    """Return the mean and the count of the bins that are not empty: points to fit to."""
    filled = counts > 0
    return sums[filled] / counts[filled], counts[filled]


def _best_split(points: Vector, share: Vector) -> Vector:
    """Return 1 below and 0 above the cut of the sorted points that 2-means likes best."""
    below = np.cumsum(share)[:-1]
    sum_below = np.cumsum(share * points)[:-1]
    above, sum_above = 1 - below, share @ points - sum_below
    # Least squares within the groups is most squares between them.
    between = sum_below**2 / below + sum_above**2 / np.maximum(above, _EMPTY)
    cut = int(np.argmax(between)) + 1
    return (np.arange(points.size) < cut).astype(np.float64)


def _maximise(moments: Vector, responsibility: Vector, reg_covar: float) -> Vector:
    """Return shares, means and variances, shape (3, 2)."""
    shares, sums, squares = moments @ np.stack([responsibility, 1 - responsibility], axis=1)
    # As scikit-learn does: an emptying component keeps a defined mean.
    safe = shares + 10 * np.finfo(np.float64).eps
    means = sums / safe
    variances = np.maximum((squares - means * sums) / safe, 0) + reg_covar
    return np.stack([shares, means, variances])


def _extrapolated(
    start: Vector, first: Vector, step: Callable[[Vector], Vector], reg_covar: float
) -> Vector:
    """Return parameters two steps from `start`, or as far beyond as they then move less."""
    second = step(first)
    change, bend = first - start, second - 2 * first + start
    length = -np.sqrt((change**2).sum() / max((bend**2).sum(), np.finfo(np.float64).tiny))
    if length > -1 or second[0].min() < _EMPTY:
        return second
    far = start - 2 * length * change + length**2 * bend
    if not (far[0].min() > _EMPTY and far[2].min() >= reg_covar):
        return second
    settled = step(far)
    moved, before = np.abs(settled - far).max(), np.abs(second - first).max()
    return settled if moved <= before and settled[0].min() >= _EMPTY else second


def _log_density(points: Vector, parameters: Vector) -> Vector:
    """Return the log-likelihood of each point, but for a constant."""
    shares, means, variances = parameters[:, :, None]
    joint = np.log(shares) - 0.5 * np.log(variances) - 0.5 * (points - means) ** 2 / variances
    density: Vector = np.logaddexp(*joint)
    return density


def _responsibility(points: Vector, parameters: Vector) -> Vector:
    """Return the probability of the first component at each point."""
    shares, means, variances = parameters
    # The log of the odds is a parabola: one exponential per value instead of four.
    constant = np.log(shares) - 0.5 * np.log(variances)
    odds = (points - means[1]) ** 2
    odds *= -0.5 / variances[1]
    near = (points - means[0]) ** 2
    near *= 0.5 / variances[0]
    odds += near
    odds += constant[1] - constant[0]
    with np.errstate(over="ignore"):  # infinite odds against are a posterior of 0
        np.exp(odds, out=odds)
    odds += 1
    probability: Vector = np.reciprocal(odds, out=odds)
    return probability
