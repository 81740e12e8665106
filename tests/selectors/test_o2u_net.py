import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.o2u_net import O2UNetSelector

CYCLE = 0.01 * (1 - np.arange(1, 6) / 5) + 0.001 * np.arange(1, 6) / 5


def log_of(losses, lr=None, labels=None):
    losses = np.asarray(losses, dtype=float)
    labels = np.zeros(losses.shape[1], dtype=int) if labels is None else labels
    return TrainingLog(labels=labels, losses=losses, lr=lr, n_classes=2)


def by_the_definition(losses, n_keep):
    """Centred losses are added up epoch by epoch, and the smallest sums are picked one by one."""
    sums = [0.0] * len(losses[0])
    for row in losses:
        mean = sum(row) / len(row)
        sums = [total + loss - mean for total, loss in zip(sums, row, strict=True)]
    return set(sorted(range(len(sums)), key=sums.__getitem__)[:n_keep])


def test_three_samples_worked_by_hand():
    # From the third epoch on: sums 0.6, 1.1 and 1.0, means 0.9. Before, the third was the worst.
    losses = [[0, 0, 9], [0, 0, 9], [0.3, 0.6, 0.5], [0.3, 0.5, 0.5]]
    selection = O2UNetSelector(clean_rate=0.67).select(log_of(losses, lr=[0.1, 0.01, 0.1, 0.02]))
    assert selection.clean.tolist() == [True, False, True]
    assert selection.score == pytest.approx([1.0, 0.0, 0.5])
    assert selection.reason.tolist()[:2] == ["small loss over a cycle", "large loss over a cycle"]


@pytest.mark.parametrize("seed", range(4))
def test_the_kept_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    losses = rng.gamma(1.0, 1.0, (12, 40))
    lr = np.r_[0.1, 0.05, CYCLE, CYCLE]
    for recorded, start in ((None, 0), (lr, 7), (np.zeros(12), 0)):
        # From 0.05 to 0.0082 the rate falls; the first cycle that can be seen is the second.
        got = O2UNetSelector(clean_rate=0.6).select(log_of(losses, recorded))
        assert set(got.labelled) == by_the_definition(losses[start:].tolist(), 24)
    windowed = O2UNetSelector(clean_rate=0.6, window=4).select(log_of(losses))
    assert set(windowed.labelled) == by_the_definition(losses[-4:].tolist(), 24)


def test_a_warm_up_that_rises_by_less_than_twofold_is_no_cycle():
    losses = np.random.default_rng(0).gamma(1.0, 1.0, (6, 30))
    rising = O2UNetSelector(clean_rate=0.5).select(log_of(losses, lr=[1, 1.5, 2.2, 3, 4, 5]))
    assert rising == O2UNetSelector(clean_rate=0.5).select(log_of(losses))


def swinging_run(seed=0):
    """Wrong labels are learnt by heart at the end of each cycle and lost at its start."""
    rng = np.random.default_rng(seed)
    n, lr = 2000, np.tile(CYCLE, 4)
    wrong = rng.random(n) < 0.3
    learnt = 1 - lr[:, None] / lr.max()
    losses = np.where(wrong, 2.0 * (1 - learnt) + 0.2, 0.3 * (1 - learnt) + 0.2)
    return losses * np.exp(0.7 * rng.normal(size=losses.shape)), lr, wrong


def test_a_swinging_rate_tells_wrong_labels_that_the_last_losses_do_not():
    losses, lr, wrong = swinging_run()
    labels = np.arange(wrong.size) % 2
    quality = selection_quality(
        O2UNetSelector(clean_rate=0.7).select(log_of(losses, lr, labels)),
        labels,
        labels ^ wrong,
        2,
        losses[-1],
    )
    assert quality.precision > 0.98 > 0.85 > quality.small_loss_precision


def test_without_a_cycle_early_epochs_outweigh_those_that_tell():
    # Ten epochs of large losses without meaning, then five small ones that tell.
    rng = np.random.default_rng(0)
    wrong = np.arange(2000) % 10 < 3
    losses = np.r_[rng.gamma(4.0, 1.0, (10, 2000)), 0.1 + 0.3 * np.tile(wrong, (5, 1))]
    log = log_of(losses * np.exp(0.1 * rng.normal(size=losses.shape)))
    assert (~wrong)[O2UNetSelector(clean_rate=0.7).select(log).clean].mean() < 0.8
    assert (~wrong)[O2UNetSelector(clean_rate=0.7, window=5).select(log).clean].mean() > 0.99


def test_by_default_as_many_are_kept_as_the_mixture_keeps():
    losses, lr, _ = swinging_run()
    log = log_of(losses, lr)
    assert len(O2UNetSelector().select(log)) == len(GMMSelector().select(log))


def test_of_equal_sums_the_smaller_last_loss_comes_first():
    log = log_of([[1.0, 3.0, 2.0, 9.0], [3.0, 1.0, 2.0, 9.0]])
    assert O2UNetSelector(clean_rate=0.5).select(log).clean.tolist() == [False, True, True, False]


@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_equal_losses_speak_against_no_label(n_samples):
    log = log_of(np.full((3, n_samples), 0.4))
    with pytest.warns(DegenerateWarning, match="all losses are equal; every label is kept"):
        selection = O2UNetSelector(clean_rate=0.2).select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_one_epoch_is_plain_small_loss_and_a_share_of_none_is_warned_of():
    log = log_of([[0.3, 0.1, 0.2]])
    assert O2UNetSelector(clean_rate=0.4).select(log).labelled.tolist() == [1]
    with pytest.warns(DegenerateWarning, match="less than one sample; no label is kept"):
        assert len(O2UNetSelector(clean_rate=0.1).select(log)) == 0


@pytest.mark.parametrize("rule", [O2UNetSelector(), O2UNetSelector(clean_rate=0.6, window=3)])
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 0}, r"`clean_rate` must lie in \(0, 1\], got 0"),
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
        ({"window": 1.5}, "`window` must be at least 1 epoch, got 1.5"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        O2UNetSelector(**option)
