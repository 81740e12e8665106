from dataclasses import replace
from math import floor, log, sqrt

import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.cnlcu import CNLCUHardSelector, CNLCUSoftSelector

BOTH = pytest.mark.parametrize("method", [CNLCUSoftSelector, CNLCUHardSelector])


def log_of(losses, batches=None, labels=None, start=0):
    losses = np.asarray(losses, dtype=float)
    labels = np.zeros(losses.shape[1], dtype=int) if labels is None else labels
    epochs = np.arange(start, start + len(losses))
    return TrainingLog(labels=labels, losses=losses, batches=batches, epochs=epochs, n_classes=2)


def soft_bound(history, n, sigma2):
    s = len(history)
    mean = sum(log(1 + x + x * x / 2) for x in history) / s
    return mean - sigma2 * (s + sigma2 * log(2 * s) / s**2) / (n + 1 - sigma2)


def hard_bound(history, n, t_min, bound=2.0):
    s, kept = len(history), history
    if s >= 5:
        inlying = LocalOutlierFactor(n_neighbors=2, contamination=0.1).fit_predict(
            np.array(history)[:, None]
        )
        kept = [x for x, sign in zip(history, inlying, strict=True) if sign == 1]
    out = s - len(kept)
    factor = 2 * sqrt(2 * t_min) * bound * (s + sqrt(2) * out) / ((s - out) * sqrt(s))
    return sum(kept) / len(kept) - factor * sqrt(log(4 * s) / n)


def replay(losses, batches, start, bound, strength, noise_rate):
    """Sample by sample and batch by batch, with the printed schedules of 10 and 80 epochs."""
    n_samples = losses.shape[1]
    chosen = [1] * n_samples
    for t in range(len(losses)):
        epoch = start + t
        left = strength * np.linspace(1, 0, 80)[epoch] if epoch < 80 else 0.0
        rate = np.linspace(0, noise_rate, 10)[epoch] if epoch < 10 else noise_rate
        value = [bound(losses[: t + 1, i].tolist(), chosen[i], left) for i in range(n_samples)]
        kept = set()
        for batch in set(batches[t]):
            rows = [i for i in range(n_samples) if batches[t][i] == batch]
            n_keep = floor((1 - rate) * len(rows) + 1e-9) or len(rows)
            kept |= set(sorted(rows, key=value.__getitem__)[:n_keep])
        for i in kept:
            chosen[i] += 1
    return kept, value


