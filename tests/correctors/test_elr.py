import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.correctors.elr import ELRCorrector


def test_two_samples_worked_by_hand():
    # Weights 1/3 and 2/3.
    epochs = [[[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.15, 0.85]]]
    corrected = ELRCorrector(beta=0.5).correct(TrainingLog(labels=[1, 1], probabilities=epochs))
    assert corrected.probabilities == pytest.approx(np.array([[0.7, 0.3], [0.4, 0.6]]))
    assert corrected.labels.tolist() == [0, 1]


@pytest.mark.parametrize(("beta", "window"), [(0.7, 10), (0.9, 4)])
def test_the_targets_are_those_of_the_update_after_every_epoch(beta, window):
    rng = np.random.default_rng(0)
    epochs = rng.dirichlet(np.full(4, 0.05), (12, 60)).astype(np.float32)
    assert (epochs < 1e-4).any()
    log = TrainingLog(labels=rng.integers(0, 4, 60), probabilities=epochs)
    corrected = ELRCorrector(beta, window).correct(log)
    for i in range(60):
        target = [0.0] * 4
        for epoch in epochs[-window:]:
            clipped = [min(max(float(p), 1e-4), 1 - 1e-4) for p in epoch[i]]
            target = [
                beta * t + (1 - beta) * p / sum(clipped)
                for t, p in zip(target, clipped, strict=True)
            ]
        expected = [t / sum(target) for t in target]
        assert corrected.probabilities[i] == pytest.approx(expected, abs=1e-6)
    assert (corrected.probabilities > 9e-5).all()


def test_with_a_peer_the_targets_are_the_other_network_s(swinging_log):
    log, _ = swinging_log()
    peer = TrainingLog(labels=log.labels, probabilities=swinging_log(seed=1)[0].probabilities)
    assert ELRCorrector().correct(log, peer) == ELRCorrector().correct(peer)


def test_it_raises_the_accuracy_of_labels_beyond_that_of_one_prediction(swinging_log):
    log, truth = swinging_log()
    corrected = ELRCorrector(beta=0.9).correct(log)
    assert np.mean(corrected.labels == truth) > 0.9
    assert np.mean(log.probabilities[-1].argmax(axis=1) == truth) < 0.75


def test_it_fails_where_wrong_labels_are_memorised(swinging_log):
    log, truth = swinging_log(memorised=True)
    corrected = ELRCorrector().correct(log)
    assert np.mean(corrected.labels == truth) <= np.mean(log.labels == truth) + 0.01


def test_the_log_is_not_clipped():
    probabilities = np.array([[[1.0, 0.0]]])
    ELRCorrector().correct(TrainingLog(labels=[0], probabilities=probabilities))
    assert probabilities.tolist() == [[[1.0, 0.0]]]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"beta": 1.0}, r"`beta` must lie in \(0, 1\), got 1.0"),
        ({"beta": float("nan")}, "`beta` must lie in"),
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ELRCorrector(**option)
