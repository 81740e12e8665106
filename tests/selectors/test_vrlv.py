import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from noisyselect import GMMSelector, LossVariationSelector, TrainingLog, VRLVSelector
from noisyselect.checks import synthetic_log
from noisyselect.errors import DegenerateWarning, MissingEvidenceError

# --- An independent oracle: the method in plain loops, from reference/vrlvmix.md ------------------


def oracle_evidence(
    log_a, log_b, tau, rho, small, after, gamma1=None, gamma2=None, rescue="agreeing"
):
    """D_c, V_c and the variance, by sorting lists."""
    n = log_a.n_samples
    ranks = [
        (rankdata(log_b.losses[t - 1].astype(float) - log_b.losses[t]) - 1) / (n - 1)
        for t in range(log_b.n_epochs - tau, log_b.n_epochs)
    ]
    variance = [float(np.var([rank[i] for rank in ranks])) for i in range(n)]
    by_variance = sorted(range(n), key=lambda i: variance[i])
    v_c = set(by_variance[: round(rho * n)])
    v_l = set(by_variance[: round((gamma1 or rho) * n)])
    v_h = set(by_variance[round((gamma2 or rho) * n) :])
    predictions = log_b.predictions
    core = set()
    for i in range(n):
        if after is None:
            still = len(set(predictions[-(tau + 1) :, i].tolist())) == 1
            if i in v_c and small[i] and still:
                core.add(i)
        else:
            returned = predictions[after, i] == predictions[after + tau, i]
            agrees = predictions[-1, i] == log_b.labels[i]
            rescued = i in v_h and (rescue == "printed" or small[i] or agrees)
            if ((i in v_l and small[i]) or rescued) and returned:
                core.add(i)
    return core, v_c, variance


def oracle_fill(log, core, source, order_by, small, rho, neighbours, fallback_loss, unsupported):
    """Fill per class: ENN where there is a surplus; how many are still short."""
    n, labels = log.n_samples, log.labels.tolist()
    fill, short = set(), {}
    for c in range(log.n_classes):
        mine = [i for i in core if labels[i] == c]
        quota = max(0, int(rho * n / log.n_classes + 1e-9) - len(mine))
        if not mine:
            pool = [i for i in range(n) if small[i] and labels[i] == c]
            taken = sorted(pool, key=lambda i: fallback_loss[i])[:quota]
        else:
            pool = [i for i in source if i not in core and labels[i] == c]
            pool = sorted(pool, key=lambda i: order_by[i])
            if len(pool) > quota:
                yes, alone = [], []
                for i in pool:
                    votes = [labels[j] for j in neighbours[i] if j >= 0 and j in core]
                    if not votes:
                        alone.append(i)
                    elif votes.count(c) > len(votes) / 2:
                        yes.append(i)
                pool = {
                    "last": yes + alone,
                    "drop": yes,
                    "keep": sorted(yes + alone, key=lambda i: order_by[i]),
                }[unsupported]
            taken = pool[:quota]
        fill |= set(taken)
        short[c] = (quota - len(taken)) if mine else 0
    return fill, short


def pair_of_logs(seed=0, n_samples=400, noise_rate=0.4, overlap=0.35):
    log_a, _ = synthetic_log(n_samples, 15, 5, noise_rate, overlap, seed=seed)
    log_b, _ = synthetic_log(n_samples, 15, 5, noise_rate, overlap, seed=seed + 100)
    return log_a, replace(log_b, labels=log_a.labels)


