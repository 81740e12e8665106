import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisyselect import MemoryBank
from noisyselect.errors import NonFiniteWarning

LABELS = [0, 1, 2, 0, 1]


def filled(bank, epochs, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(bank.n_samples), 2):
            bank.record(
                bank.ids[rows],
                losses=rng.random(rows.size),
                predictions=rng.integers(0, 3, rows.size),
                features=rng.random((rows.size, 2)),
                batches=rng.integers(0, 9, rows.size),
                second_view=rng.random((rows.size, 3)),
            )
        bank.end_epoch(lr=0.1, phase="training")
    return bank


@given(st.permutations(range(5)), st.integers(1, 4))
def test_the_order_and_size_of_batches_do_not_matter(order, split):
    bank = MemoryBank(LABELS)
    losses = np.arange(5) / 10
    for rows in (list(order[:split]), list(order[split:])):
        bank.record(rows, losses=losses[rows])
    bank.end_epoch()
    assert bank.log().losses == pytest.approx(losses[None, :])


@pytest.mark.parametrize("ids", [[10, 7, 3, 99, 1], ["e", "a", "d", "b", "c"]])
def test_records_find_their_sample_by_id(ids):
    bank = MemoryBank(LABELS, ids=ids)
    bank.record(ids[::-1], losses=[4.0, 3.0, 2.0, 1.0, 0.0])
    bank.end_epoch()
    log = bank.log()
    assert log.losses.tolist() == [[0, 1, 2, 3, 4]]
    assert log.ids.tolist() == ids


