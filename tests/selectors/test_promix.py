import math

import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection
from noisyselect.selectors.promix import ProMixSelector


def log_of(losses, labels, **columns):
    return TrainingLog(labels=labels, losses=np.atleast_2d(losses), **columns)


def smallest_losses(log, n_keep):
    """Plain small loss, as many as a selection keeps."""
    clean = np.zeros(log.n_samples, dtype=bool)
    clean[np.argsort(log.losses[-1])[:n_keep]] = True
    return Selection(clean=clean)


def by_the_definition(losses, labels, n_classes, rate, tau):
    kept = {i for i, loss in enumerate(losses) if math.exp(-loss) > tau}
    for c in range(n_classes):
        members = sorted((loss, i) for i, loss in enumerate(losses) if labels[i] == c)
        quota = max(1, min(len(members), math.ceil(rate * len(losses) / n_classes)))
        kept |= {i for _, i in members[:quota]}
    return [i in kept for i in range(len(losses))]


def test_nine_samples_worked_by_hand():
    # 0.5 * 9 / 2 = 2.25, so three of each class; of class 0 the fourth has 0.993 > 0.99.
    losses = [0.001, 0.002, 0.005, 0.007, 0.02, 0.9, 0.1, 0.8, 0.7]
    selection = ProMixSelector(clean_rate=0.5).select(log_of(losses, [0] * 5 + [1] * 4))
    assert selection.labelled.tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert selection.reason[2:6].tolist() == [
        "small loss in its class",
        "predicted with confidence",
        "large loss in its class",
        "large loss in its class",
    ]
    assert selection.score.tolist() == [1 - r / 8 for r in (0, 1, 2, 3, 4, 8, 5, 7, 6)]


@pytest.mark.parametrize(("rate", "tau"), [(0.3, 0.9), (0.7, 1.0), (1.0, 0.99), (0.001, 0.5)])
def test_the_mask_is_that_of_plain_loops(rate, tau):
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 300, p=[0.5, 0.3, 0.15, 0.05, 0.0])
    losses = rng.gamma(0.5, 1.0, 300)
    selection = ProMixSelector(clean_rate=rate, tau=tau).select(log_of(losses, labels, n_classes=5))
    assert selection.clean.tolist() == by_the_definition(losses, labels, 5, rate, tau)


def test_the_share_is_that_of_the_mixture():
    rng = np.random.default_rng(1)
    losses = np.concatenate([rng.gamma(1.0, 0.1, 700), rng.normal(3.0, 0.5, 300)])
    log = log_of(losses, rng.integers(0, 4, 1000))
    share = GMMSelector().select(log).clean.mean()
    assert ProMixSelector().select(log) == ProMixSelector(clean_rate=share).select(log)


@pytest.mark.parametrize("selector", [ProMixSelector(), ProMixSelector(0.4, 0.9)], ids=repr)
def test_the_contract_is_kept(selector):
    check_selector(selector)


def test_a_share_that_is_whole_is_not_rounded_up():
    # In floats 0.28 * 100 is 28.000000000000004.
    losses = np.linspace(1, 2, 100)
    selection = ProMixSelector(clean_rate=0.28).select(log_of(losses, np.zeros(100, dtype=int)))
    assert len(selection) == 28


def test_every_class_keeps_one_sample_and_a_confidence_of_one_adds_none():
    log = log_of([0.0, 0.0, 0.1, 0.2], [0, 0, 1, 1])
    selection = ProMixSelector(clean_rate=1e-12, tau=1.0).select(log)
    assert selection.labelled.tolist() == [0, 2]


def test_where_classes_differ_in_difficulty_it_is_more_precise_than_small_loss():
    rng = np.random.default_rng(2)
    truth = np.arange(4000) % 4
    wrong = rng.random(4000) < 0.3
    labels = np.where(wrong, (truth + rng.integers(1, 4, 4000)) % 4, truth)
    # Losses of hard labels, 2 and 3, are greater, whether right or wrong.
    losses = np.where(wrong, 1.5, 0.1) + np.where(labels > 1, 1.5, 0) + rng.gamma(1.0, 0.2, 4000)
    log = log_of(losses, labels)
    selection = ProMixSelector(clean_rate=0.7).select(log)
    plain = smallest_losses(log, len(selection))
    ours, theirs = (selection_quality(s, labels, truth, 4) for s in (selection, plain))
    assert ours.precision > 0.95 > 0.9 > theirs.precision


def test_it_fails_where_wrong_labels_are_memorised():
    rng = np.random.default_rng(3)
    truth = np.arange(2000) % 2
    labels = np.where(rng.random(2000) < 0.3, 1 - truth, truth)
    log = log_of(rng.uniform(0, 0.005, 2000), labels)
    assert ProMixSelector(clean_rate=0.5).select(log).clean.all()


def test_it_fails_where_wrong_labels_gather_in_one_class():
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 1, 1], 500)
    labels = np.repeat([0, 0, 1, 1], 500)
    losses = np.where(labels == truth, 0.3, 2.0) + rng.gamma(1.0, 0.3, 2000)
    log = log_of(losses, labels)
    selection = ProMixSelector(clean_rate=0.75).select(log)
    plain = smallest_losses(log, len(selection))
    ours, theirs = (selection_quality(s, labels, truth, 2) for s in (selection, plain))
    assert ours.precision < 0.9 < 0.99 < theirs.precision


def test_equal_losses_speak_against_no_label():
    with pytest.warns(DegenerateWarning, match="all losses are equal; every label is kept"):
        selection = ProMixSelector().select(log_of([0.7] * 5, [0, 0, 0, 0, 1]))
    assert selection.clean.all() and (selection.score == 1).all()


def test_of_equal_losses_the_smaller_id_comes_first():
    log = log_of([0.5, 0.5, 0.5, 2.0], [0, 0, 0, 0], ids=["c", "b", "a", "d"])
    assert ProMixSelector(clean_rate=0.5).select(log).labelled.tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 0.0}, r"`clean_rate` must lie in \(0, 1\], got 0.0"),
        ({"clean_rate": 1.1}, "`clean_rate` must lie in"),
        ({"tau": 0.0}, r"`tau` must lie in \(0, 1\], got 0.0"),
        ({"tau": float("nan")}, "`tau` must lie in"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ProMixSelector(**option)
