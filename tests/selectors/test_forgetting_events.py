import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.metrics import selection_quality
from noisyselect.selectors.forgetting_events import ForgettingEventsSelector


def log_of(learnt, losses=None, labels=None):
    """The log in which a sample is predicted as labelled where `learnt`."""
    learnt = np.asarray(learnt, dtype=bool)
    labels = np.arange(learnt.shape[1]) % 3 if labels is None else labels
    predictions = np.where(learnt, labels, (labels + 1) % 3)
    return TrainingLog(labels=labels, predictions=predictions, losses=losses, n_classes=3)


def count(trend):
    """Events of one sample, as a walk through its epochs; a large number where never learnt."""
    known, events = False, 0
    for right in trend:
        events += known and not right
        known = right
    return events if any(trend) else 1000


def test_four_samples_worked_by_hand():
    # 0 events and 4 epochs, 0 and 3, 1 and 2, never.
    learnt = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]]).T
    selection = ForgettingEventsSelector(clean_rate=0.75).select(log_of(learnt))
    assert selection.clean.tolist() == [True, True, True, False]
    assert selection.score == pytest.approx([1, 2 / 3, 1 / 3, 0])
    strict = ForgettingEventsSelector(clean_rate=0.5).select(log_of(learnt))
    assert strict.reason.tolist() == ["remembered", "remembered", "forgotten", "never learnt"]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_that_of_the_walk_through_the_epochs(seed):
    rng = np.random.default_rng(seed)
    learnt = rng.random((9, 60)) < rng.uniform(0, 1, 60)
    for window in (200, 5):
        trends = learnt[-window:].T.tolist()
        keys = [(count(trend), -sum(trend)) for trend in trends]
        cut = sorted(keys)[round(0.6 * 60) - 1]
        got = ForgettingEventsSelector(clean_rate=0.6, window=window).select(log_of(learnt))
        assert got.clean.tolist() == [key <= cut for key in keys]
        for a in range(20):
            for b in range(20):
                assert (got.score[a] > got.score[b]) == (keys[a] < keys[b])


def test_where_the_cut_falls_among_samples_alike_all_of_them_are_kept():
    learnt = np.array([[1, 1], [0, 1], [0, 1], [0, 1], [1, 0]]).T
    selection = ForgettingEventsSelector(clean_rate=0.4).select(log_of(learnt))
    assert selection.clean.tolist() == [True, True, True, True, False]


def swinging_run():
    """Wrong labels are learnt and forgotten; in the last epoch all are learnt by heart."""
    rng = np.random.default_rng(0)
    wrong = np.arange(3000) % 10 < 3
    learnt = rng.random((20, 3000)) < np.where(wrong, 0.4, 0.97)
    learnt[-1] = True
    return learnt, 0.01 * rng.gamma(1.0, 1.0, learnt.shape), wrong


def test_forgetting_tells_where_the_last_losses_do_not():
    learnt, losses, wrong = swinging_run()
    labels = np.arange(3000) % 3
    quality = selection_quality(
        ForgettingEventsSelector(clean_rate=0.7).select(log_of(learnt, losses, labels)),
        labels,
        np.where(wrong, (labels + 1) % 3, labels),
        3,
        losses[-1],
    )
    assert quality.precision > 0.97 > 0.75 > quality.small_loss_precision
    assert quality.auroc > 0.97


def test_wrong_labels_learnt_quickly_are_kept_and_hard_right_ones_dropped():
    rng = np.random.default_rng(0)
    wrong, hard = np.arange(1000) % 10 < 3, np.arange(1000) % 10 > 6
    learnt = (rng.random((12, 1000)) < 0.6) | ~hard
    selection = ForgettingEventsSelector(clean_rate=0.7).select(log_of(learnt))
    assert selection.clean[wrong].all()
    assert selection.clean[hard].mean() < 0.1


def test_by_default_about_as_many_are_kept_as_the_mixture_keeps():
    learnt, losses, wrong = swinging_run()
    log = log_of(learnt, losses + wrong)
    n_mixture = len(GMMSelector().select(log))
    assert n_mixture <= len(ForgettingEventsSelector().select(log)) <= 1.1 * n_mixture


def test_without_losses_the_share_must_be_given():
    log = log_of([[1, 1, 0], [1, 0, 0]])
    with pytest.raises(MissingEvidenceError, match=r"needs `losses` .* or pass `clean_rate`"):
        ForgettingEventsSelector().select(log)
    assert len(ForgettingEventsSelector(clean_rate=0.4).select(log)) == 1


def test_a_single_epoch_is_refused():
    with pytest.raises(MissingEvidenceError, match="needs at least 2 epochs, got 1"):
        ForgettingEventsSelector(clean_rate=0.5).select(log_of([[1, 0]]))


@pytest.mark.parametrize("learnt", [0, 1])
@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_samples_that_fare_alike_speak_against_no_label(learnt, n_samples):
    with pytest.warns(DegenerateWarning, match="learnt and forgotten alike; every label is kept"):
        selection = ForgettingEventsSelector(clean_rate=0.2).select(
            log_of(np.full((3, n_samples), learnt))
        )
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_a_share_of_none_is_warned_of():
    with pytest.warns(DegenerateWarning, match="less than one sample; no label is kept"):
        assert len(ForgettingEventsSelector(clean_rate=0.1).select(log_of([[1, 0], [1, 0]]))) == 0


@pytest.mark.parametrize(
    "rule", [ForgettingEventsSelector(), ForgettingEventsSelector(clean_rate=0.6, window=4)]
)
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 2}, r"`clean_rate` must lie in \(0, 1\], got 2"),
        ({"window": 1}, "`window` must be at least 2 epochs, got 1"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ForgettingEventsSelector(**option)
