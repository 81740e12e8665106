import warnings

import numpy as np
import pytest
import torch

from noisyselect.torch.patches import (
    _draw_patches,
    _fit,
    _normalise,
    _seen,
    _View,
    _views,
    patch_features,
)


def scenes(n=12, channels=3, side=9, seed=0):
    """Smooth random images of bytes, whose neighbouring pixels are alike."""
    shape = (n, channels, side // 3 + 1, side // 3 + 1)
    coarse = np.random.default_rng(seed).uniform(0, 255, shape)
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(coarse), size=(side, side), mode="bilinear"
    )
    return fine.numpy().round().astype(np.uint8)


SMALL = {"n_views": 2, "n_filters": 5, "patch_size": 4, "n_patches": 300}


def slow_features(images, encoder, pool):
    """One image, one position, one centroid after another, in float64."""
    k, centroids = encoder.patch_size, encoder.centroids.double().numpy()
    mean, whitening = encoder.mean.double().numpy(), encoder.whitening.double().numpy()
    rows = []
    for image in images.astype(np.float64):
        n_down, n_right = image.shape[1] - k + 1, image.shape[2] - k + 1
        activations = {}
        for down in range(n_down):
            for right in range(n_right):
                patch = image[:, down : down + k, right : right + k].ravel()
                patch = (patch - patch.mean()) / np.sqrt(patch.var() + encoder.contrast)
                white = whitening @ (patch - mean)
                z = [np.sqrt(np.sum((white - centroid) ** 2)) for centroid in centroids]
                activations[down, right] = [max(0.0, np.mean(z) - one) for one in z]
        regions = [
            np.mean([activations[down, right] for down in downs for right in rights], axis=0)
            for downs in np.array_split(range(n_down), pool)
            for rights in np.array_split(range(n_right), pool)
        ]
        rows.append(np.concatenate(regions))
    return np.array(rows)


@pytest.mark.parametrize(
    ("channels", "height", "width", "pool"),
    [(3, 9, 9, 2), (1, 8, 8, 2), (1, 8, 8, 1), (3, 9, 7, 2), (3, 6, 9, 3)],
)
def test_the_features_are_those_of_a_slow_loop_over_patches(channels, height, width, pool):
    images = scenes(channels=channels)[:, :, :height, :width]
    train, test = images[:8], images[8:]
    encoder = _fit(train, 5, 4, 300, 0.1, seed=3)
    both_views = np.stack([slow_features(v, encoder, pool) for v in (train, train[..., ::-1])], 1)
    mean = both_views.mean(axis=(0, 1))
    deviation = np.sqrt(both_views.var(axis=(0, 1)) + 0.01 / 14**4)
    features, test_features = patch_features(train, test, **SMALL, pool=pool, seed=3)
    assert features.dtype == test_features.dtype == np.float32
    assert features.shape == (8, 2, pool**2 * 5)
    np.testing.assert_allclose(features, (both_views - mean) / deviation, atol=2e-3)
    expected = (slow_features(test, encoder, pool) - mean) / deviation
    np.testing.assert_allclose(test_features[:, 0], expected, atol=2e-3)


def test_many_batches_give_what_one_batch_gives(monkeypatch):
    images = scenes()
    at_once, test_at_once = patch_features(images, images[:5], **SMALL)
    monkeypatch.setattr("noisyselect.torch.patches._BATCH_NUMBERS", 1)
    one_by_one, test_one_by_one = patch_features(images, images[:5], **SMALL)
    np.testing.assert_allclose(one_by_one, at_once, atol=1e-3)
    np.testing.assert_allclose(test_one_by_one, test_at_once, atol=1e-3)


