from math import exp, lgamma, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisyselect.numeric.beta_mixture import TwoBetas, fit_two_betas, high_mean_posterior


def density(x, a, b):
    return exp(lgamma(a + b) - lgamma(a) - lgamma(b) + (a - 1) * log(x) + (b - 1) * log(1 - x))


def slow_posterior(x, shares, shapes):
    low, high = (shares[k] * density(x, *shapes[k]) for k in (0, 1))
    return high / (low + high)


def slow_fit(values, n_steps=10):
    """The printed steps, value by value."""
    values = [min(max(x, 1e-3), 1 - 1e-3) for x in values]
    shares, shapes = [0.5, 0.5], [(1.0, 2.0), (2.0, 1.0)]
    for _ in range(n_steps):
        weights = []
        for x in values:
            joint = [max(shares[k] * density(x, *shapes[k]), 1e-12) for k in (0, 1)]
            weights.append([j / sum(joint) for j in joint])
        totals = [sum(w[k] for w in weights) for k in (0, 1)]
        for k in (0, 1):
            m = sum(w[k] * x for w, x in zip(weights, values, strict=True)) / totals[k]
            v = sum(w[k] * (x - m) ** 2 for w, x in zip(weights, values, strict=True)) / totals[k]
            a = m * (m * (1 - m) / max(v, 1e-6) - 1)
            shapes[k] = (a, a * (1 - m) / m)
        shares = [total / sum(totals) for total in totals]
    return shares, shapes


def two_heaps(seed, n=300):
    rng = np.random.default_rng(seed)
    n_low = round(n * rng.uniform(0.3, 0.8))
    low = rng.beta(rng.uniform(1, 3), rng.uniform(6, 15), n_low)
    return np.concatenate([low, rng.beta(rng.uniform(4, 9), rng.uniform(2, 5), n - n_low)])


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_that_of_the_slow_oracle(seed):
    values = two_heaps(seed)
    shares, shapes = slow_fit(values)
    fit = fit_two_betas(values)
    assert fit.shares == pytest.approx(shares, rel=1e-9)
    assert fit.alphas == pytest.approx([a for a, _ in shapes], rel=1e-9)
    assert fit.betas == pytest.approx([b for _, b in shapes], rel=1e-9)
    # Where the peak of the upper component has not been reached, the posterior is Bayes' rule.
    below = values < fit.means[1]
    expected = [slow_posterior(min(max(x, 1e-3), 1 - 1e-3), shares, shapes) for x in values[below]]
    assert high_mean_posterior(values, fit)[below] == pytest.approx(expected, abs=1e-8)


def test_known_distributions_are_found_again():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.beta(2, 12, 60_000), rng.beta(8, 3, 40_000)])
    fit = fit_two_betas(values, n_steps=200)
    assert fit.shares == pytest.approx([0.6, 0.4], abs=0.01)
    assert fit.alphas == pytest.approx([2, 8], rel=0.05)
    assert fit.betas == pytest.approx([12, 3], rel=0.05)


def test_one_step_worked_by_hand():
    # The first weights of Beta(1, 2) and Beta(2, 1) are 1 - x and x; 0.25 and 0.75 have means
    # 0.375 and 0.625, variances 3/64, and m (1 - m) = 15/64.
    fit = fit_two_betas(np.array([0.25, 0.75]), n_steps=1)
    assert fit.shares == pytest.approx([0.5, 0.5])
    assert fit.alphas == pytest.approx([1.5, 2.5])
    assert fit.betas == pytest.approx([2.5, 1.5])
    assert fit.means == pytest.approx([0.375, 0.625])


def test_the_component_with_the_larger_mean_is_the_second_whichever_the_fit_makes_it():
    # The fit starts with the second component above, but it ends on the narrow heap, with 0 and 1
    # for the first one, whose mean is the larger.
    values = np.r_[np.full(50, 0.0), np.full(100, 1.0), np.linspace(0.45, 0.65, 150)]
    shares, shapes = slow_fit(values, n_steps=30)
    raw_means = [a / (a + b) for a, b in shapes]
    assert raw_means[0] > raw_means[1] + 0.1
    fit = fit_two_betas(values, n_steps=30)
    assert fit.means == pytest.approx(raw_means[::-1])
    assert fit.shares == pytest.approx(shares[::-1])


def test_the_posterior_stays_at_its_peak_above_it_but_not_at_one_below_the_mean():
    # The lower component is the wider one, and by Bayes' rule wins the largest values back.
    mixture = TwoBetas(np.array([0.6, 0.4]), np.array([1.0, 30.0]), np.array([1.5, 12.0]), False)
    grid = np.linspace(0.001, 0.999, 501)
    posterior = high_mean_posterior(grid, mixture)
    shapes = list(zip(mixture.alphas, mixture.betas, strict=True))
    bayes = np.array([slow_posterior(x, mixture.shares, shapes) for x in grid])
    peak = np.argmax(bayes)
    assert mixture.means[1] < grid[peak] < 0.9
    assert bayes[-5] < 0.1
    assert posterior[:peak] == pytest.approx(bayes[:peak], abs=1e-6)
    assert (posterior[peak:] == posterior[peak]).all()
    # With a wide upper component the peak of Bayes' rule is at 0.
    wide = TwoBetas(np.array([0.6, 0.4]), np.array([8.0, 0.3]), np.array([30.0, 0.35]), False)
    posterior = high_mean_posterior(grid, wide)
    assert posterior[0] > 0.99
    assert posterior[100] < 0.1
    assert posterior[400] > 0.99


@pytest.mark.parametrize("values", [[0.5], [0.4, 0.4, 0.4], [0.0, 0.0], [1.0]])
def test_equal_values_collapse_and_speak_against_none(values):
    fit = fit_two_betas(np.array(values))
    assert fit.collapsed
    assert high_mean_posterior(np.array(values), fit).tolist() == [0.0] * len(values)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_any_values_give_finite_shapes_and_probabilities(values, n_steps):
    fit = fit_two_betas(np.array(values), n_steps)
    for shape in (fit.alphas, fit.betas):
        assert (np.isfinite(shape) & (shape > 0)).all()
    posterior = high_mean_posterior(np.array(values), fit)
    assert ((posterior >= 0) & (posterior <= 1)).all()
