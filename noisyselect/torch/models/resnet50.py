"""ResNet-50 for photographs, the network of the papers on Clothing1M."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from noisyselect.torch.models.initialise import he_initialise

# Channels of a bottleneck's output, of those that its 3x3 convolution sees.
_EXPANSION = 4


class Bottleneck(nn.Module):
    """Convolutions 1x1 (to fewer channels), 3x3 and 1x1 (to more), beside a shortcut.

    Parameters
    ----------
    in_channels : int
    channels : int
        Of the 3x3 convolution; the output has 4 times as many.
    stride : int, default=1
        Of the 3x3 convolution: that is version 1.5; in the paper the first 1x1 convolution has it.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = _EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of shape (batch, 4 * channels, height / stride, width / stride)."""
        branch = functional.relu(self.bn1(self.conv1(maps)))
        branch = functional.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        shortcut = maps if self.downsample is None else self.downsample(maps)
        return functional.relu(branch + shortcut)


class ResNet50(nn.Module):
    """A residual network of 50 layers: logits of images, of 224x224 pixels on ImageNet.

    Parameters
    ----------
    in_channels : int
        1 for grey images, 3 for colour; pre-trained weights are for 3.
    n_classes : int

    Notes
    -----
    The network of [1]_ with the stride in the 3x3 convolutions. Names and shapes of the weights are
    those of torchvision, so that its files load; a test holds them to that. Convolutions are
    initialised as in `he_initialise`.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", CVPR,
       2016. Table 1.

    Examples
    --------
    >>> import torch
    >>> with torch.device("meta"):
    ...     ResNet50(3, 14)(torch.zeros(2, 3, 224, 224)).shape
    torch.Size([2, 14])
    """

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, 3, stride=1)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, stride=2)
        self.layer4 = _stage(1024, 512, 3, stride=2)
        self.fc = nn.Linear(2048, n_classes)
        he_initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, n_classes) of images of shape (batch, channels, h, w)."""
        maps = self.maxpool(functional.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


def _stage(in_channels: int, channels: int, n_blocks: int, stride: int) -> nn.Sequential:
    others = [Bottleneck(_EXPANSION * channels, channels) for _ in range(n_blocks - 1)]
    return nn.Sequential(Bottleneck(in_channels, channels, stride), *others)
