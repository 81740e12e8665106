import numpy as np
import pytest
from scipy.special import rel_entr

from noisyselect import GMMSelector, TrainingLog
from noisyselect.checks import check_selector, synthetic_log
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.jocor import JoCoRSelector
from noisyselect.selectors.small_loss import SmallLossSelector

FIXED = JoCoRSelector(clean_rate=0.6, n_gradual=0)


def log_of(probabilities, labels, **columns):
    return TrainingLog(labels=labels, probabilities=np.asarray(probabilities)[None], **columns)


def joint_loss(p, q, label, co_lambda):
    """The joint loss of one sample, with the divergences of scipy."""
    divergence = sum(rel_entr(p, q)) + sum(rel_entr(q, p))
    return -(1 - co_lambda) * (np.log(p[label]) + np.log(q[label])) + co_lambda * divergence


def test_three_samples_worked_by_hand():
    # Losses of both: -ln 0.56, -ln 0.56, -ln 0.09. Divergences: 0.1 ln 12/7, 0.1 ln 12/7, 1.6 ln 9.
    a = log_of([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]], [0, 1, 1])
    b = log_of([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]], [0, 1, 1])
    selection = JoCoRSelector(clean_rate=0.67, n_gradual=0).select(a, peer=b)
    assert selection.clean.tolist() == [True, True, False]
    assert selection.score[2] == 0
    assert selection.reason.tolist() == ["small joint loss"] * 2 + ["large joint loss"]


@pytest.mark.parametrize("co_lambda", [0.0, 0.3, 0.9, 1.0])
def test_the_answer_is_that_of_a_loop_over_batches(co_lambda):
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), (2, 120))
    labels, batches = rng.integers(0, 5, 120), rng.integers(0, 4, 120)
    joint = [joint_loss(*sample, co_lambda) for sample in zip(p, q, labels, strict=True)]
    expected = np.zeros(120, dtype=bool)
    for batch in range(4):
        rows = sorted(np.flatnonzero(batches == batch), key=lambda i: joint[i])
        expected[rows[: int(0.6 * len(rows))]] = True
    selector = JoCoRSelector(clean_rate=0.6, n_gradual=0, co_lambda=co_lambda)
    a, b = log_of(p, labels, batches=batches[None]), log_of(q, labels, batches=batches[None])
    selection = selector.select(a, peer=b)
    assert np.array_equal(selection.clean, expected)
    assert np.array_equal(np.argsort(-selection.score), np.argsort(joint))
    assert selection == selector.select(b, peer=a)


def test_a_network_alone_keeps_small_losses():
    rng = np.random.default_rng(1)
    p, labels = rng.dirichlet(np.ones(5), 100), rng.integers(0, 5, 100)
    losses = -np.log(p[np.arange(100), labels])
    small = SmallLossSelector(clean_rate=0.6).select(TrainingLog(labels, losses=losses[None]))
    alone = FIXED.select(log_of(p, labels))
    assert np.array_equal(alone.clean, small.clean)
    assert alone.score == pytest.approx(small.score)


def test_by_default_as_many_are_kept_as_have_small_mean_losses():
    log, _ = synthetic_log(seed=3)
    peer = log_of(synthetic_log(seed=4)[0].probabilities[-1], log.labels, epochs=log.epochs[-1:])
    rows = np.arange(log.n_samples)
    mean = -np.log(log.probabilities[-1] * peer.probabilities[-1])[rows, log.labels] / 2
    n_small = len(GMMSelector().select(TrainingLog(log.labels, losses=mean[None])))
    alone = log_of(log.probabilities[-1], log.labels, epochs=log.epochs[-1:])
    selector = JoCoRSelector(n_gradual=0, co_lambda=0.9)
    assert abs(len(selector.select(alone, peer)) - n_small) <= 1


