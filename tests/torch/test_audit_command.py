"""The command for those without a training loop, as a user types it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noisyselect import open_run
from noisyselect.cli import main

QUICK = ("--folds", 2, "--restarts", 1, "--max-epochs", 6)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command in a folder of its own; return exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["noisyselect", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return call


@pytest.fixture
def rows(tmp_path):
    """60 rows of three kinds far apart, of which the first 12 carry the label of another."""
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    X = 6 * np.eye(3)[truth] + rng.normal(size=(60, 3))
    names = np.array(["[red]cat", "dog", "eel"])
    return pd.DataFrame(
        {
            "file": [f"[b]{i}.png" for i in range(60)],
            **{f"x{j}": X[:, j] for j in range(3)},
            "kind": names[np.where(np.arange(60) < 12, (truth + 1) % 3, truth)],
            "real": names[truth],
        }
    )


def test_a_table_becomes_a_list_of_suspicious_ids(command, rows):
    rows.to_csv("animals.csv", index=False)
    parts = ("--label", "kind", "--id", "file", "--true-label", "real")
    status, out, err = command("animals.csv", *parts, *QUICK)
    assert (status, err) == (0, "")
    assert "animals.csv: 60 samples" in out
    assert "labels: kind" in out
    assert "ids: file" in out
    assert "features: 3 (x0, x1, x2)" in out
    assert "12 of 60 labels are suspicious: an estimated 20.0% are wrong" in out
    assert "By the true labels 20.0% are wrong; 100.0% of them" in out
    assert "AUROC 1.000" in out
    shown = re.findall(r"^(\[b\]\d+\.png) +(\S+) +(\S+) +0\.\d{3}$", out, re.MULTILINE)
    assert len(shown) == 10
    table = pd.read_csv("animals-audit/suspicious.csv")
    assert set(table["id"]) == set(rows["file"][:12])
    assert table["id"][:10].tolist() == [name for name, *_ in shown]
    right = rows.set_index("file").loc[table["id"]]
    assert table["label"].tolist() == right["kind"].tolist()
    assert table["suggested"].tolist() == right["real"].tolist()
    run = open_run("animals-audit/run")
    assert run.ids.tolist() == rows["file"].tolist()
    assert run.truth is not None
    page = Path("animals-audit/report.html").read_text()
    assert "Shown is <strong>confident-margin</strong>" in page and "[b]1.png" in page
    assert max(map(len, out.splitlines())) <= 100


def test_true_labels_change_nothing_but_what_is_measured(command, rows):
    rows.to_csv("told.csv", index=False)
    rows.drop(columns="real").to_csv("untold.csv", index=False)
    command("told.csv", "--label", "kind", "--id", "file", "--true-label", "real", *QUICK)
    _, out, _ = command("untold.csv", "--label", "kind", "--id", "file", *QUICK)
    assert "true labels" not in out
    told, untold = (Path(f"{name}-audit/suspicious.csv") for name in ("told", "untold"))
    assert told.read_text() == untold.read_text()
    assert open_run("untold-audit/run").truth is None


def test_the_verdict_is_that_of_the_chosen_selector_on_the_run_it_leaves(command, rows):
    np.save("X.npy", rows[["x0", "x1", "x2"]])
    np.save("y.npy", rows["kind"].to_numpy().astype(str))
    status, out, _ = command("X.npy", "y.npy", "--selector", "enn", "--out", "new/found", *QUICK)
    assert status == 0
    assert "ids: row numbers, from 0" in out
    from noisyselect import ENNCleaner

    selection = ENNCleaner().select(*open_run("new/found/run").logs())
    table = pd.read_csv("new/found/suspicious.csv")
    assert set(table["id"]) == set(selection.unlabelled.tolist())
    assert set(table["reason"]) == {"neighbours disagree"}


def test_nothing_suspicious_is_an_answer(command, rows):
    clean = rows.assign(kind=rows["real"]).drop(columns=["real", "file"])
    clean.to_parquet("clean.parquet")
    status, out, _ = command("clean.parquet", "--label", "kind", *QUICK)
    assert status == 0
    assert "0 of 60 labels are suspicious" in out
    assert Path("clean-audit/suspicious.csv").read_text().count("\n") == 1


def test_a_folder_with_something_in_it_is_left_alone_before_any_training(command, rows):
    rows.to_csv("animals.csv", index=False)
    Path("animals-audit").mkdir()
    Path("animals-audit/mine.txt").write_text("mine")
    status, out, err = command("animals.csv")
    assert (status, out) == (1, "")
    assert "animals-audit exists and is not empty: choose another --out" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("animals.csv",), "must have one column named label, target, y"),
        (("animals.csv", "--label", "kind"), "column 'file' is string"),
        (("nowhere.csv",), "nowhere.csv"),
        (("animals.csv", "--selector", "gmx"), "one of gmm, loss-variation"),
        (
            ("animals.csv", "--label", "kind", "--ignore", "file,real", "--folds", 1),
            "`n_folds` must be at least 2",
        ),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(command, rows, arguments, message):
    rows.to_csv("animals.csv", index=False)
    status, _, err = command(*arguments)
    assert status == 1
    assert err.startswith("Error: ")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["animals.csv"]


def test_without_torch_the_command_says_what_to_install():
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['noisyselect', 'audit', 'x.csv']\n"
        "from noisyselect.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: noisyselect.torch needs torch, an optional extra: install noisyselect[torch].\n"
    )
