"""Runs killed with SIGKILL, by benchmarks/kill.py, which does any number of kills."""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are of POSIX")


@pytest.fixture
def kill(monkeypatch):
    """The script as a module."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # it sets this, and the fixture takes it back
    spec = importlib.util.spec_from_file_location("kill_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill_script", module)
    spec.loader.exec_module(module)
    return module


def test_runs_killed_at_five_moments_end_with_the_files_of_the_unbroken_runs():
    # In a process of its own: this one may have threads, which no fork would have.
    script = [sys.executable, str(SCRIPT), "--kills", "5"]
    done = subprocess.run(script, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"│ resumed +│", done.stdout)) == 2
    assert len(re.findall(r"│ ended identical[ ,]", done.stdout)) == 3


def run_directory(folder, weights, line=b"{}\n", metadata=("state", "sha256")):
    folder.mkdir()
    header = json.dumps({"__metadata__": dict.fromkeys(metadata, "x")}).encode()
    data = len(header).to_bytes(8, "little") + header + weights
    (folder / "state.safetensors").write_bytes(data)
    (folder / "epochs.jsonl").write_bytes(line)
    return folder


def test_a_run_that_differs_in_one_bit_of_a_weight_or_one_file_is_told_from_the_unbroken(
    kill, tmp_path
):
    whole = run_directory(tmp_path / "whole", b"\0\1")
    same = run_directory(tmp_path / "same", b"\0\1", metadata=("sha256", "state"))
    assert kill.differences(whole, same) == []
    weights = run_directory(tmp_path / "weights", b"\0\3")
    assert kill.differences(whole, weights) == ["state.safetensors"]
    log = run_directory(tmp_path / "log", b"\0\1", line=b"{ }\n")
    assert kill.differences(whole, log) == ["epochs.jsonl"]
    (log / ".left.tmp").touch()
    assert kill.without_temporary(kill.differences(whole, log)) == (1, 1)


def test_kills_are_drawn_in_the_order_of_the_run_and_never_in_neighbouring_parts(kill):
    passed = [(f"part {part}", point) for part in range(7) for point in ("step", "step", "flush")]
    seen = set()
    for seed in range(50):
        strikes = list(kill.strikes_on(passed, 3, kill.np.random.default_rng(seed)))
        parts = [int(strike.part.split()[1]) for strike in strikes]
        assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(parts))
        assert all(strike.count <= {"step": 2, "flush": 1}[strike.point] for strike in strikes)
        seen |= set(parts)
    assert seen == set(range(7))
