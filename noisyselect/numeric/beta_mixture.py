"""Two beta distributions on the unit interval, fitted by weighted moments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

Vector = npt.NDArray[np.float64]

# The ends of the interval, where a density may be 0 or infinite, are left out, as M-correction's
# code does.
_MARGIN = 1e-3
# Least variance of a component: that of values which differ by no more than the margin.
_LEAST_VARIANCE = _MARGIN**2
# Least share times density of a component, as in M-correction's code: none is ever quite empty.
_LEAST_JOINT = 1e-12
# Below this share a component holds less than one sample of any set we can hold; with means closer
# than this, in deviations, both components are one.
_EMPTY, _COINCIDE = 1e-9, 0.01


class TwoBetas(NamedTuple):
    """A fitted mixture; component 0 has the smaller mean.

    Attributes
    ----------
    shares, alphas, betas : array of shape (2,)
        The density of component k is proportional to x^(alpha - 1) (1 - x)^(beta - 1).
    collapsed : bool
        True if the values do not support two components.
    """

    shares: Vector
    alphas: Vector
    betas: Vector
    collapsed: bool

    @property
    def means(self) -> Vector:
        """Mean of each component, ascending, shape (2,)."""
        mean: Vector = self.alphas / (self.alphas + self.betas)
        return mean


def fit_two_betas(values: Vector, n_steps: int = 10) -> TwoBetas:
    r"""Fit two beta distributions to values in [0, 1] as M-correction does.

    Parameters
    ----------
    values : array of float in [0, 1], shape (n,)
        Values at the ends are moved inwards by 0.001.
    n_steps : int, default=10
        Number of steps.

    Returns
    -------
    TwoBetas

    Notes
    -----
    Section 3.1 of Arazo et al., "Unsupervised label noise modeling and loss correction", ICML
    2019. From Beta(1, 2) and Beta(2, 1) with equal shares, each step weights the values by the
    probability of the component and sets its parameters by their mean m and variance v,

    .. math:: \alpha = m \Big( \frac{m (1 - m)}{v} - 1 \Big), \qquad
              \beta = \frac{\alpha (1 - m)}{m}.

    Moments are not maximum likelihood, hence more steps need not fit better, and convergence is
    not waited for, as there. O(n) time and memory per step.
    """
    log_x, log_rest = _logarithms(values)
    x = np.exp(log_x)
    shares, alphas, betas = np.full(2, 0.5), np.array([1.0, 2.0]), np.array([2.0, 1.0])
    for _ in range(n_steps):
        joint = _log_joint(log_x, log_rest, shares, alphas, betas)
        weight = np.exp(joint - np.logaddexp(joint[0], joint[1]))
        total = weight.sum(axis=1)
        means = weight @ x / total
        variances = np.maximum(
            (weight * (x - means[:, None]) ** 2).sum(axis=1) / total, _LEAST_VARIANCE
        )
        shares = total / total.sum()
        alphas = means * (means * (1 - means) / variances - 1)
        betas = alphas * (1 - means) / means
    apart = np.diff(alphas / (alphas + betas))[0]
    deviations = np.sqrt(alphas * betas / (alphas + betas + 1)) / (alphas + betas)
    collapsed = bool(shares.min() < _EMPTY or abs(apart) <= _COINCIDE * deviations.max())
    # The start puts the lower component first; whether it still is, nothing but its mean tells.
    order = [0, 1] if apart >= 0 else [1, 0]
    return TwoBetas(shares[order], alphas[order], betas[order], collapsed)


def high_mean_posterior(values: Vector, mixture: TwoBetas) -> Vector:
    """Return the probability, per value, of the component with the larger mean; 0 if collapsed.

    Above that mean the probability never falls: what lies beyond the largest one there has the
    largest. The tail of a wide lower component may else win the largest values back.
    """
    if mixture.collapsed:
        return np.zeros(values.size)
    joint = _log_joint(*_logarithms(values), mixture.shares, mixture.alphas, mixture.betas)
    posterior: Vector = np.exp(joint[1] - np.logaddexp(joint[0], joint[1]))
    high = np.flatnonzero(values >= mixture.means[1])
    if high.size:
        peak = high[np.argmax(posterior[high])]
        posterior[values >= values[peak]] = posterior[peak]
    return posterior


def _logarithms(values: Vector) -> tuple[Vector, Vector]:
    inside = np.clip(values, _MARGIN, 1 - _MARGIN)
    return np.log(inside), np.log1p(-inside)


def _log_joint(
    log_x: Vector, log_rest: Vector, shares: Vector, alphas: Vector, betas: Vector
) -> Vector:
    """Return the log of share times density, shape (2, n)."""
    constant = np.log(shares) - betaln(alphas, betas)
    joint: Vector = (
        constant[:, None] + (alphas - 1)[:, None] * log_x + (betas - 1)[:, None] * log_rest
    )
    return np.maximum(joint, np.log(_LEAST_JOINT))
