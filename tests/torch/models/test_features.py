import pytest
import torch
from torch import nn

from noisyselect.torch.models import (
    PreActResNet18,
    ResNet50,
    SmallCNN,
    SmallMLP,
    classifier_of,
    penultimate,
)


def test_features_are_what_the_classifier_turns_into_logits():
    network = SmallCNN(1, 10, width=2, n_hidden=6).eval()
    images = torch.rand(3, 1, 8, 8)
    logits, features = penultimate(network, images)
    assert features.shape == (3, 6)
    torch.testing.assert_close(network.classifier(features), logits)
    torch.testing.assert_close(network(images), logits)


@pytest.mark.parametrize(
    ("make", "shape", "n_features"),
    [
        (lambda: SmallCNN(3, 7), (3, 32, 32), 256),
        (lambda: SmallMLP(12, 7), (12,), 256),
        (lambda: PreActResNet18(3, 7), (3, 32, 32), 512),
        (lambda: ResNet50(3, 7), (3, 64, 64), 2048),
    ],
)
def test_every_network_of_the_trainer_has_features_and_a_classifier(make, shape, n_features):
    # Shapes alone: nothing is computed on this device.
    with torch.device("meta"):
        network = make()
        logits, features = penultimate(network, torch.zeros(2, *shape))
    assert logits.shape == (2, 7)
    assert features.shape == (2, n_features)
    classifier = classifier_of(network)
    assert (classifier.in_features, classifier.out_features) == (n_features, 7)


def test_any_module_that_ends_in_a_linear_layer_has_features():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 2))
    _, features = penultimate(network, torch.rand(3, 1, 8, 8))
    assert features.shape == (3, 5)
    assert classifier_of(network) is network[2]


def test_asking_for_features_leaves_no_hook_behind():
    network = SmallCNN(1, 10, width=2)
    penultimate(network, torch.rand(3, 1, 8, 8))
    assert not network.classifier._forward_pre_hooks


def test_a_batch_that_does_not_fit_leaves_no_hook_behind():
    network = SmallMLP(4, 3)
    with pytest.raises(RuntimeError):
        penultimate(network, torch.rand(3, 5))
    assert not network.classifier._forward_pre_hooks


@pytest.mark.parametrize(
    "ask", [classifier_of, lambda network: penultimate(network, torch.ones(1))]
)
def test_a_network_without_a_linear_layer_is_told_the_way_out(ask):
    with pytest.raises(TypeError, match="neighbours"):
        ask(nn.Flatten())


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch 2.6 and later")
@pytest.mark.filterwarnings("ignore:::torch")
def test_a_compiled_network_has_features():
    network, batch = SmallMLP(4, 3), torch.rand(5, 4)
    expected = penultimate(network, batch)[1]
    compiled = torch.compile(network, backend="eager")
    compiled(batch)
    assert torch.equal(penultimate(compiled, batch)[1], expected)
