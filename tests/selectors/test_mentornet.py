from math import exp

import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.mentornet import MentorNetSelector

ALL = ("mentornet-pd", "self-paced", "linear", "focal", "hard-example")


def log_of(losses, start=0, labels=None):
    losses = np.asarray(losses, dtype=float)
    labels = np.zeros(losses.shape[1], dtype=int) if labels is None else labels
    epochs = np.arange(start, start + len(losses))
    return TrainingLog(labels=labels, losses=losses, epochs=epochs, n_classes=2)


def printed_weight(curriculum, loss, diff, percent, gamma):
    """The curricula, one sample at a time."""
    if curriculum == "mentornet-pd":
        if percent <= 18:
            return 1.0
        curriculum = "linear" if percent >= 90 else "self-paced"
    return {
        "self-paced": float(diff <= 0),
        "hard-example": float(diff >= 0),
        "linear": max(min(-diff / gamma + 1, 1), 0),
        "focal": (1 - exp(-loss)) ** gamma,
    }[curriculum]


def moving_percentile(losses, share, decay):
    moving = None
    for row in losses:
        ordered = sorted(row)
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        value = ordered[low] + (place - low) * (ordered[high] - ordered[low])
        moving = value if moving is None else decay * moving + (1 - decay) * value
    return moving


def test_five_losses_worked_by_hand():
    # The medians are 0.5 and 0.3, hence the percentile 0.75 * 0.5 + 0.25 * 0.3 = 0.45.
    log = log_of([[0.5, 0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.95, 3.0]])
    options = {"percentile": 0.5, "decay": 0.75}
    linear = MentorNetSelector("linear", **options, gamma=2).select(log)
    assert linear.weights == pytest.approx([1, 1, 1, 0.75, 0])
    assert linear.clean.tolist() == [True, True, True, True, False]
    assert linear.score == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert linear.reason.tolist() == ["small loss"] * 4 + ["large loss"]
    paced = MentorNetSelector("self-paced", **options).select(log)
    assert paced.weights.tolist() == [1, 1, 1, 0, 0]
    hard = MentorNetSelector("hard-example", **options).select(log)
    assert hard.weights.tolist() == [0, 0, 0, 1, 1]
    assert hard.score == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert hard.reason.tolist() == ["small loss"] * 3 + ["large loss"] * 2
    focal = MentorNetSelector("focal", **options).select(log)
    assert focal.weights[3] == pytest.approx((1 - exp(-0.95)) ** 2)


@pytest.mark.parametrize("curriculum", ALL)
@pytest.mark.parametrize(
    ("last", "gamma"), [(5, 0.7), (36, 1.0), (37, 1.3), (179, 1.0), (180, 2.0)]
)
def test_the_weights_are_the_printed_ones(curriculum, last, gamma):
    losses = np.random.default_rng(last).gamma(1.0, 1.0, (5, 40))
    rule = MentorNetSelector(
        curriculum, percentile=0.7, decay=0.4, gamma=gamma, total_epochs=200, window=4
    )
    moving = moving_percentile(losses[-4:].tolist(), 0.7, 0.4)
    expected = [
        printed_weight(curriculum, loss, loss - moving, 100 * last // 200, gamma)
        for loss in losses[-1]
    ]
    got = rule.select(log_of(losses, start=last - 4))
    assert got.weights == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(got.clean, got.weights > 0)


def test_training_is_over_with_the_log_unless_its_length_is_told():
    log = log_of(np.random.default_rng(0).gamma(1.0, 1.0, (3, 40)))
    options = {"percentile": 0.7}
    assert MentorNetSelector(**options).select(log) == MentorNetSelector(
        "linear", **options
    ).select(log)
    assert MentorNetSelector(**options, total_epochs=4).select(log) == MentorNetSelector(
        "self-paced", **options
    ).select(log)
    assert len(MentorNetSelector(**options, total_epochs=12).select(log)) == 40


def test_by_default_about_as_many_are_self_paced_as_the_mixture_keeps():
    losses = np.r_[np.random.default_rng(0).gamma(1.0, 0.2, 700), np.linspace(2, 4, 300)]
    log = log_of(losses[None])
    kept = MentorNetSelector("self-paced").select(log)
    assert len(kept) == pytest.approx(len(GMMSelector().select(log)), abs=1)


def overlapping_losses(seed=0):
    rng = np.random.default_rng(seed)
    wrong = np.arange(4000) % 10 < 4
    return np.where(wrong, 1.3, 0.5) * np.exp(0.5 * rng.normal(size=(3, 4000))), wrong


def test_soft_weights_are_more_precise_than_as_many_small_losses_and_the_set_is_the_same():
    losses, wrong = overlapping_losses()
    labels = np.arange(4000) % 2
    selection = MentorNetSelector("linear", percentile=0.5).select(log_of(losses, labels=labels))
    quality = selection_quality(selection, labels, labels ^ wrong, 2, losses[-1])
    assert quality.precision == pytest.approx(quality.small_loss_precision)
    weighted = selection.weights[~wrong].sum() / selection.weights.sum()
    assert weighted > quality.precision + 0.03


def test_a_moving_percentile_lags_behind_losses_that_fall_fast():
    losses, wrong = overlapping_losses()
    falling = log_of(losses * np.array([[100.0], [10.0], [1.0]]))
    lagging = MentorNetSelector("self-paced", percentile=0.6).select(falling)
    prompt = MentorNetSelector("self-paced", percentile=0.6, decay=0).select(falling)
    assert wrong[lagging.clean].mean() > 0.35 > 0.2 > wrong[prompt.clean].mean()


def test_hard_examples_are_wrong_labels():
    losses, wrong = overlapping_losses()
    selection = MentorNetSelector("hard-example", percentile=0.6).select(log_of(losses))
    assert wrong[selection.clean].mean() > 0.7


@pytest.mark.parametrize("curriculum", ALL)
@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_equal_losses_speak_against_no_label(curriculum, n_samples):
    log = log_of(np.tile([[0.9], [0.4]], n_samples))
    with pytest.warns(DegenerateWarning, match="all losses are equal; every label is kept"):
        selection = MentorNetSelector(curriculum, percentile=0.5).select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()
    assert (selection.weights == 1).all()


def test_losses_that_jump_beyond_the_percentile_are_warned_of():
    log = log_of([[0.1, 0.2, 0.3], [5.1, 5.2, 5.3]])
    with pytest.warns(DegenerateWarning, match="no sample gets a weight; no label is kept"):
        assert len(MentorNetSelector("self-paced", percentile=0.5).select(log)) == 0


@pytest.mark.parametrize("curriculum", ALL)
def test_the_contract_is_kept(curriculum):
    check_selector(MentorNetSelector(curriculum))


def test_the_contract_is_kept_with_other_options():
    check_selector(MentorNetSelector(percentile=0.7, decay=0.9, total_epochs=14, window=3))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"curriculum": "paced"}, "`curriculum` must be one of 'mentornet-pd', .* got 'paced'"),
        ({"percentile": 0.0}, r"`percentile` must lie in \(0, 1\], got 0.0"),
        ({"decay": 1.0}, r"`decay` must lie in \[0, 1\), got 1.0"),
        ({"gamma": 0.0}, "`gamma` must be greater than 0, got 0.0"),
        ({"total_epochs": 0}, "`total_epochs` must be at least 1 epoch, got 0"),
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        MentorNetSelector(**option)
