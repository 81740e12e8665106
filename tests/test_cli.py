import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import noisyselect
from noisyselect.bench import named_selectors
from noisyselect.store import RunWriter, open_run

IMPORTED_LOG = Path(__file__).parents[2] / "shared/data/logs/cifar10-asym40.npz"
N_EPOCHS = 8


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    """Two networks that learn 60 samples steadily, and the 12 wrong ones of them in jumps."""
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    labels = np.where(np.arange(60) < 12, (truth + 1) % 3, truth)
    path = tmp_path_factory.mktemp("runs") / "run[1]"
    writer = RunWriter.create(
        path, labels, true_labels=truth, networks=("a", "b"), settings={"seed": 7}
    )
    for epoch in range(N_EPOCHS):
        dynamics = {}
        for network in ("a", "b"):
            losses = np.where(labels == truth, 1 / (epoch + 1), 3.0) + rng.random(60) / 10
            confidences = np.full(60, 0.9)
            dynamics[network] = {
                "losses": losses,
                "predictions": truth,
                "confidences": confidences,
            }
        writer.write_epoch(dynamics, lr=0.1 if epoch < 4 else 0.01, phase="warm-up")
    for network in ("a", "b"):
        writer.write_features(network, np.eye(3)[truth] + rng.random((60, 3)) / 10)
    return path


def test_bench_prints_a_table_of_selectors_and_says_why_one_gave_no_answer(
    noisyselect_command, run_path
):
    status, out, err = noisyselect_command(
        "bench", run_path, "--selectors", "gmm,vrlv", "--epochs", "2,7"
    )
    assert (status, err) == (0, "")
    assert "run[1]" in out
    assert "20.0% of the given labels are wrong" in out
    assert "network a, epochs 2, 7" in out
    assert re.search(r"gmm +2 +80.0% +100.0% +\+0.0 +100.0% +100.0% +100.0% +1.000 +1.00 +\d", out)
    assert re.search(r"vrlv +2( +-){9}", out)
    assert "vrlv, epoch 2: VRLVSelector needs 6 epochs" in out
    assert re.search(r"vrlv +7 +\d+\.\d% +\d", out)
    assert re.search(r"search for neighbours took \d", out)
    assert "Features and neighbours are the latest ones at every epoch." in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_bench_of_all_epochs_shows_the_last_and_the_best_and_says_where_the_others_are(
    noisyselect_command, run_path, tmp_path
):
    arguments = ("bench", run_path, "--epochs", "all", "--network", "all")
    status, out, _ = noisyselect_command(*arguments)
    assert status == 0
    for network in ("a", "b"):
        assert f"network {network}, epoch 7\n" in out
    rows = re.findall(r"^gmm .*100\.0% +0$", out, re.MULTILINE)
    assert len(rows) == 2
    assert "needs 6 epochs" not in out
    assert "All 96 rows, with every measure, are written by --json FILE." in out
    assert max(len(line) for line in out.splitlines()) <= 100
    _, out, _ = noisyselect_command(*arguments, "--json", tmp_path / "all.json")
    assert "All 96 rows, with every measure: " in out
    found = json.loads((tmp_path / "all.json").read_text(), parse_constant=pytest.fail)
    places = {(row["network"], row["epoch"], row["selector"]) for row in found["rows"]}
    assert len(places) == len(found["rows"]) == 96


@pytest.mark.parametrize(
    ("width", "dropped"), [(100, []), (94, ["seconds"]), (80, ["seconds", "balance"])]
)
def test_bench_leaves_columns_out_before_it_cuts_a_number(
    noisyselect_command, run_path, monkeypatch, width, dropped
):
    monkeypatch.setattr("noisyselect.cli.benchmark.terminal", lambda: Console(width=width))
    status, out, _ = noisyselect_command("bench", run_path, "--epochs", "all")
    assert status == 0
    assert "…" not in out
    heading = next(line for line in out.splitlines() if line.startswith("selector"))
    for name in ("seconds", "balance"):
        assert (name in heading) == (name not in dropped)


def make_another(path, seed, **options):
    """Write a run of one network on which small loss is less sure."""
    rng = np.random.default_rng(seed)
    truth = np.arange(60) % 3
    labels = np.where(rng.random(60) < 0.3, (truth + 1) % 3, truth)
    writer = RunWriter.create(path, labels, **({"true_labels": truth} | options))
    for _ in range(6):
        losses = np.where(labels == truth, 0.5, 1.5) + rng.random(60)
        writer.write_epoch({"a": {"losses": losses, "predictions": rng.permutation(truth)}})
    return path