@pytest.mark.parametrize(
    ("rule", "bound", "strength"),
    [
        (CNLCUSoftSelector(clean_rate=0.6, sigma2=0.9), soft_bound, 0.9),
        (CNLCUHardSelector(clean_rate=0.6, t_min=0.01), hard_bound, 0.01),
        (CNLCUSoftSelector(clean_rate=0.6), soft_bound, 1e-4),
        (CNLCUHardSelector(clean_rate=0.6), hard_bound, 1e-4),
    ],
    ids=["soft, much", "hard, much", "soft", "hard"],
)
@pytest.mark.parametrize("start", [0, 4, 30, 78])
def test_the_choice_is_that_of_the_slow_replay(rule, bound, strength, start):
    rng = np.random.default_rng(start)
    losses = rng.gamma(1.0, 1.0, (rule.window, 30))
    batches = rng.permuted(np.tile(np.arange(30) // 8, (rule.window, 1)), axis=1) - 1
    for given in (batches, None):
        kept, value = replay(
            losses,
            np.zeros_like(batches) if given is None else given,
            start,
            bound,
            strength,
            noise_rate=0.4,
        )
        got = rule.select(log_of(losses, given, start=start))
        assert set(got.labelled) == kept
        assert got.score.argsort().tolist() == np.argsort(value)[::-1].tolist()


def test_the_soft_bound_worked_by_hand():
    # log(1 + l + l^2/2) is 0.0998, 0.4855, 0.9163. The first choice is 0 and 1; then the bonus is
    # 0.9 (2 + 0.9 log(4)/4) / (n + 0.1): 0.9912 where n = 2, and 1.8922 where n = 1.
    log = log_of([[0.1, 0.5, 1.0], [0.1, 0.5, 1.0]])
    rule = CNLCUSoftSelector(clean_rate=0.67, sigma2=0.9, decay_epochs=10**9, n_gradual=0)
    selection = rule.select(log)
    assert selection.clean.tolist() == [True, False, True]
    assert selection.score.tolist() == [0.5, 0.0, 1.0]
    assert selection.reason[:2].tolist() == [
        "small lower bound of the loss",
        "large lower bound of the loss",
    ]


@pytest.mark.parametrize(
    ("rule", "none"),
    [
        (CNLCUSoftSelector(sigma2=0.9), {"sigma2": 0.0}),
        (CNLCUHardSelector(t_min=0.1), {"t_min": 0.0}),
    ],
)
def test_the_bonus_is_taken_from_the_loss_and_not_added(rule, none):
    # The third sample was not chosen in the first epoch: a bonus lets it in, an addition would not.
    log = log_of(np.tile([0.1, 0.5, 0.6], (2, 1)))
    rule = replace(rule, clean_rate=0.67, n_gradual=0)
    assert rule.select(log).clean.tolist() == [True, False, True]
    assert replace(rule, **none).select(log).clean.tolist() == [True, True, False]


def test_outliers_are_left_out_and_inliers_stay():
    # A leap of one sample, and a dip of the other: without them 0.15 against 1.0, with them alone
    # 9.0 against 0.0.
    losses = [[0.1, 1.0], [0.2, 1.1], [9.0, 1.0], [0.1, 0.0], [0.2, 0.9]]
    selection = CNLCUHardSelector(clean_rate=0.5, n_gradual=0, t_min=0).select(log_of(losses))
    assert selection.clean.tolist() == [True, False]


def leaping_run(seed=0):
    """The losses of right labels leap now and then, in the last epoch as in any other."""
    rng = np.random.default_rng(seed)
    wrong = np.arange(3000) % 10 < 3
    losses = np.where(wrong, 1.5, 0.4) * np.exp(0.2 * rng.normal(size=(7, 3000)))
    return np.where(rng.random(losses.shape) < 0.1, 6 * losses, losses), wrong


@BOTH
def test_leaping_losses_are_seen_through(method):
    losses, wrong = leaping_run()
    labels = np.arange(3000) % 2
    quality = selection_quality(
        method(clean_rate=0.7).select(log_of(losses, labels=labels, start=20)),
        labels,
        labels ^ wrong,
        2,
        losses[-1],
    )
    assert quality.precision > quality.small_loss_precision + 0.02
    assert quality.auroc > 0.97


@BOTH
def test_wrong_labels_learnt_by_heart_are_kept(method):
    rng = np.random.default_rng(0)
    log = log_of(0.01 * rng.gamma(1.0, 1.0, (7, 1000)), start=20)
    wrong = np.arange(1000) % 10 < 3
    assert (~wrong)[method(clean_rate=0.7).select(log).clean].mean() < 0.75


def test_a_large_bonus_lets_many_wrong_labels_in():
    losses, wrong = leaping_run()
    log = log_of(losses, start=20)
    rule = CNLCUSoftSelector(clean_rate=0.7)
    small, large = rule, replace(rule, sigma2=1.0, decay_epochs=10**9)
    assert (wrong[large.select(log).clean]).sum() > 3 * (wrong[small.select(log).clean]).sum()


@BOTH
def test_the_network_of_the_log_trains_on_what_its_peer_chooses(method):
    rng = np.random.default_rng(0)
    mine, other = (log_of(rng.gamma(1.0, 1.0, (7, 60)), start=20) for _ in "ab")
    assert method().select(mine, other) == method().select(other)
    assert method().select(mine, other) != method().select(mine)


@BOTH
def test_by_default_about_as_many_are_kept_as_the_mixture_keeps(method):
    losses, _ = leaping_run()
    log = log_of(losses, start=20)
    assert len(method().select(log)) == pytest.approx(len(GMMSelector().select(log)), abs=1)


@BOTH
def test_a_shorter_log_than_the_window_uses_what_there_is(method):
    log = log_of(np.random.default_rng(0).gamma(1.0, 1.0, (1, 20)), start=30)
    assert method(clean_rate=0.5).select(log).clean.sum() == 10


@BOTH
@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_equal_losses_speak_against_no_label(method, n_samples):
    log = log_of(np.tile([[0.9], [0.4]], n_samples))
    with pytest.warns(DegenerateWarning, match="all losses are equal; every label is kept"):
        selection = method(clean_rate=0.2).select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


@BOTH
def test_of_a_batch_too_small_for_its_share_all_are_kept(method):
    log = log_of([[0.1, 0.2, 0.3, 0.9, 0.8]], batches=[[0, 0, 0, 1, -1]], start=50)
    assert method(clean_rate=0.4).select(log).clean.tolist() == [True, False, False, True, True]


@BOTH
def test_the_error_of_a_difference_costs_no_sample(method):
    # 1 - (1 - 0.1) is a little less than a tenth of 20.
    log = log_of(np.arange(20.0)[None], start=50)
    assert method(clean_rate=0.1).select(log).labelled.tolist() == [0, 1]


@pytest.mark.parametrize(
    "rule",
    [
        CNLCUSoftSelector(),
        CNLCUSoftSelector(clean_rate=0.6, window=2, sigma2=0.5),
        CNLCUHardSelector(),
        CNLCUHardSelector(clean_rate=0.6, t_min=0.1),
    ],
    ids=repr,
)
def test_the_contract_is_kept(rule):
    check_selector(rule)


@BOTH
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 1.5}, r"`clean_rate` must lie in \(0, 1\], got 1.5"),
        ({"window": 0}, "`window` must be at least 1 epochs, got 0"),
        ({"decay_epochs": 0}, "`decay_epochs` must be at least 1"),
        ({"n_gradual": -1}, "`n_gradual` must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(method, option, message):
    with pytest.raises(ValueError, match=message):
        method(**option)


@pytest.mark.parametrize("sigma2", [-0.1, 1.1, float("nan")])
def test_a_variance_out_of_range_is_refused(sigma2):
    with pytest.raises(ValueError, match=r"`sigma2` must lie in \[0, 1\]"):
        CNLCUSoftSelector(sigma2=sigma2)


@pytest.mark.parametrize("option", ["t_min", "loss_bound"])
def test_a_negative_strength_is_refused(option):
    with pytest.raises(ValueError, match=f"`{option}` must be at least 0, got -1"):
        CNLCUHardSelector(**{option: -1})
