import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.selectors import tcl as module
from noisyselect.selectors.tcl import TCLSelector


def clustered_log(n_samples=900, n_classes=3, n_features=8, noise_rate=0.4, spread=0.3, seed=0):
    """Features around the true class, predictions that mostly name it, losses that say little."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_samples)
    wrong = rng.random(n_samples) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, n_samples)) % n_classes, truth)
    centres = 2 * np.eye(n_classes, n_features)
    features = centres[truth] + spread * rng.normal(size=(n_samples, n_features))
    probabilities = rng.dirichlet(np.ones(n_classes), n_samples) + np.eye(n_classes)[truth]
    losses = rng.gamma(1.0, 1.0, n_samples) + 0.5 * (labels != truth)
    log = TrainingLog(
        labels=labels, features=features, probabilities=probabilities[None] / 2, losses=losses[None]
    )
    return log, truth


def assignment_one_by_one(log, temperature):
    """The share of the given label's prototype, sample by sample and class by class."""
    probabilities = log.probabilities[-1]
    unit = [z / np.sqrt(z @ z) for z in log.features]
    prototypes = []
    for c in range(log.n_classes):
        total = sum(p[c] * z for p, z in zip(probabilities, unit, strict=True))
        prototypes.append(total / np.sqrt(total @ total))
    shares = []
    for z, label in zip(unit, log.labels, strict=True):
        terms = [np.exp(z @ m / temperature) for m in prototypes]
        shares.append(terms[label] / sum(terms))
    return np.array(shares)


def posterior_of_sklearn(assigned):
    unit = ((assigned.max() - assigned) / np.ptp(assigned))[:, None]
    model = GaussianMixture(2, random_state=0)
    return model.fit(unit).predict_proba(unit)[:, model.means_.argmin()]


def test_six_samples_worked_by_hand():
    # Two heaps: the prototypes are (1, 0) and (0, 1), and a is s(4) = 0.982 for labels that lie
    # with their heap and s(-4) = 0.018 for the last two, with the logistic function s of 1 / tau.
    features = [[1.0, 0], [2, 0], [0, 3], [0, 1], [0, 2], [5, 0]]
    probabilities = [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [1, 0]]
    log = TrainingLog(labels=[0, 0, 1, 1, 0, 1], features=features, probabilities=[probabilities])
    assigned = module._assignment(log.features, log.probabilities[-1], log.labels, 0.25)
    high = 1 / (1 + np.exp(-4))
    assert assigned == pytest.approx([high] * 4 + [1 - high] * 2)
    selection = TCLSelector().select(log)
    assert selection.score == pytest.approx([1, 1, 1, 1, 0, 0], abs=1e-12)
    assert selection.clean.tolist() == [True] * 4 + [False] * 2
    assert selection.reason[[0, 5]].tolist() == ["lies with its class", "lies with another class"]


@pytest.mark.parametrize("temperature", [0.25, 1.0])
@pytest.mark.parametrize("per_class", [False, True])
def test_posterior_and_mask_are_those_of_loops_and_scikit_learn(
    temperature, per_class, monkeypatch
):
    monkeypatch.setattr(module, "_BLOCK", 70)
    log, _ = clustered_log(300, spread=1.0)
    assigned = assignment_one_by_one(log, temperature)
    expected = np.empty(300)
    groups = log.labels if per_class else np.zeros(300)
    for group in np.unique(groups):
        expected[groups == group] = posterior_of_sklearn(assigned[groups == group])
    selection = TCLSelector(temperature=temperature, per_class=per_class).select(log)
    assert selection.score == pytest.approx(expected, abs=1e-3)
    assert np.array_equal(selection.trust, selection.score)
    assert np.array_equal(selection.clean, expected > 0.5)


def test_the_contract_is_kept():
    check_selector(TCLSelector())
    check_selector(TCLSelector(temperature=0.5, per_class=True, threshold=0.3))


def test_it_finds_right_labels_better_than_the_smallest_losses_do():
    log, truth = clustered_log()
    selection = TCLSelector().select(log)
    right = log.labels == truth
    by_loss = np.argsort(log.losses[-1])[: len(selection)]
    assert right[selection.clean].mean() > 0.95 > 0.8 > right[by_loss].mean()


