import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisyselect.errors import DamagedRunError
from noisyselect.store.files import Entry, read_table, seal, to_parquet, unseal, write_file

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1), st.sampled_from([None, 2]))
def test_what_is_sealed_is_unsealed_and_is_json(content, indent):
    content.pop("checksum", None)
    content["last"] = '", "checksum": "'
    sealed = seal(content, indent)
    assert unseal(sealed) == content
    assert list(json.loads(sealed))[-1] == "checksum"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"1", b"2", 1),
        lambda data: data[:-3],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: data.replace(b'"checksum"', b'"checksun"'),
        lambda data: b'{"a": 1}',
    ],
)
def test_a_seal_is_broken_by_any_change(damage):
    sealed = seal({"a": 1, "b": [1, 2]})
    with pytest.raises(ValueError, match="checksum"):
        unseal(damage(sealed))


def test_numpy_and_what_json_lacks_are_made_plain():
    content = {"n": np.int64(3), "x": np.array([1.0, np.nan]), "y": -np.inf, 5: (1, 2)}
    assert unseal(seal(content)) == {"n": 3, "x": [1.0, None], "y": None, "5": [1, 2]}


def test_a_table_of_vectors_takes_no_more_than_their_numbers():
    vectors = np.random.default_rng(0).random((2000, 10), dtype=np.float32)
    data = to_parquet({"id": np.arange(2000), "vector": vectors}, {"id": "", "vector": ""})
    assert len(data) < vectors.nbytes


def test_a_file_that_cannot_be_written_leaves_the_earlier_one_and_nothing_beside(
    tmp_path, monkeypatch
):
    write_file(tmp_path, "folder/file", b"earlier")

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_file(tmp_path, "folder/file", b"later")
    assert [file.read_bytes() for file in (tmp_path / "folder").iterdir()] == [b"earlier"]


def test_a_table_comes_back_and_one_that_is_no_parquet_is_refused_by_name(tmp_path):
    data = to_parquet({"x": np.arange(3), "v": np.eye(3)}, {"x": "a number", "v": "a vector"})
    entry = write_file(tmp_path, "t.parquet", data)
    table = read_table(tmp_path, entry, ["x"])
    assert table["x"].to_pylist() == [0, 1, 2]
    assert table["v"].to_pylist() == np.eye(3).tolist()
    assert table.schema.metadata == {b"x": b"a number", b"v": b"a vector"}
    with pytest.raises(DamagedRunError, match=r"t\.parquet: lacks the column y; it has x, v"):
        read_table(tmp_path, entry, ["x", "y"])
    entry = write_file(tmp_path, "t.parquet", b"PAR1 and nothing more")
    with pytest.raises(DamagedRunError, match=r"t\.parquet: cannot be read as Parquet"):
        read_table(tmp_path, entry, ["x"])


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/file", "a/../../b"])
def test_an_entry_cannot_lead_out_of_the_directory(path):
    with pytest.raises(ValueError, match="leads out of the directory"):
        Entry.from_json({"path": path, "size": 1, "sha256": ""})


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_reading_a_table_starts_no_thread_that_could_still_hold_it(tmp_path):
    entry = write_file(
        tmp_path, "t", to_parquet({c: np.arange(6) for c in "ab"}, {"a": "", "b": ""})
    )
    code = (
        "import os, sys; from pathlib import Path\n"
        "from noisyselect.store.files import Entry, read_table\n"
        "before = os.listdir('/proc/self/task')\n"
        f"read_table(Path(sys.argv[1]), Entry(*{tuple(entry)!r}), [])\n"
        "print(len(os.listdir('/proc/self/task')) - len(before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"


def test_ids_and_floats_take_less_room_than_with_dictionaries():
    rng = np.random.default_rng(0)
    n = 100_000
    columns = {
        "id": np.arange(n),
        "loss": rng.gamma(1.0, 1.0, n).astype(np.float32),
        "prediction": rng.integers(0, 10, n).astype(np.int8),
    }
    data = to_parquet(columns, dict.fromkeys(columns, ""))
    assert pq.read_table(pa.BufferReader(data)).equals(pa.table(columns))
    usual = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), usual, compression="zstd")
    assert len(data) < 0.7 * usual.getvalue().size


@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, 200, 5], dtype=np.uint8),
        np.array([-(2**63), 2**63 - 1, 0]),
        np.array([2**64 - 1, 0, 7], dtype=np.uint64),
        np.array(["b", "a", "c"]),
    ],
)
def test_ids_of_every_type_come_back(ids):
    data = to_parquet({"id": ids, "vector": np.eye(3)}, {"id": "", "vector": ""})
    assert pq.read_table(pa.BufferReader(data))["id"].to_pylist() == ids.tolist()
