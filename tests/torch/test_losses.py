import math

import pytest
import torch

from noisyselect.torch.losses import (
    negative_entropy,
    prior_divergence,
    soft_cross_entropy,
    squared_error,
)

UNIFORM = torch.zeros(4, 5)


def logits_of(*probabilities):
    return torch.tensor(probabilities).log()


def test_the_negative_entropy_of_a_uniform_prediction_is_minus_log_n_classes():
    assert negative_entropy(UNIFORM).item() == pytest.approx(-math.log(5))


def test_confident_predictions_have_a_larger_negative_entropy():
    assert negative_entropy(UNIFORM * 0 + torch.eye(5)[:4] * 9) > negative_entropy(UNIFORM)


def test_soft_cross_entropy_with_hard_targets_is_cross_entropy():
    logits, labels = (
        torch.randn(6, 3, generator=torch.Generator().manual_seed(0)),
        [0, 1, 2, 2, 1, 0],
    )
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    assert soft_cross_entropy(logits, torch.eye(3)[labels]).item() == pytest.approx(expected.item())


def test_a_mixed_target_weighs_the_mix_of_its_classes_weights():
    # -log 0.5 = 0.693 for either class; weights 0.75 * 2 + 0.25 * 4 = 2.5.
    loss = soft_cross_entropy(
        logits_of([0.5, 0.5]), torch.tensor([[0.75, 0.25]]), torch.tensor([2.0, 4.0])
    )
    assert loss.item() == pytest.approx(2.5 * math.log(2))


def test_squared_error_is_a_mean_over_rows_and_classes():
    error = squared_error(logits_of([0.5, 0.5], [0.25, 0.75]), torch.tensor([[1.0, 0.0]] * 2))
    assert error.item() == pytest.approx((0.25 + 0.25 + 0.5625 + 0.5625) / 4)


def test_prior_divergence_is_that_of_the_uniform_from_the_mean_prediction():
    mean = (0.375, 0.625)
    expected = sum(0.5 * math.log(0.5 / p) for p in mean)
    divergence = prior_divergence(logits_of([0.5, 0.5], [0.25, 0.75]))
    assert divergence.item() == pytest.approx(expected, rel=1e-5)
    assert prior_divergence(UNIFORM).item() == pytest.approx(0, abs=1e-6)


def test_a_class_that_nobody_predicts_does_not_make_the_divergence_infinite():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    divergence = prior_divergence(logits)
    divergence.backward()
    assert divergence.isfinite()
    assert logits.grad.isfinite().all()