def test_bench_compares_with_small_loss_and_names_the_best_epoch(noisyselect_command, tmp_path):
    run, out_path = make_another(tmp_path / "run", 0), tmp_path / "bench.json"
    names = ("gmm", "loss-variation")
    _, out, _ = noisyselect_command(
        *("bench", run, "--selectors", ",".join(names), "--epochs", "all", "--json", out_path)
    )
    rows = json.loads(out_path.read_text())["rows"]
    gains = set()
    for name in names:
        found = [row for row in rows if row["selector"] == name and row["f1"] is not None]
        gain = 100 * (found[-1]["precision"] - found[-1]["small_loss_precision"])
        best = max(found, key=lambda row: row["f1"])
        cells = next(line for line in out.splitlines() if line.startswith(name)).split()
        assert float(cells[3]) == pytest.approx(gain, abs=0.051)
        assert cells[-2:] == [f"{best['f1']:.1%}", str(best["epoch"])]
        gains.add(cells[3])
    assert "-0.0" not in gains and len(gains) == 2


def test_bench_of_several_runs_ranks_the_selectors_and_draws_it(noisyselect_command, tmp_path):
    runs = [make_another(tmp_path / str(seed), seed) for seed in range(3)]
    picture = tmp_path / "new" / "ranks.png"
    status, out, err = noisyselect_command("bench", *runs, "--plot", picture)
    assert (status, err) == (0, "")
    assert re.search(r"mean rank over 3 runs, 1 is best +F1 +AUROC\n", out)
    assert re.search(r"gmm +1\.\d\d +1\.\d\d\n", out)
    assert re.search(r"critical difference \(5 %\) +2\.71 +2\.71\n", out)
    assert "Not ranked, for want of a value in some run: vrlv, enn." in out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("selectors", "with_truth", "message"),
    [
        ("gmm,enn", False, "two runs with true labels and two selectors are needed, got 1 and 2"),
        ("gmm", True, "two runs with true labels and two selectors are needed, got 2 and 1"),
        ("gmm,enn", True, "no two selectors have a value in every run"),
    ],
)
def test_bench_refuses_to_draw_what_cannot_be_ranked(
    noisyselect_command, tmp_path, selectors, with_truth, message
):
    runs = [make_another(tmp_path / "one", 1)]
    runs.append(make_another(tmp_path / "two", 2, **({} if with_truth else {"true_labels": None})))
    picture = tmp_path / "ranks.png"
    status, _, err = noisyselect_command(
        "bench", *runs, "--selectors", selectors, "--plot", picture
    )
    assert status == 1
    assert message in err
    assert not picture.exists()


def test_bench_without_truth_shows_agreement_and_no_measures_of_truth(
    noisyselect_command, tmp_path
):
    run = make_another(tmp_path / "run", 0, true_labels=None)
    status, out, _ = noisyselect_command(
        "bench", run, "--selectors", "gmm,loss-variation,prediction-stability", "--epochs", "all"
    )
    assert status == 0
    assert "true labels not known" in out
    assert "precision" not in out
    assert re.search(r"gmm +\d+\.\d% +0\.\d\d +0\.\d\d +\d\.\d +0\.\d\d\n", out)
    assert re.search(r"agreement beyond chance \(kappa\) +1 +2\n", out)
    assert re.search(r" 3 prediction-stability +-?\d\.\d\d +-?\d\.\d\d\n", out)


def test_select_writes_the_selection_as_a_table(noisyselect_command, run_path, tmp_path):
    out = tmp_path / "new" / "clean.csv"
    status, text, _ = noisyselect_command(
        "select", run_path, "--selector", "gmm", "--network", "b", "--until", "5", "--out", out
    )
    assert status == 0
    assert "gmm trusts 48 of 60 labels (80.0%)" in text
    run = open_run(run_path)
    selection = named_selectors(["gmm"])["gmm"].select(run.log("b", until=5))
    table = pd.read_csv(out)
    assert list(table.columns) == ["id", "clean", "score", "reason"]
    assert table["id"].tolist() == selection.ids.tolist()
    assert table["clean"].tolist() == selection.clean.tolist()
    assert table["score"].to_numpy() == pytest.approx(selection.score, abs=1e-15)
    assert table["reason"].tolist() == selection.reason.tolist()
    assert list(out.parent.iterdir()) == [out]


