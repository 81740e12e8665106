import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from noisyselect.errors import DamagedRunError, MissingEvidenceError, NonFiniteWarning
from noisyselect.store import RunWriter, import_npz, open_run, validate_run

IMPORTED_LOG = Path(__file__).parents[3] / "shared/data/logs/cifar10-asym40.npz"
LABELS = np.array([0, 1, 2, 1, 0, 2])
TRUTH = np.array([0, 1, 2, 2, 0, 1])


def dynamics(epoch, networks=("a", "b"), n_samples=6):
    rng = np.random.default_rng(epoch)
    return {
        network: {
            "losses": rng.gamma(1.0, size=n_samples).astype(np.float32),
            "predictions": rng.integers(0, 3, n_samples),
            "confidences": rng.random(n_samples).astype(np.float32),
            "batches": rng.integers(-1, 9, n_samples),
        }
        for network in networks
    }


def make_run(path, n_epochs=4, **options):
    options = {"networks": ("a", "b"), "true_labels": TRUTH} | options
    writer = RunWriter.create(path, LABELS, **options)
    for epoch in range(n_epochs):
        writer.write_epoch(
            dynamics(epoch, options["networks"]), lr=0.1 / (epoch + 1), phase=f"phase {epoch}"
        )
    return writer


def assert_same_log(one, other):
    for name in one.__dataclass_fields__:
        if name in ("_found", "_ranked"):
            continue  # what logs have worked out so far
        values, others = getattr(one, name), getattr(other, name)
        assert (values is None) == (others is None), name
        assert np.array_equal(values, others), name


def both(columns):
    return {"a": columns, "b": columns}


def part(path, network="a", epoch=0):
    return path / f"dynamics/network={network}/epoch={epoch:04d}/part-00000.parquet"


# What is written is read.


def test_a_run_reads_back_what_was_written(tmp_path):
    make_run(tmp_path / "run", class_names=["x", "y", "z"], settings={"seed": 3, "lr": np.nan})
    run = open_run(tmp_path / "run")
    assert run.labels.tolist() == LABELS.tolist()
    assert run.ids.tolist() == list(range(6))
    assert run.truth.tolist() == TRUTH.tolist()
    assert (run.n_classes, run.class_names) == (3, ("x", "y", "z"))
    assert (run.networks, run.n_epochs) == (("a", "b"), 4)
    assert run.settings == {"seed": 3, "lr": None}
    assert [line["epoch"] for line in run.epochs] == [0, 1, 2, 3]
    for network in ("a", "b"):
        log = run.log(network)
        for epoch in range(4):
            written = dynamics(epoch)[network]
            assert np.array_equal(log.losses[epoch], written["losses"])
            assert np.array_equal(log.predictions[epoch], written["predictions"])
            assert np.array_equal(log.confidences[epoch], written["confidences"])
            assert np.array_equal(log.batches[epoch], written["batches"])
        assert log.batches.dtype == np.int32
        assert log.losses.dtype == np.float32
        assert log.predictions.dtype == np.int8
        assert log.lr.tolist() == [0.1 / (epoch + 1) for epoch in range(4)]
        assert log.phases.tolist() == [f"phase {epoch}" for epoch in range(4)]


def test_reading_until_an_epoch_is_the_log_until_that_epoch(tmp_path):
    make_run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    for epoch in range(1, 6):
        assert_same_log(run.log("b", until=epoch), run.log("b").until(epoch))


