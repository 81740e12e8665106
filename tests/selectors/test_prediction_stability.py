import numpy as np
import pytest

from noisyselect import PredictionStabilitySelector, TrainingLog
from noisyselect.errors import MissingEvidenceError

# One column per sample; the last epoch at the old rate is epoch 1.
#            stays  swings  leaves  late  prompt
PREDICTIONS = [
    [0, 0, 0, 0, 0],  # epoch 0, lr 0.1
    [0, 0, 0, 0, 0],  # epoch 1, lr 0.1
    [0, 1, 1, 0, 1],  # epoch 2, lr 0.01
    [0, 0, 1, 0, 0],  # epoch 3
    [0, 0, 1, 1, 0],  # epoch 4
    [0, 0, 1, 1, 0],  # epoch 5
]
LR = [0.1, 0.1, 0.01, 0.01, 0.01, 0.01]


def log_until(epoch, lr=LR):
    log = TrainingLog(labels=[0, 0, 0, 0, 0], predictions=PREDICTIONS, lr=lr, n_classes=2)
    return log.until(epoch)


def clean(epoch, lr=LR, **options):
    rule = PredictionStabilitySelector(window=2, **options)
    return rule.select(log_until(epoch, lr)).clean.tolist()


def test_at_a_constant_rate_a_prediction_must_not_have_changed():
    constant = [0.1] * 6
    assert clean(3, constant) == [True, False, False, True, False]
    assert clean(6, constant) == [True, True, True, False, True]


def test_the_constant_rule_goes_on_until_the_window_after_the_change_is_over():
    # Epoch 2 is the first at the new rate; t + tau = 1 + 2 = 3 is the first that can be judged.
    assert clean(3) == [True, False, False, True, False]
    assert clean(4) == [True, True, False, True, True]


def test_the_rule_for_a_change_holds_for_as_long_as_asked_and_then_the_constant_one_returns():
    assert clean(5) == clean(4)
    assert clean(6) == clean(6, [0.1] * 6)
    assert clean(6, lr_change_epochs=3) == clean(4)
    assert clean(4, lr_change_epochs=0) == clean(4, [0.1] * 6)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("returns", [True, True, False, True, True]),
        ("moved-and-returned", [False, True, False, False, True]),
        ("printed", [False, False, True, False, False]),
    ],
)
def test_the_three_readings_of_equation_5(reading, expected):
    assert clean(4, adaptability=reading) == expected


def test_the_printed_reading_needs_both_terms():
    # Left at once, left later, left and came back: only the first differs at t + 1 and at t + tau.
    predictions = [[0, 0, 0], [1, 0, 1], [1, 1, 0]]
    log = TrainingLog(labels=[0] * 3, predictions=predictions, lr=[0.1, 0.01, 0.01], n_classes=2)
    rule = PredictionStabilitySelector(window=2, adaptability="printed")
    assert rule.select(log).clean.tolist() == [True, False, False]


def test_the_score_is_the_share_of_steps_without_a_change():
    rule = PredictionStabilitySelector(window=2)
    constant = rule.select(log_until(4, [0.1] * 6))
    assert constant.score.tolist() == [1, 0, 0.5, 1, 0]
    # After the change: the mean of the answer and the share of epochs that predict as before.
    changed = rule.select(log_until(4))
    assert changed.score.tolist() == [1, 0.75, 0, 1, 0.75]
    assert changed.reason[2] == "did not adapt to the new rate"


def test_a_log_without_rates_has_no_change():
    log = TrainingLog(labels=[0] * 5, predictions=PREDICTIONS[:4], n_classes=2)
    rule = PredictionStabilitySelector(window=2)
    assert rule.select(log).clean.tolist() == clean(4, [0.1] * 6)


@pytest.mark.parametrize(
    ("lr", "changed"),
    [
        ([0.1, 0.1, 0.05, 0.05], True),
        ([0.1, 0.1, 0.06, 0.06], False),  # a decay, not a step
        ([0.1, 0.1, 0.3, 0.3], True),
        ([0.0, 0.0, 0.0, 0.0], False),
        ([0.0, 0.0, 0.1, 0.1], True),
    ],
)
def test_a_change_is_a_step_that_halves_or_doubles_the_rate(lr, changed):
    # Sample 1 left its prediction and came back: only the rule for a change keeps it.
    assert clean(4, [*lr, lr[-1], lr[-1]])[1] == changed


def test_of_two_changes_the_latest_that_can_be_judged_counts():
    lr = [0.1, 0.01, 0.001, 0.001, 0.001, 0.001]
    # At epoch 3 both changes can be judged: that after epoch 0 and that after epoch 1.
    late = TrainingLog(
        labels=[0], predictions=[[1], [0], [0], [0], [0], [0]], lr=lr, n_classes=2
    ).until(4)
    assert PredictionStabilitySelector(window=2).select(late).clean.tolist() == [True]


def test_a_short_log_is_refused():
    with pytest.raises(MissingEvidenceError, match=r"needs 6 epochs of predictions .* got 3"):
        PredictionStabilitySelector(window=5).select(log_until(3))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"window": 0}, "`window` must be at least 1"),
        ({"adaptability": "moves"}, "`adaptability` must be 'returns'"),
        ({"lr_change_epochs": -1}, "`lr_change_epochs` must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        PredictionStabilitySelector(**option)


def test_the_real_log_has_one_change_of_the_rate(real_logs):
    rule = PredictionStabilitySelector()
    changed = [
        epoch
        for epoch in range(5, 30)
        if rule.stability(real_logs[0].until(epoch + 1)).after_change
    ]
    assert changed == [24, 25, 26, 27, 28]


def test_predictions_of_any_integer_type_are_compared_alike():
    rule = PredictionStabilitySelector(window=2)
    narrow = TrainingLog(labels=[0] * 5, predictions=np.int8(PREDICTIONS), lr=LR, n_classes=2)
    assert rule.select(narrow.until(4)) == rule.select(log_until(4))
