import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog
from noisyselect.checks import check_selector, synthetic_log
from noisyselect.errors import DegenerateWarning
from noisyselect.selectors.co_teaching import CoTeachingSelector

FIXED = CoTeachingSelector(clean_rate=0.6, n_gradual=0)


def precision(clean, log, truth):
    return np.mean((log.labels == truth)[clean])


def two_networks(errors_of_b, n=2000, seed=0):
    """Network a has memorised a third of the wrong labels; b others, the same, or none."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 10
    wrong = rng.random(n) < 0.4
    labels = np.where(wrong, (truth + rng.integers(1, 10, n)) % 10, truth)
    third = rng.integers(0, 3, n)
    logs = []
    for memorised in (third == 0, third == {"others": 1, "the same": 0, "none": 3}[errors_of_b]):
        hard = wrong & ~memorised
        easy = wrong & memorised
        losses = rng.gamma(2.0, np.select([easy, hard], [0.05, 1.0], 0.2))
        logs.append(TrainingLog(labels=labels, losses=losses[None]))
    return (*logs, truth)


def test_two_batches_worked_by_hand():
    # Of three samples, int(0.67 * 3) = 2 are kept; the peer decides.
    labels, batches = [0, 1, 1, 0, 1, 0], [[0, 0, 0, 1, 1, 1]]
    a = TrainingLog(labels, losses=[[0.1, 0.9, 0.2, 0.3, 0.2, 2.0]], batches=batches)
    b = TrainingLog(labels, losses=[[0.2, 0.8, 2.5, 0.1, 0.2, 2.2]], batches=batches)
    selector = CoTeachingSelector(clean_rate=0.67, n_gradual=0)
    selection = selector.select(a, peer=b)
    assert selection.labelled.tolist() == [0, 1, 3, 4]
    # Of the peer's six losses, 0.2 is twice in second place.
    assert selection.score == pytest.approx([0.7, 0.4, 0.0, 1.0, 0.7, 0.2])
    assert selection.reason[[0, 2]].tolist() == ["small loss", "large loss"]
    assert selector.select(a).labelled.tolist() == [0, 2, 3, 4]
    assert selector.select(b, peer=a).labelled.tolist() == [0, 2, 3, 4]


def test_the_schedule_is_that_of_the_official_code():
    losses = np.random.default_rng(0).random((14, 1000))
    log = TrainingLog(labels=np.zeros(1000, dtype=int), losses=losses)
    forget = np.full(14, 0.3)
    forget[:10] = np.linspace(0, 0.3, 10)
    for epoch in range(14):
        kept = CoTeachingSelector(clean_rate=0.7).select(log.until(epoch + 1))
        assert len(kept) == int(round((1 - forget[epoch]) * 1000, 6))


def test_the_epoch_is_counted_by_its_number():
    losses = np.random.default_rng(0).random((3, 100))
    log = TrainingLog(labels=np.zeros(100, dtype=int), losses=losses, epochs=[7, 8, 9])
    assert len(CoTeachingSelector(clean_rate=0.5).select(log)) == 50


def test_the_answer_is_that_of_a_loop_over_batches():
    log, _ = synthetic_log(seed=3)
    peer = synthetic_log(seed=4)[0]
    peer = TrainingLog(labels=log.labels, losses=peer.losses)
    expected = np.zeros(log.n_samples, dtype=bool)
    for batch in range(4):
        rows = np.flatnonzero(log.batches[-1] == batch)
        easiest = sorted(rows, key=lambda i: peer.losses[-1, i])
        expected[easiest[: int(0.6 * len(rows))]] = True
    assert np.array_equal(FIXED.select(log, peer).clean, expected)


def test_without_batches_the_epoch_is_one():
    log, _ = synthetic_log()
    plain = TrainingLog(labels=log.labels, losses=log.losses)
    kept = FIXED.select(plain).clean
    assert np.array_equal(np.sort(log.losses[-1])[:144], np.sort(log.losses[-1][kept]))


def test_by_default_as_many_are_kept_as_the_choosing_network_has_small_losses():
    a, b, _ = two_networks("none")
    n_small = len(GMMSelector().select(b))
    assert n_small != len(GMMSelector().select(a))
    assert abs(len(CoTeachingSelector(n_gradual=0).select(a, peer=b)) - n_small) <= 1


def test_what_one_network_has_memorised_the_other_leaves_out():
    a, b, truth = two_networks("others")
    memorised = (a.labels != truth) & (a.losses[-1] < 0.1)
    assert FIXED.select(a, peer=b).clean[memorised].mean() < 0.5
    assert FIXED.select(a).clean[memorised].all()


def test_it_is_more_precise_than_the_small_losses_of_a_network_that_memorises_alone():
    a, b, truth = two_networks("none")
    exchanged = FIXED.select(a, peer=b)
    small = a.losses[-1] <= np.sort(a.losses[-1])[len(exchanged) - 1]
    assert precision(exchanged.clean, a, truth) > 0.87
    assert precision(small, a, truth) < 0.8


def test_it_fails_where_both_networks_have_learnt_the_same_wrong_labels():
    a, b, truth = two_networks("the same")
    exchanged, alone = FIXED.select(a, peer=b), FIXED.select(a)
    assert precision(exchanged.clean, a, truth) < 0.8
    assert precision(exchanged.clean, a, truth) < precision(alone.clean, a, truth) + 0.02


def test_equal_losses_at_the_cut_share_their_fate():
    log = TrainingLog(labels=[0, 0, 1, 1], losses=[[0.5, 0.1, 0.5, 0.9]])
    selection = CoTeachingSelector(clean_rate=0.5, n_gradual=0).select(log)
    assert selection.clean.tolist() == [True, True, True, False]


def test_equal_losses_speak_against_no_label():
    log = TrainingLog(labels=[0, 1, 0], losses=[[0.7, 0.7, 0.7]])
    with pytest.warns(DegenerateWarning, match="CoTeachingSelector: all losses are equal"):
        selection = FIXED.select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_of_each_batch_at_least_one_is_kept():
    log = TrainingLog([0, 1, 1], losses=[[0.1, 0.2, 0.3]], batches=[[0, 1, 1]])
    kept = CoTeachingSelector(clean_rate=0.1, n_gradual=0).select(log)
    assert kept.clean.tolist() == [True, True, False]


@pytest.mark.parametrize("selector", [CoTeachingSelector(), FIXED])
def test_the_contract_is_kept(selector):
    check_selector(selector)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 0.0}, r"`clean_rate` must lie in \(0, 1\], got 0.0"),
        ({"clean_rate": float("nan")}, "`clean_rate` must lie in"),
        ({"n_gradual": -1}, "`n_gradual` must be at least 0 epochs, got -1"),
        ({"n_gradual": 2.5}, "`n_gradual` must be at least 0 epochs, got 2.5"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        CoTeachingSelector(**option)
