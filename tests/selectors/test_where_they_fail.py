"""Logs on which our own selectors beat small loss, and those on which they fail, as they say."""

import numpy as np
import pytest

from noisyselect import (
    ConfidentMarginSelector,
    ENNCleaner,
    GMMSelector,
    LossVariationSelector,
    PredictionStabilitySelector,
    TrainingLog,
    VRLVSelector,
)
from noisyselect.metrics import selection_quality

N = 600
TRUTH = np.arange(N) % 3
WRONG = np.random.default_rng(0).permutation(N) < N // 3
LABELS = np.where(WRONG, (TRUTH + 1) % 3, TRUTH)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def auroc(selector, **columns):
    log = TrainingLog(labels=LABELS, n_classes=3, **columns)
    return selection_quality(selector.select(log), LABELS, TRUTH, 3).auroc


def as_many_smallest(losses, n_kept):
    """Return the share of right labels among the smallest losses."""
    return np.mean(~WRONG[np.argsort(losses)[:n_kept]])


def test_neighbours_beat_small_loss_once_wrong_labels_are_learnt_by_heart(rng):
    losses = 0.01 * rng.uniform(0.5, 1.5, (1, N))
    features = 9 * np.eye(3)[TRUTH] + rng.normal(size=(N, 3))
    log = TrainingLog(labels=LABELS, losses=losses, features=features)
    kept = ENNCleaner().select(log).clean
    assert np.mean(~WRONG[kept]) > 0.95
    assert as_many_smallest(losses[-1], kept.sum()) < 0.75


def test_stable_predictions_beat_small_loss_where_wrong_labels_are_fitted_in_turns(rng):
    losses = rng.uniform(0.1, 0.2, (8, N))
    predictions = np.tile(TRUTH, (8, 1))
    fitted = rng.random((8, N)) < 0.5
    predictions[fitted & WRONG] = np.tile(LABELS, (8, 1))[fitted & WRONG]
    log = TrainingLog(labels=LABELS, losses=losses, predictions=predictions)
    kept = PredictionStabilitySelector().select(log).clean
    assert np.mean(~WRONG[kept]) > 0.9
    assert as_many_smallest(losses[-1], kept.sum()) < 0.75


def test_vrlv_keeps_the_hard_class_that_small_loss_starves(rng):
    epoch, hard = np.arange(8)[:, None], TRUTH == 2
    height = np.where(hard, 8.0, 1.0) * np.exp(0.4 * rng.normal(size=N))
    falling = height * np.exp(-0.2 * epoch) * np.exp(0.02 * rng.normal(size=(8, N)))
    swinging = 2.0 * np.exp(-0.05 * epoch) * np.exp(0.5 * rng.normal(size=(8, N)))
    log = TrainingLog(
        labels=LABELS,
        losses=np.where(WRONG, swinging, falling),
        predictions=np.tile(TRUTH, (8, 1)),
        features=9 * np.eye(3)[TRUTH] + rng.normal(size=(N, 3)),
    )
    small, vrlv = GMMSelector().select(log).clean, VRLVSelector().select(log).clean
    assert small[hard & ~WRONG].mean() < 0.2 < 0.5 < vrlv[hard & ~WRONG].mean()
    assert np.mean(~WRONG[vrlv]) >= as_many_smallest(log.losses[-1], vrlv.sum())


def test_small_loss_fails_once_wrong_labels_are_learnt_by_heart(rng):
    early = np.where(WRONG, 3.0, 0.5) * rng.uniform(0.5, 1.5, (1, N))
    late = 0.01 * rng.uniform(0.5, 1.5, (1, N))
    assert auroc(GMMSelector(), losses=early) > 0.95
    assert auroc(GMMSelector(), losses=late) == pytest.approx(0.5, abs=0.06)


def test_small_loss_fails_where_a_class_is_hard(rng):
    hard = TRUTH == 2
    losses = np.where(WRONG, 1.0, np.where(hard, 2.0, 0.2)) * rng.uniform(0.9, 1.1, (1, N))
    kept = GMMSelector().select(TrainingLog(labels=LABELS, losses=losses)).clean
    assert not kept[hard & ~WRONG].any()
    assert kept[~hard & ~WRONG].all()


def test_loss_variation_fails_where_wrong_labels_are_not_learnt_at_all(rng):
    epoch = np.arange(8)[:, None]
    falling = 2 * np.exp(-0.3 * epoch) * np.exp(0.1 * rng.normal(size=(8, N)))
    swinging = 3 * np.exp(-0.1 * epoch) * np.exp(0.5 * rng.normal(size=(8, N)))
    flat = 4 + 1e-4 * rng.normal(size=(8, N))
    learnt = np.where(WRONG, swinging, falling)
    assert auroc(LossVariationSelector(), losses=learnt) > 0.8
    assert auroc(LossVariationSelector(), losses=np.where(WRONG, flat, falling)) < 0.2


def test_prediction_stability_does_not_see_a_wrong_label_that_is_stably_contradicted(rng):
    predictions = np.tile(TRUTH, (8, 1))
    predictions[3, rng.random(N) < 0.2] = 0
    assert auroc(PredictionStabilitySelector(), predictions=predictions) == pytest.approx(
        0.5, abs=0.06
    )


def test_neighbours_that_share_the_mistake_do_not_correct_it(rng):
    # All mistakes are made in one region of class 0, by one labeller.
    mistaken = (TRUTH == 0) & (np.arange(N) < N // 2)
    labels = np.where(mistaken, 1, TRUTH)
    centres = np.array([[0.0, 9.0], [9.0, 0.0], [-9.0, 0.0]])[TRUTH]
    centres[mistaken] = [0.0, -9.0]
    log = TrainingLog(labels=labels, features=centres + rng.normal(size=(N, 2)))
    assert ENNCleaner().select(log).clean.all()


def test_a_class_rarer_than_half_of_the_neighbours_loses_all_its_samples(rng):
    labels = np.where(np.arange(N) < 8, 2, np.arange(N) % 2)
    features = 9 * np.eye(3)[labels] + rng.normal(size=(N, 3))
    with pytest.warns(match="class"):
        kept = ENNCleaner().select(TrainingLog(labels=labels, features=features)).clean
    assert not kept[labels == 2].any()
    assert kept[labels != 2].mean() > 0.95


def test_a_margin_of_probabilities_fails_once_wrong_labels_are_learnt_by_heart(rng):
    sure = rng.uniform(0.9, 1.0, N)[:, None]
    by_heart = sure * np.eye(3)[LABELS] + (1 - sure) / 2 * (1 - np.eye(3)[LABELS])
    by_truth = sure * np.eye(3)[TRUTH] + (1 - sure) / 2 * (1 - np.eye(3)[TRUTH])
    assert auroc(ConfidentMarginSelector(), probabilities=by_truth[None]) == 1
    assert auroc(ConfidentMarginSelector(), probabilities=by_heart[None]) == pytest.approx(
        0.5, abs=0.06
    )


def test_vrlv_keeps_too_much_on_asymmetric_noise_late_in_training(real_log, real_logs):
    answer = VRLVSelector().select(*real_logs)
    quality = selection_quality(answer, real_log["label"], real_log["true"], 10)
    share_right = np.mean(real_log["label"] == real_log["true"])
    assert answer.clean.mean() > share_right + 0.1
    assert quality.precision - share_right < 0.03
