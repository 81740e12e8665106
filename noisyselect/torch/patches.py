"""Features of images without a trained network: whitened patches and their k-means centroids."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from noisyselect.arrays import AnyArray, check_shape, to_numpy

# The authors' released code adds 10 to the variance of a patch of pixels 0..255. CIFAR-10's pixels
# have variance 4000, so this share of the pixels' variance is that constant for any scale.
_CONTRAST_SHARE = 0.0025

# Added to the variance of a feature, so that one which never varies becomes 0: the 0.01 that the
# authors' released code adds for sums over 14 x 14 positions, carried over to means.
_FEATURE_VARIANCE_OFFSET = 0.01 / 14**4

# Numbers that the activations of one batch may have: 4 MB, as larger batches fall out of the cache
# (twice this costs a twentieth more time, 16 times this twice the time).
_BATCH_NUMBERS = 2**20

# Mini-batch k-means takes a fixed number of steps: its early stopping compares a sum whose last
# digits depend on the timing of threads, and the answer would with it.
_KMEANS_PASSES = 20
_KMEANS_BATCH = 4096

# Shifts go up to so many steps each way, and a step is this share of the image's shorter side.
_SHIFT_STEPS = 2
_SHIFT_SHARE = 16


class _View(NamedTuple):
    mirrored: bool
    down: int
    right: int


class _Encoder(NamedTuple):
    """What is learned from the training images; d is n_channels * patch_size**2."""

    patch_size: int
    contrast: float
    mean: Tensor  # (d,)
    whitening: Tensor  # (d, d), symmetric
    centroids: Tensor  # (n_filters, d)


def patch_features(
    images: npt.ArrayLike,
    test_images: npt.ArrayLike,
    *,
    n_views: int = 4,
    n_filters: int = 300,
    patch_size: int = 6,
    pool: int = 2,
    n_patches: int = 100_000,
    whitening_epsilon: float = 0.1,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    r"""Return features of several views of each training image, and of each test image as it is.

    No label is read, and of the test images nothing is learned.

    Parameters
    ----------
    images : array of int or float, shape (n_samples, n_channels, height, width)
        Training images, of any scale: multiplying all pixels by a factor, or adding a constant,
        changes the features by no more than rounding in float32 does. Grey images have one channel.
    test_images : array of int or float, shape (n_test, n_channels, height, width)
        On the scale of `images`.
    n_views : int >= 1, default=4
        Views of each training image. View 0 is the image, view 1 its mirror image, and each
        further pair the same two after a shift; at most 50.
    n_filters : int >= 2, default=300
        Number of centroids :math:`K`.
    patch_size : int >= 2, default=6
        Side of the patches, in pixels.
    pool : int >= 1, default=2
        The positions of an image are pooled over a grid of `pool` by `pool` regions: 2 gives
        quadrants.
    n_patches : int >= n_filters, default=100_000
        Patches of training images, drawn with replacement, from which whitening and centroids
        are learned.
    whitening_epsilon : float > 0, default=0.1
        Added to the eigenvalues :math:`\lambda`: directions of less variance are not blown up.
    seed : int >= 0, default=0
        Of everything random; neither the global random state is read nor is it changed.

    Returns
    -------
    features : array of float32, shape (n_samples, n_views, n_features)
        With ``n_features = pool**2 * n_filters``; feature ``region * n_filters + k`` belongs to
        centroid k, regions counted row by row. Over all samples and views each feature has mean 0
        and variance 1, or less where it hardly varies, and is 0 where it never does.
    test_features : array of float32, shape (n_test, 1, n_features)
        View 0, standardised as `features` are.

    Raises
    ------
    ValueError
        If shapes disagree, an option is out of its range, an image is too small for a patch in
        each region, a pixel is not finite, no patch has any contrast, so that there is nothing to
        learn, or the variance of the pixels lies outside (1e-30, 1e30).
    TypeError
        If the pixels are not real numbers.

    Notes
    -----
    The pipeline of [1]_, sections 3.1 to 3.3, with k-means ("triangle"). Each patch :math:`p` has
    its brightness and contrast removed and is whitened (ZCA) with the mean :math:`\mu` and
    covariance :math:`V \operatorname{diag}(\lambda) V^\top` of such patches:

    .. math::

        \hat p = \frac{p - \bar p}{\sqrt{\operatorname{var}(p) + c}}, \qquad
        x = V \operatorname{diag}(\lambda + \epsilon)^{-1/2} V^\top (\hat p - \mu).

    With the distances :math:`z_k = \lVert x - c_k \rVert` from the centroids, its activations are

    .. math:: f_k = \max(0, \tfrac{1}{K} \textstyle\sum_j z_j - z_k),

    taken at every position (stride 1) and pooled.

    An image of one value, the same in all channels, has :math:`\hat p = 0` everywhere, so all such
    images have the same, finite features. Where the images hold fewer different patches than
    `n_filters`, some centroids are equal, and so are their features. Results are the same to the
    last bit on the same machine with the same number of threads.

    Of an odd number of positions the first region has one more. A view's shift is a sixteenth of
    the shorter side, at least a pixel, or twice that; what is shifted in repeats the border, as
    black would be an edge.

    Departures: the paper has up to 4000 centroids, and no views. :math:`c` is 0.0025 times the
    variance of the drawn pixels (the authors' released code adds 10 for pixels 0..255, the same on
    CIFAR-10). Centroids are found by mini-batch k-means in a fixed number of steps. Activations are
    averaged over a region, not summed, which standardising undoes.

    References
    ----------
    .. [1] Coates, Ng and Lee, "An analysis of single-layer networks in unsupervised feature
       learning", AISTATS 2011.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, size=(20, 1, 8, 8), dtype=np.uint8)
    >>> train, test = patch_features(images[:15], images[15:], n_filters=10, n_patches=500)
    >>> train.shape, test.shape
    ((15, 4, 40), (5, 1, 40))
    """
    _check_options(n_views, n_filters, patch_size, pool, n_patches, whitening_epsilon, seed)
    train, test = _check_images(to_numpy(images), to_numpy(test_images), patch_size + pool - 1)
    views = _views(n_views, min(train.shape[2:]))
    encoder = _fit(train, n_filters, patch_size, n_patches, whitening_epsilon, seed)
    features = _encode(encoder, train, views, pool)
    test_features = _encode(encoder, test, views[:1], pool)
    mean, deviation = _mean_and_deviation(features)
    # In place, as the features may fill half the memory.
    for values in (features, test_features):
        np.subtract(values, mean, out=values)
        np.divide(values, deviation, out=values)
    return features, test_features


def _check_options(
    n_views: int,
    n_filters: int,
    patch_size: int,
    pool: int,
    n_patches: int,
    whitening_epsilon: float,
    seed: int,
) -> None:
    most_views = 2 * (2 * _SHIFT_STEPS + 1) ** 2
    if not 1 <= n_views <= most_views:
        raise ValueError(f"`n_views` must lie in [1, {most_views}], got {n_views!r}.")
    for name, value, least in (
        ("n_filters", n_filters, 2),
        ("patch_size", patch_size, 2),
        ("pool", pool, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
    if n_patches < n_filters:
        raise ValueError(
            f"`n_patches` must be at least n_filters = {n_filters}, got {n_patches!r}: each "
            "centroid needs a patch."
        )
    if not 0 < whitening_epsilon < np.inf:
        raise ValueError(
            f"`whitening_epsilon` must be positive and finite, got {whitening_epsilon!r}."
        )


def _check_images(images: AnyArray, test_images: AnyArray, least: int) -> tuple[AnyArray, AnyArray]:
    shape: dict[str, int | None] = dict.fromkeys(("n_samples", "n_channels", "height", "width"))
    hint = "Grey images need an axis of one channel."
    check_shape("images", images, shape, hint)
    if images.size == 0:
        raise ValueError(f"`images` must hold at least one pixel, got shape {images.shape}.")
    n_channels, height, width = images.shape[1:]
    shape = {"n_test": None, "n_channels": n_channels, "height": height, "width": width}
    check_shape("test_images", test_images, shape, "It must match `images`.")
    if min(height, width) < least:
        raise ValueError(
            f"`images` must be at least patch_size + pool - 1 = {least} pixels high and wide, got "
            f"{height} by {width}. Use a smaller `patch_size` or `pool`."
        )
    for name, values in (("images", images), ("test_images", test_images)):
        if values.dtype.kind not in "uif":
            raise TypeError(f"`{name}` must hold real numbers, got dtype {values.dtype}.")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = ~np.isfinite(values).all(axis=(1, 2, 3))
            raise ValueError(
                f"`{name}` must be finite, got NaN or infinity in {int(bad.sum())} images, the "
                f"first at row {int(bad.argmax())}. Leave these images out."
            )
    return images, test_images


def _views(n_views: int, side: int) -> list[_View]:
    step = max(1, side // _SHIFT_SHARE)
    steps = range(-_SHIFT_STEPS, _SHIFT_STEPS + 1)
    # From small shifts to large, and diagonal ones first: both directions change at once.
    shifts = sorted(
        ((down, right) for down in steps for right in steps),
        key=lambda shift: (max(map(abs, shift)), -sum(map(abs, shift))),
    )
    pairs = [
        _View(mirrored, down * step, right * step)
        for down, right in shifts
        for mirrored in (False, True)
    ]
    return pairs[:n_views]


def _fit(
    images: AnyArray,
    n_filters: int,
    patch_size: int,
    n_patches: int,
    whitening_epsilon: float,
    seed: int,
) -> _Encoder:
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(seed)
    patches = torch.from_numpy(_draw_patches(images, patch_size, n_patches, rng))
    if (patches == patches[:, :1]).all():
        raise ValueError(
            f"`images` must show something: all numbers are equal within each of the {n_patches} "
            "patches drawn. Draw more with `n_patches`, or look at what the images hold."
        )
    variance = float(patches.double().var())
    # Beyond this the squares of a few pixels leave the range of float32, and features would be 0.
    if not 1e-30 < variance < 1e30:
        raise ValueError(
            "`images` must have pixels with a variance in (1e-30, 1e30), got "
            f"{variance:.3g}. Rescale them, `test_images` alike."
        )
    contrast = _CONTRAST_SHARE * variance
    normalised = _normalise(patches, contrast).double()
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(normalised.T))
    # Removing the brightness made one eigenvalue 0, which rounding may turn negative.
    scale = (eigenvalues.clamp(min=0) + whitening_epsilon).rsqrt()
    mean, whitening = normalised.mean(dim=0), (vectors * scale) @ vectors.T
    kmeans = MiniBatchKMeans(
        n_filters,
        batch_size=_KMEANS_BATCH,
        max_iter=_KMEANS_PASSES,
        max_no_improvement=None,
        n_init=1,
        compute_labels=False,
        random_state=int(rng.integers(2**32)),
    )
    kmeans.fit(((normalised - mean) @ whitening).float().numpy())
    centroids = torch.from_numpy(kmeans.cluster_centers_)
    return _Encoder(patch_size, contrast, mean.float(), whitening.float(), centroids)


def _draw_patches(
    images: AnyArray, patch_size: int, n_patches: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return random patches as rows, their numbers in the order of `functional.unfold`."""
    windows: Any = np.lib.stride_tricks.sliding_window_view(
        images, (patch_size, patch_size), axis=(2, 3)
    )
    n_samples, _, n_down, n_right = windows.shape[:4]
    which, down, right = (rng.integers(n, size=n_patches) for n in (n_samples, n_down, n_right))
    # Indexing around a slice puts the patches first, then channels, rows and columns.
    drawn = windows[which, :, down, right]
    return drawn.reshape(n_patches, -1).astype(np.float32)  # type: ignore[no-any-return]