@pytest.mark.parametrize("unsupported", ["last", "drop", "keep"])
@pytest.mark.parametrize("clean_rate", [None, 0.35, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_selections_are_those_of_the_slow_oracle(seed, clean_rate, unsupported):
    log_a, log_b = pair_of_logs(seed)
    log_a, log_b = log_a.until(9), log_b.until(9)
    # Few neighbours, so that some candidates have none in the core.
    log_a = replace(log_a, neighbours=log_a.neighbours[:, :3])
    small = GMMSelector().select(log_a)
    rho = small.clean.mean() if clean_rate is None else clean_rate
    core, v_c, variance = oracle_evidence(log_a, log_b, 4, rho, small.clean, None)
    near = log_a.neighbours.tolist()
    loss = log_a.losses[-1]
    rule = VRLVSelector(window=4, clean_rate=clean_rate, unsupported=unsupported)
    answers = rule.select_pair(log_a, log_b)
    g_l = set(np.flatnonzero(small.clean))
    for answer, source, order_by, pool in (
        (answers[0], v_c, variance, set(range(400)) - v_c),
        (answers[1], g_l, loss, set(range(400)) - g_l),
    ):
        fill, short = oracle_fill(
            log_a, core, source, order_by, small.clean, rho, near, loss, unsupported
        )
        assert set(np.flatnonzero(answer.reason == "core")) == core
        assert set(np.flatnonzero(answer.reason == "fill")) == fill
        assert set(answer.labelled) == core | fill
        made = np.bincount(answer.synthetic.labels, minlength=5)
        for c in range(5):
            anchors = [i for i in core if log_a.labels[i] == c]
            possible = any(j in pool for i in anchors for j in near[i])
            assert made[c] == (short[c] if possible else 0)
        recipes = answer.synthetic
        assert set(recipes.anchors) <= core
        assert set(recipes.partners) <= pool
        assert all(j in near[i] for i, j in zip(recipes.anchors, recipes.partners, strict=True))
        assert np.array_equal(recipes.labels, log_a.labels[recipes.anchors])


@pytest.mark.parametrize("rescue", ["agreeing", "printed"])
@pytest.mark.parametrize(("gamma1", "gamma2"), [(None, None), (0.3, 0.7)])
def test_after_a_change_of_the_rate_the_oracle_agrees(gamma1, gamma2, rescue):
    log_a, log_b = pair_of_logs(3)  # the rate changes at epoch 10; the last old epoch is 9
    small = GMMSelector().select(log_a)
    rho = small.clean.mean()
    core, _, _ = oracle_evidence(log_a, log_b, 4, rho, small.clean, 9, gamma1, gamma2, rescue)
    rule = VRLVSelector(window=4, gamma1=gamma1, gamma2=gamma2, rescue=rescue)
    a, b = rule.select_pair(log_a, log_b)
    expected = set(core)
    for c in range(5):
        rows = [i for i in range(400) if log_a.labels[i] == c]
        quota = max(0, int(rho * 80 + 1e-9) - len(core & set(rows)))
        pool = [i for i in rows if small.clean[i] and i not in core]
        expected |= set(sorted(pool, key=lambda i: log_a.losses[-1, i])[:quota])
    assert set(a.labelled) == set(b.labelled) == expected
    assert a == b
    assert a.synthetic is None
    assert set(np.flatnonzero(a.reason == "core")) == core


def test_large_losses_enter_the_core_only_after_a_change_of_the_rate():
    log_a, log_b = pair_of_logs(4)
    small = GMMSelector().select(log_a)
    after, _ = VRLVSelector(window=4, rescue="printed").select_pair(log_a, log_b)
    before, _ = VRLVSelector(window=4, lr_change_epochs=0).select_pair(log_a, log_b)
    rescued = (after.reason == "core") & ~small.clean
    assert rescued.any()
    # A bare posterior would erase the labels of those rescued.
    assert (after.trust[rescued] == 1).all()
    assert (small.trust[rescued] < 0.5).all()
    fill = after.reason == "fill"
    assert np.array_equal(after.trust[fill], small.trust[fill])
    assert not ((before.reason == "core") & ~small.clean).any()


def test_the_rescue_takes_in_large_losses_that_are_predicted_as_labelled_and_no_others():
    log_a, log_b = pair_of_logs(4)
    small = GMMSelector().select(log_a).clean
    agrees = log_b.predictions[-1] == log_b.labels
    default, _ = VRLVSelector(window=4).select_pair(log_a, log_b)
    printed, _ = VRLVSelector(window=4, rescue="printed").select_pair(log_a, log_b)
    core, printed_core = default.reason == "core", printed.reason == "core"
    assert np.array_equal(core, printed_core & (small | agrees))
    assert (printed_core & ~small & ~agrees).sum() > 10


def test_where_the_mixture_keeps_nothing_a_change_of_the_rate_rescues_nothing():
    log_a, log_b = pair_of_logs(4)
    rule = VRLVSelector(window=4, threshold=1 - 1e-10, balance=False, rescue="printed")
    with pytest.warns(DegenerateWarning, match="no label is kept"):
        a, b = rule.select_pair(log_a, log_b)
    assert len(a) == len(b) == 0


# --- A hand-worked example of Eqs. 3 to 10 --------------------------------------------------------
#
# Eight samples, two classes; window 2; A's last losses 1, 1, 1, 1, 9, 9, 1, 1: samples 4 and 5 are
# not of small loss, so rho = 6/8 and the quota is floor(6/2) = 3 per class.
# B's changes are chosen so that samples 6 and 7 have the largest rank variances: V_c is the rest.
# B's prediction of sample 1 moves. Hence D_c = {0, 2, 3}: class 0 has 0 and 2, class 1 has 3.
HAND_LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1])
HAND_A = np.array([[3.0] * 8, [2.0] * 8, [1.0, 1.01, 1.02, 1.03, 9.0, 9.01, 1.05, 1.04]])
HAND_B = 20.0 - np.array(
    [[0] * 8, [1, 2, 3, 4, 5, 6, 0, 7], [1 + 1, 2 + 2, 3 + 3, 4 + 4, 5 + 5, 6 + 6, 0 + 7, 7 + 0]]
)
# Of equal variances the smaller last loss comes first: an offset of each sample, which no change
# sees, lets the losses rise with the row.
HAND_B += 2.5 * np.arange(8)
HAND_PREDICTIONS = np.array(
    [[0, 0, 0, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0, 1, 1]]
)
HAND_NEIGHBOURS = [[1, 2], [0, 2], [0, 1], [4, 6], [3, 5], [0, 4], [3, 7], [3, 6]]


