"""The initialisation of the large networks."""

from __future__ import annotations

from torch import nn


def he_initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions anew, from torch's global generator.

    Notes
    -----
    Normal with variance ``2 / (kernel_height kernel_width out_channels)``, which keeps the size of
    gradients through rectified layers (He et al., "Delving Deep into Rectifiers", 2015, Eq. 14).
    Normalisations start at scale 1 and shift 0 and linear layers as torch has them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
