import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.selectors import curriculum_net as module
from noisyselect.selectors.curriculum_net import CurriculumNetSelector

TIERS = ["densest tier of its class", "middle tier of its class", "sparsest tier of its class"]


def scattered_log(n_samples=900, n_classes=3, n_features=6, noise_rate=0.3, seed=0):
    """A heap for each true class; wrong labels of a class come from all others, and scatter."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_samples)
    wrong = rng.random(n_samples) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, n_samples)) % n_classes, truth)
    features = 4 * np.eye(n_classes, n_features)[truth] + rng.normal(size=(n_samples, n_features))
    losses = rng.gamma(1.0, 1.0, n_samples) + 0.5 * (labels != truth)
    return TrainingLog(labels=labels, features=features, losses=losses[None]), truth


def tiers_as_published(features, share=0.6):
    """The tier of each sample of one class: all distances, k-means with many starts, its bounds."""
    distance = np.sqrt(((features[:, None] - features[None]) ** 2).sum(axis=2))
    cut_off = np.sort(distance, axis=None)[int(len(features) ** 2 * share)]
    density = np.array([np.count_nonzero(row < cut_off) - 1 for row in distance])
    model = KMeans(3, n_init=50, tol=0, random_state=0).fit(density[:, None])
    bounds = np.sort([density[model.labels_ == c].min() for c in range(3)])
    return np.array([2 - sum(d >= bounds[1:]) for d in density]), density


def test_six_samples_worked_by_hand():
    # The 36 distances are 0 (6 times) and twice each 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 14, ...; at
    # place 21 stands a 4. Nearer are 3, 3, 3, 4, 1 and 0 others; the tiers are 4, 3 and the rest.
    log = TrainingLog(labels=np.zeros(6, dtype=int), features=np.array([[0.0, 1, 2, 3, 6, 20]]).T)
    selection = CurriculumNetSelector().select(log)
    assert selection.reason.tolist() == [TIERS[1]] * 3 + [TIERS[0]] + [TIERS[2]] * 2
    assert selection.clean.tolist() == [False, False, False, True, False, False]
    rank = np.array([3, 3, 3, 5, 1, 0]) / 5
    assert selection.score == pytest.approx((np.array([1, 1, 1, 2, 0, 0]) + rank) / 3)
    assert CurriculumNetSelector(stage=2).select(log).labelled.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("share", [0.6, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_tiers_and_scores_are_those_of_the_published_rule(share, seed):
    log, _ = scattered_log(seed=seed)
    selection = CurriculumNetSelector(density_t=share).select(log)
    for label in range(3):
        own = log.labels == label
        tier, density = tiers_as_published(log.features[own], share)
        assert selection.reason[own].tolist() == [TIERS[t] for t in tier]
        assert np.array_equal(selection.clean[own], tier == 0)
        below = np.array([(density < d).sum() + ((density == d).sum() - 1) / 2 for d in density])
        rank = below / (density.size - 1)
        assert selection.score[own] == pytest.approx((2 - tier + rank) / 3)


def test_many_features_are_reduced_in_each_class(monkeypatch):
    monkeypatch.setattr(module, "_N_COMPONENTS", 4)
    log, _ = scattered_log(n_features=12)
    reduced = np.zeros((900, 4))
    for label in range(3):
        own = log.labels == label
        reduced[own] = PCA(4, svd_solver="full").fit_transform(log.features[own])
    expected = CurriculumNetSelector().select(TrainingLog(labels=log.labels, features=reduced))
    assert CurriculumNetSelector().select(log) == expected
    huge = TrainingLog(labels=log.labels, features=log.features * 1e200)
    assert CurriculumNetSelector().select(huge) == expected


def test_the_contract_is_kept():
    check_selector(CurriculumNetSelector())
    check_selector(CurriculumNetSelector(stage=2, density_t=0.4))


@pytest.mark.parametrize("stage", [1, 2])
def test_it_finds_right_labels_better_than_the_smallest_losses_do(stage):
    log, truth = scattered_log(noise_rate=0.2)
    selection = CurriculumNetSelector(stage=stage).select(log)
    right = log.labels == truth
    by_loss = np.argsort(log.losses[-1])[: len(selection)]
    assert right[selection.clean].mean() > 0.98 > 0.86 > right[by_loss].mean()


def test_at_high_noise_the_cut_off_reaches_beyond_the_right_labels_unless_it_is_lowered():
    # Of all distances (1 - 0.4)^2 = 36 % are between right labels.
    log, truth = scattered_log(noise_rate=0.4)
    right = log.labels == truth
    far, near = (CurriculumNetSelector(density_t=share).select(log).clean for share in (0.6, 0.3))
    assert right[far].mean() < 0.9
    assert right[near].mean() > 0.99


def test_the_rare_look_of_a_class_is_sparse_though_its_labels_are_right():
    rng = np.random.default_rng(0)
    rare = np.arange(400) < 60
    features = np.where(rare[:, None], 8.0, 0.0) + rng.normal(size=(400, 3))
    log = TrainingLog(labels=np.zeros(400, dtype=int), features=features)
    assert not CurriculumNetSelector(stage=2).select(log).clean[rare].any()


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_equal_features_speak_against_no_label(value):
    log = TrainingLog(labels=[0, 0, 0, 0, 5, 5], features=np.full((6, 3), value))
    with pytest.warns(DegenerateWarning, match=r"2 classes \(0, 5\) cannot be divided"):
        selection = CurriculumNetSelector().select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_a_class_of_too_few_samples_is_kept_and_the_others_are_divided():
    log, _ = scattered_log()
    labels = np.where(np.arange(900) < 2, 3, log.labels)
    with pytest.warns(DegenerateWarning, match=r"1 classes \(3\) .* every label is kept there"):
        selection = CurriculumNetSelector().select(
            TrainingLog(labels=labels, features=log.features)
        )
    assert selection.clean[:2].all()
    assert (selection.score[:2] == 1).all()
    assert 0 < len(selection) < 900


def test_a_log_without_features_is_refused():
    with pytest.raises(MissingEvidenceError, match="`features`"):
        CurriculumNetSelector().select(TrainingLog(labels=[0, 1], losses=[[0.1, 0.2]]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"stage": 3}, "`stage` must be 1 or 2, got 3"),
        ({"density_t": 0.0}, r"`density_t` must lie in \(0, 1\), got 0.0"),
        ({"density_t": 1.0}, "`density_t` must lie in"),
        ({"density_t": float("nan")}, "`density_t` must lie in"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        CurriculumNetSelector(**option)