def test_whitened_patches_are_uncorrelated_and_shrunk_where_they_hardly_vary():
    images, epsilon = scenes(n=40), 0.1
    encoder = _fit(images, 5, 4, 2000, epsilon, seed=0)
    drawn = _draw_patches(images, 4, 2000, np.random.default_rng(0))
    normalised = _normalise(torch.from_numpy(drawn), encoder.contrast).double()
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(normalised.T))
    white = (normalised - encoder.mean) @ encoder.whitening.double()
    expected = (vectors * (eigenvalues / (eigenvalues + epsilon))) @ vectors.T
    torch.testing.assert_close(torch.cov(white.T), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(encoder.whitening, encoder.whitening.T)


def test_normalised_patches_have_no_brightness_and_unit_contrast():
    patches = torch.tensor([[10.0, 20, 30, 40], [7, 7, 7, 7]])
    normalised = _normalise(patches, contrast=0.0001)
    expected = torch.tensor([-3.0, -1, 1, 3]) / 5**0.5
    torch.testing.assert_close(normalised, torch.stack([expected, torch.zeros(4)]))


def test_drawn_patches_are_patches_of_the_images_in_the_order_of_unfold():
    images = scenes(n=3, side=8)
    unfolded = torch.nn.functional.unfold(torch.from_numpy(images).float(), 6)
    all_patches = {tuple(row) for row in unfolded.transpose(1, 2).flatten(0, 1).tolist()}
    drawn = _draw_patches(images, 6, 1000, np.random.default_rng(0))
    assert {tuple(row) for row in drawn.tolist()} == all_patches


def test_centroids_lie_where_the_patches_are():
    """Two kinds of patches, two centroids."""
    rising = np.tile(np.arange(8, dtype=np.uint8) * 20, (8, 1))
    images = np.stack([rising, rising[:, ::-1]] * 5)[:, None]
    encoder = _fit(images, 2, 8, 100, 0.1, seed=0)
    drawn = torch.from_numpy(images[:2].reshape(2, 64).astype(np.float32))
    white = (_normalise(drawn, encoder.contrast) - encoder.mean) @ encoder.whitening
    distances = torch.cdist(white, encoder.centroids)
    assert distances.min(dim=1).values.max() < 1e-2 < distances.max()
    assert sorted(distances.argmin(dim=1).tolist()) == [0, 1]


def test_each_feature_is_standardised_over_all_training_views():
    features, _ = patch_features(scenes(n=60), scenes(n=2), **SMALL)
    np.testing.assert_allclose(features.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=(0, 1)), 1, atol=2e-3)


def test_test_images_are_encoded_as_the_first_view_and_teach_nothing():
    images = scenes()
    features, test_features = patch_features(images, images, **SMALL)
    np.testing.assert_allclose(test_features, features[:, :1], atol=1e-4)
    again, _ = patch_features(images, scenes(n=3, seed=9), **SMALL)
    assert np.array_equal(again, features)


def test_views_are_the_image_its_mirror_image_and_shifts_of_both():
    views = _views(50, side=32)
    assert views[:3] == [_View(False, 0, 0), _View(True, 0, 0), _View(False, -2, -2)]
    assert len(set(views)) == 50
    assert _views(6, side=32) == views[:6]
    assert {abs(view.down) for view in views} == {abs(view.right) for view in views} == {0, 2, 4}
    assert {abs(view.down) for view in _views(50, side=8)} == {0, 1, 2}


def test_each_view_has_the_features_of_the_image_that_it_shows():
    images = scenes()
    shown = [_seen(torch.from_numpy(images), view) for view in _views(4, side=9)]
    features, test_features = patch_features(images, torch.cat(shown), **SMALL | {"n_views": 4})
    by_view = test_features[:, 0].reshape(4, 12, 20)
    np.testing.assert_allclose(features, by_view.transpose(1, 0, 2), atol=1e-3)


def test_a_shift_repeats_the_border():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    shifted = _seen(image, _View(mirrored=False, down=1, right=-2))
    assert shifted[0, 0].tolist() == [[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]]
    mirrored = _seen(image, _View(mirrored=True, down=0, right=1))
    assert mirrored[0, 0].tolist() == [[3, 3, 2, 1], [7, 7, 6, 5], [11, 11, 10, 9]]