def test_features_that_gather_by_the_given_label_confirm_it():
    log, truth = clustered_log()
    rng = np.random.default_rng(1)
    features = 2 * np.eye(3)[log.labels] + 0.3 * rng.normal(size=(900, 3))
    memorised = TrainingLog(
        labels=log.labels, features=features, probabilities=np.eye(3)[log.labels][None]
    )
    right = log.labels == truth
    clean = TCLSelector().select(memorised).clean
    assert abs(clean[right].mean() - clean[~right].mean()) < 0.1


def test_the_last_epoch_counts_and_the_scale_of_the_features_does_not():
    log, _ = clustered_log(300)
    rng = np.random.default_rng(2)
    epochs = np.stack([rng.dirichlet(np.ones(3), 300), log.probabilities[-1]])
    expected = TCLSelector().select(log)
    for scale in (1e-200, 1e200):
        scaled = TrainingLog(labels=log.labels, features=log.features * scale, probabilities=epochs)
        got = TCLSelector().select(scaled)
        assert np.array_equal(got.clean, expected.clean)
        assert got.score == pytest.approx(expected.score, abs=1e-6)


def test_zeros_lie_with_every_prototype_alike():
    log, _ = clustered_log(300)
    features = log.features.copy()
    features[5] = 0
    probabilities = log.probabilities * [1, 1, 0]
    assigned = module._assignment(features, probabilities[-1], log.labels, 0.25)
    assert assigned[5] == pytest.approx(1 / 3)
    assert np.isfinite(assigned).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_features_speak_against_no_label(value):
    log = TrainingLog(
        labels=[0, 0, 0, 1, 1, 1],
        features=np.full((6, 3), value),
        probabilities=np.full((1, 6, 2), 0.5),
    )
    with pytest.warns(DegenerateWarning, match="TCLSelector: the assignments are nearly equal"):
        selection = TCLSelector().select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_rounding_errors_of_equal_directions_are_no_evidence():
    rng = np.random.default_rng(0)
    features = rng.uniform(0.1, 3, (2001, 1)) * rng.normal(size=37)
    probabilities = rng.dirichlet(np.ones(3), (1, 2001))
    log = TrainingLog(
        labels=rng.integers(0, 3, 2001), features=features, probabilities=probabilities
    )
    with pytest.warns(DegenerateWarning, match="are nearly equal or fewer than 5"):
        assert TCLSelector().select(log).clean.all()


def test_a_class_of_fewer_than_five_samples_is_kept_where_it_has_its_own_mixture():
    log, _ = clustered_log(300)
    rare = TrainingLog(
        labels=np.where(np.arange(300) < 4, 3, log.labels),
        features=log.features,
        probabilities=np.pad(log.probabilities, [(0, 0), (0, 0), (0, 1)]),
    )
    with pytest.warns(DegenerateWarning, match=r"in 1 classes \(3\) .* every label is kept there"):
        selection = TCLSelector(per_class=True).select(rare)
    assert selection.clean[:4].all()
    assert not selection.clean.all()
    assert not TCLSelector().select(rare).clean[:4].any()
    with pytest.warns(DegenerateWarning, match="every label is kept"):
        assert TCLSelector().select(log.take([0, 1, 2])).clean.all()


def test_nothing_kept_is_warned_of():
    rng = np.random.default_rng(0)
    # Assignments of one broad heap and a narrow one, which the broad one covers.
    angle = np.concatenate([rng.normal(0.8, 0.25, 500), rng.normal(0.5, 0.05, 500)])
    log = TrainingLog(
        labels=np.zeros(1000, dtype=int),
        features=np.stack([np.cos(angle), np.sin(angle)], axis=1),
        probabilities=np.stack([np.cos(angle) ** 2, np.sin(angle) ** 2], axis=1)[None],
    )
    with pytest.warns(DegenerateWarning, match="no posterior exceeds 0.9999999"):
        assert len(TCLSelector(threshold=0.9999999).select(log)) == 0


@pytest.mark.parametrize("missing", ["features", "probabilities"])
def test_a_log_without_features_or_probabilities_is_refused(missing):
    log, _ = clustered_log(30)
    columns = {name: getattr(log, name) for name in ("features", "probabilities")} | {missing: None}
    with pytest.raises(MissingEvidenceError, match=f"`{missing}`"):
        TCLSelector().select(TrainingLog(labels=log.labels, **columns))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be greater than 0, got 0.0"),
        ({"temperature": float("nan")}, "`temperature` must be"),
        ({"threshold": 1.0}, r"`threshold` must lie in \[0, 1\), got 1.0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        TCLSelector(**option)
