import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.metrics import selection_quality
from noisyselect.selectors.moit import MOITSelector


def overlapping_log(n_samples=600, n_classes=3, noise_rate=0.4, spread=0.5, seed=0):
    """Features around the true class; losses that nearly forgot which labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_samples)
    wrong = rng.random(n_samples) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, n_samples)) % n_classes, truth)
    features = np.eye(n_classes)[truth] + spread * rng.normal(size=(n_samples, n_classes))
    losses = rng.gamma(1.0, 1.0, n_samples) + 0.5 * (labels != truth)
    return TrainingLog(labels=labels, features=features, losses=losses[None]), truth


def with_smallest_loss(log, n_keep):
    mask = np.zeros(log.n_samples, dtype=bool)
    mask[np.argsort(log.losses[-1])[:n_keep]] = True
    return mask


def by_loops(log, k, balance):
    """The rule of the publication, sample by sample, with neighbours of scikit-learn."""
    search = NearestNeighbors(n_neighbors=k, metric="cosine").fit(log.features)
    near = search.kneighbors(return_distance=False)

    def winner(votes, own):
        most = max(votes.count(c) for c in votes)
        return own if votes.count(own) == most else next(c for c in votes if votes.count(c) == most)

    labels = log.labels.tolist()
    corrected = [winner([labels[j] for j in near[i]], labels[i]) for i in range(len(labels))]
    share, before, agrees = [], [], []
    for i, label in enumerate(labels):
        votes = [corrected[j] for j in near[i]]
        share.append(votes.count(label) / k)
        before.append([labels[j] for j in near[i]].count(label) / k)
        agrees.append(winner(votes, label) == label)
    if balance == "none":
        return share, agrees
    classes = sorted(set(labels))
    counts = sorted(
        sum(a for a, label in zip(agrees, labels, strict=True) if label == c) for c in classes
    )
    n_keep = {"min": counts[0], "max": counts[-1], "median": counts[(len(counts) - 1) // 2]}[
        balance
    ]
    clean = [False] * len(labels)
    for c in classes:
        own = [i for i, label in enumerate(labels) if label == c]
        own.sort(key=lambda i: (-share[i], -before[i], log.losses[-1, i]))
        for i in own[:n_keep]:
            clean[i] = True
    return share, clean


def test_six_samples_worked_by_hand():
    # 0, 1, 2 lie together and 3, 4, 5; label of 2 is wrong. Among the neighbours of 0 and of 1 the
    # own label ties or wins, 2 is corrected to 0, so 0 and 1 have all corrected votes and 2 none.
    neighbours = [[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]]
    log = TrainingLog(labels=[0, 0, 1, 1, 1, 1], neighbours=neighbours)
    selection = MOITSelector(n_neighbors=2, balance="none").select(log)
    assert selection.score.tolist() == [1, 1, 0, 1, 1, 1]
    assert selection.clean.tolist() == [True, True, False, True, True, True]
    # Two labels of class 0 are confirmed and three of class 1; the lower is the median of two.
    least = MOITSelector(n_neighbors=2, balance="median").select(log)
    assert least.clean.tolist() == [True, True, False, True, True, False]
    assert least.reason.tolist() == [
        *["neighbours agree"] * 2,
        "neighbours disagree",
        *["neighbours agree"] * 2,
        "class is full",
    ]
    most = MOITSelector(n_neighbors=2, balance="max").select(log)
    assert most.clean.tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("balance", ["median", "min", "max", "none"])
@pytest.mark.parametrize(("n_classes", "k"), [(3, 9), (4, 10)])
def test_mask_and_score_are_those_of_loops(balance, n_classes, k):
    log, _ = overlapping_log(200, n_classes, seed=n_classes)
    share, clean = by_loops(log, k, balance)
    selection = MOITSelector(n_neighbors=k, balance=balance).select(log)
    assert selection.score == pytest.approx(share)
    assert selection.clean.tolist() == clean


@pytest.mark.parametrize("balance", ["median", "none"])
def test_the_contract_is_kept(balance):
    check_selector(MOITSelector(n_neighbors=5, balance=balance))


def test_a_class_that_the_others_leave_room_for_is_filled():
    log, _ = overlapping_log(noise_rate=0.3)
    labels = np.where((log.labels == 0) & (np.arange(600) % 2 == 0), 1, log.labels)
    selection = MOITSelector(n_neighbors=20, balance="max").select(
        TrainingLog(labels=labels, features=log.features)
    )
    kept = np.bincount(labels[selection.clean])
    assert kept[0] == (labels == 0).sum() < kept.max()
    assert set(selection.reason[selection.clean]) == {"neighbours agree", "fill"}


def test_it_finds_right_labels_better_than_the_smallest_losses_do():
    log, truth = overlapping_log()
    selection = MOITSelector(n_neighbors=50).select(log)
    right = log.labels == truth
    by_loss = with_smallest_loss(log, len(selection))
    assert right[selection.clean].mean() > 0.93 > 0.75 > right[by_loss].mean()


def test_two_steps_are_surer_than_one():
    log, truth = overlapping_log(noise_rate=0.5, seed=2)
    two = MOITSelector(n_neighbors=50).select(log)
    near = log.nearest(50)
    one = (log.labels[near] == log.labels[:, None]).mean(axis=1)
    right = log.labels == truth
    quality = selection_quality(two, log.labels, truth, 3)
    order = np.subtract.outer(one[right], one[~right])
    assert quality.auroc > ((order > 0) + 0.5 * (order == 0)).mean() + 0.02


def test_wrong_labels_that_lie_together_confirm_each_other():
    rng = np.random.default_rng(0)
    place = np.repeat([0, 1, 2], 100)
    features = np.eye(3)[place] + 0.05 * rng.normal(size=(300, 3))
    truth, labels = np.repeat([0, 1, 1], 100), np.repeat([0, 1, 0], 100)
    selection = MOITSelector(n_neighbors=20, balance="none").select(
        TrainingLog(labels=labels, features=features)
    )
    assert selection.clean[labels != truth].all()


def test_a_sample_without_neighbours_is_confirmed_by_half():
    log = TrainingLog(labels=[0, 1, 1], neighbours=[[-1], [2], [1]])
    selection = MOITSelector(balance="none").select(log)
    assert selection.clean.all()
    assert selection.score.tolist() == [0.5, 1, 1]


def test_degenerate_logs_are_answered():
    equal = TrainingLog(labels=[0, 0, 0, 0], features=np.ones((4, 2)))
    assert MOITSelector().select(equal).clean.all()
    assert MOITSelector().select(equal.take([0])).score.tolist() == [0.5]
    gap = TrainingLog(labels=[0, 0, 3, 3], features=[[1, 0], [1, 0], [0, 1], [0, 1]])
    assert MOITSelector(n_neighbors=1, balance="min").select(gap).clean.all()
    assert len(MOITSelector(n_neighbors=3).select(equal.take([0, 1, 2]))) == 3


def test_a_class_that_nobody_confirms_is_warned_of_where_it_decides():
    neighbours = [[1, 2], [0, 2], [0, 1], [0, 1]]
    log = TrainingLog(labels=[0, 0, 0, 1], neighbours=neighbours)
    with pytest.warns(DegenerateWarning, match="MOITSelector: .* no label is kept"):
        assert len(MOITSelector(balance="min").select(log)) == 0
    assert len(MOITSelector(balance="max").select(log)) == 4


def test_a_log_without_neighbours_and_features_is_refused():
    with pytest.raises(MissingEvidenceError, match="`neighbours` or `features`"):
        MOITSelector().select(TrainingLog(labels=[0, 1]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_neighbors": 0}, "`n_neighbors` must be at least 1 neighbour, got 0"),
        ({"n_neighbors": 2.5}, "`n_neighbors` must be at least 1"),
        ({"balance": "mean"}, "`balance` must be 'median', 'min', 'max' or 'none', got 'mean'"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        MOITSelector(**option)
