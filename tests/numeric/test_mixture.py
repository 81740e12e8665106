import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from noisyselect.numeric import mixture
from noisyselect.numeric.mixture import (
    fit_in_few_steps,
    fit_two_gaussians,
    low_mean_posterior,
    low_mean_posteriors,
    unit_interval,
)

_FIT = partial(fit_in_few_steps, reg_covar=1e-6)


def reference_posterior(values, reg_covar=5e-4):
    """scikit-learn, fitted to convergence."""
    model = GaussianMixture(2, reg_covar=reg_covar, tol=1e-9, max_iter=20_000, random_state=0)
    model.fit(values[:, None])
    return model.predict_proba(values[:, None])[:, model.means_.argmin()]


def losses_of(rng, n_clean, n_wrong, overlap):
    """Exponential-like small losses and a broad bump of large ones, as training shows them."""
    clean = rng.gamma(1.0, 0.3, n_clean)
    wrong = rng.normal(3.0 - overlap, 0.8, n_wrong).clip(0)
    return unit_interval(np.concatenate([clean, wrong]))


def best_split(values):
    """Return which values lie below the cut of least squares, by trying all of them."""
    cuts = np.unique(values)[1:]
    squares = [
        sum(part.var() * part.size for part in (values[values < cut], values[values >= cut]))
        for cut in cuts
    ]
    return values < cuts[int(np.argmin(squares))]


def stopped_posterior(values, reg_covar, tol, max_iter):
    """scikit-learn, from the best split; what it is told of when to stop is what we are told."""
    low = best_split(values)
    parts = [values[low], values[~low]]
    model = GaussianMixture(
        2,
        reg_covar=reg_covar,
        tol=tol,
        max_iter=max_iter,
        weights_init=[part.size / values.size for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / (part.var() + reg_covar)]] for part in parts],
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values[:, None])
    return model.predict_proba(values[:, None])[:, model.means_.argmin()]


@pytest.mark.parametrize("overlap", [0.0, 0.8, 1.6, 2.6])
@pytest.mark.parametrize(
    ("reg_covar", "tol", "max_iter"),
    [(5e-4, 1e-2, 10), (1e-6, 1e-3, 100), (5e-4, 1e-12, 3), (5e-4, 1e-5, 1000)],
)
def test_few_steps_are_those_of_scikit_learn_from_the_best_split(overlap, reg_covar, tol, max_iter):
    values = losses_of(np.random.default_rng(4), 1200, 800, overlap)
    ours = low_mean_posterior(values, fit_in_few_steps(values, reg_covar, tol, max_iter))
    assert ours == pytest.approx(stopped_posterior(values, reg_covar, tol, max_iter), abs=1e-9)


@pytest.mark.parametrize("overlap", [0.0, 0.8, 1.6, 2.6])
def test_bins_move_few_steps_hardly(overlap):
    values = losses_of(np.random.default_rng(5), 6000, 4000, overlap)
    ours = low_mean_posterior(values, fit_in_few_steps(values))
    theirs = stopped_posterior(values, 5e-4, 1e-2, 10)
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.mean((ours > 0.5) != (theirs > 0.5)) < 1e-3


def test_few_steps_tell_apart_what_a_fit_that_goes_on_does_not():
    # Wide heaps, close to each other, most labels wrong: what DivideMix sees at 80 % noise.
    rng = np.random.default_rng(1)
    wrong = np.arange(20_000) < 15_000
    values = unit_interval(rng.normal(np.where(wrong, 2.9, 2.0), 0.7))
    kept = low_mean_posterior(values, fit_in_few_steps(values)) > 0.5
    assert 0.4 < kept.mean() < 0.6
    assert np.mean(~wrong[kept]) > 0.38 and np.mean(kept[~wrong]) > 0.75
    assert fit_two_gaussians(values).shares.min() < 0.1


