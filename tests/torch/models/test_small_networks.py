import pytest
import torch
from torch import nn

from noisyselect.torch.models import SmallCNN, SmallMLP, default_network


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 9, 13)])
def test_the_small_network_takes_images_of_any_size(shape):
    assert SmallCNN(shape[0], 7, width=2)(torch.zeros(4, *shape)).shape == (4, 7)


def test_images_have_the_convolutional_network_and_features_the_other():
    assert isinstance(default_network((100, 3, 8, 8), 7), SmallCNN)
    network = default_network((100, 2, 30), 7)
    assert isinstance(network, SmallMLP)
    assert network(torch.zeros(4, 30)).shape == (4, 7)


def same_draws(network, layers):
    """Whether the layers with weights, made one after the other, were drawn like the network."""
    drawn = [weight for layer in layers for weight in layer.parameters()]
    own = [
        weight
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        for weight in module.parameters()
    ]
    assert len(drawn) == len(own)
    return all(map(torch.equal, drawn, own))


def test_small_networks_are_drawn_as_torch_draws_their_layers_in_order():
    # Runs of earlier versions are repeated, and resumed, from these draws.
    torch.manual_seed(5)
    network = SmallCNN(3, 10)
    torch.manual_seed(5)
    layers = [nn.Conv2d(i, o, 3, bias=False) for i, o in ((3, 32), (32, 64), (64, 128))]
    assert same_draws(network, [*layers, nn.Linear(512, 256), nn.Linear(256, 10)])

    torch.manual_seed(5)
    perceptron = SmallMLP(30, 10)
    torch.manual_seed(5)
    assert same_draws(perceptron, [nn.Linear(30, 512), nn.Linear(512, 256), nn.Linear(256, 10)])
