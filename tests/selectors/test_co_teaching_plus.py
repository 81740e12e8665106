import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog
from noisyselect.checks import check_selector, synthetic_log
from noisyselect.errors import DegenerateWarning
from noisyselect.selectors.co_teaching import CoTeachingSelector
from noisyselect.selectors.co_teaching_plus import CoTeachingPlusSelector

FIXED = CoTeachingPlusSelector(clean_rate=0.7, n_gradual=0, init_epoch=0)


def precision(clean, log, truth):
    return np.mean((log.labels == truth)[clean])


def pair(**changes):
    log, _ = synthetic_log(seed=3, **changes)
    other, _ = synthetic_log(seed=4, **changes)
    return log, TrainingLog(log.labels, losses=other.losses, predictions=other.predictions)


def test_four_samples_worked_by_hand():
    # Of the three in disagreement, int(0.7 * 3) = 2 are kept, by the losses of the peer.
    labels = [0, 1, 1, 0]
    a = TrainingLog(labels, losses=[[0.9, 0.8, 0.1, 2.0]], predictions=[[1, 0, 1, 0]])
    b = TrainingLog(labels, losses=[[0.2, 0.3, 0.1, 2.5]], predictions=[[0, 1, 1, 1]])
    selection = FIXED.select(a, peer=b)
    assert selection.clean.tolist() == [True, True, False, False]
    assert selection.reason.tolist() == ["small loss"] * 2 + ["networks agree", "large loss"]
    assert selection.score == pytest.approx([2 / 3, 1 / 3, 1, 0])


@pytest.mark.parametrize("with_batches", [True, False])
def test_the_answer_is_that_of_a_loop_over_batches(with_batches):
    log, peer = pair()
    batches = log.batches[-1] if with_batches else np.zeros(log.n_samples, dtype=int)
    if not with_batches:
        log = TrainingLog(log.labels, losses=log.losses, predictions=log.predictions)
    expected = np.zeros(log.n_samples, dtype=bool)
    for batch in set(batches.tolist()):
        differ = [
            i
            for i in np.flatnonzero(batches == batch)
            if log.predictions[-1, i] != peer.predictions[-1, i]
        ]
        differ.sort(key=lambda i: peer.losses[-1, i])
        expected[differ[: max(1, int(0.7 * len(differ)))]] = True
    assert np.array_equal(FIXED.select(log, peer).clean, expected)


def test_a_batch_without_disagreement_keeps_nothing():
    predictions = np.array([[0, 1, 0, 1]])
    log = TrainingLog(
        labels=[0, 1, 0, 1],
        losses=[[0.1, 0.2, 0.3, 0.4]],
        predictions=predictions,
        batches=[[0, 0, 1, 1]],
    )
    peer = TrainingLog(log.labels, losses=log.losses, predictions=[[0, 1, 1, 0]])
    assert FIXED.select(log, peer).clean.tolist() == [False, False, True, False]


def test_networks_that_predict_alike_keep_nothing_and_say_so():
    log, _ = pair()
    with pytest.warns(DegenerateWarning, match="predict every sample alike; no label is kept"):
        assert len(FIXED.select(log, log)) == 0


@pytest.mark.parametrize("init_epoch", [11, 12])
def test_the_first_epochs_and_a_network_alone_are_those_of_co_teaching(init_epoch):
    log, peer = pair()  # ends with epoch 11
    selector = CoTeachingPlusSelector(clean_rate=0.7, n_gradual=30, init_epoch=init_epoch)
    plain = CoTeachingSelector(clean_rate=0.7, n_gradual=30)
    assert (selector.select(log, peer) == plain.select(log, peer)) == (init_epoch == 12)
    assert selector.select(log) == plain.select(log)


