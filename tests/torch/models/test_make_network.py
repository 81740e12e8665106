import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from noisyselect.torch.models import (
    PreActResNet18,
    ResNet50,
    SmallCNN,
    SmallMLP,
    build,
    make_network,
)

IMAGES, FEATURES = (50, 3, 32, 32), (50, 2, 30)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "batch"),
    [
        ("auto", IMAGES, SmallCNN, (2, 3, 32, 32)),
        ("auto", FEATURES, SmallMLP, (2, 30)),
        ("small-cnn", (50, 1, 8, 8), SmallCNN, (2, 1, 8, 8)),
        ("small-mlp", FEATURES, SmallMLP, (2, 30)),
        ("preact-resnet18", (50, 1, 28, 28), PreActResNet18, (2, 1, 28, 28)),
        ("resnet50", (50, 3, 64, 64), ResNet50, (2, 3, 64, 64)),
    ],
)
def test_a_name_makes_a_network_for_the_data(name, shape, kind, batch):
    with torch.device("meta"):
        network = make_network(name, shape, 7, weights="none")
        assert type(network) is kind
        assert network(torch.zeros(batch)).shape == (2, 7)


def test_the_seed_decides_the_network():
    torch.manual_seed(3)
    made = make_network("auto", FEATURES, 7)
    torch.manual_seed(3)
    assert torch.equal(made.classifier.weight, SmallMLP(30, 7).classifier.weight)


@pytest.mark.parametrize("name", ["small-cnn", "preact-resnet18", "resnet50"])
def test_networks_of_images_are_refused_for_features(name):
    with pytest.raises(ValueError, match=f"'{name}' is for images, and the data are features. Use"):
        make_network(name, FEATURES, 7)


def test_the_network_of_features_is_refused_for_images():
    with pytest.raises(ValueError, match="'small-mlp' is for features, and the data are images"):
        make_network("small-mlp", IMAGES, 7)


@pytest.mark.parametrize("name", ["", "resnet18", "SmallCNN", "preact_resnet18"])
@pytest.mark.parametrize("shape", [IMAGES, FEATURES])
def test_an_unknown_name_is_answered_with_the_known_ones(name, shape):
    with pytest.raises(
        ValueError, match=f"'preact-resnet18', .*'package.module:callable', got '{name}'"
    ):
        make_network(name, shape, 7)


def test_weights_come_from_the_file(tmp_path):
    saved = SmallMLP(30, 7)
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    network = make_network("small-mlp", FEATURES, 7, weights=tmp_path / "weights.pt")
    assert torch.equal(network.hidden[0].weight, saved.hidden[0].weight)


@pytest.mark.parametrize(
    ("name", "weights", "fetched"),
    [("resnet50", None, 1), ("resnet50", "none", 0), ("preact-resnet18", None, 0)],
)
def test_only_the_large_network_starts_from_imagenet(monkeypatch, name, weights, fetched):
    given = []
    monkeypatch.setattr(build, "load_imagenet_weights", given.append)
    with torch.device("meta"):
        network = make_network(name, IMAGES, 7, weights=weights)
    assert given == [network] * fetched


def test_a_file_of_weights_is_taken_instead_of_imagenet(monkeypatch):
    given = []
    monkeypatch.setattr(build, "load_imagenet_weights", lambda _: pytest.fail("not asked for"))
    monkeypatch.setattr(build, "load_weights", lambda network, path: given.append((network, path)))
    with torch.device("meta"):
        network = make_network("resnet50", IMAGES, 7, weights="mine.pt")
    assert given == [(network, "mine.pt")]


@pytest.fixture
def nets(monkeypatch):
    """An importable module, as a user may have it."""
    package, module = ModuleType("mine"), ModuleType("mine.nets")
    package.__path__ = []
    module.__file__ = "mine/nets.py"
    module.linear = lambda n_classes: nn.Linear(4, n_classes)
    module.Network = type(
        "Network", (nn.Linear,), {"__init__": lambda self, n: nn.Linear.__init__(self, 4, n)}
    )
    module.number = 3
    module.nothing = lambda n_classes: None
    module.keywords = lambda *, n_classes: nn.Linear(4, n_classes)
    monkeypatch.setitem(sys.modules, "mine", package)
    monkeypatch.setitem(sys.modules, "mine.nets", module)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("attribute", ["linear", "Network"])
@pytest.mark.parametrize("shape", [IMAGES, FEATURES])
def test_a_function_or_class_of_a_user_makes_the_network(attribute, shape):
    network = make_network(f"mine.nets:{attribute}", shape, 7)
    assert isinstance(network, nn.Linear)
    assert network.out_features == 7


@pytest.mark.usefixtures("nets")
def test_a_network_of_a_user_takes_weights(tmp_path):
    saved = nn.Linear(4, 7)
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    network = make_network("mine.nets:linear", IMAGES, 7, weights=tmp_path / "weights.pt")
    assert torch.equal(network.weight, saved.weight)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("absent_package.nets:make", "cannot be imported: No module named .*PYTHONPATH"),
        ("mine.absent:make", "cannot be imported: No module named .*PYTHONPATH"),
        ("mine.nets:make", "mine.nets has no 'make'.*callable in mine/nets.py"),
        ("mine.nets:number", "is a int. Name a function"),
        ("mine.nets:nothing", "returned a NoneType. Return the network"),
        ("mine.nets:keywords", "is not: .*function of one argument"),
        ("mine.nets:", "must name a callable as 'package.module:callable'"),
        (":linear", "must name a callable as 'package.module:callable'"),
        ("mine.nets:a:b", "must name a callable as 'package.module:callable'"),
        (".nets:linear", "must name a callable as 'package.module:callable'"),
        ("nets.py:linear()", "must name a callable as 'package.module:callable'"),
    ],
)
def test_a_path_to_no_network_is_refused_with_the_way_out(path, reason):
    with pytest.raises(ValueError, match=reason) as failure:
        make_network(path, IMAGES, 7)
    assert repr(path) in str(failure.value)