def test_a_window_of_epochs_is_that_part_of_the_whole_log(tmp_path):
    writer = make_run(tmp_path / "run")
    for epoch in (1, 2, 3):
        writer.write_probabilities("b", epoch, np.full((6, 3), 1 / (epoch + 1)))
        writer.write_second_view("b", epoch, np.full((6, 3), 1 / (epoch + 2)))
    run = open_run(tmp_path / "run")
    for until in (None, 1, 2, 3, 4, 9):
        for last in range(1, 6):
            expected = run.log("b") if until is None else run.log("b").until(until)
            assert_same_log(run.log("b", until=until, last=last), expected.last(last))
    log, peer = run.logs("a", until=3, last=2)
    assert log.epochs.tolist() == peer.epochs.tolist() == [1, 2]
    with pytest.raises(ValueError, match="`last` must be at least 1 epoch, got 0"):
        run.log(last=0)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The files that were read, in their order."""
    names = []

    def read(path):
        names.append(path.relative_to(tmp_path / "run").as_posix())
        return path.read_bytes()

    monkeypatch.setattr("noisyselect.store.files.read_file", read)
    monkeypatch.setattr("noisyselect.store.layout.read_file", read)
    return names


def test_opening_reads_no_parquet_and_a_window_reads_its_epochs_alone(tmp_path, opened):
    make_run(tmp_path / "run")
    opened.clear()
    run = open_run(tmp_path / "run")
    assert opened == ["run.json", "epochs.jsonl"]
    assert len(run.epochs) == 4
    opened.clear()
    run.log("b", until=3, last=1)
    assert sorted(opened) == [
        "dynamics/network=b/epoch=0002/part-00000.parquet",
        "samples.parquet",
    ]
    opened.clear()
    run.dynamics(1, "a")
    assert opened == ["dynamics/network=a/epoch=0001/part-00000.parquet"]


def test_probabilities_and_second_view_are_read_one_epoch_at_a_time(tmp_path, opened):
    writer = make_run(tmp_path / "run")
    rng = np.random.default_rng(0)
    first, second = rng.dirichlet(np.ones(3), size=(2, 4, 6)).astype(np.float32)
    for epoch in range(4):
        writer.write_probabilities("b", epoch, first[epoch])
        if epoch != 1:
            writer.write_second_view("b", epoch, second[epoch])
    run = open_run(tmp_path / "run")
    assert run.labels.size
    opened.clear()
    views = run.views(2, network="b")
    assert opened == [
        "probabilities/network=b/epoch=0002/part-00000.parquet",
        "second_view/network=b/epoch=0002/part-00000.parquet",
    ]
    assert np.array_equal(views["probabilities"], first[2:3])
    assert np.array_equal(views["second_view"], second[2:3])
    views = run.views(3, last=9, network="b")
    assert np.array_equal(views["probabilities"], first)
    assert np.array_equal(views["second_view"], second[2:])
    assert run.views(3) == {}
    with pytest.raises(ValueError, match="`epoch` must be one of the 4 closed epochs, got 4"):
        run.views(4)
    opened.clear()
    log, _ = run.logs("b", until=3, probability_window=1)
    assert np.array_equal(log.probabilities, first[2:3])
    assert log.n_epochs == 3
    assert sum("view" in name for name in opened) == 1
    assert run.log("b", probability_window=0).columns == run.log("a").columns
    assert_same_log(run.log("b", last=2, probability_window=9), run.log("b", last=2))
    with pytest.raises(ValueError, match="`probability_window` must be 0 or more, got -1"):
        run.log(probability_window=-1)


def test_one_epoch_has_what_was_recorded_in_it(tmp_path):
    make_run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    for network in ("a", "b"):
        shown = run.dynamics(2, network)
        assert list(shown) == ["losses", "predictions", "confidences", "batches"]
        for name, values in dynamics(2)[network].items():
            assert np.array_equal(shown[name], values)
    for epoch in (-1, 4):
        with pytest.raises(ValueError, match="`epoch` must be one of the 4 closed epochs"):
            run.dynamics(epoch)


def test_a_window_does_not_mind_damage_before_it(tmp_path):
    make_run(tmp_path / "run")
    whole = open_run(tmp_path / "run").log()
    part(tmp_path / "run", epoch=1).write_bytes(b"")
    assert_same_log(open_run(tmp_path / "run").log(last=2), whole.last(2))
    with pytest.raises(DamagedRunError, match="epoch=0001"):
        open_run(tmp_path / "run").log(last=3)


def test_features_probabilities_and_neighbours_come_back(tmp_path):
    ids = ["f", "a", "e", "b", "d", "c"]
    writer = make_run(tmp_path / "run", ids=ids)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 4)).astype(np.float32)
    probabilities = rng.dirichlet(np.ones(3), size=(2, 6)).astype(np.float32)
    neighbours = np.array([[1, 2], [0, 5], [3, -1], [2, 4], [3, 5], [-1, -1]])
    writer.write_features("a", features + 1)
    writer.write_features("a", features)
    writer.write_probabilities("a", 2, probabilities[0])
    writer.write_probabilities("a", 3, probabilities[1])
    writer.write_neighbours(neighbours)
    run = open_run(tmp_path / "run")
    log = run.log("a")
    assert log.ids.tolist() == ids
    assert np.array_equal(log.features, features)
    assert np.array_equal(log.probabilities, probabilities)
    assert np.array_equal(log.neighbours, neighbours)
    assert np.array_equal(run.log("a", until=3).probabilities, probabilities[:1])
    assert run.log("a", until=2).probabilities is None
    assert run.log("b").features is None
    stored = pq.read_table(tmp_path / "run/neighbours.parquet")["neighbours"].to_pylist()
    assert stored[2] == ["b", None]


def test_an_epoch_may_have_some_columns_only_and_the_log_has_those_of_every_epoch(tmp_path):
    writer = RunWriter.create(tmp_path / "run", LABELS)
    writer.write_epoch({"a": {"losses": np.ones(6)}}, lr=0.1)
    assert open_run(tmp_path / "run").log().columns == ("labels", "losses", "lr", "ids", "phases")
    writer.write_epoch({"a": {"losses": np.ones(6), "predictions": LABELS}})
    assert open_run(tmp_path / "run").log().columns == ("labels", "losses", "ids", "phases")


def test_truth_is_none_where_it_is_not_known(tmp_path):
    make_run(tmp_path / "run", true_labels=None)
    assert open_run(tmp_path / "run").truth is None


def test_a_run_without_a_closed_epoch_says_so(tmp_path):
    make_run(tmp_path / "run", n_epochs=0)
    with pytest.raises(MissingEvidenceError, match="has no closed epoch; it has 0"):
        open_run(tmp_path / "run").log()


def test_an_unknown_network_is_refused_with_the_known_ones(tmp_path):
    make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="one of a, b, got 'c'"):
        open_run(tmp_path / "run").log("c")


def test_logs_are_those_of_a_network_and_of_the_next(tmp_path):
    make_run(tmp_path / "two")
    run = open_run(tmp_path / "two")
    log, peer = run.logs("b", until=2)
    assert_same_log(log, run.log("b", until=2))
    assert_same_log(peer, run.log("a", until=2))
    make_run(tmp_path / "one", networks=("a",))
    assert open_run(tmp_path / "one").logs()[1] is None


# The documented format, with other tools.


def test_pandas_reads_the_files_as_the_documentation_says(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs/log-format.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        exec(example)
    assert "label" in capsys.readouterr().out


def test_a_run_written_as_the_documentation_shows_is_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs/log-format.md").read_text()
    writer = text.split("## Writing it")[1].split("```python\n")[1].split("```")[0]
    assert "noisyselect" not in writer.replace("noisyselect-run", "")
    exec(writer, {})
    assert validate_run("NEW").defects == ()
    run = open_run("NEW")
    assert (run.ids.tolist(), run.labels.tolist()) == (["x", "y", "z"], [0, 1, 1])
    assert run.class_names == ("cat", "dog")
    assert run.log().losses.tolist() == [[0.6, 0.8, 0.7], [0.2, 0.3, 1.9]]
    assert run.log().lr.tolist() == [0.1, 0.1]


def test_every_column_of_every_file_has_its_meaning_in_the_metadata(tmp_path):
    writer = make_run(tmp_path / "run")
    writer.write_features("a", np.ones((6, 2)))
    writer.write_second_view("a", 0, np.ones((6, 3)))
    files = list((tmp_path / "run").rglob("*.parquet"))
    assert len(files) == 12
    for file in files:
        schema = pq.read_schema(file)
        assert set(schema.metadata) == {name.encode() for name in schema.names}
    assert b"nats" in pq.read_schema(part(tmp_path / "run")).metadata[b"loss"]
    assert pq.ParquetFile(files[0]).metadata.row_group(0).column(0).compression == "ZSTD"


def foreign_seal(content):
    """The checksum as docs/log-format.md describes it, in another layout of JSON."""
    body = json.dumps(content, separators=(",", ":"))[:-1]
    return f'{body},"checksum":"{hashlib.sha256(body.encode()).hexdigest()}"}}'


def foreign_entry(root, name, **more):
    data = (root / name).read_bytes()
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} | more


def foreign_run(root, epochs, samples=None, n_classes=3):
    """A run written by pandas alone: `epochs` is a list of lists of parts."""
    root.mkdir()
    if samples is None:
        samples = pd.DataFrame({"id": ["x", "y", "z"], "label": [0, 1, 2]})
    samples.to_parquet(root / "samples.parquet")
    header = {
        "format": "noisyselect-run",
        "version": 1,
        "n_classes": n_classes,
        "class_names": None,
        "networks": ["a"],
        "settings": {},
        "versions": {},
        "files": [foreign_entry(root, "samples.parquet")],
    }
    (root / "run.json").write_text(foreign_seal(header))
    lines = []
    for epoch, parts in enumerate(epochs):
        folder = root / f"dynamics/network=a/epoch={epoch:04d}"
        folder.mkdir(parents=True)
        names = [f"part-{i:05d}.parquet" for i in range(len(parts))]
        for name, frame in zip(names, parts, strict=True):
            frame.to_parquet(folder / name)
        files = [foreign_entry(root, str((folder / name).relative_to(root))) for name in names]
        line = {"epoch": epoch, "lr": 0.1, "phase": "", "metrics": {}, "files": files}
        lines.append(foreign_seal(line) + "\n")
    (root / "epochs.jsonl").write_text("".join(lines))
    return open_run(root)


def frame(ids, losses, predictions):
    return pd.DataFrame({"id": ids, "loss": losses, "prediction": predictions})


def test_parts_in_any_order_are_joined_by_id_and_absent_samples_are_missing(tmp_path):
    run = foreign_run(
        tmp_path / "run",
        [
            [frame(["z"], [3.0], [2]), frame(["y", "x"], [2.0, 1.0], [1, 0])],
            [frame(["z", "x"], [3.5, None], [2, 1])],
        ],
    )
    with pytest.warns(NonFiniteWarning, match="2 non-finite"):
        log = run.log()
    assert log.ids.tolist() == ["x", "y", "z"]
    assert np.array_equal(log.losses, [[1, 2, 3], [np.nan, np.nan, 3.5]], equal_nan=True)
    assert log.predictions.tolist() == [[0, 1, 2], [1, -1, 2]]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([frame(["x", "w"], [1.0, 1.0], [0, 0])], "1 ids are not in samples.parquet.*'w'"),
        ([frame(["x", "x"], [1.0, 1.0], [0, 0])], "an id more than once"),
        ([frame(["x"], [1.0], [0]), frame(["x"], [1.0], [0])], "an id more than once"),
        ([frame([0, 1], [1.0, 1.0], [0, 0])], "`id` must hold .*string as `id` in samples.parquet"),
        ([frame(["x"], [1.0], [3])], r"`prediction` must lie in \[-1, n_classes\)"),
        ([frame(["x"], ["1.0"], [0])], "`loss` must hold floats"),
        ([frame(["x"], [1.0], [0.0])], "`prediction` must hold integers"),
        ([frame(["x"], [1.0], [0]).assign(batch=[-2])], r"`batch` must lie in \[-1, 2\*\*31\)"),
        ([frame(["x"], [1.0], [0]).assign(batch=[0.5])], "`batch` must hold integers"),
        ([frame(["x"], [1.0], [0]), frame(["y"], ["1.0"], [0])], "do not fit together"),
        ([frame(["x"], [1.0], [0]).assign(id=["0"]).astype({"id": "int64"})], "`id` must hold"),
        ([pd.DataFrame({"loss": [1.0]})], "lacks the column id"),
        ([], "names no file of network a"),
    ],
)
def test_an_epoch_of_another_tool_that_makes_no_sense_is_refused(tmp_path, parts, reason):
    run = foreign_run(tmp_path / "run", [[frame(["x"], [1.0], [0])], parts])
    with pytest.raises(DamagedRunError, match=reason):
        run.log()
    with pytest.warns(NonFiniteWarning):
        assert run.log(until=1).n_epochs == 1


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ({"id": [1, 1], "label": [0, 1]}, "`ids` must be unique"),
        ({"id": [1, None], "label": [0, 1]}, "`id` must hold integers or strings"),
        ({"id": [1, 2], "label": [0, 3]}, "`label` must lie in"),
        ({"id": [1, 2], "label": [0, None]}, "`label` must hold integers"),
        ({"id": [1, 2]}, "lacks the column label"),
        ({"id": np.zeros(0, int), "label": np.zeros(0, int)}, "has no samples"),
    ],
)
def test_samples_of_another_tool_that_make_no_sense_are_refused(tmp_path, samples, reason):
    run = foreign_run(tmp_path / "run", [], pd.DataFrame(samples))
    with pytest.raises(DamagedRunError, match=reason):
        _ = run.labels


def reseal(root, **changes):
    header = json.loads((root / "run.json").read_text()) | changes
    del header["checksum"]
    (root / "run.json").write_text(foreign_seal(header))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "other"}, "is not the run.json of a noisyselect run"),
        ({"version": 2}, "is of format version 2, this noisyselect reads 1"),
        ({"n_classes": 2}, "`label` must lie in"),
        ({"n_classes": "many"}, "run.json: invalid literal"),
        ({"class_names": ["x"]}, "names 1 of 3 classes"),
        ({"networks": ["a", "../b"]}, "`networks` must be different names"),
        ({"networks": 3}, "run.json: 'int' object"),
        ({"files": [{"path": "../x", "size": 1, "sha256": ""}]}, "leads out of the directory"),
        ({"files": [{"size": 1, "sha256": ""}]}, "run.json: lacks 'path'"),
        ({"files": []}, "does not list samples.parquet"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, changes, reason):
    make_run(tmp_path / "run")
    reseal(tmp_path / "run", **changes)
    with pytest.raises(DamagedRunError, match=reason):
        _ = open_run(tmp_path / "run").labels


# Damage.


def read_everything(path):
    run = open_run(path)
    _ = run.truth
    return run.log("a"), run.log("b")


def test_any_bit_flipped_in_any_file_is_found_and_never_a_foreign_error(tmp_path):
    writer = make_run(tmp_path / "whole", n_epochs=2)
    writer.write_features("a", np.ones((6, 2)))
    writer.write_probabilities("b", 1, np.full((6, 3), 1 / 3))
    writer.write_neighbours((np.arange(6)[:, None] + 1) % 6)
    whole = read_everything(tmp_path / "whole")
    files = [file for file in (tmp_path / "whole").rglob("*") if file.is_file()]
    assert len(files) == 11
    rng = np.random.default_rng(0)
    for file in files:
        data = file.read_bytes()
        for place in [0, len(data) - 1, *rng.integers(0, len(data), 12).tolist()]:
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(rng.integers(0, 8))
            file.write_bytes(damaged)
            try:
                for log, expected in zip(read_everything(tmp_path / "whole"), whole, strict=True):
                    # White space around a checksum carries nothing, and a last line without its
                    # newline is no line.
                    assert_same_log(log, expected.until(log.n_epochs))
                    assert file.name in ("run.json", "epochs.jsonl")
            except DamagedRunError as error:
                assert file.name in str(error)  # noqa: PT017
        file.write_bytes(data)
    assert_same_log(read_everything(tmp_path / "whole")[0], whole[0])


@pytest.mark.parametrize("name", ["run.json", "samples.parquet", "epochs.jsonl", "truth.parquet"])
@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "foreign", "a folder"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, how):
    make_run(tmp_path / "run")
    file = tmp_path / "run" / name
    data = file.read_bytes()
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how != "missing":
        content = {"empty": b"", "truncated": data[: len(data) // 2], "foreign": b"PK\3\4\n" * 50}
        file.write_bytes(content[how])
    if name == "epochs.jsonl" and how in ("empty", "truncated"):
        # Only the end was lost: what stands is a shorter run.
        assert open_run(tmp_path / "run").n_epochs == (0 if how == "empty" else 2)
        return
    with pytest.raises(DamagedRunError, match=name):
        read_everything(tmp_path / "run")


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DamagedRunError, match=r"is not a run directory, it has no run\.json"):
            open_run(path)


@pytest.mark.parametrize("how", ["missing", "truncated", "altered"])
def test_epochs_before_a_damaged_one_stay_readable_and_the_error_says_how(tmp_path, how):
    make_run(tmp_path / "run")
    whole = open_run(tmp_path / "run").log("b")
    file = part(tmp_path / "run", "b", 2)
    data = file.read_bytes()
    file.unlink()
    if how != "missing":
        file.write_bytes(data[:-1] if how == "truncated" else data[:-1] + b"!")
    run = open_run(tmp_path / "run")
    reason = {"missing": "is missing", "truncated": "bytes instead of", "altered": "was altered"}
    with pytest.raises(
        DamagedRunError, match=rf"epoch=0002.*part-00000.*{reason[how]}.*log\(until=2\)"
    ):
        run.log("b")
    assert_same_log(run.log("b", until=2), whole.until(2))
    assert run.log("a").n_epochs == 4


@pytest.mark.parametrize("how", ["altered", "left out", "doubled", "not JSON"])
def test_epochs_before_a_damaged_line_stay_readable(tmp_path, how):
    make_run(tmp_path / "run")
    whole = open_run(tmp_path / "run").log()
    file = tmp_path / "run/epochs.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2:3] = {
        "altered": [lines[2].replace(b"phase 2", b"phase 9")],
        "left out": [],
        "doubled": [lines[1], lines[2]],
        "not JSON": [b"\xff\0\n"],
    }[how]
    file.write_bytes(b"".join(lines))
    run = open_run(tmp_path / "run")
    assert len(run.epochs) == 2
    assert_same_log(run.log(until=2), whole.until(2))
    with pytest.raises(DamagedRunError, match=r"epochs.jsonl: line 3 .*log\(until=2\)"):
        run.log(until=3)
    writer = RunWriter.resume(tmp_path / "run")
    with pytest.raises(DamagedRunError, match="line 3"):
        writer.write_epoch(dynamics(4))
    with pytest.raises(DamagedRunError, match="line 3"):
        writer.truncate(3)
    writer.truncate(2)
    writer.write_epoch(dynamics(2), lr=0.1 / 3, phase="phase 2")
    assert_same_log(open_run(tmp_path / "run").log(), whole.until(3))


# Kills, full disks and resumption.


def test_an_unterminated_last_line_is_ignored_and_cut_on_resume(tmp_path):
    make_run(tmp_path / "run")
    whole = open_run(tmp_path / "run").log()
    file = tmp_path / "run/epochs.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    assert open_run(tmp_path / "run").n_epochs == 3
    writer = RunWriter.resume(tmp_path / "run")
    assert writer.n_epochs == 3
    assert not part(tmp_path / "run", "a", 3).exists()
    writer.write_epoch(dynamics(3), lr=0.1 / 4, phase="phase 3")
    assert_same_log(open_run(tmp_path / "run").log(), whole)


def test_truncate_drops_later_epochs_and_what_belongs_to_them(tmp_path):
    writer = make_run(tmp_path / "run")
    whole = open_run(tmp_path / "run").log()
    writer.write_features("a", np.ones((6, 2)))
    for write in (writer.write_probabilities, writer.write_second_view):
        write("a", 1, np.full((6, 3), 1 / 3))
        write("a", 3, np.full((6, 3), 1 / 3))
    writer.truncate(2)
    log = open_run(tmp_path / "run").log()
    assert log.n_epochs == 2
    assert log.features is None
    assert len(log.probabilities) == len(log.second_view) == 1
    assert not part(tmp_path / "run", "a", 2).exists()
    assert len(list((tmp_path / "run").glob("*/network=a/epoch=0001/*"))) == 3
    assert not list((tmp_path / "run").glob("*/network=a/epoch=0003/*"))
    for epoch in (2, 3):
        writer.write_epoch(dynamics(epoch), lr=0.1 / (epoch + 1), phase=f"phase {epoch}")
    assert np.array_equal(open_run(tmp_path / "run").log().losses, whole.losses)
    with pytest.raises(ValueError, match=r"`n_epochs` must lie in \[0, 4\]"):
        writer.truncate(5)


class FullDisk:
    """Lets so many flushes and renames happen and then has no space left."""

    def __init__(self, monkeypatch, allowed):
        self.left = allowed
        for module, name in ((os, "fsync"), (Path, "replace")):
            monkeypatch.setattr(module, name, self._limit(getattr(module, name)))

    def _limit(self, call):
        def limited(*args):
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.left -= 1
            return call(*args)

        return limited


def all_files(root):
    return {
        str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()
    }


def test_a_full_disk_at_any_step_fails_the_epoch_cleanly_and_it_can_be_written_again(tmp_path):
    make_run(tmp_path / "expected", n_epochs=2)
    for allowed in range(100):
        path = tmp_path / f"run-{allowed}"
        writer = make_run(path, n_epochs=1)
        before = all_files(path)
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, allowed)
            try:
                writer.write_epoch(dynamics(1), lr=0.05, phase="phase 1")
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
            if disk.left:
                break
        if writer.n_epochs == 1:
            assert all_files(path) == before
            writer.write_epoch(dynamics(1), lr=0.05, phase="phase 1")
        assert_same_log(open_run(path).log("b"), open_run(tmp_path / "expected").log("b"))
    assert 10 < allowed < 99


def test_a_full_disk_while_features_are_written_leaves_the_run_whole(tmp_path):
    for allowed in range(100):
        path = tmp_path / f"run-{allowed}"
        writer = make_run(path, n_epochs=1)
        writer.write_features("a", np.ones((6, 2)))
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, allowed)
            try:
                writer.write_features("a", np.zeros((6, 2)))
            except OSError:
                log = open_run(path).log()
                assert log.features is None or np.ptp(log.features) == 0
            if disk.left:
                break
        RunWriter.resume(path).write_features("a", np.zeros((6, 2)))
        assert not open_run(path).log().features.any()
    assert 5 < allowed < 99


KILLED = """
import sys
import numpy as np
from noisyselect.store import RunWriter
writer = RunWriter.resume(sys.argv[1])
print("ready", flush=True)
while True:
    rng = np.random.default_rng(writer.n_epochs)
    columns = {"losses": rng.random(2000), "predictions": rng.integers(0, 3, 2000)}
    writer.write_epoch({"a": columns})
    writer.write_features("a", rng.random((2000, 8)))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_writer_loses_at_most_the_open_epoch(tmp_path):
    labels = np.arange(2000) % 3
    RunWriter.create(tmp_path / "run", labels)
    n_before = 0
    for delay in (0.05, 0.113, 0.171, 0.2):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "run")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        run = open_run(tmp_path / "run")
        n_epochs = run.n_epochs
        assert n_epochs >= n_before
        n_before = n_epochs
        if n_epochs:
            log = run.log()
            for epoch in range(n_epochs):
                expected = np.random.default_rng(epoch).random(2000).astype(np.float32)
                assert np.array_equal(log.losses[epoch], expected)
    assert n_before > 0


