from math import log

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selectors.aum import AUMSelector


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def log_of(logits, labels, losses=None):
    return TrainingLog(labels=labels, probabilities=softmax(np.asarray(logits)), losses=losses)


def by_the_definition(logits, labels):
    margins = []
    for i, label in enumerate(labels):
        of_epochs = [
            row[i][label] - max(z for c, z in enumerate(row[i]) if c != label) for row in logits
        ]
        margins.append(sum(of_epochs) / len(of_epochs))
    return margins


def test_three_samples_worked_by_hand():
    # Margins log 4 and log 2, log 3 and log 3, log 2 and -log 2.
    probabilities = [
        [[0.8, 0.2], [0.75, 0.25], [1 / 3, 2 / 3]],
        [[2 / 3, 1 / 3], [0.75, 0.25], [2 / 3, 1 / 3]],
    ]
    given = TrainingLog(labels=[0, 0, 1], probabilities=probabilities)
    assert (log(4) + log(2)) / 2 < log(3)
    selection = AUMSelector(clean_rate=0.34).select(given)
    assert selection.clean.tolist() == [False, True, False]
    assert selection.score.tolist() == [0.5, 1.0, 0.0]
    assert selection.reason.tolist() == ["small margin", "large margin", "small margin"]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_that_of_the_margins_of_logits(seed):
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.normal(size=(7, 50, 4)), rng.integers(0, 4, 50)
    for window in (150, 3):
        margins = by_the_definition(logits[-window:].tolist(), labels.tolist())
        got = AUMSelector(clean_rate=0.6, window=window).select(log_of(logits, labels))
        order = np.argsort(margins)
        assert np.argsort(got.score).tolist() == order.tolist()
        assert set(got.labelled) == set(order[-30:])


def test_the_cut_is_where_the_higher_gaussian_becomes_the_likelier_one():
    logits, labels, _ = memorised_run()
    given = log_of(logits, labels)
    margins = np.array(by_the_definition(logits.tolist(), labels.tolist()))
    unit = (margins - margins.min()) / np.ptp(margins)
    model = GaussianMixture(2, reg_covar=5e-4, tol=1e-10, max_iter=20_000, random_state=0)
    model.fit(unit[:, None])
    posterior = model.predict_proba(np.sort(unit)[:, None])[:, model.means_.argmax()]
    # Where it turns beyond the means, it stays.
    low = np.searchsorted(np.sort(unit), model.means_.mean())
    posterior[low:] = np.maximum.accumulate(posterior[low:])
    posterior[:low] = np.minimum.accumulate(posterior[:low][::-1])[::-1]
    expected = posterior[np.argsort(np.argsort(unit))]
    selection = AUMSelector().select(given)
    assert selection.trust == pytest.approx(expected, abs=1e-3)
    assert np.array_equal(selection.clean, selection.trust > 0.5)
    # What is kept has larger margins than all that is not.
    assert selection.score[selection.clean].min() > selection.score[~selection.clean].max()


def memorised_run(n_late=2):
    """Wrong labels lose to the true class at first; in the last epochs they are learnt by heart."""
    rng = np.random.default_rng(0)
    truth = np.arange(1200) % 3
    labels = np.where(np.arange(1200) % 10 < 3, (truth + 1) % 3, truth)
    early, late = 4 * np.eye(3)[truth], 6 * np.eye(3)[labels]
    logits = np.stack([early] * 10 + [late] * n_late)
    return logits + rng.normal(size=logits.shape), labels, truth


def test_margins_tell_what_the_last_losses_do_not():
    logits, labels, truth = memorised_run()
    losses = -np.log(softmax(logits)[:, np.arange(1200), labels])
    for rule in (AUMSelector(), AUMSelector(clean_rate=0.7)):
        quality = selection_quality(
            rule.select(log_of(logits, labels)), labels, truth, 3, losses[-1]
        )
        assert quality.precision > 0.99 > 0.75 > quality.small_loss_precision
        assert quality.auroc > 0.99
        assert quality.f1 > 0.98


