"""Every example runs, with tiny settings, and shows what it claims."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from noisyselect import open_run

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_partial_fit_selects_cleaner_labels_and_tests_better():
    result = load("partial_fit").run(n_epochs=20)
    assert result["wrong among selected"] < result["wrong among all"] / 4
    assert result["selected"] > result["plain"]


def test_compose_selectors_shows_every_combination():
    result = load("compose_selectors").run(n_samples=400)
    kept = {name: quality.n_kept for name, quality in result.items()}
    assert kept["small loss and stable"] <= min(kept["small loss"], kept["stable"])
    assert kept["small loss or stable"] >= max(kept["small loss"], kept["stable"])
    assert kept["small loss and stable"] + kept["stable, yet of large loss"] == kept["stable"]


def test_vrlv_in_a_torch_loop_selects_cleaner_labels():
    result = load("vrlv_in_a_torch_loop").run(n_epochs=12)
    assert result["wrong among selected"] < result["wrong among all"] / 2
    assert result["test accuracy"] > 0.8


def test_train_from_python_reports_and_leaves_a_run_directory(tmp_path):
    seen = []
    result = load("train_from_python").run(tmp_path / "run", n_epochs=10, on_epoch=seen.append)
    assert result["test accuracy, last epoch"] == seen[-1].test_accuracy > 0.8
    assert open_run(tmp_path / "run").n_epochs == len(seen) == 10


def test_co_teaching_loop_selects_cleaner_labels_and_tests_better():
    result = load("co_teaching_loop").run(n_epochs=20)
    assert result["wrong among selected, last epoch"] < result["wrong among all"] / 4
    assert result["test accuracy, Co-teaching"] > 0.9
    assert result["test accuracy, Co-teaching"] > result["test accuracy, all labels"]


def test_believe_in_part_trusts_right_labels_and_tests_better():
    result = load("believe_in_part").run(n_epochs=20)
    assert result["mean trust in right labels"] > 0.9
    assert result["mean trust in wrong labels"] < 0.1
    assert result["test accuracy, believed in part"] > 0.92
    assert result["test accuracy, believed in part"] > result["test accuracy, all labels"] + 0.02


def test_distributed_loop_has_the_same_selection_on_both_ranks():
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *command, str(EXAMPLES / "distributed_loop.py"), "8", "4"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = [
        dict(re.findall(rf"^rank {rank}: (.*?) +(\S+)$", done.stdout, re.MULTILINE))
        for rank in (0, 1)
    ]
    assert results[0] == results[1]
    assert results[0]["recorded twice"] == "1"
    assert float(results[0]["wrong among trusted"]) < float(results[0]["wrong among all"]) / 4


def test_every_example_is_run_here():
    here = Path(__file__).read_text()
    for script in EXAMPLES.glob("*.py"):
        run = f'load("{script.stem}")' in here or f'"{script.name}"' in here
        assert run, f"{script.name} is not run by a test."
