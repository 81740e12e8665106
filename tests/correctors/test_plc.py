import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.correctors.plc import PLCCorrector


def by_the_definition(epochs, given, delta, increment, window, rounds):
    """The labels after every round, sample by sample, and the thresholds on the way."""
    labels, thresholds = list(given), []
    first = max(window, len(epochs) - rounds + 1)
    for stop in range(first, len(epochs) + 1):
        thresholds.append(delta)
        changed = 0
        for i in range(len(labels)):
            mean = [sum(e[i][c] for e in epochs[stop - window : stop]) / window for c in range(4)]
            if mean[labels[i]] / max(mean) < delta:
                labels[i] = mean.index(max(mean))
                changed += 1
        if changed < 0.001 * len(labels):
            delta = min(0.9, delta + increment)
    return labels, thresholds


def test_two_rounds_worked_by_hand():
    # The first round, on the first epoch: ratios 0.25, 0.67 and 1; the first sample changes. The
    # second: its new label has the ratio 0.11 and changes again; the second has 0.43 and stays.
    epochs = [
        [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]],
        [[0.1, 0.9], [0.7, 0.3], [0.1, 0.9]],
    ]
    log = TrainingLog(labels=[1, 1, 1], probabilities=epochs)
    assert PLCCorrector(window=1, rounds=2).correct(log).labels.tolist() == [1, 1, 1]
    assert PLCCorrector(window=1, rounds=1).correct(log.until(1)).labels.tolist() == [0, 1, 1]
    soft = PLCCorrector(delta=0.5, window=1, rounds=1).correct(log).probabilities
    assert soft.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_the_threshold_rises_where_nothing_changes():
    # The ratio is 0.5: replaced in the round that follows three without a change.
    log = TrainingLog(labels=[1], probabilities=np.tile([[[2 / 3, 1 / 3]]], (9, 1, 1)))
    for rounds, label in ((1, 1), (3, 1), (4, 0)):
        assert PLCCorrector(window=1, rounds=rounds).correct(log).labels.tolist() == [label]
    # It stops at 0.9.
    log = TrainingLog(labels=[1], probabilities=np.tile([[[0.52, 0.48]]], (30, 1, 1)))
    assert not PLCCorrector(window=1, rounds=30).correct(log).changed.any()


@pytest.mark.parametrize(
    ("delta", "increment", "window", "rounds"),
    [(0.3, 0.1, 5, 10), (0.2, 0.05, 3, 20), (0.9, 0.0, 1, 4), (0.05, 0.3, 6, 1)],
)
def test_the_labels_are_those_of_plain_loops(delta, increment, window, rounds):
    rng = np.random.default_rng(0)
    epochs = rng.dirichlet(np.ones(4), (1, 300)) + 0.1 * rng.dirichlet(np.ones(4), (15, 300))
    epochs = epochs / epochs.sum(axis=2, keepdims=True)
    labels = rng.integers(0, 4, 300)
    options = {"delta": delta, "increment": increment, "window": window, "rounds": rounds}
    expected, thresholds = by_the_definition(epochs.tolist(), labels, **options)
    assert len(thresholds) == min(rounds, 16 - window)
    log = TrainingLog(labels=labels, probabilities=epochs)
    assert PLCCorrector(**options).correct(log).labels.tolist() == expected


def test_fewer_epochs_than_the_window_are_one_round(swinging_log):
    log, _ = swinging_log(n_epochs=3)
    assert PLCCorrector().correct(log) == PLCCorrector(window=3, rounds=1).correct(log)


def test_it_raises_the_accuracy_of_labels(swinging_log):
    log, truth = swinging_log()
    corrected = PLCCorrector().correct(log)
    assert np.mean(corrected.labels == truth) > 0.9
    assert np.mean(log.probabilities[-1].argmax(axis=1) == truth) < 0.75


def test_it_fails_where_wrong_labels_are_memorised(swinging_log):
    log, truth = swinging_log(memorised=True)
    corrected = PLCCorrector().correct(log)
    assert np.mean(corrected.labels == truth) <= np.mean(log.labels == truth) + 0.01


def test_it_fails_where_a_hard_class_is_mistaken_with_confidence():
    log = TrainingLog(labels=[0] * 50, probabilities=np.full((6, 50, 2), [0.1, 0.9]))
    assert PLCCorrector().correct(log).changed.all()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"delta": 0.0}, r"`delta` must lie in \(0, 0.9\], got 0.0"),
        ({"delta": 0.95}, "`delta` must lie in"),
        ({"increment": -0.1}, "`increment` must be at least 0, got -0.1"),
        ({"increment": float("nan")}, "`increment` must be at least 0"),
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
        ({"rounds": 0}, "`rounds` must be at least 1 epoch, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        PLCCorrector(**option)
