import numpy as np
import pytest

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.gmm import GMMSelector
from noisyselect.selectors.shares import forget_rate
from noisyselect.selectors.small_loss import SmallLossSelector


def log_of(losses, labels=None, epoch=0):
    losses = np.asarray(losses, dtype=float)
    labels = np.zeros(losses.size, dtype=int) if labels is None else labels
    return TrainingLog(labels=labels, losses=losses[None], epochs=[epoch])


def by_sorting(losses, labels, share):
    """The smallest losses of each class, sample by sample; and the rank within the class."""
    kept, scores = [], []
    for loss, label in zip(losses, labels, strict=True):
        own = sorted(x for x, other in zip(losses, labels, strict=True) if other == label)
        kept.append(loss in own[: round(share * len(own))])
        scores.append(1 - own.index(loss) / max(len(own) - 1, 1))
    return kept, scores


def test_six_samples_worked_by_hand():
    log = log_of([0.1, 0.5, 0.3, 2.0, 0.9, 1.1], [0, 0, 0, 1, 1, 1])
    selection = SmallLossSelector(clean_rate=0.5).select(log)
    assert selection.labelled.tolist() == [0, 1, 2]
    assert selection.score == pytest.approx([1.0, 0.6, 0.8, 0.0, 0.4, 0.2])
    assert selection.reason.tolist() == ["small loss"] * 3 + ["large loss"] * 3
    # Two thirds of three are two.
    per_class = SmallLossSelector(clean_rate=2 / 3, per_class=True).select(log)
    assert per_class.labelled.tolist() == [0, 2, 4, 5]
    assert per_class.score == pytest.approx([1.0, 0.0, 0.5, 0.0, 1.0, 0.5])


@pytest.mark.parametrize("seed", range(5))
def test_mask_and_score_are_those_of_sorting(seed):
    rng = np.random.default_rng(seed)
    losses, labels = rng.gamma(1.0, 1.0, 90), rng.integers(0, 4, 90)
    share = rng.uniform(0.1, 0.9)
    for per_class in (False, True):
        kept, scores = by_sorting(losses, labels if per_class else 0 * labels, share)
        got = SmallLossSelector(clean_rate=share, per_class=per_class).select(
            log_of(losses, labels)
        )
        assert got.clean.tolist() == kept
        assert got.score == pytest.approx(scores)


def test_by_default_as_many_are_kept_as_the_mixture_keeps():
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.gamma(1.0, 0.2, 700), rng.normal(3.0, 0.5, 300)])
    log = log_of(losses)
    assert len(SmallLossSelector().select(log)) == len(GMMSelector().select(log))


def test_the_forget_rate_rises_with_both_ends_and_jumps_to_the_noise_rate():
    rates = [forget_rate(epoch, 0.4, 5, exponent=2.0) for epoch in range(7)]
    assert rates == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.4, 0.4])
    assert forget_rate(0, 0.4, 0) == 0.4
    assert forget_rate(0, 0.4, 1) == 0.0


def test_the_schedule_goes_by_the_number_of_the_last_epoch():
    rule = SmallLossSelector(clean_rate=0.5, n_gradual=11)
    kept = [len(rule.select(log_of(np.arange(100.0), epoch=e))) for e in (0, 5, 10, 11, 90)]
    assert kept == [100, 75, 50, 50, 50]


def test_per_class_keeps_a_class_that_is_learnt_late_and_the_whole_does_not():
    # The right labels of class 1 have larger losses than the wrong ones of class 0.
    rng = np.random.default_rng(0)
    labels, wrong = np.arange(2000) % 2, rng.random(2000) < 0.3
    losses = rng.gamma(4.0, 0.1, 2000) + 1.2 * wrong + 1.5 * (labels == 1)
    log, truth = log_of(losses, labels), np.where(wrong, 1 - labels, labels)
    one, each = (
        selection_quality(
            SmallLossSelector(clean_rate=0.7, per_class=per_class).select(log), labels, truth, 2
        )
        for per_class in (False, True)
    )
    assert each.precision > 0.97 > 0.85 > one.precision
    assert each.auroc > 0.97 > 0.9 > one.auroc


def test_per_class_fails_where_only_one_class_has_wrong_labels():
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    wrong = (rng.random(2000) < 0.6) & (labels == 1)
    log = log_of(rng.gamma(4.0, 0.1, 2000) + 1.2 * wrong, labels)
    one = SmallLossSelector(clean_rate=0.7).select(log)
    each = SmallLossSelector(clean_rate=0.7, per_class=True).select(log)
    assert (~wrong)[one.clean].mean() > 0.97
    assert (~wrong)[each.clean].mean() < 0.9


def test_where_the_cut_falls_among_equal_losses_all_of_these_are_kept():
    assert SmallLossSelector(clean_rate=0.5).select(
        log_of([0.0, 1.0, 1.0, 1.0, 2.0, 3.0])
    ).clean.tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize("n_samples", [1, 3, 50])
@pytest.mark.parametrize("per_class", [False, True])
def test_equal_losses_speak_against_no_label(n_samples, per_class):
    log = log_of(np.full(n_samples, 0.7), np.arange(n_samples) % 2)
    with pytest.warns(DegenerateWarning, match="all losses are equal; every label is kept"):
        selection = SmallLossSelector(clean_rate=0.1, per_class=per_class).select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_a_share_of_less_than_one_sample_is_warned_of():
    with pytest.warns(DegenerateWarning, match="less than one sample; no label is kept"):
        assert len(SmallLossSelector(clean_rate=0.1).select(log_of([0.1, 0.2, 0.3]))) == 0


def test_a_class_without_samples_and_one_with_a_single_sample_are_answered():
    log = TrainingLog(labels=[0, 0, 2], losses=[[0.1, 0.9, 5.0]], n_classes=4)
    selection = SmallLossSelector(clean_rate=0.6, per_class=True).select(log)
    assert selection.clean.tolist() == [True, False, True]
    assert selection.score.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "rule",
    [
        SmallLossSelector(),
        SmallLossSelector(clean_rate=0.6, per_class=True),
        SmallLossSelector(n_gradual=10, exponent=2.0),
    ],
    ids=repr,
)
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 0.0}, r"`clean_rate` must lie in \(0, 1\], got 0.0"),
        ({"clean_rate": 1.1}, "`clean_rate` must lie in"),
        ({"clean_rate": float("nan")}, "`clean_rate` must lie in"),
        ({"n_gradual": -1}, "`n_gradual` must be at least 0"),
        ({"n_gradual": 2.5}, "`n_gradual` must be at least 0"),
        ({"exponent": 0.0}, "`exponent` must be greater than 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SmallLossSelector(**option)
