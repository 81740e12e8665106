import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from noisyselect import TrainingLog
from noisyselect.checks import check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.jo_src import JoSRCSelector


def log_of(probabilities, labels, epoch=100, **columns):
    return TrainingLog(
        labels=labels, probabilities=np.asarray(probabilities)[None], epochs=[epoch], **columns
    )


def test_two_samples_worked_by_hand():
    # JS((1, 0), (1, 0)) is 0. JS((1/2, 1/2), (1, 0)) is half of 1/2 log2(2/3) + 1/2 and of
    # log2(4/3): 0.3113.
    selection = JoSRCSelector(threshold=0.7).select(log_of([[1.0, 0.0], [0.5, 0.5]], [0, 0]))
    assert selection.score == pytest.approx([1, 1 - 0.3112781244591328])
    assert selection.clean.tolist() == [True, False]
    assert selection.reason.tolist() == [
        "prediction is close to the label",
        "prediction is far from the label",
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_likelihood_is_that_of_scipy(smoothing):
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(7), 100), rng.integers(0, 7, 100)
    smoothed = np.full((100, 7), smoothing / 6)
    smoothed[np.arange(100), labels] = 1 - smoothing
    expected = 1 - jensenshannon(probabilities, smoothed, base=2, axis=1) ** 2
    selection = JoSRCSelector(smoothing, threshold=0.6).select(log_of(probabilities, labels))
    assert selection.score == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(selection.clean, expected >= 0.6)


def test_the_threshold_is_that_of_the_official_code():
    selector = JoSRCSelector(threshold=0.75, warm_up=10, n_epochs=200)
    assert [selector.threshold_at(epoch) for epoch in (0, 4, 10, 105, 200, 300)] == pytest.approx(
        [0, 0.3, 0.75, 0.85, 0.95, 0.95]
    )
    assert JoSRCSelector(warm_up=0).threshold_at(0) == 0.75
    assert JoSRCSelector().threshold_at(199) == 0.75


def test_the_threshold_is_that_of_the_last_epoch_by_its_number():
    probabilities, labels = [[0.6, 0.4], [0.3, 0.7], [0.02, 0.98]], [0, 0, 0]
    for epoch, expected in ((0, [True] * 3), (5, [True, True, False]), (10, [True, False, False])):
        selection = JoSRCSelector().select(log_of(probabilities, labels, epoch))
        assert selection.clean.tolist() == expected


def test_the_second_view_tells_wrong_labels_from_samples_of_no_class():
    log = log_of(
        [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.2, 0.7, 0.1]],
        labels=[0, 0, 0],
        second_view=[[[0.1, 0.9, 0.0], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]],
    )
    assert JoSRCSelector().select(log).reason.tolist() == [
        "prediction is close to the label",
        "another class in both views",
        "the views disagree",
    ]


def test_it_tells_doubt_from_another_class_where_small_loss_cannot():
    # A network trained on smoothed labels. Right labels may be as unlikely as wrong ones, but then
    # the rest is spread, and not on one other class.
    rng = np.random.default_rng(1)
    truth = np.arange(2000) % 10
    wrong = rng.random(2000) < 0.3
    labels = np.where(wrong, (truth + rng.integers(1, 10, 2000)) % 10, truth)
    given = np.where(wrong, rng.uniform(0.05, 0.3, 2000), rng.uniform(0.1, 0.5, 2000))
    top = np.where(wrong, 0.4 * rng.uniform(0.8, 1.2, 2000), 0)
    spread = rng.dirichlet(np.full(10, 30.0), 2000)
    spread[np.arange(2000), labels] = 0
    spread[np.arange(2000)[wrong], truth[wrong]] = 0
    probabilities = spread / spread.sum(axis=1, keepdims=True) * (1 - given - top)[:, None]
    probabilities[np.arange(2000), truth] += top
    probabilities[np.arange(2000), labels] = given
    selection = JoSRCSelector(smoothing=0.6, threshold=0.9).select(log_of(probabilities, labels))
    small = given >= np.sort(given)[-len(selection)]
    quality = selection_quality(selection, labels, truth, 10)
    assert quality.precision > 0.95 > 0.9 > np.mean((labels == truth)[small])
    assert quality.auroc > 0.97


def test_it_fails_if_the_labels_it_was_trained_on_were_not_smoothed():
    probabilities = np.full((20, 10), 0.001 / 9)
    labels = np.arange(20) % 10
    probabilities[np.arange(20), labels] = 0.999
    log = log_of(probabilities, labels)
    assert JoSRCSelector().select(log).clean.all()
    with pytest.warns(DegenerateWarning, match="no likelihood reaches 0.75; no label is kept"):
        selection = JoSRCSelector(smoothing=0.6).select(log)
    assert not selection.clean.any()
    assert selection.score == pytest.approx(np.full(20, 0.6), abs=0.01)


def test_one_class_is_certain():
    selection = JoSRCSelector(smoothing=0.5).select(log_of(np.ones((3, 1)), [0, 0, 0]))
    assert selection.clean.all()
    assert (selection.score == 1).all()


@pytest.mark.parametrize(
    "selector",
    [JoSRCSelector(), JoSRCSelector(smoothing=0.3, threshold=0.7, warm_up=3, n_epochs=20)],
)
def test_the_contract_is_kept(selector):
    check_selector(selector)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"smoothing": 1.0}, r"`smoothing` must lie in \[0, 1\), got 1.0"),
        ({"threshold": -0.1}, r"`threshold` must lie in \[0, 1\], got -0.1"),
        ({"threshold": float("nan")}, "`threshold` must lie in"),
        ({"warm_up": -1}, "`warm_up` must be at least 0 epochs, got -1"),
        ({"n_epochs": 10}, "`n_epochs` must be greater than `warm_up` = 10, got 10"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        JoSRCSelector(**option)
