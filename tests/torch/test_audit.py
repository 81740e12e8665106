import csv

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from noisyselect import GMMSelector, VRLVSelector, open_run
from noisyselect.bench import named_selectors
from noisyselect.errors import DegenerateWarning
from noisyselect.metrics import selection_quality
from noisyselect.noise import corrupt, symmetric
from noisyselect.torch import audit
from noisyselect.torch import held_out as room
from noisyselect.torch.held_out import held_out, standardised

QUICK = {"n_folds": 2, "n_restarts": 1, "max_epochs": 8}


def three_heaps(n_samples=60, n_wrong=4, seed=0):
    """Features of three classes far apart, given labels of which some are wrong, true labels."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n_samples) % 3
    X = 6 * np.eye(3)[truth] + rng.normal(size=(n_samples, 3))
    labels = truth.copy()
    labels[:n_wrong] = (truth[:n_wrong] + 1) % 3
    return X, labels, truth


def test_wrong_labels_of_digits_are_found():
    X, truth = load_digits(return_X_y=True)
    labels = corrupt(truth, symmetric(10, 0.2, include_true=False), random_state=7)
    result = audit(X, labels, n_restarts=1)
    quality = selection_quality(result.selection, labels, truth, 10)
    assert quality.auroc >= 0.98
    assert quality.f1 >= 0.95
    wrong = labels != truth
    assert np.mean(result.suggested[wrong] == truth[wrong]) >= 0.9


def test_the_suspicious_are_ids_with_the_most_suspicious_first():
    X, labels, truth = three_heaps()
    names = np.array(["cat", "dog", "eel"])
    ids = np.arange(60)[::-1] * 7
    result = audit(X, names[labels], ids=ids, **QUICK)
    assert set(result.ids) == set(ids[labels != truth])
    assert result.ids.tolist() == ids[result.suspicious].tolist()
    assert np.all(np.diff(result.selection.score[result.suspicious]) >= 0)
    assert result.classes.tolist() == names.tolist()
    assert np.array_equal(result.suggested[labels != truth], truth[labels != truth])
    assert (result.suggested != labels).all()
    assert repr(result) == "<AuditResult: 4 of 60 labels suspicious>"


def test_another_order_of_the_samples_and_other_names_change_nothing_to_the_bit():
    X, labels, _ = three_heaps()
    X[10], X[33] = X[4], X[4]  # equal rows, with equal labels and with others
    names, rows = np.array(["z", "x", "y"]), np.random.default_rng(1).permutation(60)
    once, again = audit(X, labels, **QUICK), audit(X[rows], names[labels[rows]], **QUICK)
    for network in ("log_a", "log_b"):
        first, second = getattr(once, network), getattr(again, network)
        assert np.array_equal(first.losses[:, rows], second.losses)
        assert np.array_equal(first.confidences[:, rows], second.confidences)
        assert np.array_equal(first.features[rows], second.features)
        assert np.array_equal(names[first.predictions[:, rows]], again.classes[second.predictions])
    assert np.array_equal(once.selection.clean[rows], again.selection.clean)
    assert once.selection.score[rows] == pytest.approx(again.selection.score, abs=1e-12)


def test_the_seed_alone_decides():
    X, labels, _ = three_heaps()
    once = audit(X, labels, **QUICK)
    torch.manual_seed(99)
    np.random.seed(99)
    state = torch.random.get_rng_state()
    assert audit(X, labels, **QUICK).selection == once.selection
    assert torch.equal(torch.random.get_rng_state(), state)
    assert audit(X, labels, seed=1, **QUICK).selection != once.selection


def test_every_sample_is_left_out_once_by_each_restart_and_equal_rows_together():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(30, 2)), 2, axis=0).astype(np.float32)
    y = np.arange(60) % 4
    learners = room._learners(X, y, 4, n_folds=5, n_restarts=2, seed=0)
    for restart in range(2):
        mine = [learner for number, learner in learners if number == restart]
        left_out = np.concatenate([learner.left_out.numpy() for learner in mine])
        assert np.array_equal(np.sort(left_out), np.arange(60))
        for learner in mine:
            together = np.concatenate([learner.left_out.numpy(), learner._rows])
            assert np.array_equal(np.sort(together), np.arange(60))
            assert set(learner.left_out.numpy() // 2).isdisjoint(learner._rows // 2)


def test_folds_deal_out_the_classes_evenly():
    X = np.random.default_rng(0).normal(size=(100, 2))
    y = np.repeat([0, 1, 2], [60, 30, 10])
    folds = room._folds(X, y, 5, np.random.default_rng(0))
    for label, per_fold in ((0, 12), (1, 6), (2, 2)):
        assert np.bincount(folds[y == label]).tolist() == [per_fold] * 5


def test_labels_without_any_rule_are_not_predicted_and_that_is_said():
    # Networks that had trained on these samples would have learnt the labels by heart.
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(200, 20)), rng.integers(0, 4, 200)
    with pytest.warns(DegenerateWarning, match="no better than the shares of the classes"):
        result = audit(X, labels, n_folds=2, n_restarts=1, max_epochs=15)
    assert np.mean(result.log_a.predictions[-1] == labels) < 0.35


def test_the_log_ends_with_the_least_held_out_loss_but_not_before_six_epochs():
    rng = np.random.default_rng(0)
    X, labels, _ = three_heaps(90)
    hard = np.where(rng.random(90) < 0.5, rng.integers(0, 3, 90), labels)
    seen = []
    result = audit(
        X, hard, n_folds=2, n_restarts=2, on_epoch=lambda epoch, loss: seen.append((epoch, loss))
    )
    epochs, losses = zip(*seen, strict=True)
    assert epochs == tuple(range(len(seen)))
    n_kept = 6 + int(np.argmin(losses[5:]))
    assert result.log_a.n_epochs == result.log_b.n_epochs == n_kept
    assert len(seen) == n_kept + 3
    both = (result.log_a.losses[-1].mean() + result.log_b.losses[-1].mean()) / 2
    assert losses[n_kept - 1] == pytest.approx(both, rel=1e-5)


def test_the_logs_have_every_column_and_they_agree():
    X, labels, _ = three_heaps()
    shown = held_out(standardised(X)[0], labels, 3, n_folds=2, n_restarts=2, max_epochs=4, seed=0)
    assert len(shown.epochs) == 4
    last = shown.epochs[-1]
    for network in (0, 1):
        p = shown.probabilities[network]
        assert p.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
        assert last.losses[network] == pytest.approx(-np.log(p[np.arange(60), labels]), abs=1e-5)
        assert np.array_equal(last.predictions[network], p.argmax(axis=1))
        assert last.confidences[network] == pytest.approx(p.max(axis=1), abs=1e-6)
    assert not np.array_equal(last.losses[0], last.losses[1])


def test_a_run_directory_holds_what_the_verdict_rests_on(tmp_path):
    X, labels, truth = three_heaps()
    names = np.array(["<b>cat", "dog", "eel"])
    ids = np.array([f"row {i}" for i in range(60)])
    result = audit(X, names[labels], ids=ids, **QUICK)
    run = result.write_run(tmp_path / "run", names[truth])
    assert run.class_names == ("<b>cat", "dog", "eel")
    assert run.truth.tolist() == truth.tolist()
    assert run.settings["seed"] == 0
    assert (
        named_selectors(["confident-margin"])["confident-margin"].select(
            *open_run(tmp_path / "run").logs()
        )
        == result.selection
    )
    assert VRLVSelector().select(*run.logs()).clean.size == 60
    with pytest.raises(FileExistsError):
        result.write_run(tmp_path / "run")


def test_the_table_has_a_row_for_each_suspicious_label(tmp_path):
    X, labels, _ = three_heaps()
    names = np.array(['a "cat", grey', "dog", "eel"])
    result = audit(X, names[labels], selector=GMMSelector(), **QUICK)
    result.write_csv(tmp_path / "new" / "suspicious.csv")
    with (tmp_path / "new" / "suspicious.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == result.ids.tolist()
    assert [row["label"] for row in rows] == names[labels[result.suspicious]].tolist()
    suggested = names[result.suggested[result.suspicious]]
    assert [row["suggested"] for row in rows] == suggested.tolist()
    assert [float(row["score"]) for row in rows] == result.selection.score[
        result.suspicious
    ].tolist()
    assert {row["reason"] for row in rows} == {"large loss"}


def test_features_are_standardised_and_constant_ones_are_nothing():
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1, 1e6, 1e-3] + [0, 1e9, 5]
    made, constant = standardised(np.column_stack([X, np.full(50, 0.1)]))
    assert made[:, :3] == pytest.approx(StandardScaler().fit_transform(X), abs=1e-5)
    assert (made[:, 3] == 0).all()
    assert constant.tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="finite deviations, got an overflow in 1"):
        standardised(np.array([[0.0, -1e300], [1.0, 1e300]]))


@pytest.mark.parametrize("kind", ["ten rows", "a row per class", "two rows", "twins"])
def test_tiny_tables_are_answered_and_small_classes_named(kind):
    X, labels, _ = three_heaps(10, 0)
    if kind == "a row per class":
        labels = np.arange(10)
    if kind == "two rows":
        X, labels = X[:2], labels[:2]
    if kind == "twins":  # fewer different rows than folds
        X, labels = np.repeat(X[:2], 5, axis=0), np.repeat([0, 1], 5)
    with pytest.warns(DegenerateWarning) as caught:
        result = audit(X, labels, n_restarts=1, max_epochs=6)
    assert result.selection.clean.size == len(X)
    if kind != "twins":
        assert "have fewer samples than the" in str(caught[0].message)


def test_a_misspelt_label_is_suspicious_and_its_class_is_named():
    X, labels, _ = three_heaps(90, 0)
    names = np.array(["cat", "dog", "eel"])[labels]
    names[7] = "dgo"
    with pytest.warns(DegenerateWarning, match=r"1 of 4 classes .* the 2 folds, .*: dgo\. Look"):
        result = audit(X, names, **QUICK)
    assert result.ids.tolist() == [7]
    assert result.classes[result.suggested[7]] == "dog"


@pytest.mark.parametrize(
    ("X", "y", "more", "error", "message"),
    [
        (np.ones((4, 2, 2)), [0, 1, 0, 1], {}, ValueError, r"reshape\(len\(features\), -1\)"),
        (np.eye(4), [0, 1, 0], {}, ValueError, r"\(n_samples\) = \(4,\), got \(3,\)|= \(4"),
        (np.eye(4), [0, 0, 0, 0], {}, ValueError, "at least two classes, got 0 alone"),
        (np.ones((4, 2)), [0, 1, 0, 1], {}, ValueError, "got constant ones alone"),
        (np.eye(4), [0.5, 1, 0, 1], {}, TypeError, "`labels` must hold integers or strings"),
        ([["a"], ["b"]], [0, 1], {}, TypeError, "`features` must hold real numbers"),
        (
            np.where(np.eye(4) == 1, np.nan, 0),
            [0, 1, 0, 1],
            {},
            ValueError,
            "got 4 that are not, in the columns 0, 1, 2, 3 and the rows 0, 1, 2, 3",
        ),
        (np.eye(4), [0, 1, 0, 1], {"n_folds": 1}, ValueError, "`n_folds` must be at least 2"),
        (np.eye(4), [0, 1, 0, 1], {"ids": [1, 1, 2, 3]}, ValueError, "`ids` must be unique"),
    ],
)
def test_what_cannot_be_audited_is_refused(X, y, more, error, message):
    with pytest.raises(error, match=message):
        audit(X, y, **more)


def test_true_labels_of_an_unknown_class_are_refused(tmp_path):
    X, labels, truth = three_heaps()
    result = audit(X, labels, **QUICK)
    with pytest.raises(ValueError, match="got 1 others: 9"):
        result.write_run(tmp_path / "run", np.where(truth == 2, 9, truth))
