"""Augmentation of whole batches on their device, one independent draw per image.

Brightness, contrast and colour need to know what is black and what is white, which pixels of any
type and scale do not say: the least and the largest value of the training set are taken for them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# Luma of red, green and blue (ITU-R BT.601), by which images lose their colours.
_LUMA = (0.299, 0.587, 0.114)

# SimCLR's on small images, as SCAN and ScanMix have them: share of the area that a crop keeps at
# least, largest relative change of brightness, contrast and saturation, largest turn of the hue (of
# the whole circle), and how often colours are changed or removed.
_LEAST_AREA = 0.2
_JITTER = 0.4
_HUE = 0.1
_JITTERED = 0.8
_GREY = 0.2

# How often an image is turned, sheared each way, or changed in colour; and ScanMix's limits.
_DISTORTED = 0.5
_TURN = math.radians(30)
_SHEAR = 0.1
_STRONG_JITTER = 0.6
_HOLE = 16


def crop_and_flip(
    images: Tensor, generator: torch.Generator, padding: int = 4, size: int | None = None
) -> Tensor:
    """Cut a window out of every image, padded, and mirror every other one, at random.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        Of any type; what is shifted in is 0, black where pixels are not normalised yet.
    generator : torch.Generator
        On the device of `images`.
    padding : int, default=4
        Of each side, in pixels, as everywhere on CIFAR.
    size : int, optional
        Side of the window, in pixels, at most that of the padded image. By default the window has
        the size of the image, which is thereby shifted by up to `padding` pixels each way.

    Returns
    -------
    Tensor of the same type, shape (batch, channels, size, size)
    """
    n, channels, height, width = images.shape
    rows_out, columns_out = (size or height), (size or width)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n, 1), generator=generator, device=images.device)

    padded = functional.pad(images, (padding,) * 4)
    rows = draw(2 * padding + height - rows_out + 1)
    rows = rows + torch.arange(rows_out, device=images.device)
    columns = torch.arange(columns_out, device=images.device).expand(n, columns_out)
    columns = torch.where(draw(2) == 1, columns_out - 1 - columns, columns)
    columns = columns + draw(2 * padding + width - columns_out + 1)
    # As positions in one row of pixels, which are fetched three times as fast as by two indices.
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    cropped = padded.flatten(2).gather(2, pixels.flatten(1)[:, None].expand(n, channels, -1))
    return cropped.view(n, channels, rows_out, columns_out)


def contrastive_view(
    images: Tensor,
    generator: torch.Generator,
    black: Tensor,
    white: Tensor,
    size: int | None = None,
) -> Tensor:
    """Return SimCLR's view of every image: a part of it enlarged, mirrored, in other colours.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        Of any type. Hue, saturation and greyscale are for 3 channels (red, green, blue) only.
    generator : torch.Generator
        On the device of `images`.
    black, white : Tensor of shape ()
        The ends of the scale; results are clipped to them.
    size : int, optional
        Side of the result in pixels. By default that of the image.

    Returns
    -------
    Tensor of float32, shape (batch, channels, size, size)
        On the scale of `images`.

    Notes
    -----
    Appendix A of [1]_, without blur, as on CIFAR there. Departures: colours change in a fixed order
    (brightness, contrast, saturation, hue), since an order per image would cost a pass per order;
    a crop that would exceed the image on one side is cut there instead of drawn again.

    References
    ----------
    .. [1] Chen et al., "A simple framework for contrastive learning of visual representations",
       ICML 2020.
    """
    view = _resized_crop(_to_unit(images, black, white), generator, size)
    view = _jitter(view, generator, _JITTERED, _JITTER, _HUE)
    if view.shape[1] == 3:
        view = torch.where(_uniform(view, generator) < _GREY, _grey(view), view)
    return torch.lerp(black, white, view)


def distort(
    images: Tensor, generator: torch.Generator, black: Tensor, white: Tensor, fill: Tensor
) -> Tensor:
    """Turn and shear images, change their colours and cut a hole into each: for clustering.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        Already shifted and mirrored, see `crop_and_flip`. Saturation is for 3 channels only.
    generator : torch.Generator
        On the device of `images`.
    black, white : Tensor of shape ()
        The ends of the scale. What is turned in is black.
    fill : Tensor, broadcast to `images`
        What a hole shows: the mean of the training set, which is 0 once normalised.

    Returns
    -------
    Tensor of float32, same shape
        On the scale of `images`.

    Notes
    -----
    After the strong augmentation of ScanMix [1]_: turns up to 30 degrees, shears up to 0.1,
    brightness, contrast and saturation, cutout of 16x16 pixels (half the side of smaller images).
    Departures: each image draws whether it is turned, sheared or changed in colour, in place of 4
    of 14 operations; equalising, solarising, posterising and sharpening are left out; contrast also
    rises; the hole has a fixed size.

    References
    ----------
    .. [1] Sachdeva et al., "ScanMix: Learning from severe label noise via semantic clustering and
       semi-supervised learning", Pattern Recognition 2023.
    """
    view = _turn_and_shear(_to_unit(images, black, white), generator)
    view = _jitter(view, generator, _DISTORTED, _STRONG_JITTER, hue=0.0)
    return _cut_hole(torch.lerp(black, white, view), generator, fill)


def _to_unit(images: Tensor, black: Tensor, white: Tensor) -> Tensor:
    """Return floats in [0, 1]; 0 where all images are of one value."""
    # Mixed and padded images may leave the scale.
    return ((images.float() - black) / (white - black).clamp_min(1e-6)).clamp(0, 1)


def _uniform(
    images: Tensor, generator: torch.Generator, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Return one number for each image, shape (batch, 1, 1, 1)."""
    drawn = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device)
    return low + (high - low) * drawn