def hand_logs():
    shared = {"labels": HAND_LABELS, "predictions": HAND_PREDICTIONS, "neighbours": HAND_NEIGHBOURS}
    return TrainingLog(losses=HAND_A, **shared), TrainingLog(losses=HAND_B, **shared)


def test_eight_samples_worked_by_hand():
    a, b = VRLVSelector(window=2).select_pair(*hand_logs())
    # A is filled from V_c \ D_c = {1, 4, 5}. Class 0 is short of 1 and has the one candidate 1.
    # Class 1 is short of 2 and has 4 (neighbour 3 in D_c agrees) and 5 (neighbour 0 does not).
    # Two candidates for a quota of two are no surplus: nothing is edited, both are taken.
    assert a.reason.tolist() == [
        "core",
        "fill",
        "core",
        "core",
        "fill",
        "fill",
        "dropped",
        "dropped",
    ]
    assert len(a.synthetic) == 0
    # B is filled from G_l \ D_c = {1, 6, 7}: class 0 takes 1, class 1 takes 7 and 6.
    assert b.reason.tolist() == [
        "core",
        "fill",
        "core",
        "core",
        "dropped",
        "dropped",
        "fill",
        "fill",
    ]
    assert len(b.synthetic) == 0
    # Eq. 10: 6 samples, 3 per class, 2 classes: weight 6 / (3 * 2) = 1.
    assert a.weights.tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert a.trust[[0, 2, 3]].tolist() == [1, 1, 1]
    assert a.trust[4] < 1e-6
    assert b.trust[7] > 0.99


def test_a_surplus_is_edited_and_a_shortage_is_mixed():
    # rho = 0.6: floor(0.6 * 8 / 2) = 2 per class, and V_c are the round(4.8) = 5 least variances,
    # {0, 1, 2, 3, 4}. Class 0 has its 2 in D_c; class 1 has 3 and is short of 1.
    a, b = VRLVSelector(window=2, clean_rate=0.6).select_pair(*hand_logs())
    assert a.labelled.tolist() == [0, 2, 3, 4]
    # B has the candidates 6 and 7 for one place: both have the neighbour 3 in D_c, which agrees;
    # the smaller loss, that of 7, is taken.
    assert b.labelled.tolist() == [0, 2, 3, 7]
    # Now the neighbours of 7 in D_c contradict it, and 6 is taken.
    log_a, log_b = hand_logs()
    contradicted = [*HAND_NEIGHBOURS[:7], [0, 2]]
    log_a = replace(log_a, neighbours=np.array(contradicted))
    _, b = VRLVSelector(window=2, clean_rate=0.6).select_pair(log_a, log_b)
    assert b.labelled.tolist() == [0, 2, 3, 6]


