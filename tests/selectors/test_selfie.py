from collections import Counter
from math import ceil, log

import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog
from noisyselect.checks import check_selector, synthetic_log
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.metrics import selection_quality
from noisyselect.selectors.selfie import SELFIESelector


def answer_one_by_one(log_, clean_rate, window, threshold):
    """Mask and new labels (None where not refurbished), sample by sample."""
    n_classes, losses = log_.n_classes, log_.losses[-1]
    batches = log_.batches[-1]
    clean, new = [], []
    for i in range(log_.n_samples):
        rows = [j for j in range(log_.n_samples) if batches[j] == batches[i]]
        n_small = ceil(round(clean_rate * len(rows), 9))
        small = losses[i] <= sorted(losses[rows])[n_small - 1]
        seen = log_.predictions[-window:, i].tolist()
        shares = {label: count / window for label, count in Counter(seen).items()}
        uncertainty = -sum(h * log(h) for h in shares.values()) / log(n_classes)
        if uncertainty <= threshold:
            label = max(shares, key=lambda c: (shares[c], window - seen[::-1].index(c)))
            clean.append(label == log_.labels[i])
            new.append(label)
        else:
            clean.append(small)
            new.append(None)
    return clean, new


def test_four_samples_worked_by_hand():
    # Steady are the first three; of four losses, ceil(0.3 * 4) = 2 are small.
    predictions = [[0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]]
    losses = [[0.1, 0.7, 0.7, 0.7], [0.1, 0.7, 0.7, 0.9], [0.1, 0.9, 0.6, 0.5]]
    log = TrainingLog([0, 1, 1, 1], losses=losses, predictions=predictions)
    selection = SELFIESelector(clean_rate=0.3, window=3).select(log)
    assert selection.clean.tolist() == [True, True, False, True]
    assert selection.score == pytest.approx([1, 2 / 3, 0, 1 / 3])
    assert selection.reason.tolist() == [
        "given class is predicted steadily",
        "given class is predicted steadily",
        "another class is predicted steadily",
        "small loss",
    ]
    few = SELFIESelector(clean_rate=0.25, window=3).select(log)
    assert few.clean.tolist() == [True, True, False, False]
    assert few.reason[3] == "large loss"


@pytest.mark.parametrize(
    ("clean_rate", "window", "threshold"),
    [(0.5, 5, 0.05), (0.7, 5, 0.5), (0.3, 4, 0.6), (1.0, 2, 0.5), (0.61, 12, 1.0)],
)
def test_the_answer_is_that_of_the_definition(clean_rate, window, threshold):
    log, _ = synthetic_log(n_samples=150, overlap=0.7, seed=5)
    expected, new = answer_one_by_one(log, clean_rate, window, threshold)
    selection = SELFIESelector(clean_rate, window, threshold).select(log)
    assert selection.clean.tolist() == expected
    # The case that a label is another than the given one must occur.
    assert any(label not in (None, given) for label, given in zip(new, log.labels, strict=True))


def test_without_batches_the_epoch_is_one():
    log, _ = synthetic_log(n_samples=150)
    plain = TrainingLog(log.labels, losses=log.losses, predictions=log.predictions)
    one = TrainingLog(
        log.labels, losses=log.losses, predictions=log.predictions, batches=np.full((12, 150), 3)
    )
    selector = SELFIESelector(clean_rate=0.5, window=5)
    assert selector.select(plain) == selector.select(one) != selector.select(log)


def test_by_default_the_small_losses_are_as_many_as_those_of_the_mixture():
    log, _ = synthetic_log()
    plain = TrainingLog(log.labels, losses=log.losses, predictions=log.predictions)
    share = GMMSelector().select(plain).clean.mean()
    selector = SELFIESelector(window=5)
    assert selector.select(plain) == SELFIESelector(clean_rate=share, window=5).select(plain)


def hard_samples(memorised_at, n=2000, n_epochs=20, seed=0):
    """A log in which right labels of hard samples have the losses of wrong ones.

    Predictions of right labels are right from epoch 2 on; those of wrong ones are the true class
    until they are memorised.
    """
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 10
    wrong = rng.random(n) < 0.3
    labels = np.where(wrong, (truth + rng.integers(1, 10, n)) % 10, truth)
    losses = rng.gamma(4.0, np.where(wrong | (rng.random(n) < 0.5), 0.3, 0.1), (n_epochs, n))
    epoch = np.arange(n_epochs)[:, None]
    memorised = wrong & (epoch >= memorised_at)
    predictions = np.where(memorised, labels, truth)
    predictions = np.where(epoch < 2, rng.integers(0, 10, (n_epochs, n)), predictions)
    return TrainingLog(labels, losses=losses, predictions=predictions), truth


def test_it_keeps_hard_samples_that_small_loss_mistakes_for_wrong_labels():
    log, truth = hard_samples(memorised_at=20)
    selection = SELFIESelector(clean_rate=0.7).select(log)
    small = log.losses[-1] <= np.sort(log.losses[-1])[len(selection) - 1]
    quality = selection_quality(selection, log.labels, truth, 10)
    assert quality.precision > 0.99 > 0.9 > np.mean((log.labels == truth)[small])
    assert quality.recall > 0.99
    assert quality.auroc > 0.99


def test_it_fails_on_wrong_labels_memorised_before_the_window():
    log, truth = hard_samples(memorised_at=5)
    selection = SELFIESelector(clean_rate=0.7, window=15).select(log)
    assert selection.clean[log.labels != truth].all()


def test_too_few_epochs_are_refused():
    log, _ = synthetic_log()
    with pytest.raises(MissingEvidenceError, match=r"needs 15 epochs of predictions .* got 12"):
        SELFIESelector().select(log)


def test_equal_losses_speak_against_no_label_but_steady_predictions_do():
    losses = np.full((3, 3), 0.7)
    unsteady = TrainingLog([0, 1, 1], losses=losses, predictions=[[0, 1, 0], [0, 0, 0], [0, 1, 1]])
    selector = SELFIESelector(clean_rate=0.5, window=3)
    with pytest.warns(DegenerateWarning, match="SELFIESelector: all losses are equal"):
        selection = selector.select(unsteady)
    assert selection.clean.all()
    assert (selection.score == 1).all()
    steady = TrainingLog([0, 1, 1], losses=losses, predictions=[[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    assert selector.select(steady).clean.tolist() == [True, True, False]


def test_one_class_is_predicted_steadily():
    log = TrainingLog([0, 0], losses=[[0.1, 0.2]] * 2, predictions=[[0, 0]] * 2)
    assert SELFIESelector(clean_rate=0.5, window=2).select(log).clean.all()


@pytest.mark.parametrize(
    "selector", [SELFIESelector(window=5), SELFIESelector(clean_rate=0.6, window=4, threshold=0.6)]
)
def test_the_contract_is_kept(selector):
    check_selector(selector)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": -0.1}, r"`clean_rate` must lie in \(0, 1\], got -0.1"),
        ({"window": 1}, "`window` must be at least 2 epochs, got 1"),
        ({"threshold": 1.5}, r"`threshold` must lie in \[0, 1\], got 1.5"),
        ({"threshold": float("nan")}, "`threshold` must lie in"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SELFIESelector(**option)
