import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from noisyselect.torch.models import PreActResNet18
from noisyselect.torch.models.preact_resnet import PreActBlock

WIDTHS = (64, 64, 64, 128, 128, 256, 256, 512, 512)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PreActResNet18(3, 10)


def test_the_number_of_parameters_is_that_of_the_paper(network):
    expected = 9 * 3 * 64
    for before, after in pairwise(WIDTHS):
        expected += 2 * before + 9 * before * after
        expected += 2 * after + 9 * after * after
        expected += before * after if before != after else 0
    expected += 2 * 512 + 512 * 10 + 10
    assert sum(weight.numel() for weight in network.parameters()) == expected == 11_172_170


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 8, 8), (3, 9, 13), (3, 3, 1)])
def test_images_of_any_size_have_logits(network, shape):
    assert network.train()(torch.rand(2, *shape)).shape == (2, 10)


def test_grey_images_have_logits():
    with torch.device("meta"):
        assert PreActResNet18(1, 4)(torch.zeros(2, 1, 28, 28)).shape == (2, 4)


def test_the_four_stages_halve_the_maps_three_times(network):
    sizes = []
    maps = network.stem(torch.rand(2, 3, 16, 16))
    with torch.no_grad():
        for block in network.blocks:
            maps = block(maps)
            sizes.append((maps.shape[1], maps.shape[2]))
    assert sizes == [(64, 16)] * 2 + [(128, 8)] * 2 + [(256, 4)] * 2 + [(512, 2)] * 2


def activate(maps, bn):
    """Normalise by the batch itself and rectify, in elementary operations."""
    mean = maps.mean((0, 2, 3), keepdim=True)
    variance = ((maps - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = (weight.view(1, -1, 1, 1) for weight in (bn.weight, bn.bias))
    return ((maps - mean) / torch.sqrt(variance + bn.eps) * scale + shift).clamp(min=0)


def convolve(maps, weight, stride, padding):
    """A convolution as one sum per pixel."""
    n, _, height, width = maps.shape
    side = weight.shape[2]
    framed = torch.zeros(n, maps.shape[1], height + 2 * padding, width + 2 * padding)
    framed[:, :, padding : padding + height, padding : padding + width] = maps
    rows = [
        torch.stack(
            [
                torch.einsum("ncij,ocij->no", framed[:, :, i : i + side, j : j + side], weight)
                for j in range(0, framed.shape[3] - side + 1, stride)
            ],
            dim=2,
        )
        for i in range(0, framed.shape[2] - side + 1, stride)
    ]
    return torch.stack(rows, dim=2)


@pytest.mark.parametrize(
    ("channels", "stride", "shared"), [(3, 1, False), (3, 1, True), (5, 1, False), (5, 2, False)]
)
def test_a_block_is_its_shortcut_plus_the_branch(channels, stride, shared):
    torch.manual_seed(1)
    block = PreActBlock(3, channels, stride, shared_activation=shared)
    for bn in (block.bn1, block.bn2):
        nn.init.uniform_(bn.weight, 0.5, 2)
        nn.init.uniform_(bn.bias, -1, 1)
    maps = torch.randn(4, 3, 6, 5)
    with torch.no_grad():
        activated = activate(maps, block.bn1)
        hidden = activate(convolve(activated, block.conv1.weight, stride, 1), block.bn2)
        branch = convolve(hidden, block.conv2.weight, 1, 1)
        if channels != 3:
            shortcut = convolve(activated, block.projection.weight, stride, 0)
        else:
            shortcut = activated if shared else maps
        torch.testing.assert_close(block(maps), shortcut + branch, rtol=1e-4, atol=1e-5)


def test_a_block_of_one_size_passes_on_what_it_is_given():
    block, maps = PreActBlock(4, 4), torch.randn(2, 4, 5, 5)
    nn.init.zeros_(block.conv2.weight)
    assert torch.equal(block(maps), maps)


def test_the_first_block_alone_activates_before_it_splits(network):
    identities = [isinstance(block.projection, nn.Identity) for block in network.blocks]
    assert identities == [True] + [False] * 7


def test_features_are_rectified_means(network):
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        maps = network.eval().bn(network.blocks(network.stem(images))).clamp(min=0)
        features = maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3])
        expected = features @ network.classifier.weight.T + network.classifier.bias
        torch.testing.assert_close(network(images), expected)


def test_convolutions_are_drawn_for_rectified_layers(network):
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            deviation = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            assert module.weight.std().item() == pytest.approx(deviation, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.1 * deviation
    for name, weight in PreActResNet18(3, 2).named_parameters():
        if "bn" in name:
            assert torch.equal(weight, torch.full_like(weight, float(name.endswith("weight"))))


def test_every_weight_has_a_gradient(network):
    network.zero_grad()
    network.train()(torch.rand(4, 3, 8, 8)).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_the_layout_in_memory_changes_no_answer(network):
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = network.eval()(images)
        network.to(memory_format=torch.channels_last)
        found = network(images.contiguous(memory_format=torch.channels_last))
        network.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_seed_decides_the_weights_and_the_state_restores_them(network):
    torch.manual_seed(0)
    again = PreActResNet18(3, 10).eval()
    for name, weight in again.named_parameters():
        assert torch.equal(weight, network.get_parameter(name))
    other = PreActResNet18(3, 10).eval()
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = again(images)
        assert not torch.equal(other(images), expected)
        other.load_state_dict(again.state_dict())
        assert torch.equal(other(images), expected)
