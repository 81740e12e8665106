import pytest
import torch
from torch import nn

from noisyselect.errors import DamagedRunError
from noisyselect.torch import Settings
from noisyselect.torch.checkpoint import (
    load_checkpoint,
    load_training_state,
    save_checkpoint,
    training_state,
)
from noisyselect.torch.learner import Learner


def test_what_was_saved_is_loaded(tmp_path):
    tensors = {"half": torch.rand(3).half(), "flags": torch.tensor([True]), "none": torch.ones(0)}
    save_checkpoint(tmp_path, tensors, {"epoch": 3, "rate": 0.1})
    loaded, meta = load_checkpoint(tmp_path)
    assert meta == {"format": 1, "epoch": 3, "rate": 0.1}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert set(loaded) == set(tensors)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    weight = torch.rand(4)
    save_checkpoint(tmp_path, {"one": weight, "other": weight, "part": weight[::2]}, {})
    loaded, _ = load_checkpoint(tmp_path)
    assert torch.equal(loaded["part"], weight[::2])


def test_a_run_without_a_checkpoint_has_none(tmp_path):
    assert load_checkpoint(tmp_path) is None


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"x": torch.zeros(1)}, {"epoch": 0})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, {"x": torch.ones(1)}, {"epoch": 1})
    assert load_checkpoint(tmp_path)[1]["epoch"] == 0


@pytest.mark.parametrize("n_bytes", [0, 5, 90])
def test_a_truncated_checkpoint_is_refused_with_its_path(tmp_path, n_bytes):
    save_checkpoint(tmp_path, {"x": torch.zeros(100)}, {"epoch": 0})
    path = tmp_path / "checkpoint" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DamagedRunError, match=r"state\.safetensors"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_with_any_bit_flipped_is_refused(tmp_path):
    save_checkpoint(tmp_path, {"x": torch.zeros(5), "n": torch.tensor(3)}, {"epoch": 0})
    path = tmp_path / "checkpoint" / "state.safetensors"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DamagedRunError, match=r"state\.safetensors"):
            load_checkpoint(tmp_path)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    save_checkpoint(tmp_path, {"x": torch.zeros(1)}, {"format": 99})
    with pytest.raises(DamagedRunError, match="format 1, got 99"):
        load_checkpoint(tmp_path)


def learner(module=None, **settings):
    """A network with batch normalisation, on the CPU."""
    module = module or nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return Learner("a", module, Settings(precision="float32", **settings), torch.device("cpu"))


def trained(**settings):
    """A learner a few steps from its beginning."""
    made = learner(**settings)
    for _ in range(3):
        step(made)
    return made


def step(network):
    network.module.train()
    network.descend(network.logits(torch.arange(15.0).view(5, 3)).square().sum())


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_restored_network_and_its_momenta_go_on_as_the_original(ema):
    original, restored = trained(ema=ema), trained(ema=ema)
    original.new_head()
    nn.init.normal_(original.head.weight)
    state = {name: value.clone() for name, value in training_state(original).items()}
    load_training_state(restored, state)
    for each in (original, restored):
        step(each)
    pairs = zip(training_state(original).items(), training_state(restored).items(), strict=True)
    for (name, one), (other_name, other) in pairs:
        assert name == other_name
        assert torch.equal(one, other)


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="the one that the run was started with"):
        load_training_state(learner(nn.Linear(3, 9)), training_state(trained()))
