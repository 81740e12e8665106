import math

import numpy as np
import pytest

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection
from noisyselect.selectors.nlnl import NLNLSelector


def believed_log(noise_rate=0.4, memorised=False, seed=0):
    """Probabilities of the given label that swing between epochs, high where it is right."""
    rng = np.random.default_rng(seed)
    truth = np.arange(2000) % 4
    wrong = rng.random(2000) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, 4, 2000)) % 4, truth)
    sure = np.where(wrong & ~np.bool_(memorised), 0.5, 3.0)
    probability = rng.beta(sure, 1.2, (10, 2000)).clip(1e-6, 1)
    return TrainingLog(labels=labels, losses=-np.log(probability)), truth


def test_three_samples_worked_by_hand():
    # Mean probabilities: (0.9 + 0.4) / 2, (0.1 + 0.3) / 2, (0.4 + 0.6) / 2.
    probability = np.array([[0.9, 0.1, 0.4], [0.4, 0.3, 0.6]])
    log = TrainingLog(labels=[0, 1, 2], losses=-np.log(probability))
    selection = NLNLSelector(threshold=0.5 - 1e-12).select(log)
    assert selection.score == pytest.approx([0.65, 0.2, 0.5])
    assert selection.clean.tolist() == [True, False, True]
    assert selection.reason.tolist() == [
        "label is believed",
        "label is not believed",
        "label is believed",
    ]
    # Chance is 1/3.
    assert NLNLSelector(threshold="chance").select(log).clean.tolist() == [True, False, True]
    assert NLNLSelector(threshold=0.2 - 1e-12).select(log).clean.all()
    assert NLNLSelector(window=1).select(log).labelled.tolist() == [2]


def test_the_threshold_is_inclusive():
    log = TrainingLog(labels=[0, 0], losses=[[0.0, 1.0]])
    assert NLNLSelector(threshold=1.0).select(log).labelled.tolist() == [0]


def test_the_mean_is_that_of_plain_loops():
    losses = np.random.default_rng(0).gamma(1.0, 1.0, (13, 150)).astype(np.float32)
    log = TrainingLog(labels=np.arange(150) % 5, losses=losses)
    expected = [sum(math.exp(-float(losses[t, i])) for t in range(3, 13)) / 10 for i in range(150)]
    for threshold, value in ((0.5, 0.5), ("chance", 0.2)):
        selection = NLNLSelector(threshold=threshold).select(log)
        assert selection.score == pytest.approx(expected, abs=1e-12)
        assert selection.clean.tolist() == [p >= value for p in expected]


def test_a_log_shorter_than_the_window_uses_what_there_is():
    log, _ = believed_log()
    assert NLNLSelector().select(log.last(4)) == NLNLSelector(window=4).select(log)


@pytest.mark.parametrize("selector", [NLNLSelector(), NLNLSelector(3, "chance")], ids=repr)
def test_the_contract_is_kept(selector):
    check_selector(selector)


def test_where_probabilities_swing_it_is_more_precise_than_small_loss():
    log, truth = believed_log()
    selection = NLNLSelector().select(log)
    plain = np.zeros(2000, dtype=bool)
    plain[np.argsort(log.losses[-1])[: len(selection)]] = True
    ours, theirs = (
        selection_quality(s, log.labels, truth, 4) for s in (selection, Selection(clean=plain))
    )
    assert ours.precision > 0.97 > 0.9 > theirs.precision


def test_it_fails_where_wrong_labels_are_memorised():
    log, truth = believed_log(memorised=True)
    quality = selection_quality(NLNLSelector().select(log), log.labels, truth, 4)
    assert quality.precision < 0.65
    assert abs(quality.auroc - 0.5) < 0.05


@pytest.mark.parametrize(("loss", "kept"), [(0.2, 3), (2.0, 0)])
def test_equal_losses_are_all_kept_or_all_dropped(loss, kept):
    log = TrainingLog(labels=[0, 1, 0], losses=np.full((2, 3), loss))
    if kept:
        assert len(NLNLSelector().select(log)) == kept
    else:
        with pytest.warns(DegenerateWarning, match=r"no label has an average probability of 0\.5"):
            assert len(NLNLSelector().select(log)) == kept


def test_a_loss_a_digit_below_zero_is_a_probability_of_one():
    log = TrainingLog(labels=[0, 1], losses=[[-1e-7, 1e5]])
    assert NLNLSelector().select(log).score.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
        ({"threshold": 1.1}, r"`threshold` must lie in \[0, 1\] or be 'chance', got 1.1"),
        ({"threshold": float("nan")}, "`threshold` must lie in"),
        ({"threshold": "half"}, "or be 'chance', got 'half'"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        NLNLSelector(**option)
