"""ENNCleaner and KNNMixupOversampler as imbalanced-learn samplers."""

import numpy as np
import pytest
from imblearn.under_sampling import EditedNearestNeighbours
from imblearn.utils.estimator_checks import estimator_checks_generator
from scipy import sparse
from sklearn.datasets import make_blobs

from noisyselect import ENNCleaner, KNNMixupOversampler, Selection, TrainingLog
from noisyselect.errors import DegenerateWarning

CHECKS = [
    pytest.param(
        sampler, check, id=f"{type(sampler).__name__}-{getattr(check, 'func', check).__name__}"
    )
    for made in (ENNCleaner(n_neighbors=3), KNNMixupOversampler(random_state=0))
    for sampler, check in estimator_checks_generator(made)
]


@pytest.mark.filterwarnings("default")  # the checks themselves provoke warnings
@pytest.mark.parametrize(("sampler", "check"), CHECKS)
def test_the_samplers_pass_the_checks_of_imbalanced_learn(sampler, check):
    check(sampler)


def blobs(n=300, classes=3, seed=0):
    X, y = make_blobs(n, centers=classes, cluster_std=3.0, random_state=seed)
    return X, y


@pytest.mark.parametrize("strategy", ["all", "not minority", [0, 2]])
def test_all_votes_clean_as_imbalanced_learn_does(strategy):
    X, y = blobs()
    ours = ENNCleaner(n_neighbors=5, vote="all", sampling_strategy=strategy)
    theirs = EditedNearestNeighbours(n_neighbors=5, kind_sel="all", sampling_strategy=strategy)
    ours.fit_resample(X, y)
    theirs.fit_resample(X, y)
    assert 0 < ours.sample_indices_.size < y.size
    assert np.array_equal(ours.sample_indices_, np.sort(theirs.sample_indices_))


def test_a_majority_of_two_classes_and_odd_k_is_the_mode_of_imbalanced_learn():
    X, y = blobs(classes=2)
    ours = ENNCleaner(n_neighbors=5, sampling_strategy="all")
    theirs = EditedNearestNeighbours(n_neighbors=5, kind_sel="mode", sampling_strategy="all")
    ours.fit_resample(X, y)
    theirs.fit_resample(X, y)
    assert 0 < ours.sample_indices_.size < y.size
    assert np.array_equal(ours.sample_indices_, np.sort(theirs.sample_indices_))


def test_renaming_the_classes_changes_nothing():
    X, y = blobs(classes=4)
    renamed = np.array(["d", "b", "a", "c"])[y]
    first, second = ENNCleaner(4), ENNCleaner(4)
    first.fit_resample(X, y)
    second.fit_resample(X, renamed)
    assert np.array_equal(first.sample_indices_, second.sample_indices_)


def test_synthetic_rows_are_what_their_recipes_say():
    X, y = blobs()
    keep = np.concatenate(
        [np.flatnonzero(y == 0)[:7], np.flatnonzero(y == 1), np.flatnonzero(y == 2)]
    )
    X, y = X[keep], y[keep]
    sampler = KNNMixupOversampler(n_neighbors=4, random_state=1)
    X_new, y_new = sampler.fit_resample(X, y)
    recipes = sampler.recipes_
    assert np.array_equal(X_new[: len(X)], X)
    assert np.bincount(y_new).tolist() == [100, 100, 100]
    assert len(recipes) == 93
    assert (y[recipes.anchors] == 0).all()
    assert (recipes.lam >= 0.5).all()
    lam = recipes.lam[:, None]
    assert np.allclose(X_new[len(X) :], lam * X[recipes.anchors] + (1 - lam) * X[recipes.partners])
    assert np.array_equal(sampler.sample_indices_[len(X) :], recipes.anchors)


def test_anchors_take_turns_and_partners_are_their_nearest_neighbours():
    X, y = blobs()
    keep = np.concatenate([np.flatnonzero(y == 0)[:5], np.flatnonzero(y > 0)])
    X, y = X[keep], y[keep]
    sampler = KNNMixupOversampler(n_neighbors=4, random_state=1)
    sampler.fit_resample(X, y)
    recipes = sampler.recipes_
    uses = np.bincount(recipes.anchors)
    assert uses.tolist() == [19] * 5
    distance = np.linalg.norm(X[:, None] - X, axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :4]
    for anchor in range(5):
        partners = recipes.partners[recipes.anchors == anchor]
        assert set(partners) == set(nearest[anchor])


