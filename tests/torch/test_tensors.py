import pytest
import torch

from noisyselect.errors import DamagedRunError
from noisyselect.torch.tensors import read_tensors, write_tensors

TENSORS = {
    "a": torch.arange(6.0).view(2, 3).T,
    "b": torch.tensor([1, 2]),
    "c": torch.zeros(0, dtype=torch.bfloat16),
    "d": torch.tensor(3),
}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "x.safetensors"
    write_tensors(path, TENSORS | {"shared": TENSORS["a"]}, {"losses": [0.1, 2e-300]})
    tensors, meta = read_tensors(path, "")
    assert meta["losses"] == [0.1, 2e-300]
    assert tensors.keys() == {*TENSORS, "shared"}
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype


def test_no_file_is_no_error(tmp_path):
    assert read_tensors(tmp_path / "x.safetensors", "") is None


def test_any_altered_byte_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"b": torch.tensor([1.5, 2.5])}, {"losses": [1.25]})
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DamagedRunError, match=r"x\.safetensors.* Delete it\.$"):
            read_tensors(path, "Delete it.")


def test_a_file_of_another_version_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {}, {"format": 2})
    with pytest.raises(DamagedRunError, match="must have format 1, got 2"):
        read_tensors(path, "Delete it.")
