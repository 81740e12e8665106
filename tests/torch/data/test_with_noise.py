from dataclasses import replace

import numpy as np
import pytest

from noisyselect.noise import instance_dependent
from noisyselect.torch.data import ImageFiles, TrainingData, load_data, with_noise


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"`rate` must lie in \[0, 1\], got 40"):
        with_noise(load_data("digits", subset=100), "sym", 40)


def test_symmetric_noise_keeps_a_tenth_of_what_it_draws_right(digits):
    noisy = with_noise(digits, "sym", 0.5, seed=1)
    assert noisy.noise["nominal_rate"] == 0.5
    assert noisy.noise["realised_rate"] == np.mean(noisy.labels != digits.labels)
    assert noisy.noise["realised_rate"] == pytest.approx(0.45, abs=0.04)
    assert np.array_equal(noisy.true_labels, digits.labels)


def test_asymmetric_noise_on_other_data_than_cifar_makes_each_class_the_next(digits):
    noisy = with_noise(digits, "asym", 0.3)
    wrong = noisy.labels != digits.labels
    assert wrong.mean() == pytest.approx(0.3, abs=0.04)
    assert np.array_equal(noisy.labels[wrong], (digits.labels[wrong] + 1) % 10)


def test_asymmetric_noise_stays_inside_superclasses(digits):
    grouped = TrainingData(
        digits.inputs,
        digits.labels,
        digits.test_inputs,
        digits.test_labels,
        digits.class_names,
        superclasses=(0, 1, 0, 1, 0, 1, 0, 1, 0, 2),
    )
    noisy = with_noise(grouped, "asym", 1.0)
    assert np.array_equal(noisy.labels[digits.labels == 0], digits.labels[digits.labels == 0] + 2)
    assert (noisy.labels[digits.labels == 8] == 0).all()
    # The only class of its superclass has nothing to be mistaken for.
    assert (noisy.labels[digits.labels == 9] == 9).all()


def test_labels_taken_as_they_are_say_nothing_of_the_truth(digits):
    assert with_noise(digits, "none").true_labels is None


def test_noise_depends_on_its_seed_alone(digits):
    first, same, other = (with_noise(digits, "sym", 0.4, seed=seed).labels for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_an_unknown_kind_of_noise_is_refused(digits):
    with pytest.raises(ValueError, match="'instance', 'human' or 'none', got 'loud'"):
        with_noise(digits, "loud", 0.4)


def test_symmetric_noise_over_the_others_makes_the_nominal_share_wrong(digits):
    noisy = with_noise(digits, "sym-others", 0.5, seed=1)
    assert noisy.noise["realised_rate"] == pytest.approx(0.5, abs=0.04)
    assert noisy.noise["kind"] == "sym-others"


def test_pair_noise_passes_over_superclasses(digits):
    grouped = replace(digits, superclasses=(0, 1) * 5)
    noisy = with_noise(grouped, "pair", 1.0)
    assert np.array_equal(noisy.labels, (digits.labels + 1) % 10)


def test_instance_dependent_noise_is_drawn_from_the_pixels(digits):
    noisy = with_noise(digits, "instance", 0.4, seed=3)
    pixels = digits.inputs.reshape(1437, 64)
    assert np.array_equal(noisy.labels, instance_dependent(pixels, digits.labels, 0.4, 3))
    assert noisy.noise["nominal_rate"] == 0.4
    assert noisy.noise["realised_rate"] == np.mean(noisy.labels != digits.labels)


def test_instance_dependent_noise_of_features_looks_at_the_first_view(digits):
    views = digits.inputs.reshape(1437, 64)[:, None].repeat(2, axis=1)
    other = views.copy()
    other[:, 1] = 0
    labels = [
        with_noise(
            replace(digits, inputs=inputs, test_inputs=inputs[:360], kind="features"),
            "instance",
            0.4,
        ).labels
        for inputs in (views, other)
    ]
    assert np.array_equal(*labels)


def test_a_class_that_no_sample_has_can_still_be_drawn(digits):
    few = digits.take(np.flatnonzero(digits.labels < 3))
    assert with_noise(few, "instance", 0.5).labels.max() > 2


def test_instance_dependent_noise_of_images_in_files_is_refused_with_the_way_out():
    files = ImageFiles("nowhere", ["a.png", "b.png"], size=8)
    data = TrainingData(files, [0, 1], files, [0, 1], ("a", "b"))
    with pytest.raises(TypeError, match="use `with_labels`"):
        with_noise(data, "instance", 0.4)
