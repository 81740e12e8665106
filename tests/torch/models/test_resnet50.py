import pytest
import torch
from torch import nn

from noisyselect.torch.models import ResNet50
from noisyselect.torch.models.resnet50 import Bottleneck


def torchvision_weights(n_classes):
    """Names and shapes of torchvision's weights, in its order, put together independently."""

    def bn(name, size):
        return {
            **{f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean")},
            f"{name}.running_var": (size,),
            f"{name}.num_batches_tracked": (),
        }

    shapes = {"conv1.weight": (64, 3, 7, 7), **bn("bn1", 64)}
    before = 64
    for layer, (width, n_blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
        for index in range(n_blocks):
            name, after = f"layer{layer}.{index}", 4 * width
            shapes[f"{name}.conv1.weight"] = (width, before, 1, 1)
            shapes |= bn(f"{name}.bn1", width)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes |= bn(f"{name}.bn2", width)
            shapes[f"{name}.conv3.weight"] = (after, width, 1, 1)
            shapes |= bn(f"{name}.bn3", after)
            if index == 0:
                shapes[f"{name}.downsample.0.weight"] = (after, before, 1, 1)
                shapes |= bn(f"{name}.downsample.1", after)
            before = after
    return shapes | {"fc.weight": (n_classes, 2048), "fc.bias": (n_classes,)}


def test_names_and_shapes_of_the_weights_are_those_of_torchvision():
    with torch.device("meta"):
        network = ResNet50(3, 1000)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    # In order, too: momenta are kept by position.
    assert list(shapes.items()) == list(torchvision_weights(1000).items())
    assert sum(weight.numel() for weight in network.parameters()) == 25_557_032


def test_the_stride_is_in_the_convolution_of_3x3():
    with torch.device("meta"):
        network = ResNet50(3, 10)
    strides = {
        name: module.stride
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.stride != (1, 1)
    }
    halved = [f"layer{i}.0.{part}" for i in (2, 3, 4) for part in ("conv2", "downsample.0")]
    assert strides == dict.fromkeys(["conv1", *halved], (2, 2))


@pytest.mark.parametrize(("channels", "stride"), [(2, 1), (3, 1), (3, 2)])
def test_a_bottleneck_is_its_shortcut_plus_the_branch_rectified(channels, stride):
    torch.manual_seed(1)
    block, maps = Bottleneck(8, channels, stride), torch.randn(4, 8, 5, 6)

    def normalise(values):
        variance, mean = torch.var_mean(values, (0, 2, 3), correction=0, keepdim=True)
        return (values - mean) / (variance + 1e-5).sqrt()

    with torch.no_grad():
        # A convolution of 1x1 is a product with a matrix.
        hidden = torch.einsum("nchw,oc->nohw", maps, block.conv1.weight[:, :, 0, 0])
        hidden = normalise(hidden).clamp(min=0)
        patches = nn.functional.unfold(hidden, 3, padding=1, stride=stride)
        hidden = torch.einsum("npl,op->nol", patches, block.conv2.weight.flatten(1))
        hidden = hidden.view(4, channels, -(-5 // stride), -(-6 // stride))
        hidden = normalise(hidden).clamp(min=0)
        branch = normalise(torch.einsum("nchw,oc->nohw", hidden, block.conv3.weight[:, :, 0, 0]))
        shortcut = maps
        if (channels, stride) != (2, 1):
            weight = block.downsample[0].weight[:, :, 0, 0]
            thinned = maps[:, :, ::stride, ::stride]
            shortcut = normalise(torch.einsum("nchw,oc->nohw", thinned, weight))
        expected = (shortcut + branch).clamp(min=0)
        torch.testing.assert_close(block(maps), expected, rtol=1e-4, atol=1e-5)


def test_a_small_photograph_has_logits_and_every_weight_a_gradient():
    torch.manual_seed(0)
    network = ResNet50(3, 14)
    logits = network(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 14)
    logits.square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 224, 224), (3, 100, 75), (3, 8, 8)])
def test_images_of_any_size_have_logits(shape):
    with torch.device("meta"):
        assert ResNet50(shape[0], 14)(torch.zeros(2, *shape)).shape == (2, 14)