def test_the_seed_decides_and_the_global_state_does_not():
    X, y = blobs()
    X, y = X[20:], y[20:]
    np.random.seed(0)
    one, _ = KNNMixupOversampler(random_state=3).fit_resample(X, y)
    np.random.seed(1)
    two, _ = KNNMixupOversampler(random_state=3).fit_resample(X, y)
    three, _ = KNNMixupOversampler(random_state=4).fit_resample(X, y)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_a_sparse_matrix_of_two_rows_has_one_neighbour_each():
    X = sparse.csr_matrix([[1.0, 0.0], [0.0, 1.0]])
    sampler = ENNCleaner(n_neighbors=3)
    with pytest.warns(DegenerateWarning, match="2 of 2 classes lose all samples: 0, 1"):
        sampler.fit_resample(X, [0, 1])
    assert sampler.sample_indices_.size == 0


# --- On training logs ---


def small_log():
    """Six samples on a line: three of class 0, two of class 1, and a wrong label among class 0."""
    return TrainingLog(
        labels=[0, 0, 0, 1, 1, 1],
        losses=[[0.1] * 6],
        neighbours=[[1, 2], [0, 2], [1, 0], [4, 5], [3, 2], [0, 1]],
    )


def test_a_label_stays_when_more_than_half_of_the_neighbours_share_it():
    selection = ENNCleaner(n_neighbors=2).select(small_log())
    assert selection.clean.tolist() == [True, True, True, True, False, False]
    assert selection.score.tolist() == [1, 1, 1, 1, 0.5, 0]
    assert selection.reason[-1] == "neighbours disagree"
    one = ENNCleaner(n_neighbors=1).select(small_log())
    assert one.clean.tolist() == [True, True, True, True, True, False]


def test_a_sample_without_neighbours_is_kept_with_score_one_half():
    log = TrainingLog(labels=[0, 1, 1], neighbours=[[-1, -1], [2, -1], [1, 0]])
    selection = ENNCleaner().select(log)
    assert selection.clean.tolist() == [True, True, False]
    assert selection.score.tolist() == [0.5, 1, 0.5]


def test_a_class_that_is_cleaned_away_is_warned_of():
    X = [[0.0], [0.1], [0.2], [0.3], [0.15]]
    with pytest.warns(DegenerateWarning, match="1 of 2 classes lose all samples: 1"):
        ENNCleaner(n_neighbors=3).fit_resample(X, [0, 0, 0, 0, 1])


def test_cleaners_with_the_same_options_are_equal():
    assert ENNCleaner(5) == ENNCleaner(5)
    assert ENNCleaner(5) != ENNCleaner(4)
    assert ENNCleaner(5) & ENNCleaner(6) == ENNCleaner(5) & ENNCleaner(6)


def test_oversampling_fills_every_class_up_to_the_largest_with_unlabelled_partners():
    log = small_log()
    selection = Selection(clean=[True, True, True, True, False, False])
    filled = KNNMixupOversampler(n_neighbors=2, random_state=0).oversample(selection, log)
    recipes = filled.synthetic
    # Class 1 has one sample, 3, and is short of two; its neighbours 4 and 5 are unlabelled.
    assert recipes.anchors.tolist() == [3, 3]
    assert sorted(recipes.partners) == [4, 5]
    assert recipes.labels.tolist() == [1, 1]
    assert np.array_equal(filled.clean, selection.clean)


def test_oversampling_makes_nothing_where_there_is_nothing_to_mix_with():
    log = small_log()
    everything = Selection(clean=np.ones(6, dtype=bool))
    assert len(KNNMixupOversampler().oversample(everything, log).synthetic) == 0
    nothing = Selection(clean=np.zeros(6, dtype=bool))
    assert len(KNNMixupOversampler().oversample(nothing, log).synthetic) == 0


def test_oversampling_a_selection_of_other_samples_is_refused():
    other = Selection(clean=np.ones(6, dtype=bool), ids=np.arange(6) + 1)
    with pytest.raises(ValueError, match="over the samples of `log` in the same order"):
        KNNMixupOversampler().oversample(other, small_log())
