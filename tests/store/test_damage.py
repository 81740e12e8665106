"""Any file of a run, cut, flipped or deleted: a clear refusal or the intact earlier epochs."""

import shutil
import sys

import numpy as np
import pytest

from noisyselect.cli import main
from noisyselect.errors import DamagedRunError
from noisyselect.store import RunWriter, open_run, validate_run

N_MUTATIONS = 520
N_COMMANDS = 40
N_EPOCHS = 3
NETWORKS = ("a", "b")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    writer = RunWriter.create(
        path,
        labels,
        ids=[f"img-{i}" for i in range(40)],
        true_labels=np.where(np.arange(40) < 8, 0, labels),
        networks=NETWORKS,
    )
    for _ in range(N_EPOCHS):
        dynamics = {
            name: {
                "losses": rng.gamma(1.0, size=40),
                "predictions": rng.integers(0, 4, 40),
                "confidences": rng.random(40),
                "batches": rng.integers(0, 5, 40),
            }
            for name in NETWORKS
        }
        writer.write_epoch(dynamics, lr=0.1, phase="warm-up", metrics={"test_accuracy": 0.5})
    writer.write_probabilities("b", N_EPOCHS - 1, rng.dirichlet(np.ones(4), 40))
    writer.write_second_view("a", N_EPOCHS - 1, rng.dirichlet(np.ones(4), 40))
    writer.write_features("a", rng.normal(size=(40, 3)))
    writer.write_neighbours((np.arange(40)[:, None] + [1, 2]) % 40)
    return path


def columns(log):
    return {name: getattr(log, name) for name in (*log.columns, "epochs", "n_classes")}


@pytest.fixture(scope="module")
def expected(whole):
    """What a reader of the whole run finds, of each network until each epoch."""
    run = open_run(whole)
    logs = {
        (name, until): columns(run.log(name, until))
        for name in NETWORKS
        for until in range(1, N_EPOCHS + 1)
    }
    return logs, run.truth


def mutate(root, rng):
    """Cut, flip or delete one file; return its name, its content before and what was done."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    file = files[rng.integers(len(files))]
    data = file.read_bytes()
    how = ("cut", "flip", "delete")[rng.integers(3)]
    if how == "delete":
        file.unlink()
    elif how == "cut":
        file.write_bytes(data[: rng.integers(len(data))])
    else:
        changed = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
    return file, data, how


def assert_refused_or_right(root, expected):
    """Every answer is that of the whole run; return how many were given, how many refused."""
    logs, truth = expected
    answers = refusals = 0
    try:
        run = open_run(root)
    except DamagedRunError:
        return 0, 1
    for name, until in logs:
        try:
            log = run.log(name, until)
        except DamagedRunError:
            refusals += 1
            continue
        except ValueError as error:  # the epochs were cut off, all of them
            assert "has no closed epoch" in str(error)  # noqa: PT017
            continue
        answers += 1
        # Lines cut from the end of epochs.jsonl leave a shorter run.
        right = logs[name, min(until, run.n_epochs)]
        found = columns(log)
        assert found.keys() == right.keys()
        for column, values in right.items():
            assert np.array_equal(found[column], values), column
    try:
        assert np.array_equal(run.truth, truth)
    except DamagedRunError:
        refusals += 1
    return answers, refusals


def test_a_mutated_run_is_refused_or_gives_the_intact_earlier_epochs(whole, expected, tmp_path):
    root = shutil.copytree(whole, tmp_path / "run")
    rng = np.random.default_rng(0)
    n_files = len([file for file in root.rglob("*") if file.is_file()])
    partly = refused = 0
    touched = set()
    for _ in range(N_MUTATIONS):
        file, data, how = mutate(root, rng)
        touched.add((file, how))
        same = file.exists() and file.read_bytes() == data
        answers, refusals = assert_refused_or_right(root, expected)
        name = file.relative_to(root).as_posix()
        defects = validate_run(root).defects
        if refusals:
            assert {defect.file for defect in defects} == {name}, (name, how)
        else:
            # Nothing was lost, or the end of the lines, which is a shorter run.
            assert same or name in ("epochs.jsonl", "run.json"), (name, how)
            assert defects == ()
        partly += 0 < answers < len(expected[0])
        refused += refusals > 0
        file.write_bytes(data)
    assert len(touched) > 2.5 * n_files
    assert partly > N_MUTATIONS / 3
    assert refused > 0.9 * N_MUTATIONS
    assert assert_refused_or_right(root, expected) == (len(expected[0]), 0)


def test_commands_on_a_mutated_run_end_with_one_line_and_no_traceback(
    whole, tmp_path, monkeypatch, capsys
):
    root = shutil.copytree(whole, tmp_path / "run")
    rng = np.random.default_rng(1)
    statuses = {"info": [], "validate": [], "bench": []}

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["noisyselect", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    for _ in range(N_COMMANDS):
        file, data, _ = mutate(root, rng)
        defects = validate_run(root).defects
        for command, seen in statuses.items():
            options = ["--selectors", "gmm"] if command == "bench" else []
            status, out, err = call(command, root, *options)
            seen.append(status)
            assert "Traceback" not in out + err
            if command == "validate":
                assert status == (1 if defects else 0)
                assert all(defect.file in out for defect in defects)
                assert err == ""
            elif status:
                assert status == 1
                assert out == ""
                assert err.startswith("Error: ")
                assert err.count("\n") == 1
        file.write_bytes(data)
    assert all(1 in seen for seen in statuses.values())
