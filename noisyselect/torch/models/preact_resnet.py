"""PreAct ResNet-18 for small images, the network of the papers on CIFAR."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from noisyselect.torch.models.initialise import he_initialise


class PreActBlock(nn.Module):
    """Two convolutions, each of what was normalised and rectified before, beside a shortcut.

    Parameters
    ----------
    in_channels, channels : int
    stride : int, default=1
        Of the first convolution.
    shared_activation : bool, default=False
        The shortcut, too, starts from the activated maps.

    Notes
    -----
    ``x + conv2(relu(bn2(conv1(relu(bn1(x))))))``: nothing but additions between the blocks [1]_.
    Where the block changes the size or the channels, the shortcut is a 1x1 convolution of
    ``relu(bn1(x))``.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Identity Mappings in Deep Residual Networks", ECCV,
       2016. Eq. 5 and Fig. 4e.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shared_activation: bool = False
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.projection: nn.Module | None = None
        if stride > 1 or in_channels != channels:
            self.projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        elif shared_activation:
            self.projection = nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of shape (batch, channels, height / stride, width / stride), rounded up."""
        activated = functional.relu(self.bn1(maps))
        shortcut: Tensor = maps if self.projection is None else self.projection(activated)
        branch: Tensor = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return shortcut + branch


class PreActResNet18(nn.Module):
    """A residual network of 18 layers: logits of small images, of 32x32 pixels in the papers.

    Parameters
    ----------
    in_channels : int
        1 for grey images, 3 for colour.
    n_classes : int

    Notes
    -----
    A 3x3 convolution without pooling; four stages of two `PreActBlock` with 64, 128, 256 and 512
    channels, each but the first halving the size; the mean of the maps, which is the features; one
    linear classifier. As in [1]_, appendix, the first block activates the maps before it splits
    them into two paths, and the last sum is normalised and rectified. Convolutions are initialised
    as in [2]_.

    The code of DivideMix, which later papers took over, adds the activated maps in every block,
    activates the stem's maps once more, and does not activate the last sum. Its parameters are as
    many, but for those of two normalisations.

    Any size of image will do. In training, though, the last maps of a single image of up to 8x8
    pixels hold one value per channel, and torch refuses to normalise it.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Identity Mappings in Deep Residual Networks", ECCV,
       2016.
    .. [2] K. He, X. Zhang, S. Ren and J. Sun, "Delving Deep into Rectifiers", ICCV, 2015. Eq. 14.

    Examples
    --------
    >>> import torch
    >>> PreActResNet18(3, 10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            PreActBlock(64, 64, shared_activation=True),
            PreActBlock(64, 64),
            PreActBlock(64, 128, stride=2),
            PreActBlock(128, 128),
            PreActBlock(128, 256, stride=2),
            PreActBlock(256, 256),
            PreActBlock(256, 512, stride=2),
            PreActBlock(512, 512),
        )
        self.bn = nn.BatchNorm2d(512)
        self.classifier = nn.Linear(512, n_classes)
        he_initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, n_classes) of images of shape (batch, channels, h, w)."""
        maps = functional.relu(self.bn(self.blocks(self.stem(images))))
        logits: Tensor = self.classifier(maps.mean((2, 3)))
        return logits