def test_a_short_class_is_filled_with_mixtures_and_the_weights_count_them():
    log_a, log_b = hand_logs()
    # At rho = 1/2 V_c is {0, 1, 2, 3} and the quotas are floor(0.5 * 8 / 2) = 2: class 1 has
    # sample 3 and no candidate. Its neighbours 4 and 6 lie in the complement of V_c; one mixture is
    # made, of 3 and its nearest partner 4.
    a, _ = VRLVSelector(window=2, clean_rate=0.5).select_pair(log_a, log_b)
    assert a.labelled.tolist() == [0, 2, 3]
    assert a.synthetic.anchors.tolist() == [3]
    assert a.synthetic.partners.tolist() == [4]
    assert a.synthetic.labels.tolist() == [1]
    assert 0.5 <= a.synthetic.lam[0] <= 1
    # Two real samples of class 0, one real and one synthetic of class 1: 4 / (2 * 2) = 1 for both.
    assert a.weights.tolist() == [1, 0, 1, 1, 0, 0, 0, 0]


def test_a_class_without_a_core_takes_its_smallest_losses():
    log_a, log_b = hand_logs()
    moving = HAND_PREDICTIONS.copy()
    moving[1, 3] = 0  # sample 3 leaves D_c, and class 1 has no core
    log_b = replace(log_b, predictions=moving)
    for selection in VRLVSelector(window=2).select_pair(log_a, log_b):
        # G_l of class 1 is {3, 7, 6} by ascending loss, and the quota is 3.
        assert selection.labelled.tolist() == [0, 1, 2, 3, 6, 7]
        assert selection.reason[[3, 6, 7]].tolist() == ["fill"] * 3


def test_a_class_with_nothing_to_take_stays_empty_with_weight_0_and_a_warning():
    log_a, log_b = (replace(log, n_classes=3) for log in hand_logs())
    with pytest.warns(DegenerateWarning, match="1 of 3 classes have neither .* weight 0: 2"):
        a, _ = VRLVSelector(window=2).select_pair(log_a, log_b)
    assert a.clean.any()


def test_the_score_ranks_core_above_fill_above_dropped():
    log_a, log_b = pair_of_logs(5)
    for answer in VRLVSelector(window=4).select_pair(log_a.until(9), log_b.until(9)):
        core, fill, dropped = (
            answer.score[answer.reason == r] for r in ("core", "fill", "dropped")
        )
        assert core.min() > fill.max() > fill.min() > dropped.max()


def test_eq_10_weights_make_every_class_count_alike():
    log_a, log_b = pair_of_logs(6)
    a, _ = VRLVSelector(window=4, clean_rate=0.5).select_pair(log_a.until(9), log_b.until(9))
    weight_of_class = np.array([a.weights[a.clean & (log_a.labels == c)][0] for c in range(5)])
    made = np.bincount(a.synthetic.labels, minlength=5)
    kept = np.bincount(log_a.labels[a.clean], minlength=5)
    assert weight_of_class * (kept + made) == pytest.approx((kept + made).sum() / 5)
    assert (a.weights[~a.clean] == 0).all()


def test_without_balance_no_neighbours_are_needed():
    log_a, log_b = pair_of_logs(7)
    log_a, log_b = log_a.until(9), log_b.until(9)
    bare_a = replace(log_a, neighbours=None, features=None)
    bare_b = replace(log_b, neighbours=None, features=None)
    a, b = VRLVSelector(window=4, balance=False).select_pair(bare_a, bare_b)
    small = GMMSelector().select(log_a).clean
    assert np.array_equal(b.clean, small)
    assert len(a) == small.sum()
    assert a.synthetic is None
    with pytest.raises(MissingEvidenceError, match=r"`neighbours` or `features`.*balance=False"):
        VRLVSelector(window=4).select_pair(bare_a, bare_b)