def _resized_crop(images: Tensor, generator: torch.Generator, size: int | None) -> Tensor:
    area = _uniform(images, generator, _LEAST_AREA, 1)
    ratio = _uniform(images, generator, math.log(3 / 4), math.log(4 / 3)).exp()
    # Of the image's own sides, which grid coordinates take from -1 to 1.
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    x = (1 - width) * _uniform(images, generator, -1, 1)
    y = (1 - height) * _uniform(images, generator, -1, 1)
    mirrored = torch.where(_uniform(images, generator) < 0.5, -width, width)
    return _resample(images, (mirrored, None, x, None, height, y), size, "border")


def _turn_and_shear(images: Tensor, generator: torch.Generator) -> Tensor:
    def drawn(limit: float) -> Tensor:
        often = _uniform(images, generator) < _DISTORTED
        return torch.where(often, _uniform(images, generator, -limit, limit), 0.0)

    turn, shear_x, shear_y = drawn(_TURN), drawn(_SHEAR), drawn(_SHEAR)
    # Grid coordinates stretch the shorter side: a turn must not.
    aspect = images.shape[2] / images.shape[3]
    cos, sin = turn.cos(), turn.sin()
    part = (
        cos - sin * shear_y,
        (cos * shear_x - sin) * aspect,
        None,
        (sin + cos * shear_y) / aspect,
        sin * shear_x + cos,
        None,
    )
    return _resample(images, part, None, "zeros")


def _resample(
    images: Tensor, affine: tuple[Tensor | None, ...], size: int | None, beyond: str
) -> Tensor:
    """Return images read, by bilinear interpolation, at the 2x3 `affine` map of each (None: 0)."""
    n, channels, height, width = images.shape
    zero = images.new_zeros(n)
    rows = torch.stack([zero if entry is None else entry.view(n) for entry in affine], dim=1)
    shape = [n, channels, size or height, size or width]
    grid = functional.affine_grid(rows.view(n, 2, 3), shape, align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=beyond, align_corners=False)


def _jitter(
    images: Tensor, generator: torch.Generator, probability: float, strength: float, hue: float
) -> Tensor:
    """Change brightness, contrast, saturation and hue of some images in [0, 1]."""
    chosen = _uniform(images, generator) < probability

    def factor() -> Tensor:
        return torch.where(chosen, _uniform(images, generator, 1 - strength, 1 + strength), 1.0)

    images = (images * factor()).clamp(0, 1)
    images = _blend(images, _grey(images).mean((2, 3), keepdim=True), factor())
    if images.shape[1] == 3:
        images = _blend(images, _grey(images), factor())
        if hue:
            turn = torch.where(chosen, _uniform(images, generator, -hue, hue), 0.0)
            images = _turn_hue(images, turn)
    return images


def _blend(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return `share` of the images, which may exceed 1, and the rest of `other`."""
    return torch.lerp(other, images, share).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    """Return images of one channel, shape (batch, 1, height, width)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = torch.split(images, 1, dim=1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Return red, green and blue, in [0, 1], with their hue turned by that share of the circle."""
    red, green, blue = torch.split(images, 1, dim=1)
    value = images.amax(1, keepdim=True)
    spread = value - images.amin(1, keepdim=True)
    # Sixths of the circle from red. Grey has none, and no spread to show it.
    scale = spread.clamp_min(1e-12)
    sixths = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, (blue - red) / scale + 2, (red - green) / scale + 4),
    )
    # Channels at 0, 2 and 4 sixths: each falls from `value` by `spread` on the far half.
    offsets = 5 - 2 * torch.arange(3, device=images.device).view(1, 3, 1, 1)
    position = (offsets + sixths + 6 * turn) % 6
    return value - spread * torch.minimum(position, 4 - position).clamp(0, 1)


def _cut_hole(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:
    """Fill a square at a random place, centred inside the image and cut at its border."""
    height, width = images.shape[2:]
    side = min(_HOLE, height // 2, width // 2)

    def inside(length: int) -> Tensor:
        start = (_uniform(images, generator) * length).long() - side // 2
        place = torch.arange(length, device=images.device) - start
        return (place >= 0) & (place < side)

    hole = inside(height).transpose(2, 3) & inside(width)
    return torch.where(hole, fill, images)
