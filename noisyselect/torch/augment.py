"""Augmentation of whole batches on their device, one independent draw per image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def crop_and_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Shift every image by up to `padding` pixels each way, and mirror every other one, at random.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        Of any type; what is shifted in is 0, black where pixels are not normalised yet.
    generator : torch.Generator
        On the device of `images`.
    padding : int, default=4
        Of each side, in pixels, as everywhere on CIFAR.

    Returns
    -------
    Tensor of the same shape and type
    """
    n, _, height, width = images.shape

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n, 1), generator=generator, device=images.device)

    padded = functional.pad(images, (padding,) * 4)
    rows = draw(2 * padding + 1) + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = torch.where(draw(2) == 1, width - 1 - columns, columns) + draw(2 * padding + 1)
    which = torch.arange(n, device=images.device)[:, None, None]
    # Indexing around a slice puts the channels last.
    cropped = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()
