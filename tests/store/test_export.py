import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from noisyselect import Selection, TrainingLog
from noisyselect.errors import DamagedRunError
from noisyselect.store import (
    RunWriter,
    export_label_issues,
    export_log,
    export_selection,
    import_log,
    open_run,
)

READERS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
IDS = ["x", 'y,"z"', "é"]


@pytest.fixture
def run(tmp_path):
    writer = RunWriter.create(
        tmp_path / "run", [0, 1, 1], ids=IDS, true_labels=[0, 0, 1], networks=("a", "b")
    )
    rng = np.random.default_rng(0)
    for epoch in range(3):
        columns = {
            "losses": np.array([np.nan, *rng.random(2)], dtype=np.float32),
            "predictions": [-1, 0, 1],
        }
        if epoch:
            columns["confidences"] = rng.random(3)
            columns["batches"] = [-1, 7, 0]
        writer.write_epoch({"a": columns, "b": columns}, lr=None if epoch == 2 else 0.1)
    return open_run(tmp_path / "run")


@pytest.mark.parametrize("suffix", READERS)
def test_a_log_is_one_row_per_network_epoch_and_sample(tmp_path, run, suffix):
    export_log(run, tmp_path / f"log{suffix}")
    table = READERS[suffix](tmp_path / f"log{suffix}")
    assert list(table.columns) == [
        *("id", "label", "network", "epoch", "lr", "loss", "prediction", "confidence", "batch")
    ]
    assert table["id"].tolist() == IDS * 6
    assert table["label"].tolist() == [0, 1, 1] * 6
    assert table["network"].tolist() == ["a"] * 9 + ["b"] * 9
    assert table["epoch"].tolist() == np.tile(np.repeat(np.arange(3), 3), 2).tolist()
    assert table["lr"].isna().tolist() == ([False] * 6 + [True] * 3) * 2
    assert table["prediction"].isna().tolist() == [True, False, False] * 6
    assert table["confidence"].isna().tolist() == ([True] * 3 + [False] * 6) * 2
    assert table["batch"].fillna(-1).tolist() == ([-1] * 3 + [-1, 7, 0] * 2) * 2
    for epoch in range(3):
        shown = run.dynamics(epoch, "b")["losses"]
        rows = (table["network"] == "b") & (table["epoch"] == epoch)
        exported = table.loc[rows, "loss"].to_numpy(dtype=np.float32)
        assert np.array_equal(exported, shown, equal_nan=True)


@pytest.mark.filterwarnings("ignore::noisyselect.errors.NonFiniteWarning")
@pytest.mark.parametrize("suffix", READERS)
def test_an_exported_log_is_imported_as_the_same_log(tmp_path, run, suffix):
    export_log(run, tmp_path / f"log{suffix}")
    again = import_log(tmp_path / f"log{suffix}", tmp_path / "again")
    assert again.truth is None
    order = np.argsort(run.ids)
    for network in run.networks:
        log, expected = again.log(network), run.log(network).take(order)
        assert log.columns == expected.columns
        for name in log.columns:
            values, others = getattr(log, name), getattr(expected, name)
            assert np.array_equal(values, others, equal_nan=values.dtype.kind == "f"), name


def test_true_labels_are_not_exported(tmp_path, run):
    export_log(run, tmp_path / "log.parquet")
    schema = pq.read_schema(tmp_path / "log.parquet")
    assert not any("true" in name for name in schema.names)
    assert set(schema.metadata) == {name.encode() for name in schema.names}


def test_an_export_of_a_damaged_run_leaves_the_earlier_file(tmp_path, run):
    (tmp_path / "log.csv").write_text("earlier")
    (run.path / "dynamics/network=b/epoch=0002/part-00000.parquet").unlink()
    with pytest.raises(DamagedRunError, match="epoch=0002"):
        export_log(run, tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text() == "earlier"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.csv", "run"]


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("ids", [IDS, [3, 1, 2]])
def test_a_selection_is_written_as_it_is(tmp_path, suffix, ids):
    selection = Selection(
        clean=[True, False, True], score=[0.1, 1 / 3, 1.0], ids=ids, reason=["a", 'b,"c"', "d"]
    )
    export_selection(selection, tmp_path / "new" / f"table{suffix}")
    table = READERS[suffix](tmp_path / "new" / f"table{suffix}")
    assert list(table.columns) == ["id", "clean", "score", "reason"]
    assert table["id"].tolist() == ids
    assert table["clean"].tolist() == [True, False, True]
    assert table["score"].tolist() == [0.1, 1 / 3, 1.0]
    assert table["reason"].tolist() == ["a", 'b,"c"', "d"]


@pytest.mark.parametrize("suffix", READERS)
def test_label_issues_have_the_columns_of_cleanlab(tmp_path, suffix):
    log = TrainingLog(labels=[0, 1, 1], predictions=[[0, 0, 0], [0, 1, 0]], ids=[7, 8, 9])
    selection = Selection(clean=[True, True, False], score=[0.9, 0.8, 0.1], ids=[7, 8, 9])
    export_label_issues(selection, log, tmp_path / f"issues{suffix}")
    table = READERS[suffix](tmp_path / f"issues{suffix}")
    # Those of CleanLearning.find_label_issues in cleanlab 2.9, after the id.
    expected = {
        "id": [7, 8, 9],
        "is_label_issue": [False, False, True],
        "label_quality": [0.9, 0.8, 0.1],
        "given_label": [0, 1, 1],
        "predicted_label": [0, 1, 0],
    }
    assert {name: table[name].tolist() for name in table.columns} == expected


def test_label_issues_without_predictions_have_no_predicted_label(tmp_path):
    log = TrainingLog(labels=[0, 1], losses=[[0.1, 2.0]])
    export_label_issues(Selection(clean=[True, False]), log, tmp_path / "issues.csv")
    assert list(pd.read_csv(tmp_path / "issues.csv").columns) == [
        *("id", "is_label_issue", "label_quality", "given_label")
    ]
    log = TrainingLog(labels=[0, 1], predictions=[[1, -1]])
    export_label_issues(Selection(clean=[True, False]), log, tmp_path / "issues.csv")
    assert pd.read_csv(tmp_path / "issues.csv")["predicted_label"].isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["table", "table.txt", "table.CSV"])
def test_a_table_of_another_name_is_refused(tmp_path, run, name):
    with pytest.raises(ValueError, match=r"named \.csv or \.parquet, got"):
        export_log(run, tmp_path / name)
    with pytest.raises(ValueError, match=r"named \.csv or \.parquet, got"):
        export_selection(Selection(clean=[True]), tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
