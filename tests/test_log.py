import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisyselect import TrainingLog
from noisyselect.checks import synthetic_log
from noisyselect.errors import MissingEvidenceError, NonFiniteWarning
from noisyselect.numeric.neighbours import FoundNeighbours


@given(st.integers(1, 12), st.integers(1, 12))
def test_slicing_twice_is_slicing_once(until, last):
    log, _ = synthetic_log(n_samples=8)
    sliced = log.until(until).last(last)
    start = max(0, until - last)
    assert sliced.epochs.tolist() == list(range(start, until))
    assert np.array_equal(sliced.losses, log.losses[start:until])
    assert np.array_equal(sliced.lr, log.lr[start:until])


def test_probabilities_belong_to_the_last_epochs():
    full, _ = synthetic_log(n_samples=8, n_epochs=12)
    log = replace(full, probabilities=full.probabilities[-2:])  # of epochs 10 and 11
    assert np.array_equal(log.last(1).probabilities, log.probabilities[1:])
    assert np.array_equal(log.until(11).probabilities, log.probabilities[:1])
    assert log.until(10).probabilities is None


def test_taking_samples_keeps_the_neighbours_that_are_taken():
    log = TrainingLog(
        labels=[0, 1, 0],
        losses=[[0.1, 0.2, 0.3]],
        neighbours=[[1, 2], [0, 2], [1, -1]],
        ids=["a", "b", "c"],
    )
    part = log.take([2, 1])
    assert part.ids.tolist() == ["c", "b"]
    assert part.losses.tolist() == [[0.3, 0.2]]
    assert part.neighbours.tolist() == [[1, -1], [-1, 0]]
    assert part.n_classes == 2
    assert log.take(np.array([False, True, False])).ids.tolist() == ["b"]


def test_other_probabilities_take_the_place_of_those_of_a_log():
    log, _ = synthetic_log(n_samples=8, n_epochs=6)
    cut = log.until(4)
    other = cut.with_probabilities(second_view=log.second_view[2:4].astype(np.float16))
    assert other.probabilities is None
    assert other.second_view.dtype == np.float32
    assert other.second_view.shape == (2, *log.second_view.shape[1:])
    assert other.losses.tolist() == cut.losses.tolist()
    assert other.last(1).second_view.shape[0] == 1
    assert cut.probabilities is not None
    with pytest.raises(ValueError, match="`probabilities` must have shape"):
        cut.with_probabilities(log.probabilities[:, 1:])
    with pytest.raises(ValueError, match="must cover at most the 4 epochs of the log, got 6"):
        cut.with_probabilities(np.ones((6, *log.probabilities.shape[1:])))


def test_the_second_view_and_the_batches_are_cut_and_taken_with_the_rest():
    log, _ = synthetic_log(n_samples=8, n_epochs=5)
    short = replace(log, second_view=log.second_view[-2:]).until(4).take([3, 1])
    assert np.array_equal(short.second_view, log.second_view[3:4, [3, 1]])
    assert np.array_equal(short.batches, log.batches[:4, [3, 1]])


def test_the_arrays_cannot_be_written_to():
    log, _ = synthetic_log(n_samples=8)
    for view in (log, log.last(2), log.take([1, 2])):
        with pytest.raises(ValueError, match="read-only"):
            view.losses[0, 0] = 1.0


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"labels": []}, ValueError, "at least one sample"),
        ({"labels": [0.0, 1.0]}, TypeError, "`labels` must hold integers"),
        ({"labels": [0, -1]}, ValueError, r"`labels` must lie in \[0, n_classes\)"),
        ({"n_classes": 1}, ValueError, r"`labels` must lie in \[0, n_classes\) = \[0, 1\), got 1"),
        (
            {"losses": [0.1, 0.2]},
            ValueError,
            r"`losses` must have shape \(n_epochs, n_samples\) = \(2, 2\), got \(2,\)\. "
            r"For a single epoch pass `losses\[None, :\]`",
        ),
        ({"losses": [[0.1]]}, ValueError, r"= \(1, 2\), got \(1, 1\)"),
        ({"losses": [["a", "b"]]}, TypeError, "`losses` must hold real numbers"),
        ({"predictions": [[0, 7]]}, ValueError, r"`predictions` must lie in \[-1, n_classes\)"),
        ({"losses": [[0.1, 0.2]], "lr": [0.1, 0.2]}, ValueError, r"`lr` must have shape"),
        ({"probabilities": [[0.5, 0.5]]}, ValueError, r"`probabilities` must have shape"),
        ({"second_view": [[0.5, 0.5]]}, ValueError, r"`second_view` must have shape"),
        ({"batches": [[0, -2]]}, ValueError, r"`batches` must be -1 \(none\) or greater, got -2"),
        ({"features": [[1.0], [np.nan]]}, ValueError, "`features` must be finite"),
        ({"neighbours": [[1], [2]]}, ValueError, r"row positions in \[-1, n_samples\) = \[-1, 2\)"),
        ({"neighbours": [[1], [1]]}, ValueError, "must not contain the sample itself"),
        ({"losses": [[1, 2], [1, 2]], "epochs": [3, 3]}, ValueError, "`epochs` must increase"),
        (
            {"losses": [[1, 2], [1, 2]], "epochs": np.uint8([5, 3])},
            ValueError,
            "`epochs` must increase",
        ),
        ({"labels": ["cat", "dog"]}, TypeError, r"dtype <U3\. Encode names first: np\.unique"),
        ({"ids": ["a", "a"]}, ValueError, "`ids` must be unique"),
    ],
)
def test_bad_columns_are_refused_with_what_was_expected(columns, error, message):
    with pytest.raises(error, match=message):
        TrainingLog(**({"labels": [0, 1]} | columns))


