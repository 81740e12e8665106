import pytest
import torch

from noisyselect.torch.models import SmallCNN, penultimate


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 9, 13)])
def test_the_small_network_takes_images_of_any_size(shape):
    assert SmallCNN(shape[0], 7, width=2)(torch.zeros(4, *shape)).shape == (4, 7)


def test_features_are_what_the_classifier_turns_into_logits():
    network = SmallCNN(1, 10, width=2, n_hidden=6).eval()
    images = torch.rand(3, 1, 8, 8)
    logits, features = penultimate(network, images)
    assert features.shape == (3, 6)
    torch.testing.assert_close(network.classifier(features), logits)
    torch.testing.assert_close(network(images), logits)


def test_any_module_that_ends_in_a_linear_layer_has_features():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.Linear(5, 2))
    _, features = penultimate(network, torch.rand(3, 1, 8, 8))
    assert features.shape == (3, 5)


def test_asking_for_features_leaves_no_hook_behind():
    network = SmallCNN(1, 10, width=2)
    penultimate(network, torch.rand(3, 1, 8, 8))
    assert not network.classifier._forward_pre_hooks


def test_a_network_without_a_linear_layer_is_told_the_way_out():
    with pytest.raises(TypeError, match="neighbours"):
        penultimate(torch.nn.Flatten(), torch.rand(3, 1, 8, 8))