def test_a_create_that_fails_leaves_nothing_and_can_be_repeated(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, 5)
        with pytest.raises(OSError, match="No space"):
            make_run(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    make_run(tmp_path / "run")


# What a caller may get wrong.


def test_a_run_is_never_created_over_something(tmp_path):
    make_run(tmp_path / "run")
    before = all_files(tmp_path)
    for path in (tmp_path, tmp_path / "run", tmp_path / "run/run.json"):
        with pytest.raises(FileExistsError, match=r"choose another path, or .*resume"):
            make_run(path)
    assert all_files(tmp_path) == before
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "empty", n_epochs=1)
    assert open_run(tmp_path / "empty").n_epochs == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_classes": 2}, "`labels` must lie in"),
        ({"class_names": ["x", "y"]}, "`labels` must lie in"),
        ({"class_names": ["x", "y"], "n_classes": 3}, "must name n_classes = 3 classes, got 2"),
        ({"ids": [1, 1, 2, 3, 4, 5]}, "`ids` must be unique"),
        ({"true_labels": [0, 1]}, "`true_labels` must have shape"),
        ({"true_labels": [0, 1, 2, 3, 0, 0]}, "`true_labels` must lie in"),
        ({"networks": ("a", "a")}, "`networks` must be different names"),
        ({"networks": ("a/b",)}, "`networks` must be different names"),
        ({"networks": ()}, "`networks` must be different names"),
    ],
)
def test_a_run_of_wrong_arguments_is_refused(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        make_run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"a": {"losses": np.ones(6)}}, "must have the networks a, b, got a"),
        ({"a": {}, "b": {}}, "some of losses, predictions, confidences, batches, got none"),
        (both({"batches": LABELS - 2}), r"`batches` must lie in \[-1, 2\*\*31\), got -2 to 0"),
        (both({"loss": np.ones(6)}), "got loss"),
        (both({"losses": np.ones(5)}), r"`losses` must have shape \(n_samples,\)"),
        (both({"predictions": LABELS + 1}), "`predictions` must lie in"),
    ],
)
def test_an_epoch_of_wrong_columns_is_refused_and_leaves_nothing(tmp_path, given, match):
    writer = make_run(tmp_path / "run", n_epochs=1)
    before = all_files(tmp_path)
    with pytest.raises(ValueError, match=match):
        writer.write_epoch(given)
    assert all_files(tmp_path) == before