def _normalise(patches: Tensor, contrast: float) -> Tensor:
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + contrast).sqrt()


def _encode(
    encoder: _Encoder, images: AnyArray, views: list[_View], pool: int
) -> npt.NDArray[np.float32]:
    """Return the pooled activations, shape (n_samples, n_views, pool**2 * n_filters)."""
    n_filters = len(encoder.centroids)
    n_down, n_right = (side - encoder.patch_size + 1 for side in images.shape[2:])
    pooling = torch.kron(_averages(n_down, pool), _averages(n_right, pool))
    encoded = np.empty((len(images), len(views), pool**2 * n_filters), dtype=np.float32)
    batch_size = max(1, _BATCH_NUMBERS // (n_down * n_right * n_filters))
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(images[start : start + batch_size].astype(np.float32))
        for index, view in enumerate(views):
            pooled = pooling @ _activations(encoder, _seen(batch, view))
            encoded[start : start + batch_size, index] = pooled.flatten(1).numpy()
    return encoded


def _averages(n_positions: int, pool: int) -> Tensor:
    """Return the matrix, of shape (pool, n_positions), that averages each of `pool` stretches."""
    stretches = torch.arange(n_positions).tensor_split(pool)
    return torch.stack(
        [torch.zeros(n_positions).index_fill(0, part, 1 / len(part)) for part in stretches]
    )


def _seen(images: Tensor, view: _View) -> Tensor:
    mirrored = images.flip(3) if view.mirrored else images
    height, width = images.shape[2:]
    rows = (torch.arange(height) - view.down).clamp(0, height - 1)
    columns = (torch.arange(width) - view.right).clamp(0, width - 1)
    return mirrored[:, :, rows[:, None], columns]


def _activations(encoder: _Encoder, images: Tensor) -> Tensor:
    """Return max(0, mean distance - distance), shape (batch, n_positions, n_filters)."""
    patches = functional.unfold(images, encoder.patch_size).transpose(1, 2)
    normalised = _normalise(patches, encoder.contrast)
    distances = torch.cdist((normalised - encoder.mean) @ encoder.whitening, encoder.centroids)
    return (distances.mean(dim=-1, keepdim=True) - distances).relu_()


def _mean_and_deviation(
    features: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the mean and standard deviation of each feature, a batch of float64 at a time."""
    total, squares = np.zeros((2, features.shape[-1]))
    rows = features.reshape(-1, features.shape[-1])
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000].astype(np.float64)
        total += part.sum(axis=0)
        squares += np.square(part).sum(axis=0)
    mean = total / len(rows)
    variance = (squares / len(rows) - mean**2).clip(min=0)
    deviation = np.sqrt(variance + _FEATURE_VARIANCE_OFFSET)
    return mean.astype(np.float32), deviation.astype(np.float32)