def test_more_views_leave_the_earlier_ones_of_an_image_in_place():
    images = scenes()
    options = SMALL | {"n_views": 1}
    alone, _ = patch_features(images, images, **options)
    three, _ = patch_features(images, images, **options | {"n_views": 3})
    # Standardising is an affine map per feature, so only the correlation stays.
    for one, other in zip(alone[:, 0].T, three[:, 0].T, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.999


@pytest.mark.parametrize(
    "rescale",
    [
        lambda pixels: pixels.astype(np.float64) / 255,
        lambda pixels: pixels.astype(np.float32) * 4 - 300,
        lambda pixels: pixels.astype(np.int64) * 3 + 7,
        torch.from_numpy,
    ],
)
def test_the_scale_type_and_container_of_the_pixels_do_not_matter(rescale):
    images = scenes()
    features, test_features = patch_features(images, images[:3], **SMALL)
    same, test_same = patch_features(rescale(images), rescale(images[:3]), **SMALL)
    np.testing.assert_allclose(same, features, atol=5e-3)
    np.testing.assert_allclose(test_same, test_features, atol=5e-3)


def test_the_seed_decides_everything_and_global_random_states_stay():
    images = scenes()
    first, test_first = patch_features(images, images[:3], **SMALL, seed=4)
    np.random.seed(1)
    torch.manual_seed(1)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    again, test_again = patch_features(images, images[:3], **SMALL, seed=4)
    assert np.array_equal(first, again)
    assert np.array_equal(test_first, test_again)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    other, _ = patch_features(images, images[:3], **SMALL, seed=5)
    assert not np.allclose(other, first, atol=0.1)


def test_read_only_images_are_read_and_stay_as_they_are():
    images = scenes()
    before = images.copy()
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        patch_features(images, images, **SMALL)
    assert np.array_equal(images, before)


def test_constant_images_have_the_same_finite_features():
    images = scenes()
    images[3], images[5] = 0, 200
    features, test_features = patch_features(images, images[[3, 5]], **SMALL)
    assert np.isfinite(features).all()
    assert np.array_equal(features[3], features[5])
    np.testing.assert_allclose(test_features[1], test_features[0])


def test_fewer_different_patches_than_centroids_are_no_obstacle():
    two = scenes(n=2, side=8)
    options = SMALL | {"patch_size": 8, "n_filters": 20}
    features, _ = patch_features(two, two, **options, pool=1)
    assert np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])


def test_a_feature_that_never_varies_is_zero():
    same = np.repeat(scenes(n=1, side=8), 6, axis=0)
    features, _ = patch_features(same, same, **SMALL | {"n_views": 1})
    np.testing.assert_allclose(features, 0, atol=1e-2)


def test_images_without_any_contrast_are_refused():
    flat = np.repeat(np.arange(4, dtype=np.uint8), 64).reshape(4, 1, 8, 8)
    with pytest.raises(ValueError, match=r"`images` must show something: .* 300 patches"):
        patch_features(flat, flat, **SMALL)


def test_an_image_smaller_than_its_patches_is_refused():
    images = scenes(side=9)[:, :, :6]
    with pytest.raises(ValueError, match=r"patch_size \+ pool - 1 = 7 pixels .* got 6 by 9"):
        patch_features(images, images)
    assert patch_features(images, images, **SMALL)[0].shape == (12, 2, 20)


def test_no_test_images_are_no_obstacle():
    assert patch_features(scenes(), scenes()[:0], **SMALL)[1].shape == (0, 1, 20)


@pytest.mark.parametrize(
    ("images", "test_images", "message"),
    [
        (scenes()[0], scenes(), r"`images` must have shape \(n_samples, n_channels, height, width"),
        (scenes()[:0], scenes(), r"`images` must hold at least one pixel"),
        (scenes(), scenes(side=8), r"\(any, 3, 9, 9\), got \(12, 3, 8, 8\). It must match"),
        (scenes(), scenes(channels=1), r"\(any, 3, 9, 9\), got \(12, 1, 9, 9\). It must match"),
    ],
)
def test_images_of_a_wrong_shape_are_refused(images, test_images, message):
    with pytest.raises(ValueError, match=message):
        patch_features(images, test_images, **SMALL)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(bad):
    broken = scenes().astype(np.float32)
    broken[[2, 7], 0, 4, 4] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity in 2 images, the first at row 2"):
        patch_features(broken, scenes(), **SMALL)
    with pytest.raises(ValueError, match=r"`test_images` must be finite"):
        patch_features(scenes(), broken, **SMALL)


@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_pixels_whose_squares_float32_cannot_hold_are_refused(factor):
    images = scenes() * factor
    with pytest.raises(ValueError, match=r"variance in \(1e-30, 1e30\), got .* Rescale them"):
        patch_features(images, images, **SMALL)


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="`images` must hold real numbers, got dtype bool"):
        patch_features(scenes() > 9, scenes(), **SMALL)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_views": 0}, r"`n_views` must lie in \[1, 50\], got 0"),
        ({"n_views": 51}, r"`n_views` must lie in \[1, 50\], got 51"),
        ({"n_filters": 1}, "`n_filters` must be at least 2"),
        ({"patch_size": 1}, "`patch_size` must be at least 2"),
        ({"pool": 0}, "`pool` must be at least 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"n_patches": 4}, "`n_patches` must be at least n_filters = 5"),
        ({"whitening_epsilon": 0.0}, "`whitening_epsilon` must be positive"),
        ({"whitening_epsilon": float("nan")}, "`whitening_epsilon` must be positive"),
    ],
)
def test_an_option_out_of_range_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        patch_features(scenes(), scenes(), **SMALL | option)
