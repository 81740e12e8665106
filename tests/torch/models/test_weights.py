import sys
from types import ModuleType
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from noisyselect.torch.models import SmallCNN, SmallMLP, load_weights
from noisyselect.torch.models.weights import fit_weights, load_imagenet_weights


def small(n_classes=3, seed=0):
    torch.manual_seed(seed)
    return SmallCNN(1, n_classes, width=2, n_hidden=4)


def assert_same(network, state):
    assert network.state_dict().keys() == state.keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
    ],
)
def test_a_file_of_torch_is_read_in_all_its_customary_forms(tmp_path, wrap):
    saved, network = small(seed=1).state_dict(), small(seed=2)
    torch.save(wrap(saved), tmp_path / "weights.pt")
    load_weights(network, tmp_path / "weights.pt")
    assert_same(network, saved)


def test_a_safetensors_file_is_read(tmp_path):
    saved, network = small(seed=1).state_dict(), small(seed=2)
    save_file(saved, tmp_path / "weights.safetensors")
    load_weights(network, str(tmp_path / "weights.safetensors"))
    assert_same(network, saved)


def test_a_classifier_of_other_classes_stays_as_initialised():
    saved, network = small(1000, seed=1).state_dict(), small(3, seed=2)
    fit_weights(network, saved, "file")
    own = small(3, seed=2).classifier.state_dict()
    expected = saved | {f"classifier.{name}": value for name, value in own.items()}
    assert_same(network, expected)


def test_a_classifier_of_as_many_classes_is_loaded():
    saved, network = small(seed=1).state_dict(), small(seed=2)
    fit_weights(network, saved, "file")
    assert torch.equal(network.classifier.weight, saved["classifier.weight"])


def test_a_part_called_module_keeps_its_name():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)

    saved, network = Wrapped().state_dict(), Wrapped()
    fit_weights(network, saved, "file")
    assert_same(network, saved)


def test_a_network_without_a_classifier_takes_weights():
    saved, network = nn.Conv2d(2, 3, 1).state_dict(), nn.Conv2d(2, 3, 1)
    fit_weights(network, saved, "file")
    assert_same(network, saved)


def test_files_older_than_the_counters_of_normalisation_are_read():
    saved, network = small(seed=1).state_dict(), small(seed=2)
    old = {name: value for name, value in saved.items() if "num_batches" not in name}
    assert len(old) == len(saved) - 3
    fit_weights(network, old, "file")
    assert_same(network, saved)


def test_weights_of_another_network_are_refused_by_name():
    network, state = small(), small().state_dict()
    del state["hidden.0.bias"]
    state["head.weight"] = torch.zeros(2)
    with pytest.raises(ValueError, match="file must be those of a SmallCNN") as failure:
        fit_weights(network, state, "file")
    assert "missing: hidden.0.bias; unexpected: head.weight." in str(failure.value)


def test_a_missing_classifier_is_no_other_classifier():
    state = small().state_dict()
    del state["classifier.bias"]
    with pytest.raises(ValueError, match=r"missing: classifier\.bias\."):
        fit_weights(small(), state, "file")


def test_weights_of_another_shape_are_refused_with_both():
    state = SmallCNN(3, 3, width=2, n_hidden=4).state_dict()
    shapes = r"convolutions\.0\.weight \(2, 3, 3, 3\) for \(2, 1, 3, 3\)"
    with pytest.raises(ValueError, match=shapes):
        fit_weights(small(), state, "file")


def test_of_many_wrong_names_the_first_are_listed():
    network = small()
    # Torch adds the counters of the 3 normalisations by itself.
    expected = len(network.state_dict()) - 3 - 3
    with pytest.raises(ValueError, match=rf"and {expected} more; unexpected: a\.") as failure:
        fit_weights(network, {"a": torch.zeros(1)}, "file")
    assert str(failure.value).count("convolutions.") == 3


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*absent\.pt"):
        load_weights(small(), tmp_path / "absent.pt")


class Payload:
    """What a pickle would run."""

    def __reduce__(self):
        return (sys.exit, ("run",))


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", b"\xff" * 64])
def test_what_is_no_file_of_weights_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="is neither, is damaged"):
        load_weights(small(), tmp_path / name)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"state_dict": Payload()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="more than tensors"):
        load_weights(small(), tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], torch.zeros(1), {"epoch": 3}])
def test_a_file_without_a_state_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=f"holds a {type(content).__name__} without one"):
        load_weights(small(), tmp_path / "weights.pt")


def fake_torchvision(monkeypatch, get_state_dict):
    weights = type("IMAGENET1K_V2", (), {"get_state_dict": staticmethod(get_state_dict)})
    models = ModuleType("torchvision.models")
    models.ResNet50_Weights = type("ResNet50_Weights", (), {"IMAGENET1K_V2": weights})
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


def test_imagenet_weights_are_those_of_torchvision(monkeypatch):
    saved, asked = small(1000, seed=1).state_dict(), []
    fake_torchvision(monkeypatch, lambda **options: asked.append(options) or saved)
    network = small(seed=2)
    load_imagenet_weights(network)
    assert torch.equal(network.hidden[0].weight, saved["hidden.0.weight"])
    assert torch.equal(network.classifier.weight, small(seed=2).classifier.weight)
    assert asked == [{"progress": False, "check_hash": True, "weights_only": True}]


def test_without_torchvision_the_ways_out_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ValueError, match=r"Pass `weights` a file .* or install torchvision"):
        load_imagenet_weights(SmallMLP(2, 2))


def test_a_failed_download_is_one_sentence(monkeypatch):
    def offline(**_):
        raise URLError("no route")

    fake_torchvision(monkeypatch, offline)
    with pytest.raises(ValueError, match=r"no route.*Pass `weights` a file"):
        load_imagenet_weights(SmallMLP(2, 2))
