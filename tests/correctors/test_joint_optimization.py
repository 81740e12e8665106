import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.correctors.joint_optimization import JointOptimizationCorrector


def test_two_samples_worked_by_hand():
    epochs = [[[0.0, 1.0], [0.0, 1.0]], [[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]]
    corrected = JointOptimizationCorrector(window=2).correct(
        TrainingLog(labels=[1, 1], probabilities=epochs)
    )
    assert corrected.probabilities == pytest.approx(np.array([[0.8, 0.2], [0.4, 0.6]]))
    assert corrected.labels.tolist() == [0, 1]


def test_the_soft_labels_are_the_mean_of_a_ring_of_predictions():
    # The authors' program writes epoch t into place t modulo 10, and averages the places.
    rng = np.random.default_rng(0)
    epochs = rng.dirichlet(np.ones(3), (23, 40))
    ring = np.zeros((10, 40, 3))
    for t, epoch in enumerate(epochs):
        ring[t % 10] = epoch
    log = TrainingLog(labels=np.zeros(40, dtype=int), probabilities=epochs)
    corrected = JointOptimizationCorrector().correct(log)
    assert corrected.probabilities == pytest.approx(ring.mean(axis=0), abs=1e-12)
    assert np.array_equal(corrected.labels, ring.mean(axis=0).argmax(axis=1))


def test_a_log_shorter_than_the_window_uses_what_there_is(swinging_log):
    log, _ = swinging_log()
    short = JointOptimizationCorrector().correct(log.last(4))
    assert short == JointOptimizationCorrector(window=4).correct(log)


def test_averages_raise_the_accuracy_of_labels_beyond_that_of_one_prediction(swinging_log):
    log, truth = swinging_log()
    corrected, last = (
        np.mean(JointOptimizationCorrector(window=w).correct(log).labels == truth) for w in (10, 1)
    )
    assert corrected > 0.9 > 0.75 > last
    assert corrected > np.mean(log.labels == truth)


def test_it_fails_where_wrong_labels_are_memorised(swinging_log):
    log, truth = swinging_log(memorised=True)
    corrected = JointOptimizationCorrector().correct(log)
    assert np.mean(corrected.labels == truth) <= np.mean(log.labels == truth) + 0.01


def test_where_all_classes_are_equally_likely_the_given_label_stays():
    log = TrainingLog(labels=[2, 0, 1], probabilities=np.full((3, 3, 3), 1 / 3))
    assert not JointOptimizationCorrector().correct(log).changed.any()


@pytest.mark.parametrize("window", [0, 1.5])
def test_a_window_out_of_range_is_refused(window):
    with pytest.raises(ValueError, match=f"`window` must be at least 1 epoch, got {window}"):
        JointOptimizationCorrector(window=window)
