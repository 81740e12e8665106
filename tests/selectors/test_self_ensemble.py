import numpy as np
import pytest

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection
from noisyselect.selectors.self_ensemble import SELFSelector


def by_the_definition(epochs, labels, momentum):
    """Kept or not, by SELF's moving average, sample by sample; for logs without ties."""
    kept = []
    for i, label in enumerate(labels):
        average = [0.0] * epochs.shape[2]
        for epoch in epochs:
            average = [
                momentum * a + (1 - momentum) * p for a, p in zip(average, epoch[i], strict=True)
            ]
        kept.append(max(range(len(average)), key=average.__getitem__) == label)
    return kept


def fluctuating_log(noise_rate=0.4, memorised=False, seed=0):
    """Predictions that swing from epoch to epoch around the truth, or around the given labels."""
    rng = np.random.default_rng(seed)
    truth = np.arange(2000) % 4
    wrong = rng.random(2000) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, 4, 2000)) % 4, truth)
    logits = 1.5 * np.eye(4)[labels if memorised else truth] + rng.normal(0, 1.5, (10, 2000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    losses = -np.log(probabilities[:, np.arange(2000), labels])
    return TrainingLog(labels=labels, probabilities=probabilities, losses=losses), truth


def test_three_samples_worked_by_hand():
    epochs = [
        [[0.2, 0.8], [0.9, 0.1], [0.5, 0.5]],
        [[0.6, 0.4], [0.8, 0.2], [0.5, 0.5]],
        [[0.1, 0.9], [0.4, 0.6], [0.5, 0.5]],
    ]
    log = TrainingLog(labels=[1, 1, 0], probabilities=epochs)
    # Means over the last two epochs: (0.35, 0.65), (0.6, 0.4), (0.5, 0.5).
    selection = SELFSelector(window=2).select(log)
    assert selection.score == pytest.approx([0.65, 0.4, 0.5])
    assert selection.clean.tolist() == [True, False, True]
    assert selection.reason.tolist() == [
        "given class is likeliest",
        "another class is likelier",
        "given class is likeliest",
    ]
    # With weights 1/3 and 2/3 the second sample has (0.5333, 0.4667).
    assert SELFSelector(window=2, momentum=0.5).select(log).score[1] == pytest.approx(
        0.4667, abs=1e-4
    )


@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.9999])
def test_the_mask_is_that_of_the_moving_average(momentum):
    rng = np.random.default_rng(1)
    epochs, labels = rng.dirichlet(np.ones(4), (6, 250)), rng.integers(0, 4, 250)
    log = TrainingLog(labels=labels, probabilities=epochs)
    got = SELFSelector(window=6, momentum=momentum).select(log)
    assert got.clean.tolist() == by_the_definition(epochs, labels, momentum)


def test_a_log_shorter_than_the_window_uses_what_there_is():
    log, _ = fluctuating_log()
    assert SELFSelector(window=30).select(log) == SELFSelector(window=10).select(log)
    assert SELFSelector(window=3).select(log) == SELFSelector().select(log.last(3))


@pytest.mark.parametrize("selector", [SELFSelector(), SELFSelector(4, 0.8)], ids=repr)
def test_the_contract_is_kept(selector):
    check_selector(selector)


def test_where_predictions_swing_it_is_more_precise_than_small_loss():
    log, truth = fluctuating_log()
    selection = SELFSelector().select(log)
    plain = np.zeros(2000, dtype=bool)
    plain[np.argsort(log.losses[-1])[: len(selection)]] = True
    ours, theirs, last = (
        selection_quality(s, log.labels, truth, 4)
        for s in (selection, Selection(clean=plain), SELFSelector(window=1).select(log))
    )
    assert ours.precision > 0.98 > 0.85 > theirs.precision
    assert ours.auroc > 0.98 > 0.9 > last.auroc


def test_it_fails_where_wrong_labels_are_memorised():
    log, truth = fluctuating_log(memorised=True)
    quality = selection_quality(SELFSelector().select(log), log.labels, truth, 4)
    assert quality.precision < 0.65
    assert abs(quality.auroc - 0.5) < 0.05


def test_equal_probabilities_speak_against_no_label():
    log = TrainingLog(labels=[0, 1, 2], probabilities=np.full((7, 3, 3), 1 / 3))
    with pytest.warns(DegenerateWarning, match="all classes are equally likely"):
        selection = SELFSelector().select(log)
    assert selection.clean.all() and (selection.score == 1).all()


def test_nothing_kept_is_warned_of():
    log = TrainingLog(labels=[1, 1], probabilities=[[[0.9, 0.1], [0.8, 0.2]]])
    with pytest.warns(DegenerateWarning, match="no label is the likeliest class"):
        assert len(SELFSelector().select(log)) == 0


def test_a_single_class_is_its_own_likeliest():
    log = TrainingLog(labels=[0, 0], probabilities=np.ones((1, 2, 1)))
    assert SELFSelector().select(log).clean.all()


def test_a_log_without_probabilities_is_refused():
    with pytest.raises(MissingEvidenceError, match="`probabilities`"):
        SELFSelector().select(TrainingLog(labels=[0, 1], losses=[[0.1, 0.2]]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
        ({"window": 2.5}, "`window` must be at least 1 epoch, got 2.5"),
        ({"momentum": 0.0}, r"`momentum` must lie in \(0, 1\], got 0.0"),
        ({"momentum": float("nan")}, "`momentum` must lie in"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SELFSelector(**option)