def test_the_neighbours_of_the_peer_serve_where_the_first_has_none():
    log_a, log_b = pair_of_logs(8)
    log_a, log_b = log_a.until(9), log_b.until(9)
    rule = VRLVSelector(window=4)
    bare = replace(log_a, neighbours=None, features=None)
    both = replace(log_b, neighbours=log_a.neighbours)
    assert rule.select_pair(bare, both) == rule.select_pair(log_a, log_b)


def test_the_unlabelled_rest_is_what_was_asked_for():
    log_a, log_b = pair_of_logs(9)
    rest, _ = VRLVSelector(window=4).select_pair(log_a.until(9), log_b.until(9))
    printed, _ = VRLVSelector(window=4, unlabelled="printed").select_pair(
        log_a.until(9), log_b.until(9)
    )
    assert np.array_equal(rest.unlabelled_mask, ~rest.clean)
    assert np.array_equal(printed.unlabelled_mask, printed.reason != "core")


def test_the_printed_pool_of_equation_9_mixes_with_stable_samples():
    log_a, log_b = hand_logs()
    a, _ = VRLVSelector(window=2, clean_rate=0.5, knn_pool="printed").select_pair(log_a, log_b)
    # V_c = {0, 1, 2, 3}, and neither neighbour of 3 lies in it.
    assert len(a.synthetic) == 0


def test_select_is_the_first_of_the_pair_and_one_network_may_play_both():
    log_a, log_b = pair_of_logs(10)
    rule = VRLVSelector(window=4)
    assert rule.select(log_a, log_b) == rule.select_pair(log_a, log_b)[0]
    assert rule.select(log_a) == rule.select_pair(log_a, log_a)[0]
    with pytest.raises(ValueError, match=r"must end with the same epoch as `log`, got \[13\]"):
        rule.select(log_a, log_b.until(14))
    with pytest.raises(ValueError, match="`peer` must be the log of a second network"):
        rule.select(log_a, log_b.take(np.arange(log_b.n_samples)[::-1]))


def test_a_short_history_is_refused_or_answered_by_the_mixture():
    log, _ = synthetic_log(n_epochs=4)
    with pytest.raises(MissingEvidenceError, match=r"needs 6 epochs of the log .* got 4"):
        VRLVSelector().select(log)
    a, b = VRLVSelector(short_history="gmm").select_pair(log, log)
    assert a == b == GMMSelector().select(log)


def test_another_epoch_draws_other_mixtures_and_the_same_epoch_the_same():
    log_a, log_b = (log.until(9) for log in pair_of_logs(11))
    rule = VRLVSelector(window=4, clean_rate=0.5)
    first, _ = rule.select_pair(log_a, log_b)
    again, _ = rule.select_pair(log_a, log_b)
    later = [replace(log, epochs=log.epochs + 1) for log in (log_a, log_b)]
    other, _ = rule.select_pair(*later)
    assert first == again
    assert len(first.synthetic) > 3
    assert not np.array_equal(first.synthetic.lam, other.synthetic.lam)


def test_the_networks_draw_their_mixtures_apart():
    log_a, log_b = (log.until(9) for log in pair_of_logs(11))
    a, b = VRLVSelector(window=4, clean_rate=0.9).select_pair(log_a, log_b)
    assert len(a.synthetic) > 3
    assert len(b.synthetic) > 3
    assert not np.intersect1d(a.synthetic.lam, b.synthetic.lam).size