@pytest.mark.parametrize("overlap", [0.0, 0.8, 1.6])
@pytest.mark.parametrize("n", [300, 4096, 60_000])
def test_the_split_is_that_of_scikit_learn_fitted_to_convergence(n, overlap):
    values = losses_of(np.random.default_rng(n), n * 2 // 3, n - n * 2 // 3, overlap)
    ours = low_mean_posterior(values, fit_two_gaussians(values))
    assert np.mean((ours > 0.5) != (reference_posterior(values) > 0.5)) <= 2e-4


def test_the_posterior_is_that_of_scikit_learn():
    values = losses_of(np.random.default_rng(0), 2000, 1000, 0.5)
    ours = low_mean_posterior(values, fit_two_gaussians(values))
    assert np.abs(ours - reference_posterior(values)).max() < 1e-3


def test_binning_moves_no_parameter_measurably(monkeypatch):
    values = losses_of(np.random.default_rng(1), 30_000, 20_000, 0.8)
    binned = fit_two_gaussians(values)
    monkeypatch.setattr("noisyselect.numeric.mixture._N_BINS", values.size)
    exact = fit_two_gaussians(values)
    for name in ("shares", "means", "variances"):
        assert getattr(binned, name) == pytest.approx(getattr(exact, name), abs=2e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.8, 1.6, 2.6])
def test_extrapolation_finds_what_plain_steps_find_in_a_fraction_of_them(overlap, monkeypatch):
    values = losses_of(np.random.default_rng(2), 3000, 2000, overlap)
    steps, maximise = [], mixture._maximise
    monkeypatch.setattr(mixture, "_maximise", lambda *given: steps.append(1) or maximise(*given))
    quick, n_quick = fit_two_gaussians(values), len(steps)
    monkeypatch.setattr(mixture, "_extrapolated", lambda _, first, step, reg_covar: step(first))
    plain = fit_two_gaussians(values, tol=1e-12)
    assert n_quick < (len(steps) - n_quick) / 2
    for name in ("shares", "means", "variances"):
        assert getattr(quick, name) == pytest.approx(getattr(plain, name), abs=1e-6)


def test_the_mixture_needs_at_most_three_times_the_memory_of_its_losses():
    losses = np.random.default_rng(0).gamma(1.0, 1.0, 1_000_000).astype(np.float32)
    tracemalloc.start()
    values = unit_interval(losses)
    values = low_mean_posterior(values, fit_in_few_steps(values))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Losses of one epoch: their unit interval and the posterior are what is handed out.
    assert peak <= 4.2 * losses.nbytes


def test_two_well_separated_heaps_worked_by_hand():
    # Shares 3/5 and 2/5, means 0.1 and 0.9, variances 0 plus the regulariser.
    fit = fit_two_gaussians(np.array([0.1, 0.1, 0.1, 0.9, 0.9]), reg_covar=1e-4)
    assert fit.shares == pytest.approx([0.6, 0.4])
    assert fit.means == pytest.approx([0.1, 0.9])
    assert fit.variances == pytest.approx([1e-4, 1e-4])
    assert not fit.collapsed


@pytest.mark.parametrize("fit", [fit_two_gaussians, fit_in_few_steps])
@pytest.mark.parametrize("values", [[0.0], [0.4, 0.4, 0.4]])
def test_equal_values_collapse_into_one_component_that_holds_all(values, fit):
    fit = fit(np.array(values))
    assert fit.collapsed
    assert low_mean_posterior(np.array(values), fit).tolist() == [1.0] * len(values)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_finite_values_give_finite_probabilities(values):
    scaled = unit_interval(np.array(values))
    assert ((scaled >= 0) & (scaled <= 1)).all()
    for fit in (fit_two_gaussians, fit_in_few_steps):
        posterior = low_mean_posterior(scaled, fit(scaled))
        assert ((posterior >= 0) & (posterior <= 1)).all()


def test_each_group_is_fitted_by_itself():
    rng = np.random.default_rng(0)
    groups = rng.choice([0, 2, 3], 300)
    values = rng.normal(np.where(rng.random(300) < 0.4, 3.0, 0.0) + groups, 0.5)
    posterior, collapsed = low_mean_posteriors(values, groups, _FIT)
    assert collapsed.size == 0
    for group in (0, 2, 3):
        own = unit_interval(values[groups == group])
        expected = low_mean_posterior(own, _FIT(own))
        assert np.array_equal(posterior[groups == group], expected)


def test_a_group_of_equal_or_of_fewer_than_five_values_has_no_two_components():
    groups = np.repeat([1, 4, 6], [20, 4, 6])
    values = np.concatenate([np.full(20, 0.3), [0, 0, 1, 1], [0, 0, 0.1, 1, 1, 1.1]])
    posterior, collapsed = low_mean_posteriors(values, groups, _FIT)
    assert collapsed.tolist() == [1, 4]
    assert (posterior[:24] == 1).all()
    assert (posterior[24:] > 0.5).tolist() == [True] * 3 + [False] * 3
