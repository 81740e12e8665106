import numpy as np
import pytest

from noisyselect import TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.selectors.moit import MOITSelector
from noisyselect.selectors.sel_cl import SelCLSelector


def clustered_log(counts, noise_rate=0.3, spread=0.4, seed=0):
    """Features around the true class, of which there are `counts` samples; losses say nothing."""
    rng = np.random.default_rng(seed)
    n_classes = len(counts)
    truth = np.repeat(np.arange(n_classes), counts)
    wrong = rng.random(truth.size) < noise_rate
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, truth.size)) % n_classes, truth)
    features = np.eye(n_classes)[truth] + spread * rng.normal(size=(truth.size, n_classes))
    losses = rng.gamma(1.0, 1.0, (1, truth.size))
    return TrainingLog(labels=labels, features=features, losses=losses), truth


@pytest.mark.parametrize(("alpha", "n_keep"), [(0, 1), (0.49, 1), (0.5, 2), (0.99, 2), (1, 3)])
def test_the_quantile_of_three_classes_worked_by_hand(alpha, n_keep):
    # One label of class 0 is confirmed, two of class 1 and three of class 2.
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    neighbours = [[-1], [4], [4], [4], [3], [8], [7], [6], [7]]
    log = TrainingLog(labels=labels, neighbours=neighbours)
    clean = SelCLSelector(n_neighbors=1, alpha=alpha).select(log).clean
    assert np.bincount(log.labels[clean]).tolist() == [n_keep] * 3


@pytest.mark.parametrize(("alpha", "balance"), [(0, "min"), (0.5, "median"), (1, "max")])
def test_three_quantiles_are_those_of_moit(alpha, balance):
    log, _ = clustered_log([40, 60, 80, 120])
    ours = SelCLSelector(n_neighbors=15, alpha=alpha).select(log)
    assert ours == MOITSelector(n_neighbors=15, balance=balance).select(log)


def test_the_number_kept_is_the_lower_quantile_of_those_confirmed():
    log, _ = clustered_log(np.arange(40, 140, 10))
    confirmed = MOITSelector(n_neighbors=15, balance="none").select(log)
    counts = sorted(np.bincount(log.labels[confirmed.clean]).tolist())
    for alpha in (0.0, 0.25, 0.6, 0.75, 1.0):
        n_keep = counts[int(np.floor(alpha * 9 + 1e-9))]
        clean = SelCLSelector(n_neighbors=15, alpha=alpha).select(log).clean
        of_class = np.bincount(log.labels)
        assert np.array_equal(np.bincount(log.labels[clean]), np.minimum(of_class, n_keep))


def test_the_contract_is_kept():
    check_selector(SelCLSelector(n_neighbors=5, alpha=0.75))


def test_it_finds_right_labels_better_than_the_smallest_losses_do():
    log, truth = clustered_log([200, 200, 200])
    selection = SelCLSelector(n_neighbors=50).select(log)
    right = log.labels == truth
    by_loss = np.argsort(log.losses[-1])[: len(selection)]
    assert right[selection.clean].mean() > 0.95 > 0.8 > right[by_loss].mean()


def test_one_number_for_all_classes_keeps_wrong_labels_of_a_rare_one():
    log, truth = clustered_log([300, 300, 40], noise_rate=0.4)
    clean = SelCLSelector(n_neighbors=15).select(log).clean
    rare = log.labels == 2
    assert (log.labels == truth)[clean & rare].mean() < 0.3
    assert (log.labels == truth)[clean & ~rare].mean() > 0.9


def test_degenerate_logs_are_answered():
    equal = TrainingLog(labels=[0, 0, 0, 0], features=np.ones((4, 2)))
    assert SelCLSelector().select(equal).clean.all()
    assert SelCLSelector().select(equal.take([0])).score.tolist() == [0.5]
    gap = TrainingLog(labels=[0, 0, 3, 3], features=[[1, 0], [1, 0], [0, 1], [0, 1]])
    assert SelCLSelector(n_neighbors=1, alpha=0.0).select(gap).clean.all()


def test_a_class_that_nobody_confirms_is_warned_of_where_it_decides():
    log = TrainingLog(labels=[0, 0, 0, 1], neighbours=[[1, 2], [0, 2], [0, 1], [0, 1]])
    with pytest.warns(DegenerateWarning, match="SelCLSelector: .* no label is kept"):
        assert len(SelCLSelector(alpha=0.0).select(log)) == 0


def test_a_log_without_neighbours_and_features_is_refused():
    with pytest.raises(MissingEvidenceError, match="`neighbours` or `features`"):
        SelCLSelector().select(TrainingLog(labels=[0, 1]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_neighbors": 0}, "`n_neighbors` must be at least 1"),
        ({"alpha": 1.1}, r"`alpha` must lie in \[0, 1\], got 1.1"),
        ({"alpha": float("nan")}, "`alpha` must lie in"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SelCLSelector(**option)