def test_samples_without_a_valid_record_in_either_network_are_dropped_from_both():
    log_a, log_b = (log.until(9) for log in pair_of_logs(12))
    missing = log_b.predictions.copy()
    missing[-1, 5] = -1
    log_b = replace(log_b, predictions=missing)
    for answer in VRLVSelector(window=4).select_pair(log_a, log_b):
        assert answer.reason[5] == "no valid record"
        assert 5 not in answer
        assert 5 in answer.unlabelled
        assert 5 not in answer.synthetic.partners


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"window": 1}, "`window` must be at least 2"),
        ({"gamma1": 0.0}, "`gamma1` must be a quantile"),
        ({"gamma2": 1.1}, "`gamma2` must be a quantile"),
        ({"n_neighbors": 0}, "`n_neighbors` must be at least 1"),
        ({"alpha": 0.0}, "`alpha` must be positive"),
        ({"unsupported": "first"}, "`unsupported` must be one of"),
        ({"knn_pool": "all"}, "`knn_pool` must be one of"),
        ({"unlabelled": "none"}, "`unlabelled` must be one of"),
        ({"rescue": "all"}, "`rescue` must be one of"),
        ({"random_state": -1}, "`random_state` must be at least 0"),
        ({"window": 5.0}, "`window` must be at least 2"),
        ({"short_history": "shrink"}, "`short_history` must be one of"),
        ({"threshold": 2.0}, "`threshold` must lie in"),
        ({"change": "both"}, "`change` must be"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        VRLVSelector(**option)


# --- reference/vrlvmix.md, "What a plain log shows" -----------------------------------------------


def test_the_measured_figures_of_the_real_log_are_reproduced(real_log, real_logs):
    truth = real_log["label"] == real_log["true"]
    assert np.mean(~truth) == pytest.approx(0.198, abs=0.005)
    log = real_logs[0]
    for epoch, last, mean_rank, variation in ((19, 0.798, 0.809, 0.680), (29, 0.842, 0.842, 0.718)):
        now = log.until(epoch + 1)
        ranks = np.mean([rankdata(losses) for losses in now.losses[-5:]], axis=0)
        score = LossVariationSelector().select(now).score
        assert roc_auc_score(truth, -now.losses[-1]) == pytest.approx(last, abs=0.005)
        assert roc_auc_score(truth, -ranks) == pytest.approx(mean_rank, abs=0.005)
        assert roc_auc_score(truth, score) == pytest.approx(variation, abs=0.005)

    now = log.until(20)
    small = GMMSelector().select(now)
    assert small.clean.mean() == pytest.approx(0.917, abs=0.005)
    assert truth[small.clean].mean() == pytest.approx(0.808, abs=0.005)
    core = VRLVSelector(balance=False).select(now).reason == "core"
    assert core.sum() / 50_000 == pytest.approx(24_964 / 50_000, abs=0.005)
    assert truth[core].mean() == pytest.approx(0.906, abs=0.005)
    smallest = np.argsort(now.losses[-1], kind="stable")[: core.sum()]
    assert truth[smallest].mean() == pytest.approx(0.967, abs=0.005)
    hard = truth & (now.losses[-1] > np.median(now.losses[-1]))
    assert core[hard].mean() == pytest.approx(0.15, abs=0.005)
    assert not hard[smallest].any()


def test_every_branch_answers_on_the_real_log(real_logs, real_log):
    # A part of the samples, for the search of neighbours is quadratic.
    rows = np.arange(0, 50_000, 5)
    log_a, log_b = (log.take(rows) for log in real_logs)
    log_a = replace(log_a, neighbours=log_a.nearest(20))
    right = (real_log["label"] == real_log["true"])[rows]
    for epoch, after in ((19, False), (24, True), (29, False)):
        a, b = VRLVSelector().select_pair(log_a.until(epoch + 1), log_b.until(epoch + 1))
        assert (a.synthetic is None) == after
        for answer in (a, b):
            assert 0.5 < answer.clean.mean() < 1
            assert right[answer.clean].mean() > right.mean() + 0.01


def test_a_pair_of_many_samples_needs_three_times_the_memory_of_the_loss_window():
    rng = np.random.default_rng(0)
    n = 800_000
    wrong = rng.random(n) < 0.3
    losses = rng.gamma(4.0, np.where(wrong, 1.0, 0.1), (6, n)).astype(np.float32)
    log = TrainingLog(
        labels=rng.integers(0, 5, n),
        losses=losses,
        predictions=(rng.random((6, n)) < 0.02).astype(np.int8),
        neighbours=(np.arange(n)[:, None] + np.arange(1, 21)) % n,
    )
    tracemalloc.start()
    selections = VRLVSelector(window=5).select_pair(log, log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(len(selection.synthetic) for selection in selections)
    assert peak <= 3.1 * losses.nbytes
