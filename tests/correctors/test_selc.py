import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.correctors.selc import SELCCorrector


def test_two_samples_worked_by_hand():
    # (0, 1) -> 0.5 (0, 1) + 0.5 (0.9, 0.1) = (0.45, 0.55) -> (0.675, 0.325), and
    # (0, 1) -> (0.1, 0.9) -> (0.15, 0.85).
    epochs = [[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.2, 0.8]]]
    log = TrainingLog(labels=[1, 1], probabilities=epochs)
    corrected = SELCCorrector(alpha=0.5).correct(log)
    assert corrected.probabilities == pytest.approx(np.array([[0.675, 0.325], [0.15, 0.85]]))
    assert corrected.labels.tolist() == [0, 1]
    one = SELCCorrector(alpha=0.5, window=1).correct(log)
    assert one.probabilities == pytest.approx(np.array([[0.45, 0.55], [0.1, 0.9]]))


@pytest.mark.parametrize(("alpha", "window"), [(0.9, 20), (0.6, 7)])
def test_the_soft_labels_are_those_of_the_update_after_every_epoch(alpha, window):
    rng = np.random.default_rng(0)
    epochs, labels = rng.dirichlet(np.ones(4), (12, 60)), rng.integers(0, 4, 60)
    for i, label in enumerate(labels):
        soft = [float(c == label) for c in range(4)]
        for epoch in epochs[-window:]:
            soft = [alpha * s + (1 - alpha) * p for s, p in zip(soft, epoch[i], strict=True)]
        log = TrainingLog(labels=labels, probabilities=epochs)
        got = SELCCorrector(alpha, window).correct(log).probabilities[i]
        assert got == pytest.approx(soft, abs=1e-12)


def test_it_raises_the_accuracy_of_labels_beyond_that_of_one_prediction(swinging_log):
    log, truth = swinging_log()
    corrected = SELCCorrector(alpha=0.8).correct(log)
    assert np.mean(corrected.labels == truth) > 0.9
    assert np.mean(log.probabilities[-1].argmax(axis=1) == truth) < 0.75


def test_it_fails_where_the_window_begins_after_wrong_labels_are_memorised(swinging_log):
    log, truth = swinging_log(memorised=True)
    corrected = SELCCorrector(alpha=0.8).correct(log)
    assert np.mean(corrected.labels == truth) <= np.mean(log.labels == truth) + 0.01


def test_after_few_epochs_no_label_has_changed(swinging_log):
    log, _ = swinging_log(n_epochs=6)
    assert not SELCCorrector().correct(log).changed.any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"alpha": 1.0}, r"`alpha` must lie in \(0, 1\), got 1.0"),
        ({"alpha": 0.0}, "`alpha` must lie in"),
        ({"alpha": float("nan")}, "`alpha` must lie in"),
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SELCCorrector(**option)
