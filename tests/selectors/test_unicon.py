import numpy as np
import pytest

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.selection import Selection
from noisyselect.selectors.unicon import UNICONSelector


def log_of(losses, labels, **columns):
    return TrainingLog(labels=labels, losses=np.atleast_2d(losses), **columns)


def smallest_losses(log, n_keep):
    """Plain small loss, as many as a selection keeps."""
    order = np.argsort(log.losses[-1])
    clean = np.zeros(log.n_samples, dtype=bool)
    clean[order[:n_keep]] = True
    return Selection(clean=clean)


def js(prediction, label, log):
    """The Jensen-Shannon divergence by its definition, class by class."""
    given = [float(c == label) for c in range(len(prediction))]
    middle = [(a + b) / 2 for a, b in zip(prediction, given, strict=True)]

    def kl(a, b):
        return sum(x * log(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    return (kl(prediction, middle) + kl(given, middle)) / 2


def by_the_definition(probabilities, labels, log, d_mu, tau):
    """Mask and divergences, sample by sample from whole predictions."""
    n_samples, n_classes = probabilities.shape
    d = [js(list(row), y, log) for row, y in zip(probabilities, labels, strict=True)]
    average = sum(d) / n_samples
    cut = average if average <= d_mu else average - (average - min(d)) / tau
    quota = sum(value < cut for value in d) // n_classes
    kept = []
    for c in range(n_classes):
        members = sorted((d[i], i) for i in range(n_samples) if labels[i] == c)
        kept += [i for _, i in members[:quota]]
    return [i in kept for i in range(n_samples)], d, average


def test_six_samples_worked_by_hand():
    probability = np.array([0.9, 0.8, 0.5, 0.6, 0.5, 0.05])
    log = log_of(-np.log(probability), [0, 0, 0, 1, 1, 1])
    selection = UNICONSelector().select(log)
    # For 0.5: 1 - (1.5 log 1.5 - 0.5 log 0.5) / 2 = 1 - (0.8774 + 0.5) / 2, in base 2.
    bits = [0.0519, 0.1080, 0.3113, 0.2365, 0.3113, 0.8550]
    assert 1 - selection.score == pytest.approx(bits, abs=1e-4)
    # The mean is 0.3123 and five lie below: two of each class.
    assert selection.clean.tolist() == [True, True, False, True, True, False]
    assert selection.trust == pytest.approx([1, 1, 1, 1, 1, 1 - 0.8550], abs=1e-4)
    assert selection.reason[[0, 2]].tolist() == [
        "small loss in its class",
        "large loss in its class",
    ]


@pytest.mark.parametrize("log_base", [2, "e"])
@pytest.mark.parametrize("sureness", [0.3, 3.0])
def test_mask_and_divergence_are_those_of_whole_predictions(log_base, sureness):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    pair = rng.dirichlet(np.full(4, 0.5), (2, 200))
    pair[:, np.arange(200), labels] += sureness * rng.random(200)
    pair /= pair.sum(axis=2, keepdims=True)
    logs = [log_of(-np.log(p[np.arange(200), labels]), labels) for p in pair]
    log = np.log2 if log_base == 2 else np.log
    d_mu, tau = 0.3, 3.0
    mask, d, average = by_the_definition(pair.mean(axis=0), labels, log, d_mu, tau)
    assert (average > d_mu) == (sureness == 0.3)
    selection = UNICONSelector(d_mu=d_mu, tau=tau, log_base=log_base).select(*logs)
    assert selection.clean.tolist() == mask
    assert (1 - selection.score) * log(2) == pytest.approx(d, abs=1e-12)
    assert selection.trust == pytest.approx([1 if x < 0.5 else 1 - x for x in d], abs=1e-12)
    assert UNICONSelector(d_mu=d_mu, tau=tau, log_base=log_base).select(*logs[::-1]) == selection


def test_in_nats_the_published_value_never_lowers_the_cut_off():
    rng = np.random.default_rng(1)
    losses, labels = rng.normal(5, 1, 400).clip(0), np.arange(400) % 4
    bits, nats, never = (
        UNICONSelector(**options).select(log_of(losses, labels))
        for options in ({}, {"log_base": "e"}, {"d_mu": 1.0})
    )
    assert np.array_equal(nats.clean, never.clean)
    assert bits < nats


@pytest.mark.parametrize("selector", [UNICONSelector(), UNICONSelector(0.2, 2.0, "e")], ids=repr)
def test_the_contract_is_kept(selector):
    check_selector(selector)


def classes_of_different_difficulty(seed):
    rng = np.random.default_rng(seed)
    truth = np.arange(4000) % 4
    wrong = rng.random(4000) < 0.3
    labels = np.where(wrong, (truth + rng.integers(1, 4, 4000)) % 4, truth)
    easy = labels < 2
    # The wrong labels of the easy classes look like right ones of the hard classes.
    lowest = np.select([easy & ~wrong, easy & wrong, ~wrong], [0.02, 0.3, 0.35], 2.0)
    highest = np.select([easy & ~wrong, easy & wrong, ~wrong], [0.1, 0.5, 1.2], 4.0)
    return rng.uniform(lowest, highest), labels, truth


def test_where_classes_differ_in_difficulty_it_is_more_precise_than_small_loss():
    losses, labels, truth = classes_of_different_difficulty(0)
    log = log_of(losses, labels)
    selection = UNICONSelector().select(log)
    plain = smallest_losses(log, len(selection))
    ours, theirs = (selection_quality(s, labels, truth, 4) for s in (selection, plain))
    assert ours.precision > 0.98 > 0.8 > theirs.precision


def test_it_fails_where_classes_differ_in_their_share_of_wrong_labels():
    # Half of the labels of class 0 are wrong, none of the others: every class gets the same number.
    rng = np.random.default_rng(2)
    truth = np.repeat([0, 1, 2, 3, 1, 2, 3], [500, 1000, 1000, 1000, 167, 167, 166])
    labels = np.where(np.arange(truth.size) >= 3500, 0, truth)
    losses = np.where(labels == truth, 0.3, 2.0) + rng.gamma(1.0, 0.3, truth.size)
    log = log_of(losses, labels)
    selection = UNICONSelector().select(log)
    plain = smallest_losses(log, len(selection))
    ours, theirs = (selection_quality(s, labels, truth, 4) for s in (selection, plain))
    assert ours.precision < 0.95 < 0.99 < theirs.precision


def test_equal_divergences_speak_against_no_label():
    with pytest.warns(DegenerateWarning, match="all divergences are equal; every label is kept"):
        selection = UNICONSelector().select(log_of([0.7, 0.7, 0.7], [0, 1, 0]))
    assert selection.clean.all() and (selection.score == 1).all()


def test_fewer_samples_below_the_cut_off_than_classes_are_warned_of():
    with pytest.warns(DegenerateWarning, match="fewer samples lie below the cut-off"):
        assert len(UNICONSelector().select(log_of([0.1, 2.0, 3.0], [0, 1, 0]))) == 0


def test_the_cut_off_is_exclusive():
    # With tau = 1 the cut-off is the smallest divergence, which is 0.
    log = log_of([0.0, 1.0, 2.0], [0, 0, 0])
    with pytest.warns(DegenerateWarning, match="none is kept"):
        assert len(UNICONSelector(d_mu=0.0, tau=1.0).select(log)) == 0


def test_losses_beyond_every_probability_are_ordered_and_finite():
    labels = np.arange(6) % 2
    selection = UNICONSelector().select(log_of([0.0, -1e-9, 1e-12, 900.0, 1e4, 2.0], labels))
    assert selection.score[[0, 1, 3, 4]].tolist() == [1, 1, 0, 0]
    assert selection.clean.tolist() == [True, True, False, False, False, False]


def test_a_class_without_labels_takes_its_share_of_the_quota():
    losses = np.array([0.1, 0.2, 0.3, 0.4, 3.0, 4.0])
    two = log_of(losses, np.arange(6) % 2)
    four = log_of(losses, np.arange(6) % 2, n_classes=4)
    assert len(UNICONSelector().select(two)) == 4
    assert len(UNICONSelector().select(four)) == 2


def test_of_equal_divergences_the_smaller_id_comes_first():
    losses = [0.1, 0.1, 0.1, 0.1, 3.0, 3.0, 3.0]
    log = log_of(losses, [0, 1, 0, 1, 0, 1, 1], ids=[9, 8, 7, 6, 5, 4, 3], n_classes=4)
    assert UNICONSelector().select(log).labelled.tolist() == [7, 6]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"d_mu": 1.1}, r"`d_mu` must lie in \[0, 1\], got 1.1"),
        ({"tau": 0.5}, "`tau` must be at least 1, got 0.5"),
        ({"tau": float("nan")}, "`tau` must be at least 1"),
        ({"log_base": 10}, "`log_base` must be 2 or 'e', got 10"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        UNICONSelector(**option)
