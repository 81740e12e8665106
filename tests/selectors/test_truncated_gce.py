import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.truncated_gce import TruncatedGCESelector


def log_of(losses, labels=None):
    losses = np.asarray(losses, dtype=float)
    labels = np.zeros(losses.size, dtype=int) if labels is None else labels
    return TrainingLog(labels=labels, losses=losses[None], n_classes=2)


def test_four_probabilities_worked_by_hand():
    probabilities = [0.9, 0.51, 0.5, 0.1]
    selection = TruncatedGCESelector().select(log_of(-np.log(probabilities)))
    assert selection.score == pytest.approx(probabilities)
    assert selection.weights.tolist() == [1, 1, 0, 0]
    assert selection.reason[:3].tolist() == ["probable label", "probable label", "improbable label"]


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_weights_are_those_of_the_comparison_of_losses(q):
    # As the published code has it: a weight where L_q(k) exceeds L_q(p).
    probabilities = np.random.default_rng(0).uniform(0.01, 1, 200)
    expected = [(1 - 0.3**q) / q > (1 - p**q) / q for p in probabilities]
    got = TruncatedGCESelector(k=0.3).select(log_of(-np.log(probabilities)))
    assert got.clean.tolist() == expected


def test_wrong_labels_learnt_halfway_are_dropped_where_a_mixture_takes_them_in():
    # The largest losses are a heap of their own, with which the mixture is content.
    rng = np.random.default_rng(0)
    wrong = np.arange(3000) % 10 < 4
    far = np.arange(3000) % 10 < 2
    losses = np.select([far, wrong], [6.0, 1.2], 0.2) * np.exp(0.2 * rng.normal(size=3000))
    labels = np.arange(3000) % 2
    log = log_of(losses, labels)
    fixed, mixture = (
        selection_quality(rule.select(log), labels, labels ^ wrong, 2, losses)
        for rule in (TruncatedGCESelector(), GMMSelector())
    )
    assert fixed.precision > 0.95 > 0.8 > mixture.precision
    assert fixed.f1 > mixture.f1 + 0.05
    # Of as many smallest losses none is better: the rule says how many, not which.
    assert fixed.precision == fixed.small_loss_precision


def test_an_unsure_network_has_next_to_nothing_kept():
    # Right labels of 100 classes early in training: likelier than by chance, but not than 0.5.
    losses = np.random.default_rng(0).normal(3.0, 0.5, 1000)
    with pytest.warns(DegenerateWarning, match=r"probability above 0.5; none is kept"):
        assert len(TruncatedGCESelector().select(log_of(losses))) == 0
    assert len(TruncatedGCESelector(k=0.01).select(log_of(losses))) > 990


@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_equal_losses_are_all_kept_or_all_dropped(n_samples):
    small = TruncatedGCESelector().select(log_of(np.full(n_samples, 0.1)))
    assert small.clean.all()
    with pytest.warns(DegenerateWarning, match="none is kept"):
        assert len(TruncatedGCESelector().select(log_of(np.full(n_samples, 1.0)))) == 0


def test_a_loss_of_a_little_less_than_0_has_probability_1():
    assert TruncatedGCESelector().select(log_of([-1e-7, 0.0])).score.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rule", [TruncatedGCESelector(), TruncatedGCESelector(k=0.1)])
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize("k", [-0.1, 1.0, float("nan")])
def test_a_constant_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match=r"`k` must lie in \[0, 1\)"):
        TruncatedGCESelector(k=k)