def test_metrics_that_json_cannot_hold_leave_nothing(tmp_path):
    writer = make_run(tmp_path / "run", n_epochs=1)
    before = all_files(tmp_path)
    with pytest.raises(TypeError):
        writer.write_epoch(dynamics(1), metrics={"model": object()})
    assert all_files(tmp_path) == before
    writer.write_epoch(dynamics(1), metrics={"accuracy": np.float32(0.5), "loss": np.inf})
    assert open_run(tmp_path / "run").epochs[1]["metrics"] == {"accuracy": 0.5, "loss": None}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda w: w.write_features("c", np.ones((6, 2))), "one of a, b, got 'c'"),
        (lambda w: w.write_features("a", np.ones((5, 2))), "`features` must have shape"),
        (lambda w: w.write_features("a", np.full((6, 2), np.nan)), "`features` must be finite"),
        (lambda w: w.write_probabilities("a", 1, np.ones((6, 3))), "one of the 1 closed epochs"),
        (lambda w: w.write_probabilities("a", 0, np.ones((6, 2))), r"\(n_samples, n_classes\)"),
        (lambda w: w.write_second_view("a", 0, np.ones((6, 2))), "`second_view` must have shape"),
        (lambda w: w.write_second_view("a", 1, np.ones((6, 3))), "one of the 1 closed epochs"),
        (lambda w: w.write_neighbours(np.zeros((6, 1), dtype=int)), "the sample itself"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path, call, match):
    writer = make_run(tmp_path / "run", n_epochs=1)
    with pytest.raises(ValueError, match=match):
        call(writer)