@pytest.mark.parametrize(
    ("ids", "unknown", "message"),
    [
        (None, [5], "1 unknown: 5"),
        (None, [-1, 9], "2 unknown: -1, 9"),
        ([3, 1, 4, 8, 5], [2], "unknown: 2"),
        (["a", "b", "c", "d", "e"], ["z"], "unknown: z"),
    ],
)
def test_unknown_ids_are_refused(ids, unknown, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank(LABELS, ids=ids).record(unknown, losses=np.zeros(len(unknown)))


def test_of_two_records_of_a_sample_the_last_stays_and_the_count_is_reported():
    bank = MemoryBank(LABELS)
    bank.record([0, 1, 2, 3, 4], losses=[9, 9, 9, 9, 9])
    bank.record([1, 3, 3], losses=[1.0, 2.0, 3.0])
    summary = bank.end_epoch()
    assert bank.log().losses.tolist() == [[9, 1, 9, 3, 9]]
    assert summary.n_duplicates == 3
    assert summary.n_recorded == 5


def test_a_missing_sample_is_an_error_that_names_it_and_the_epoch_stays_open():
    bank = MemoryBank(LABELS)
    bank.record([0, 1, 2], losses=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"Epoch 0 lacks 2 of 5 samples, ids 3, 4.*missing="):
        bank.end_epoch()
    bank.record([3, 4], losses=[0.4, 0.5])
    assert bank.end_epoch().n_missing == 0


def test_a_missing_sample_may_stay_without_a_record():
    bank = MemoryBank(LABELS, missing="unlabelled")
    bank.record([0, 1, 2], losses=[0.1, 0.2, 0.3], predictions=[0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = bank.end_epoch()
        log = bank.log()
    assert summary.n_missing == 2
    assert np.isnan(log.losses[0, 3:]).all()
    assert log.predictions.tolist() == [[0, 1, 2, -1, -1]]
    assert log.valid[0].tolist() == [True, True, True, False, False]


def test_non_finite_losses_are_recorded_with_one_warning():
    bank = MemoryBank(LABELS)
    bank.record(range(5), losses=[0.1, np.nan, 0.3, np.inf, 0.5])
    with pytest.warns(NonFiniteWarning, match="Epoch 0 has 2 non-finite losses, ids 1, 3"):
        summary = bank.end_epoch()
    assert summary.n_non_finite == 2
    assert summary.mean_loss == pytest.approx(0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(bank.log().losses[0, 1])


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ({"losses": 0.5}, ValueError, r"got a scalar\. Not a mean: use reduction='none'"),
        (
            {"losses": [0.1]},
            ValueError,
            r"`losses` must have shape \(batch,\) = \(2,\), got \(1,\)",
        ),
        (
            {"predictions": [0, 3]},
            ValueError,
            r"`predictions` must lie in \[0, n_classes\) = \[0, 3\)",
        ),
        ({"predictions": [0.0, 1.0]}, TypeError, "`predictions` must hold integers"),
        ({"probabilities": [[1.0], [1.0]]}, ValueError, r"\(batch, n_classes\) = \(2, 3\)"),
        ({"second_view": [[1.0], [1.0]]}, ValueError, r"`second_view` must .*\(batch, n_classes\)"),
        ({"batches": 3}, ValueError, r"got a scalar\. One number for all: np.full"),
        (
            {"batches": [0]},
            ValueError,
            r"`batches` must have shape \(batch,\) = \(2,\), got \(1,\)",
        ),
        ({"batches": [0.0, 1.0]}, TypeError, "`batches` must hold integers"),
        ({"batches": [-2, 0]}, ValueError, r"`batches` must lie in \[-1, 2\*\*31\), got -2 to 0"),
        ({"batches": [0, 2**31]}, ValueError, r"`batches` must lie in .*, got 0 to 2147483648"),
        ({"features": [1.0, 2.0]}, ValueError, r"`features` must have shape \(batch, n_features\)"),
        ({}, ValueError, "at least one of losses"),
    ],
)
def test_bad_batches_are_refused_with_what_was_expected(record, error, message):
    with pytest.raises(error, match=message):
        MemoryBank(LABELS).record([0, 1], **record)


def test_features_of_another_length_are_refused_and_an_empty_batch_is_not():
    bank = MemoryBank([0, 1])
    bank.record([0], features=[[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"\(batch, n_features\) = \(1, 2\), got \(1, 3\)"):
        bank.record([1], features=[[1.0, 2.0, 3.0]])
    bank.record([], features=np.zeros((0, 2)))
    bank.record([1], features=[[3.0, 4.0]])
    assert bank.end_epoch().n_recorded == 2


def test_a_batch_with_other_columns_is_refused():
    bank = MemoryBank(LABELS)
    bank.record([0, 1], losses=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"same columns: epoch 0 has \['losses'\], got"):
        bank.record([2], losses=[0.1], predictions=[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "`window` must be at least 1"),
        ({"probability_window": 0}, "`probability_window` must be at least 1"),
        ({"missing": "ignore"}, "`missing` must be 'error' or 'unlabelled'"),
        ({"n_classes": 2}, "`labels` must lie in"),
        ({"ids": [1, 1, 2, 3, 4]}, "`ids` must be unique"),
    ],
)
def test_a_bank_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank(LABELS, **arguments)


def test_a_log_before_the_first_epoch_and_an_empty_epoch_are_refused():
    bank = MemoryBank(LABELS)
    with pytest.raises(ValueError, match="No epoch is closed yet"):
        bank.log()
    with pytest.raises(ValueError, match="Epoch 0 has no records"):
        bank.end_epoch()


def test_the_window_keeps_the_last_epochs_and_their_numbers():
    bank, short = filled(MemoryBank(LABELS), 7), filled(MemoryBank(LABELS, window=3), 7)
    expected = bank.log().last(3)
    assert short.log().epochs.tolist() == [4, 5, 6]
    assert np.array_equal(short.log().losses, expected.losses)
    assert np.array_equal(short.log().predictions, expected.predictions)
    assert short.log().lr.tolist() == [0.1] * 3
    assert short.log().phases.tolist() == ["training"] * 3
    assert short.epoch == 7


def test_a_log_does_not_change_when_the_bank_records_on():
    bank = filled(MemoryBank(LABELS), 2)
    log = bank.log()
    before = log.losses.copy(), log.features.copy()
    filled(bank, 2, seed=1)
    assert np.array_equal(log.losses, before[0])
    assert np.array_equal(log.features, before[1])


def test_probabilities_give_predictions_and_confidences_and_only_the_last_are_kept():
    bank = MemoryBank([0, 1], probability_window=2)
    for p in (0.6, 0.7, 0.8):
        bank.record([0, 1], probabilities=[[p, 1 - p], [1 - p, p]])
        bank.end_epoch()
    log = bank.log()
    assert log.predictions.tolist() == [[0, 1]] * 3
    assert log.confidences[:, 0] == pytest.approx([0.6, 0.7, 0.8])
    assert log.probabilities[:, 0, 0] == pytest.approx([0.7, 0.8])


def test_both_views_are_kept_for_the_same_number_of_epochs_and_each_where_it_was_recorded():
    bank = MemoryBank([0, 1], probability_window=2)
    for p in (0.5, 0.25, 0.75):
        views = {"probabilities": [[p, 1 - p]] * 2} if p != 0.25 else {"predictions": [1, 1]}
        bank.record([0, 1], second_view=[[1 - p, p]] * 2, confidences=[p, p], **views)
        bank.end_epoch()
    log = bank.log()
    assert log.second_view.dtype == np.float32
    assert log.second_view[:, 1].tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert log.probabilities.tolist() == [[[0.75, 0.25]] * 2]
    assert log.predictions.tolist() == [[0, 0], [1, 1], [0, 0]]


def test_batches_are_of_the_last_record_in_each_epoch_and_none_where_there_was_no_record():
    bank = MemoryBank([0, 1, 0], window=2, missing="unlabelled")
    for epoch in range(3):
        bank.record([0, 2], losses=[1, 1], batches=[epoch, 2**31 - 1])
        bank.record([0], losses=[1], batches=[epoch + 10])
        bank.end_epoch()
    log = bank.log()
    assert log.batches.tolist() == [[11, -1, 2**31 - 1], [12, -1, 2**31 - 1]]
    assert log.batches.dtype == np.int32


def test_predictions_of_two_hundred_classes_come_back_right():
    classes = np.arange(200)
    bank = MemoryBank(classes)
    # Beyond 127, which is where one signed byte ends.
    bank.record(classes, losses=classes / 200, predictions=classes[::-1])
    bank.end_epoch()
    assert bank.log().predictions.tolist() == [classes[::-1].tolist()]


def test_the_latest_features_stay_until_newer_ones_are_recorded():
    bank = MemoryBank([0, 1])
    bank.record([0, 1], losses=[1, 2], features=[[1.0], [2.0]])
    bank.end_epoch()
    bank.record([0, 1], losses=[1, 2])
    bank.end_epoch()
    assert bank.log().features.tolist() == [[1], [2]]
    bank.record([0, 1], losses=[1, 2], features=[[3.0], [4.0]])
    bank.end_epoch()
    assert bank.log().features.tolist() == [[3], [4]]


def test_features_enter_the_log_once_every_sample_has_some_and_then_stay():
    bank = MemoryBank([0, 1], missing="unlabelled")
    bank.record([0], losses=[1], features=[[1.0]])
    bank.end_epoch()
    assert bank.log().features is None
    bank.record([1], losses=[1], features=[[2.0]])
    bank.end_epoch()
    assert bank.log().features.tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="`features` must be finite"):
        bank.record([1], losses=[1], features=[[np.nan]])


def test_logs_of_the_same_features_share_the_neighbours_found(monkeypatch):
    bank = filled(MemoryBank(LABELS), 1)
    found = bank.log().nearest(2)
    bank.record(range(5), losses=np.zeros(5), predictions=[0] * 5)
    bank.end_epoch()
    monkeypatch.setattr("noisyselect.log.find_neighbours", None)
    assert bank.log().nearest(2) is found
    filled(bank, 1, seed=3)
    with pytest.raises(TypeError):
        bank.log().nearest(2)


def test_ids_that_pandas_hands_out_are_taken():
    pd = pytest.importorskip("pandas")
    names = pd.Index(["b", "a", "c"])
    for ids in (names, pd.Series(names), names.to_numpy(dtype=object)):
        bank = MemoryBank([0, 1, 1], ids=ids)
        bank.record(names[::-1], losses=[3, 2, 1])
        bank.end_epoch()
        assert bank.log().losses.tolist() == [[1, 2, 3]]


def test_columns_that_some_epochs_lack_are_not_in_the_log():
    bank = MemoryBank([0, 1])
    bank.record([0, 1], losses=[1, 2])
    bank.end_epoch(lr=0.1)
    bank.record([0, 1], losses=[1, 2], predictions=[0, 1])
    bank.end_epoch()
    log = bank.log()
    assert log.predictions is None
    assert log.lr is None
    assert log.losses.shape == (2, 2)


def test_neighbours_are_in_every_later_log():
    bank = MemoryBank([0, 1, 1])
    bank.set_neighbours([[1, 2], [0, 2], [0, 1]])
    bank.record([0, 1, 2], losses=[1, 2, 3])
    bank.end_epoch()
    assert bank.log().neighbours.tolist() == [[1, 2], [0, 2], [0, 1]]
    with pytest.raises(ValueError, match="must not contain the sample itself"):
        bank.set_neighbours([[0], [0], [0]])


@pytest.mark.parametrize("window", [None, 2])
def test_a_restored_bank_goes_on_as_the_first_would(window, tmp_path):
    def others(n):
        return {"features": np.ones((n, 2)), "batches": [3] * n, "second_view": np.ones((n, 3)) / 3}

    bank = filled(MemoryBank(LABELS, window=window, probability_window=2), 3)
    bank.record([4, 2], losses=[0.5, 0.25], predictions=[1, 2], **others(2))
    state = bank.state_dict()
    np.savez(tmp_path / "state.npz", **state["arrays"])
    with np.load(tmp_path / "state.npz", allow_pickle=False) as arrays:
        again = MemoryBank(LABELS, window=window, probability_window=2)
        again.load_state_dict({"meta": state["meta"], "arrays": dict(arrays)})
    for each in (bank, again):
        each.record([0, 1, 3], losses=[1, 2, 3], predictions=[0, 0, 0], **others(3))
        each.end_epoch(lr=0.01)
    first, second = bank.log(), again.log()
    assert len(second.second_view) == 2
    assert first.columns == second.columns
    for name in first.columns:
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.epochs.tolist() == second.epochs.tolist()


def test_the_state_does_not_change_when_the_bank_records_on():
    bank = filled(MemoryBank(LABELS), 1)
    state = bank.state_dict()
    before = {name: values.copy() for name, values in state["arrays"].items()}
    more = {"features": np.ones((1, 2)), "batches": [1], "second_view": np.ones((1, 3))}
    bank.record([0], losses=[7.0], predictions=[1], **more)
    for name, values in before.items():
        assert np.array_equal(state["arrays"][name], values)


def test_the_state_of_other_samples_is_refused():
    state = filled(MemoryBank(LABELS), 1).state_dict()
    for other in (MemoryBank([0, 1, 2, 0, 2]), MemoryBank(LABELS, ids=[5, 6, 7, 8, 9])):
        with pytest.raises(ValueError, match="same labels, ids and n_classes"):
            other.load_state_dict(state)
    state["meta"]["format"] = 99
    with pytest.raises(ValueError, match="must have format 1, got 99"):
        MemoryBank(LABELS).load_state_dict(state)


def test_torch_tensors_are_recorded_as_numpy_arrays_are():
    torch = pytest.importorskip("torch")
    bank = MemoryBank([0, 1])
    losses = torch.tensor([0.5, 0.25], dtype=torch.bfloat16, requires_grad=True)
    probabilities = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=torch.float16)
    bank.record(torch.tensor([1, 0]), losses=losses, probabilities=probabilities)
    bank.end_epoch()
    log = bank.log()
    assert log.losses.tolist() == [[0.25, 0.5]]
    assert log.probabilities.tolist() == [[[0.5, 0.5], [0.75, 0.25]]]


def test_recording_imports_no_framework():
    script = (
        "import sys, time, noisyselect; from noisyselect import MemoryBank\n"
        "bank = MemoryBank([0, 1]); bank.record([0, 1], losses=[0.1, 0.2]); bank.end_epoch()\n"
        "bank.log()\n"
        "heavy = {'torch', 'jax', 'faiss', 'pandas', 'matplotlib', 'sklearn', 'imblearn', 'scipy',"
        " 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_predictions_left_to_the_probabilities_are_found_when_the_epoch_closes():
    rng = np.random.default_rng(0)
    shown = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    shown[3] = np.nan
    bank = MemoryBank(labels=np.zeros(60, dtype=int), n_classes=4, missing="unlabelled")
    for batch in np.split(rng.permutation(50), 5):
        bank.record(batch, probabilities=shown[batch], confidences=np.full(10, 0.5))
    bank.record([7, 7], probabilities=[[1, 0, 0, 0], [0, 0, 0, 1]], confidences=[0.1, 0.2])
    bank.end_epoch()
    log = bank.log()
    expected = np.append(shown.argmax(axis=1), np.full(10, -1))
    expected[7] = 3
    assert log.predictions.tolist() == [expected.tolist()]
    assert log.predictions.dtype == np.int8
    assert log.confidences[0, :8].tolist() == [0.5] * 7 + [np.float32(0.2)]
    assert np.isnan(log.confidences[0, 50:]).all()


@pytest.mark.parametrize("batch", [[[0, 1]], 5])
def test_ids_of_a_batch_are_one_row_of_ids(batch):
    with pytest.raises(ValueError, match=r"`ids` must have shape \(batch,\)"):
        MemoryBank(labels=[0, 1]).record(batch, losses=[0.1, 0.2])


def test_what_nobody_recorded_is_the_same_in_every_state_and_log():
    def recorded():
        bank = MemoryBank([0, 1, 1], missing="unlabelled")
        bank.record([1], losses=[0.5], predictions=[1], batches=[0], probabilities=[[0.4, 0.6]])
        return bank

    bank = recorded()
    arrays = bank.state_dict()["arrays"]
    assert np.isnan(arrays["open.losses"][[0, 2]]).all()
    assert np.isnan(arrays["open.probabilities"][[0, 2]]).all()
    assert arrays["open.predictions"].tolist() == [-1, 1, -1]
    assert arrays["open.batches"].tolist() == [-1, 0, -1]
    bank.end_epoch()
    log = bank.log()
    assert np.isnan(log.losses[0, [0, 2]]).all()
    assert np.isnan(log.confidences[0, [0, 2]]).all()
    assert log.predictions.tolist() == [[-1, 1, -1]]
    assert log.batches.tolist() == [[-1, 0, -1]]


def test_a_log_stays_as_it_was_when_later_epochs_are_recorded():
    bank = MemoryBank([0, 1], window=1)
    bank.record([0, 1], probabilities=[[0.9, 0.1], [0.2, 0.8]])
    bank.end_epoch()
    log = bank.log()
    bank.record([0, 1], probabilities=[[0.3, 0.7], [0.3, 0.7]])
    bank.end_epoch()
    assert log.predictions.tolist() == [[0, 1]]
    assert log.probabilities[0, 0] == pytest.approx([0.9, 0.1])
    assert not log.probabilities.flags.writeable
