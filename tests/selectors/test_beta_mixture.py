import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.numeric.beta_mixture import fit_two_betas, high_mean_posterior
from noisyselect.selectors.beta_mixture import BetaMixtureSelector


def log_of(losses):
    losses = np.asarray(losses, dtype=float)
    return TrainingLog(labels=np.arange(losses.size) % 2, losses=losses[None], n_classes=2)


def test_two_separate_heaps_worked_by_hand():
    # On [0, 1] the losses are 0, 0, 0, 1, 1: two spikes, as sure as the clipping allows.
    selection = BetaMixtureSelector().select(log_of([0.2, 0.2, 0.2, 3.0, 3.0]))
    assert selection.labelled.tolist() == [0, 1, 2]
    assert selection.score.tolist() == [0.9999] * 3 + [pytest.approx(0.0001)] * 2
    assert np.array_equal(selection.trust, selection.score)
    assert selection.reason.tolist() == ["small loss"] * 3 + ["large loss"] * 2


def test_the_mixture_is_fitted_between_the_percentiles_and_read_off_for_all():
    losses = np.random.default_rng(0).gamma(1.0, 1.0, 1001)
    order = np.sort(losses)
    low, high = order[50], order[950]
    unit = (losses - low) / (high - low)
    mixture = fit_two_betas(unit[(losses >= low) & (losses <= high)])
    expected = np.clip(1 - high_mean_posterior(unit, mixture), 1e-4, 1 - 1e-4)
    selection = BetaMixtureSelector().select(log_of(losses))
    assert selection.score == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(selection.clean, selection.score > 0.5)
    assert BetaMixtureSelector(threshold=0.9).select(log_of(losses)) < selection


def test_the_scale_of_the_losses_does_not_matter():
    losses = np.random.default_rng(1).gamma(1.0, 1.0, 400)
    tiny = BetaMixtureSelector().select(log_of(1e-9 * losses))
    assert tiny.score == pytest.approx(BetaMixtureSelector().select(log_of(losses)).score, abs=1e-9)


def skewed(seed=0):
    """Losses of clean labels crowd at 0, those of wrong ones are large; both are skewed."""
    rng = np.random.default_rng(seed)
    wrong = np.arange(4000) % 5 < 2
    return 6 * np.where(wrong, rng.beta(4.0, 1.6, 4000), rng.beta(0.5, 4.0, 4000)), wrong


def test_skewed_losses_are_split_better_than_by_gaussians():
    losses, wrong = skewed()
    labels = np.arange(4000) % 2
    log = TrainingLog(labels=labels, losses=losses[None])
    betas, gaussians = (
        selection_quality(rule.select(log), labels, labels ^ wrong, 2, losses)
        for rule in (BetaMixtureSelector(), GMMSelector())
    )
    assert betas.recall > gaussians.recall + 0.03
    assert betas.f1 > gaussians.f1 + 0.005
    # The order is that of the losses: of as many smallest ones none is better.
    assert betas.precision == pytest.approx(betas.small_loss_precision)


def test_a_single_heap_is_cut_in_two():
    losses = np.random.default_rng(0).normal(1.0, 0.1, 2000)
    selection = BetaMixtureSelector().select(log_of(losses))
    assert 0.3 < selection.clean.mean() < 0.7


def test_equal_losses_speak_against_no_label():
    with pytest.warns(DegenerateWarning, match="all losses are equal; every label is kept"):
        selection = BetaMixtureSelector().select(log_of([0.7, 0.7, 0.7]))
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_losses_in_the_middle_only_speak_against_no_label():
    # One group on one spot, to the precision of the fit.
    losses = np.r_[0.0, np.full(30, 0.5), 1.0]
    with pytest.warns(DegenerateWarning, match="do not fall into two groups"):
        assert BetaMixtureSelector().select(log_of(losses)).clean.all()


def test_a_few_outliers_beyond_equal_percentiles_are_found():
    losses = np.r_[np.full(98, 0.01), 4.0, 4.1]
    assert BetaMixtureSelector().select(log_of(losses)).unlabelled.tolist() == [98, 99]


@pytest.mark.parametrize("losses", [[1.0], [0.1, 3.0], [0.1, 0.2, 3.0]])
def test_a_few_samples_are_answered(losses):
    if len(losses) == 1:
        with pytest.warns(DegenerateWarning):
            selection = BetaMixtureSelector().select(log_of(losses))
    else:
        selection = BetaMixtureSelector().select(log_of(losses))
    assert selection.clean.tolist() == [loss < 3 for loss in losses]


def test_nothing_kept_is_warned_of():
    losses = np.random.default_rng(0).normal(1.0, 0.1, 500)
    with pytest.warns(DegenerateWarning, match="no posterior exceeds 0.99995; no label is kept"):
        assert len(BetaMixtureSelector(threshold=0.99995).select(log_of(losses))) == 0


@pytest.mark.parametrize("rule", [BetaMixtureSelector(), BetaMixtureSelector(0.7, n_steps=50)])
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"threshold": 1.0}, r"`threshold` must lie in \[0, 1\), got 1.0"),
        ({"threshold": -0.1}, "`threshold` must lie in"),
        ({"n_steps": 0}, "`n_steps` must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        BetaMixtureSelector(**option)
