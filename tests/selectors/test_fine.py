import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.selectors.fine import FINESelector


def directed_log(n_samples=1200, n_classes=3, n_features=16, noise_rate=0.4, spread=0.25, seed=0):
    """Features around the direction of the true class; losses that nearly forgot the wrong ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_samples)
    wrong = rng.random(n_samples) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, n_samples)) % n_classes, truth)
    directions = np.linalg.qr(rng.normal(size=(n_features, n_classes)))[0].T
    features = directions[truth] + spread * rng.normal(size=(n_samples, n_features))
    features *= rng.uniform(0.5, 2.0, n_samples)[:, None]
    losses = rng.gamma(1.0, 1.0, n_samples) + 0.5 * (labels != truth)
    return TrainingLog(labels=labels, features=features, losses=losses[None]), truth


def alignment_one_by_one(features, labels):
    """The cosines by a singular value decomposition of each class, sample by sample."""
    alignment = []
    for row, label in zip(features, labels, strict=True):
        direction = np.linalg.svd(features[labels == label])[2][0]
        alignment.append(abs(row @ direction) / np.sqrt(row @ row))
    return np.array(alignment)


def posterior_of_sklearn(alignment, labels):
    posterior = np.empty(labels.size)
    for label in np.unique(labels):
        own = alignment[labels == label]
        unit = ((own.max() - own) / np.ptp(own))[:, None]
        model = GaussianMixture(2, reg_covar=1e-6, tol=1e-10, max_iter=10_000, random_state=0)
        posterior[labels == label] = model.fit(unit).predict_proba(unit)[:, model.means_.argmin()]
    return posterior


def test_six_samples_worked_by_hand():
    # The gram matrix is [[11, 0], [0, 2]]: the direction is (1, 0), the alignments 1, ..., 1, 0, 0.
    features = [[1.0, 0], [1, 0], [0, 1], [0, -1], [0, 0], [-3, 0]]
    log = TrainingLog(labels=np.zeros(6, dtype=int), features=features)
    selection = FINESelector().select(log)
    assert selection.score == pytest.approx([1, 1, 0, 0, 0, 1], abs=1e-12)
    assert selection.clean.tolist() == [True, True, False, False, False, True]
    assert selection.reason[[0, 4]].tolist() == [
        "points with its class",
        "points away from its class",
    ]


@pytest.mark.parametrize("n_features", [5, 100])
def test_posterior_and_mask_are_those_of_svd_and_scikit_learn(n_features):
    # Each class has about 60 samples: fewer and more than features.
    log, _ = directed_log(180, n_features=n_features, spread=0.6 / np.sqrt(n_features))
    expected = posterior_of_sklearn(alignment_one_by_one(log.features, log.labels), log.labels)
    selection = FINESelector().select(log)
    assert selection.score == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(selection.trust, selection.score)
    assert np.array_equal(selection.clean, expected > 0.5)


def test_the_contract_is_kept():
    check_selector(FINESelector())
    check_selector(FINESelector(threshold=0.8))


def test_it_finds_right_labels_better_than_the_smallest_losses_do():
    log, truth = directed_log()
    selection = FINESelector().select(log)
    right = log.labels == truth
    by_loss = np.argsort(log.losses[-1])[: len(selection)]
    assert right[selection.clean].mean() > 0.95 > 0.8 > right[by_loss].mean()


def test_a_class_mostly_of_wrong_labels_of_one_other_points_the_wrong_way():
    log, truth = directed_log(2000, n_classes=2, noise_rate=0.0)
    labels = np.where((truth == 1) & (np.arange(2000) % 5 > 0), 0, truth)
    few = np.flatnonzero((truth == 0) & (np.arange(2000) % 5 > 1))
    log = TrainingLog(labels=np.delete(labels, few), features=np.delete(log.features, few, axis=0))
    right = log.labels == np.delete(truth, few)
    clean = FINESelector().select(log).clean
    in_class = log.labels == 0
    assert right[in_class].mean() < 0.4
    assert right[in_class & clean].mean() < 0.05


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_the_scale_of_the_features_does_not_matter(scale):
    log, _ = directed_log(300)
    scaled = TrainingLog(labels=log.labels, features=log.features * scale)
    expected = FINESelector().select(log)
    got = FINESelector().select(scaled)
    assert np.array_equal(got.clean, expected.clean)
    assert got.score == pytest.approx(expected.score, abs=1e-6)


def test_a_feature_without_direction_is_not_aligned():
    log, _ = directed_log(300)
    features = log.features.copy()
    features[5] = 0
    selection = FINESelector().select(TrainingLog(labels=log.labels, features=features))
    assert not selection.clean[5]
    assert selection.score[5] < 1e-6


@pytest.mark.parametrize("features", [np.zeros((8, 3)), np.ones((8, 3))])
def test_equal_features_speak_against_no_label(features):
    log = TrainingLog(labels=[0, 0, 0, 0, 0, 0, 4, 4], features=features)
    with pytest.warns(DegenerateWarning, match=r"in 2 classes \(0, 4\) .* every label is kept"):
        selection = FINESelector().select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_rounding_errors_of_equal_directions_are_no_evidence():
    rng = np.random.default_rng(0)
    features = rng.uniform(0.1, 3, (2001, 1)) * rng.normal(size=37)
    log = TrainingLog(labels=rng.integers(0, 3, 2001), features=features)
    with pytest.warns(DegenerateWarning, match="in 3 classes"):
        assert FINESelector().select(log).clean.all()


def test_a_class_of_fewer_than_five_samples_is_kept():
    log, _ = directed_log(300)
    labels = np.where(np.arange(300) < 4, 3, log.labels)
    with pytest.warns(DegenerateWarning, match=r"in 1 classes \(3\)"):
        selection = FINESelector().select(TrainingLog(labels=labels, features=log.features))
    assert selection.clean[:4].all()
    assert not selection.clean.all()


def test_a_log_without_features_is_refused():
    with pytest.raises(MissingEvidenceError, match="`features`"):
        FINESelector().select(TrainingLog(labels=[0, 1], losses=[[0.1, 0.2]]))


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must lie in \[0, 1\)"):
        FINESelector(threshold=threshold)
