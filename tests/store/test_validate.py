import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisyselect.store import Defect, RunWriter, Validation, validate_run
from noisyselect.store.files import Entry, seal

N_EPOCHS = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    writer = RunWriter.create(
        path, [0, 1, 2, 1], true_labels=[0, 1, 2, 0], ids=list("wxyz"), networks=("a", "b")
    )
    rng = np.random.default_rng(0)
    for _ in range(N_EPOCHS):
        writer.write_epoch(
            {name: {"losses": rng.random(4), "predictions": [0, 1, 2, 1]} for name in "ab"}
        )
    writer.write_features("a", rng.random((4, 2)))
    writer.write_probabilities("b", 2, rng.dirichlet(np.ones(3), 4))
    writer.write_second_view("a", 3, rng.dirichlet(np.ones(3), 4))
    writer.write_neighbours([[1], [0], [3], [2]])
    return path


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def part(network, epoch):
    return f"dynamics/network={network}/epoch={epoch:04d}/part-00000.parquet"


def replace_listed(root, name, data):
    """Write a file and list it anew, as a tool would that gets the content wrong."""
    (root / name).write_bytes(data)
    entry = Entry.from_json(
        {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    )
    lists = "run.json" if not name.startswith("dynamics") else "epochs.jsonl"
    sealed = []
    for line in [(root / lists).read_text()] if lists == "run.json" else lines_of(root):
        content = json.loads(line)
        content.pop("checksum")
        content["files"] = [
            entry.as_json() if item["path"] == name else item for item in content["files"]
        ]
        sealed.append(seal(content))
    (root / lists).write_bytes(b"".join(sealed))


def lines_of(root):
    return (root / "epochs.jsonl").read_text().splitlines(keepends=True)


def parquet(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def test_a_whole_run_has_no_defect(whole):
    assert validate_run(whole) == Validation((), {"a": N_EPOCHS, "b": N_EPOCHS}, ())


def test_every_defect_is_named_and_not_only_the_first(run):
    (run / "truth.parquet").unlink()
    for network, epoch in (("a", 3), ("b", 1), ("b", 2)):
        file = run / part(network, epoch)
        file.write_bytes(file.read_bytes()[:-1])
    found = validate_run(run)
    assert [defect.file for defect in found.defects] == [
        "truth.parquet",
        part("b", 1),
        part("b", 2),
        part("a", 3),
    ]
    assert found.defects[0] == Defect("truth.parquet", "the file is missing.")
    assert "bytes instead of" in found.defects[1].reason
    assert found.readable == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("name", "data", "reason", "readable"),
    [
        (part("a", 2), parquet(id=list("wxyz"), loss=["1"] * 4), "must hold floats", (2, 4)),
        (part("b", 1), parquet(id=list("wxyq"), loss=[1.0] * 4), "1 ids are not in", (4, 1)),
        (part("b", 1), parquet(id=list("wxyy"), loss=[1.0] * 4), "an id more than once", (4, 1)),
        (part("b", 0), parquet(id=[1], loss=[1.0]), "`id` must hold string", (4, 0)),
        (part("a", 0), parquet(id=["w"], prediction=[3]), "`prediction` must lie in", (0, 4)),
        ("truth.parquet", parquet(id=["w"], true_label=[0]), "lacks 3 of 4 samples", (4, 4)),
        (
            "features/network=a/part-00000.parquet",
            parquet(id=list("wxyz"), feature=[[np.nan]] * 4),
            "`feature` must be finite",
            (0, 4),
        ),
        (
            "features/network=a/part-00000.parquet",
            parquet(id=list("wxyz"), feature=pa.array([[1.0], None, [1.0], [1.0]])),
            "lists of one length, without null",
            (0, 4),
        ),
        (
            "features/network=a/part-00000.parquet",
            parquet(
                id=list("wxyz"),
                feature=pa.array([[1.0], None, [1.0], [1.0]], pa.list_(pa.float32(), 1)),
            ),
            "lists of one length, without null",
            (0, 4),
        ),
        (
            "probabilities/network=b/epoch=0002/part-00000.parquet",
            parquet(id=list("wxyz"), probability=[[0.5, 0.5]] * 4),
            "must hold n_classes = 3 floats per sample, got 2",
            (4, 2),
        ),
        (
            "second_view/network=a/epoch=0003/part-00000.parquet",
            parquet(id=list("wxyz"), second_view=[[0.5, 0.5]] * 4),
            "`second_view` must hold n_classes = 3 floats per sample, got 2",
            (3, 4),
        ),
        (
            "second_view/network=a/epoch=0003/part-00000.parquet",
            parquet(id=list("wxyz"), probability=[[0.5, 0.5, 0.0]] * 4),
            "lacks the column second_view",
            (3, 4),
        ),
        (part("a", 1), parquet(id=["w"], batch=[-2]), "`batch` must lie in", (1, 4)),
        (
            "neighbours.parquet",
            parquet(id=list("wxyz"), neighbours=[["w"]] * 4),
            "must not contain the sample itself",
            (0, 0),
        ),
        (
            "neighbours.parquet",
            parquet(id=list("wxyz"), neighbours=[["q"]] * 4),
            "ids not in samples.parquet",
            (0, 0),
        ),
        ("samples.parquet", parquet(id=["w", "w"], label=[0, 0]), "`ids` must be unique", (0, 0)),
        ("samples.parquet", parquet(id=["w"], label=[3]), "`label` must lie in", (0, 0)),
    ],
)
def test_content_that_makes_no_sense_is_named_by_file(run, name, data, reason, readable):
    replace_listed(run, name, data)
    found = validate_run(run)
    assert [defect.file for defect in found.defects] == [name]
    assert reason in found.defects[0].reason
    assert str(run) not in found.defects[0].reason
    assert found.readable == dict(zip("ab", readable, strict=True))


def test_parts_are_checked_one_by_one_and_together(run):
    one, other = parquet(id=["w", "x"], loss=[1.0, 2.0]), parquet(id=["x", "y"], loss=[1.0, 2.0])
    lines = lines_of(run)
    content = json.loads(lines[3])
    content.pop("checksum")
    folder = part("a", 3).rsplit("/", maxsplit=1)[0]
    for i, data in enumerate((one, other)):
        replace_listed(run, part("a", 3), data)
        (run / folder / f"part-{i + 1:05d}.parquet").write_bytes(data)
        size = json.loads(lines_of(run)[3])["files"][0]
        content["files"].append(size | {"path": f"{folder}/part-{i + 1:05d}.parquet"})
    content["files"] = [item for item in content["files"] if item["path"] != part("a", 3)]
    (run / part("a", 3)).unlink()
    (run / "epochs.jsonl").write_bytes("".join(lines[:3]).encode() + seal(content))
    found = validate_run(run)
    assert found.defects == (Defect(folder, "holds an id more than once."),)
    (run / folder / "part-00001.parquet").write_bytes(b"")
    (run / folder / "part-00002.parquet").unlink()
    found = validate_run(run)
    assert [defect.file[-18:] for defect in found.defects] == [
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    assert found.readable == {"a": 3, "b": 4}


def test_each_damaged_line_is_named_and_the_files_of_later_ones_are_checked(run):
    lines = lines_of(run)
    (run / "epochs.jsonl").write_text(lines[0] + "{}\n" + lines[3])
    (run / part("b", 3)).unlink()
    found = validate_run(run)
    assert found.defects == (
        Defect("epochs.jsonl", "line 2 has no checksum at its end."),
        Defect("epochs.jsonl", "line 3 is of epoch 3 instead of 2: lines are missing."),
        Defect(part("b", 3), "the file is missing."),
    )
    assert found.readable == {"a": 1, "b": 1}
    assert part("a", 1) in found.unlisted


def test_an_epoch_without_a_file_of_a_network_is_named(run):
    lines = lines_of(run)
    content = json.loads(lines[2])
    content.pop("checksum")
    content["files"].pop()
    lines[2] = seal(content).decode()
    (run / "epochs.jsonl").write_text("".join(lines))
    found = validate_run(run)
    assert found.defects == (Defect("epochs.jsonl", "epoch 2 names no file of network b."),)
    assert found.readable == {"a": 4, "b": 2}


@pytest.mark.parametrize("name", ["run.json", "samples.parquet"])
def test_without_header_or_samples_the_other_files_are_checked_all_the_same(run, name):
    (run / name).write_bytes(b"{}")
    (run / part("a", 1)).write_bytes(b"")
    found = validate_run(run)
    assert [defect.file for defect in found.defects] == [name, part("a", 1)]
    assert not any(found.readable.values())


def test_no_run_at_all_is_a_defect(tmp_path):
    reasons = [defect.reason for defect in validate_run(tmp_path).defects]
    assert reasons == ["is not a run directory, it has no run.json.", "the file is missing."]


def test_files_that_no_list_names_are_mentioned_and_those_of_the_trainer_are_not(run):
    for name in ("notes.txt", "dynamics/network=a/epoch=0004/part-00000.parquet"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("")
    for folder in ("checkpoint", "pretrained"):
        (run / folder).mkdir()
        (run / folder / "state.safetensors").write_text("")
    found = validate_run(run)
    assert found.defects == ()
    assert found.unlisted == (
        "dynamics/network=a/epoch=0004/part-00000.parquet",
        "notes.txt",
    )