def test_the_schedule_is_that_of_co_teaching():
    log, peer = pair()
    n = np.count_nonzero(log.predictions[2] != peer.predictions[2])
    log = TrainingLog(log.labels, losses=log.losses[:3], predictions=log.predictions[:3])
    selector = CoTeachingPlusSelector(clean_rate=0.5, n_gradual=5, init_epoch=0)
    kept = selector.select(log, peer.until(3))
    assert len(kept) == int((1 - np.linspace(0, 0.5, 5)[2]) * n)


def test_by_default_the_share_is_that_of_small_losses_of_the_choosing_network():
    a, b, _ = overfitted_pair()
    # The first network alone doubts most of its labels.
    a = TrainingLog(a.labels, losses=a.losses**4, predictions=a.predictions)
    share = GMMSelector().select(b).clean.mean()
    assert abs(share - GMMSelector().select(a).clean.mean()) > 0.1
    default = CoTeachingPlusSelector(n_gradual=0, init_epoch=0).select(a, peer=b)
    given = CoTeachingPlusSelector(clean_rate=share, n_gradual=0, init_epoch=0).select(a, peer=b)
    assert default == given


def overfitted_pair(n=3000, seed=0):
    """Both networks have memorised the same half of the wrong labels, and agree on these."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 10
    wrong = rng.random(n) < 0.4
    labels = np.where(wrong, (truth + rng.integers(1, 10, n)) % 10, truth)
    memorised = wrong & (rng.random(n) < 0.5)
    logs = []
    for _ in range(2):
        losses = rng.gamma(2.0, np.select([memorised, wrong], [0.02, 1.0], 0.2))
        unsure = rng.random(n) < np.select([memorised, wrong], [0.0, 0.5], 0.3)
        predictions = np.where(unsure, rng.integers(0, 10, n), np.where(memorised, labels, truth))
        logs.append(TrainingLog(labels, losses=losses[None], predictions=predictions[None]))
    return (*logs, truth)


def test_it_is_more_precise_than_small_loss_if_both_networks_have_memorised_wrong_labels():
    a, b, truth = overfitted_pair()
    kept = FIXED.select(a, peer=b)
    small = b.losses[-1] <= np.sort(b.losses[-1])[len(kept) - 1]
    assert precision(kept.clean, a, truth) > 0.85
    assert precision(small, a, truth) < 0.6


def test_it_fails_where_the_networks_agree_on_what_is_right():
    log, truth = synthetic_log(noise_rate=0.4)
    rng = np.random.default_rng(1)
    wrong = log.labels != truth
    swung = np.where(rng.random(log.n_samples) < 0.3, rng.integers(0, 4, log.n_samples), truth)
    peer = TrainingLog(
        log.labels,
        losses=log.losses * rng.uniform(0.8, 1.2, log.losses.shape),
        predictions=np.tile(np.where(wrong, swung, truth), (12, 1)),
    )
    plus, plain = FIXED.select(log, peer), CoTeachingSelector(0.6, n_gradual=0).select(log, peer)
    assert plus.clean[~wrong].mean() < 0.1
    assert plain.clean[~wrong].mean() > 0.9
    assert precision(plus.clean, log, truth) < 0.3 < 0.9 < precision(plain.clean, log, truth)


def test_equal_losses_speak_against_no_label():
    log = TrainingLog([0, 1, 0], losses=[[0.7] * 3], predictions=[[0, 0, 0]])
    peer = TrainingLog([0, 1, 0], losses=[[0.7] * 3], predictions=[[0, 1, 0]])
    with pytest.warns(DegenerateWarning, match="CoTeachingPlusSelector: all losses are equal"):
        selection = FIXED.select(log, peer)
    assert selection.clean.all()
    assert (selection.score == 1).all()


@pytest.mark.parametrize("selector", [CoTeachingPlusSelector(), FIXED])
def test_the_contract_is_kept(selector):
    check_selector(selector)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 1.1}, r"`clean_rate` must lie in \(0, 1\], got 1.1"),
        ({"n_gradual": -1}, "`n_gradual` must be at least 0 epochs"),
        ({"init_epoch": -1}, "`init_epoch` must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        CoTeachingPlusSelector(**option)