def test_non_finite_losses_are_kept_and_warned_of_once():
    losses = np.ones((6, 4))
    losses[4, 2] = np.nan
    losses[5, 0] = np.inf
    with pytest.warns(NonFiniteWarning, match="2 non-finite values, the first at epoch 4, ids 2"):
        log = TrainingLog(labels=[0, 1, 0, 1], losses=losses)
    assert np.isnan(log.losses[4, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.last(2).take([0, 1])
    assert log.until(4).valid.all()
    assert not log.valid[4, 2]
    assert not log.valid[5, 0]


def test_a_missing_prediction_is_not_a_valid_record():
    log = TrainingLog(labels=[0, 1], predictions=[[0, -1]])
    assert log.valid.tolist() == [[True, False]]


def test_what_is_valid_in_the_last_epochs_is_known_with_and_without_a_second_look():
    losses = np.ones((3, 4))
    log = TrainingLog(labels=[0, 1, 0, 1], losses=losses)
    assert log.last(2).take([3, 1]).valid_in_last(2).tolist() == [True, True]
    losses[1, 2] = np.nan
    with pytest.warns(NonFiniteWarning):
        log = TrainingLog(labels=[0, 1, 0, 1], losses=losses)
    assert log.valid_in_last(1).all()
    assert log.valid_in_last(2).tolist() == [True, True, False, True]
    log = TrainingLog(labels=[0, 1], predictions=[[0, -1], [0, 1]])
    assert log.valid_in_last(2).tolist() == [True, False]


def test_an_epoch_before_the_first_is_refused():
    log = TrainingLog(labels=[0], losses=[[1.0], [2.0]], epochs=[5, 6])
    assert log.until(6).n_epochs == 1
    with pytest.raises(ValueError, match="No epoch before 5 in this log, which has epochs 5 to 6"):
        log.until(5)
    with pytest.raises(ValueError, match="`n_epochs` must be at least 1"):
        log.last(0)


def test_the_number_of_classes_is_the_given_one_or_that_of_the_probabilities():
    assert TrainingLog(labels=[0, 1]).n_classes == 2
    assert TrainingLog(labels=[0, 1], n_classes=7).n_classes == 7
    assert TrainingLog(labels=[0, 1], probabilities=np.ones((1, 2, 5)) / 5).n_classes == 5


def test_neighbours_are_searched_for_once_in_a_log_and_its_views(monkeypatch):
    log, _ = synthetic_log(n_samples=40)
    log = TrainingLog(labels=log.labels, losses=log.losses, features=log.features)
    found = log.nearest(5)
    monkeypatch.setattr("noisyselect.log.find_neighbours", None)
    assert log.until(3).nearest(5) is found
    with pytest.raises(TypeError):
        log.take([0, 1, 2]).nearest(5)


def test_fewer_neighbours_are_the_first_of_more_that_were_found(monkeypatch):
    log, _ = synthetic_log(n_samples=40)
    features = log.features.round()  # with many equal distances
    alone = TrainingLog(labels=log.labels, features=features).nearest(3)
    log = TrainingLog(labels=log.labels, losses=log.losses, features=features)
    more = log.nearest(9)
    monkeypatch.setattr("noisyselect.log.find_neighbours", None)
    fewer = log.until(3).nearest(3)
    assert np.array_equal(fewer, more[:, :3])
    assert np.array_equal(fewer, alone)
    assert fewer.flags.c_contiguous and not fewer.flags.writeable
    assert log.nearest(3) is fewer
    with pytest.raises(TypeError):
        log.nearest(10)


def test_threads_that_ask_at_once_search_once(monkeypatch):
    calls = []

    def search(features, k, metric):
        calls.append(k)
        time.sleep(0.05)
        return FoundNeighbours(np.zeros((40, k), dtype=int), 1.0)

    log, _ = synthetic_log(n_samples=40)
    log = TrainingLog(labels=log.labels, features=log.features)
    monkeypatch.setattr("noisyselect.log.find_neighbours", search)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(log.nearest, [5] * 4))
    assert calls == [5]
    assert all(one is found[0] for one in found)


def test_neighbours_come_from_the_columns_or_else_from_the_features():
    log, _ = synthetic_log(n_samples=40)
    assert np.array_equal(log.nearest(3), log.neighbours[:, :3])
    searched = TrainingLog(labels=log.labels, features=log.features).nearest(8)
    assert np.array_equal(searched, log.neighbours)
    shuffled = TrainingLog(labels=log.labels, features=log.features).take(range(39, -1, -1))
    assert np.array_equal(shuffled.nearest(8), 39 - log.neighbours[::-1])
    with pytest.raises(MissingEvidenceError, match="`neighbours` or `features`"):
        TrainingLog(labels=[0, 1]).nearest(1)
