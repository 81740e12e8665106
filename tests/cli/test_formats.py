import numpy as np
import pandas as pd
import pytest

from noisyselect import open_run
from noisyselect.store import RunWriter


@pytest.fixture
def run_path(tmp_path):
    """30 samples of two networks; the last 6 have a large loss."""
    writer = RunWriter.create(tmp_path / "run[1]", np.arange(30) % 3, networks=("a", "b"))
    rng = np.random.default_rng(0)
    for _ in range(3):
        losses = np.where(np.arange(30) < 24, 0.1, 3.0) + rng.random(30) / 10
        columns = {"losses": losses, "predictions": np.arange(30) % 3}
        writer.write_epoch({"a": columns, "b": columns}, lr=0.1)
    return writer.path


def test_import_makes_a_run_directory(noisyselect_command, tmp_path):
    np.savez(
        tmp_path / "log.npz",
        loss=np.ones((2, 1, 3)),
        pred=np.zeros((2, 1, 3), dtype=int),
        conf=np.ones((2, 1, 3)),
        lr=np.ones(2),
        label=np.array([0, 1, 1]),
    )
    status, out, _ = noisyselect_command("import", tmp_path / "log.npz", "--out", tmp_path / "run")
    assert status == 0
    assert "imported_from=log.npz" in out
    assert open_run(tmp_path / "run").n_epochs == 2


def test_import_says_what_it_took_the_log_for(noisyselect_command, tmp_path):
    table = pd.DataFrame({"id": ["x", "y"] * 2, "epoch": [0, 0, 1, 1], "loss": [0.1, 2.0] * 2})
    table.to_csv(tmp_path / "log[1].csv", index=False)
    pd.DataFrame({"id": ["y", "x"], "label": ["cat", "dog"]}).to_csv(tmp_path / "labels.csv")
    pd.DataFrame({"id": ["y", "x"], "true_label": ["dog"] * 2}).to_csv(tmp_path / "truth.csv")
    status, out, err = noisyselect_command(
        *("import", tmp_path / "log[1].csv", "--out", tmp_path / "run"),
        *("--labels", tmp_path / "labels.csv", "--truth", tmp_path / "truth.csv"),
    )
    assert (status, err) == (0, "")
    assert "Taken for a table with one row per sample and epoch." in out
    assert "50.0% of the given labels are wrong" in out
    assert "imported_from=log[1].csv" in out
    assert "cat, dog" in out


def test_import_without_labels_says_how_to_give_them(noisyselect_command, tmp_path):
    (tmp_path / "log.csv").write_text("id,epoch,loss\nx,0,1.0\n")
    status, out, err = noisyselect_command(
        "import", tmp_path / "log.csv", "--out", tmp_path / "run"
    )
    assert (status, out) == (1, "")
    assert "has no given labels" in err
    assert "--labels FILE" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_writes_the_log_that_import_reads(noisyselect_command, run_path, tmp_path, suffix):
    table = tmp_path / f"log{suffix}"
    status, out, _ = noisyselect_command("export", run_path, "--out", table)
    assert status == 0
    assert "180 rows written to" in out
    assert noisyselect_command("import", table, "--out", tmp_path / "again")[0] == 0
    again = open_run(tmp_path / "again")
    assert np.array_equal(again.log("b").losses, open_run(run_path).log("b").losses)


def test_select_writes_parquet_and_the_columns_of_cleanlab(noisyselect_command, run_path, tmp_path):
    for options, suffix in (([], ".parquet"), (["--cleanlab"], ".csv")):
        out = tmp_path / f"table{suffix}"
        status, _, err = noisyselect_command(
            "select", run_path, "--selector", "gmm", "--out", out, *options
        )
        assert (status, err) == (0, "")
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert table["id"][~table["clean"]].tolist() == list(range(24, 30))
    issues = pd.read_csv(tmp_path / "table.csv")
    assert issues["is_label_issue"].tolist() == (~table["clean"]).tolist()
    assert issues["label_quality"].tolist() == table["score"].tolist()
    assert issues["predicted_label"].tolist() == issues["given_label"].tolist()


def test_select_reads_the_epochs_that_its_selector_needs(noisyselect_command, run_path, tmp_path):
    for epoch in (0, 1):
        (run_path / f"dynamics/network=a/epoch={epoch:04d}/part-00000.parquet").unlink()
        (run_path / f"dynamics/network=b/epoch={epoch:04d}/part-00000.parquet").unlink()
    arguments = ("select", run_path, "--out", tmp_path / "table.csv", "--selector")
    assert noisyselect_command(*arguments, "gmm")[0] == 0
    status, _, err = noisyselect_command(*arguments, "loss-variation")
    assert status == 1
    assert "epoch=0000" in err


def test_validate_says_that_a_run_is_whole(noisyselect_command, run_path):
    status, out, err = noisyselect_command("validate", run_path)
    assert (status, err) == (0, "")
    assert out == f"{run_path} is whole. Epochs: 3 of network a, 3 of network b.\n"


def test_validate_names_every_defect_and_what_can_be_read(noisyselect_command, run_path):
    first = "dynamics/network=a/epoch=0001/part-00000.parquet"
    second = "dynamics/network=b/epoch=0002/part-00000.parquet"
    (run_path / first).unlink()
    (run_path / second).write_bytes(b"PAR1")
    (run_path / "notes[1].txt").write_text("")
    status, out, err = noisyselect_command("validate", run_path)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == f"{first}: the file is missing."
    assert lines[1].startswith(f"{second}: has 4 bytes instead of")
    assert lines[2] == (
        f"{run_path} has 2 defects. Epochs that can be read, counted from the first: "
        "1 of network a, 2 of network b."
    )
    assert lines[3:] == ["In no list, so ignored: notes[1].txt."]


def test_validate_of_no_run_is_exit_status_1(noisyselect_command, tmp_path):
    status, out, err = noisyselect_command("validate", tmp_path)
    assert (status, err) == (1, "")
    assert "is not a run directory, it has no run.json." in out
    assert "No epoch can be read." in out