def test_the_schedule_is_that_of_co_teaching():
    rng = np.random.default_rng(2)
    log = log_of(rng.dirichlet(np.ones(3), 100), rng.integers(0, 3, 100), epochs=[2])
    kept = JoCoRSelector(clean_rate=0.5, n_gradual=5).select(log)
    assert len(kept) == 75


def overfitted_pair(n=2000, seed=0):
    """Each network has memorised another half of the wrong labels; all losses overlap."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 10
    wrong = rng.random(n) < 0.4
    labels = np.where(wrong, (truth + rng.integers(1, 10, n)) % 10, truth)
    half = rng.random(n) < 0.5
    logs = []
    for memorised in (wrong & half, wrong & ~half):
        logits = rng.normal(0, 1, (n, 10))
        logits[np.arange(n), np.where(memorised, labels, truth)] += rng.uniform(1, 6, n)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        logs.append(log_of(p, labels))
    return (*logs, truth)


def test_it_tells_right_labels_better_than_small_loss_if_networks_memorise_different_ones():
    a, b, truth = overfitted_pair()
    alone, fit, joint = (
        selection_quality(selection, a.labels, truth, 10)
        for selection in (
            FIXED.select(a),
            JoCoRSelector(clean_rate=0.6, n_gradual=0, co_lambda=0.0).select(a, peer=b),
            JoCoRSelector(clean_rate=0.6, n_gradual=0, co_lambda=0.3).select(a, peer=b),
        )
    )
    # Of both networks even the sum of losses is better, and with their divergence better still.
    assert alone.precision < 0.75 < 0.9 < fit.precision < joint.precision
    assert alone.auroc < 0.75 < 0.96 < fit.auroc < joint.auroc - 0.005


def test_it_fails_where_networks_of_different_confidence_are_both_right():
    # One sample in four is hard, and only the second network is sure of it; wrong labels are ones
    # that both doubt alike.
    rng = np.random.default_rng(0)
    truth, wrong = np.zeros(400, dtype=int), np.arange(400) % 5 == 0
    labels = np.where(wrong, 1, truth)
    hard = ~wrong & (np.arange(400) % 4 == 1)
    own = np.where(hard, 0.55, 0.9) + rng.uniform(-0.02, 0.02, 400)
    other = np.where(hard, 0.999, 0.9) + rng.uniform(-0.0009, 0.0009, 400)
    a, b = (log_of(np.stack([p, 1 - p], axis=1), labels) for p in (own, other))
    few_wrong = JoCoRSelector(clean_rate=0.8, n_gradual=0, co_lambda=0.0).select(a, b)
    many_wrong = JoCoRSelector(clean_rate=0.8, n_gradual=0, co_lambda=1.0).select(a, b)
    assert few_wrong.clean[wrong].mean() == 0
    assert many_wrong.clean[wrong].mean() > 0.9


def test_probabilities_of_zero_are_answered():
    a, b = log_of([[1.0, 0.0], [0.0, 1.0]], [0, 0]), log_of([[1.0, 0.0], [1.0, 0.0]], [0, 0])
    selection = JoCoRSelector(clean_rate=0.5, n_gradual=0).select(a, peer=b)
    assert selection.clean.tolist() == [True, False]


def test_equal_joint_losses_speak_against_no_label():
    log = log_of([[0.4, 0.6], [0.6, 0.4], [0.4, 0.6]], [1, 0, 1])
    with pytest.warns(DegenerateWarning, match="all joint losses are equal; every label is kept"):
        selection = FIXED.select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


@pytest.mark.parametrize("selector", [JoCoRSelector(), FIXED])
def test_the_contract_is_kept(selector):
    check_selector(selector)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 0}, r"`clean_rate` must lie in \(0, 1\], got 0"),
        ({"n_gradual": -1}, "`n_gradual` must be at least 0 epochs"),
        ({"co_lambda": 1.1}, r"`co_lambda` must lie in \[0, 1\], got 1.1"),
        ({"co_lambda": float("nan")}, "`co_lambda` must lie in"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        JoCoRSelector(**option)