# Import.


def small_npz(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "loss": rng.random((3, 2, 6), dtype=np.float32),
        "pred": rng.integers(0, 3, (3, 2, 6), dtype=np.int8),
        "conf": rng.random((3, 2, 6)).astype(np.float16),
        "lr": np.array([0.1, 0.1, 0.01], dtype=np.float32),
        "label": LABELS,
        "true": TRUTH,
        "feat0": rng.random((6, 4)).astype(np.float16),
        "prob1": rng.dirichlet(np.ones(3), 6).astype(np.float16),
    } | changes
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    return arrays


def test_losses_and_labels_alone_become_a_run(tmp_path):
    losses = np.random.default_rng(0).random((4, 6), dtype=np.float32)
    np.savez(tmp_path / "log.npz", loss=losses, label=LABELS)
    run = import_npz(tmp_path / "log.npz", tmp_path / "run")
    log = run.log()
    assert np.array_equal(log.losses, losses)
    assert run.networks == ("a",)
    assert run.truth is None
    assert log.lr is None
    assert log.predictions is None


def test_an_npz_log_becomes_a_run(tmp_path):
    arrays = small_npz(tmp_path / "log.npz")
    run = import_npz(tmp_path / "log.npz", tmp_path / "run")
    assert run.networks == ("a", "b")
    assert run.truth.tolist() == TRUTH.tolist()
    for i, network in enumerate(run.networks):
        log = run.log(network)
        assert np.array_equal(log.losses, arrays["loss"][:, i])
        assert np.array_equal(log.predictions, arrays["pred"][:, i])
        assert np.array_equal(log.confidences, arrays["conf"][:, i])
        assert np.array_equal(log.lr, arrays["lr"])
    assert np.array_equal(run.log("a").features, arrays["feat0"])
    assert np.array_equal(run.log("b").probabilities[0], arrays["prob1"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"loss": None}, "this file lacks loss"),
        ({"loss": np.ones(6)}, r"`loss` must have shape \(n_epochs, n_networks, n_samples\)"),
        ({"pred": np.ones((2, 2, 6), dtype=int)}, "`pred` must have shape"),
        ({"label": np.ones(5, dtype=int)}, "`label` must have shape"),
        ({"label": np.ones(6)}, "label must hold integers"),
        ({"true": np.array([None] * 6)}, "Nothing is unpickled"),
        ({"feat0": np.ones((5, 4))}, "`feat0` must have shape"),
        ({"prob1": np.ones((6, 5))}, "`prob1` must have shape"),
    ],
)
def test_an_npz_that_is_no_log_is_refused_and_leaves_no_run(tmp_path, changes, match):
    small_npz(tmp_path / "log.npz", **changes)
    with pytest.raises(ValueError, match=match):
        import_npz(tmp_path / "log.npz", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4 no zip", b"\x93NUMPY\1"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "log.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is not an npz file of plain arrays"):
        import_npz(tmp_path / "log.npz", tmp_path / "run")


@pytest.mark.skipif(not IMPORTED_LOG.exists(), reason="needs ../shared/data")
def test_the_cifar_log_comes_through_unchanged(tmp_path):
    run = import_npz(IMPORTED_LOG, tmp_path / "run")
    with np.load(IMPORTED_LOG) as arrays:
        assert run.n_epochs == 30
        assert np.array_equal(run.labels, arrays["label"])
        assert np.array_equal(run.truth, arrays["true"])
        assert np.array_equal(run.log("b").losses, arrays["loss"][:, 1])
        assert np.array_equal(run.log("b").predictions, arrays["pred"][:, 1])
    shutil.rmtree(tmp_path / "run")