def test_probabilities_of_the_last_epochs_only_come_too_late():
    logits, labels, truth = memorised_run(n_late=3)
    late = AUMSelector(clean_rate=0.7).select(log_of(logits[-3:], labels))
    assert (labels == truth)[late.clean].mean() < 0.75


def test_the_tail_of_a_wide_gaussian_turns_no_decision():
    # Wrong labels have margins far and wide; the largest margins of all would be called wrong.
    rng = np.random.default_rng(0)
    margins = np.r_[rng.normal(-2.0, 3.0, 400), rng.normal(3.0, 0.3, 600), 8.0]
    logits = np.stack([margins, np.zeros(1001)], axis=1)[None]
    selection = AUMSelector().select(log_of(logits, np.zeros(1001, dtype=int)))
    assert selection.clean[-1]
    assert selection.score[selection.clean].min() > selection.score[~selection.clean].max()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gaussian_whose_own_mean_belongs_to_the_other_has_its_tail(sign):
    # A few margins on one side of a heap, spread so wide that at their mean the heap is denser.
    rng = np.random.default_rng(2)
    margins = np.r_[rng.normal(0.0, 1.0, 2000), sign * rng.normal(1.5, 2.0, 60)]
    logits = np.stack([margins, 0 * margins], axis=1)[None]
    selection = AUMSelector().select(log_of(logits, np.zeros(2060, dtype=int)))
    apart = selection.clean if sign == 1 else ~selection.clean
    assert 10 < np.count_nonzero(apart) < 60
    assert (sign * margins)[apart].min() > (sign * margins)[~apart].max()


def test_probabilities_of_0_are_no_group_of_their_own():
    # Recorded in float16, the surest samples have probabilities of 0 for all other classes.
    logits, labels, truth = memorised_run(n_late=0)
    logits[:, :5] *= 9
    probabilities = softmax(logits).astype(np.float16)
    assert (probabilities[0] == 0).any()
    selection = AUMSelector().select(TrainingLog(labels=labels, probabilities=probabilities))
    assert (selection.clean == (labels == truth)).mean() > 0.95


def test_of_equal_margins_the_more_probable_label_comes_first():
    # Both margins are log 2 in one epoch.
    probabilities = [[[0.5, 0.25, 0.25], [0.625, 0.3125, 0.0625], [0.1, 0.2, 0.7]]]
    given = TrainingLog(labels=[0, 0, 0], probabilities=probabilities)
    assert AUMSelector(clean_rate=0.34).select(given).labelled.tolist() == [1]


@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_equal_margins_and_a_single_class_speak_against_no_label(n_samples):
    for n_classes, why in ((3, "all margins are equal"), (1, "a single class has no margin")):
        given = log_of(np.zeros((2, n_samples, n_classes)), np.arange(n_samples) % n_classes)
        with pytest.warns(DegenerateWarning, match=f"{why}; every label is kept"):
            selection = AUMSelector(clean_rate=0.2).select(given)
        assert selection.clean.all()
        assert (selection.score == 1).all()


def test_a_single_heap_of_margins_speaks_against_no_label():
    margins = np.random.default_rng(0).normal(1.0, 0.1, 5000)
    given = log_of(np.stack([margins, 0 * margins], axis=1)[None], np.zeros(5000, dtype=int))
    with pytest.warns(DegenerateWarning, match="do not fall into two groups"):
        selection = AUMSelector().select(given)
    assert selection.clean.all()
    assert np.array_equal(np.argsort(selection.score), np.argsort(margins))


def test_nothing_kept_is_warned_of():
    given = log_of([[[1.0, 0.0], [2.0, 0.0]]], [0, 0])
    with pytest.warns(DegenerateWarning, match="no margin is large enough; no label is kept"):
        assert len(AUMSelector(clean_rate=0.1).select(given)) == 0


@pytest.mark.parametrize("rule", [AUMSelector(), AUMSelector(clean_rate=0.6, window=3)])
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": 0.0}, r"`clean_rate` must lie in \(0, 1\], got 0.0"),
        ({"window": 0}, "`window` must be at least 1 epoch, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        AUMSelector(**option)