def test_info_tells_what_is_in_a_run(noisyselect_command, run_path):
    status, out, _ = noisyselect_command("info", run_path)
    assert status == 0
    for fact in (
        "60, 20.0% of the given labels are wrong",
        "3 of 20 to 20 samples",
        "a, b",
        "8; lr 0.1 then 0.01; warm-up",
        "features network=a, network=b",
        "seed=7",
        f"noisyselect {noisyselect.__version__}",
    ):
        assert fact in out


def test_info_tells_how_much_of_a_damaged_run_can_be_read(noisyselect_command, tmp_path):
    writer = RunWriter.create(tmp_path / "run", [0, 1, 1])
    for _ in range(3):
        writer.write_epoch({"a": {"losses": [0.1, 0.2, 3.0]}})
    file = tmp_path / "run/epochs.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + "{}\n" + lines[2])
    status, out, _ = noisyselect_command("info", tmp_path / "run")
    assert status == 0
    assert "3, readable up to the first damaged one: 1" in out


def test_the_selectors_are_listed_with_what_they_need_and_keep(noisyselect_command):
    _, out, _ = noisyselect_command("selectors")
    words = " ".join(out.split())  # the last column runs over several lines
    for name, selector in named_selectors("all").items():
        kept = selector.summary.removeprefix("Keep ")
        needed = ", ".join(selector.needs) or "features or neighbours"
        assert words.index(f"{name} {needed}") >= 0
        # The lines of what is kept stand apart where what is needed runs over them too.
        assert f"{name} {needed} {kept}" in words


def test_the_help_of_bench_names_the_usual_selectors(noisyselect_command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = noisyselect_command("bench", "--help")
    assert ", ".join(named_selectors()) in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "nowhere: is not a run directory"),
        (["bench", "RUN", "--selectors", "gmx"], "one of gmm, loss-variation"),
        (["bench", "RUN", "--epochs", "99"], "`epochs` must be closed epochs"),
        (["bench", "RUN", "--epochs", "last"], "--epochs must be all, or numbers such as 19,29"),
        (["bench", "RUN", "--network", "c"], "`network` must be one of a, b"),
        (["bench", "RUN", "RUN"], "Each run must be given once"),
        (["bench", "RUN", "--jobs", "0"], "`jobs` must be at least 1, got 0"),
        (["select", "RUN", "--until", "0", "--out", "x.csv"], "no closed epoch before 0"),
        (["select", "RUN", "--until", "3", "--out", "x.csv"], "VRLVSelector needs 6 epochs"),
        (["import", "nothing.npz", "--out", "x"], "No such file or directory: 'nothing.npz'"),
        (["import", __file__, "--out", "x"], "A training log is AUM's full_aum_records.csv"),
        (["select", "RUN", "--out", "x.txt"], "named .csv or .parquet, got x.txt"),
        (["export", "RUN", "--out", "x.txt"], "named .csv or .parquet, got x.txt"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_status_1(
    noisyselect_command, run_path, monkeypatch, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    arguments = [str(run_path) if argument == "RUN" else argument for argument in arguments]
    status, out, err = noisyselect_command(*arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("Error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_warnings_are_one_line_as_well(noisyselect_command, tmp_path):
    writer = RunWriter.create(tmp_path / "run", [0, 1, 1])
    writer.write_epoch({"a": {"losses": [0.1, np.nan, 3.0]}})
    status, _, err = noisyselect_command("bench", tmp_path / "run", "--selectors", "gmm")
    assert status == 0
    assert re.fullmatch(r"Warning: `losses` has 1 non-finite values.*\n", err)


def test_python_m_noisyselect_is_the_command_line():
    command = [sys.executable, "-m", "noisyselect", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"noisyselect {noisyselect.__version__}\n"


def test_help_imports_nothing_heavy():
    code = (
        "import sys, noisyselect.cli\n"
        "heavy = {'torch', 'pyarrow', 'sklearn', 'scipy', 'faiss', 'imblearn', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not IMPORTED_LOG.exists(), reason="needs ../shared/data")
def test_the_cifar_log_goes_from_npz_to_a_table(tmp_path):
    run = str(tmp_path / "run")
    for arguments in (
        ["import", str(IMPORTED_LOG), "--out", run],
        ["bench", run, "--selectors", "gmm,loss-variation,prediction-stability"],
    ):
        command = [sys.executable, "-W", "error", "-m", "noisyselect", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"}
        )
        assert done.stderr == ""
    assert "50,000 samples, 19.8% of the given labels are wrong" in done.stdout
    kept = re.search(r"gmm +94\.7% +80\.7%", done.stdout)
    assert kept is not None, done.stdout
