"""The small networks, which train in seconds to minutes on a CPU."""

from __future__ import annotations

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolutions and a hidden layer: logits of images of 8x8 pixels and more.

    Parameters
    ----------
    in_channels : int
        1 for grey images, 3 for colour.
    n_classes : int
    width : int, default=32
        Channels of the first convolution; the others have 2 and 4 times as many.
    n_hidden : int, default=256
        Units of the hidden layer, whose output is the features.

    Notes
    -----
    The last maps are averaged to 2x2 and not to one number each: what a network sees of position
    helps it memorise wrong labels, and a network that cannot memorise needs no selection.

    Examples
    --------
    >>> import torch
    >>> SmallCNN(1, 10)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self, in_channels: int, n_classes: int, width: int = 32, n_hidden: int = 256
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            # Pooled first, the costly maps are normalised and rectified at a quarter of the size.
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(16 * width, n_hidden), nn.ReLU())
        self.classifier = nn.Linear(n_hidden, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, n_classes) of images of shape (batch, channels, h, w)."""
        logits: Tensor = self.classifier(self.hidden(self.convolutions(images)))
        return logits


class SmallMLP(nn.Module):
    """Two hidden layers: logits of features from any encoder.

    Parameters
    ----------
    n_features : int
    n_classes : int
    hidden : tuple of int, default=(512, 256)
        Units of the hidden layers; the output of the last is the features.

    Notes
    -----
    Without normalisation or dropout of its own: it memorises wrong labels, as large networks do on
    images.

    Examples
    --------
    >>> import torch
    >>> SmallMLP(30, 10)(torch.zeros(5, 30)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self, n_features: int, n_classes: int, hidden: tuple[int, int] = (512, 256)
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(n_features, hidden[0]), nn.ReLU(), nn.Linear(*hidden), nn.ReLU()
        )
        self.classifier = nn.Linear(hidden[1], n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (batch, n_classes) of features of shape (batch, n_features)."""
        logits: Tensor = self.classifier(self.hidden(features))
        return logits
