import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from noisyselect import MixupRecipes, Selection
from noisyselect.torch import SelectedSamples, TrainingData, load_data, save_features, with_noise
from noisyselect.torch.inputs import Pixels


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def encoded(colour):
    file = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def parquet_folder(tmp_path):
    labels = pa.array([0, 1, 2, 1, 0, 2], pa.int8())
    images = [encoded((10 * i, 0, 255)) for i in range(6)]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"image": images[:3], "label": labels[:3]}), tmp_path / "test.parquet")
    (tmp_path / "classes.json").write_text(json.dumps({"fine": ["cat", "dog", "ox"]}))
    human = pa.table({"random1": pa.array([0, 1, 2, 0, 0, 1], pa.int8())})
    pq.write_table(human, tmp_path / "human_labels.parquet")
    return tmp_path


def feature_data(n=30):
    rng = np.random.default_rng(0)
    return TrainingData(
        inputs=rng.normal(size=(n, 2, 5)).astype(np.float32),
        labels=np.arange(n) % 10,
        test_inputs=rng.normal(size=(10, 1, 5)).astype(np.float32),
        test_labels=np.arange(10),
        class_names=tuple("abcdefghij"),
        ids=np.arange(n) * 3,
        name="made up",
        kind="features",
    )


def test_features_are_saved_with_what_noise_needs_and_read_again(tmp_path):
    data = feature_data()
    save_features(tmp_path / "f.npz", data, data.inputs, data.test_inputs)
    again = load_data(str(tmp_path / "f.npz"))
    for name in ("inputs", "labels", "test_inputs", "test_labels", "ids"):
        assert np.array_equal(getattr(again, name), getattr(data, name))
    assert again.class_names == data.class_names
    assert again.name == "made up"
    assert [file.name for file in tmp_path.iterdir()] == ["f.npz"]
    part = load_data(str(tmp_path / "f.npz"), subset=12)
    assert np.array_equal(part.labels, (part.ids // 3) % 10)


def test_features_of_one_view_need_no_axis_for_it(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 4))
    np.savez(
        tmp_path / "f.npz", features=x, labels=[0, 1] * 3, test_features=x, test_labels=[1, 0] * 3
    )
    data = load_data(str(tmp_path / "f.npz"))
    assert data.inputs.shape == (6, 1, 4)
    assert data.n_classes == 2


def test_true_labels_in_a_file_stay_with_labels_as_they_are(tmp_path):
    x = np.zeros((4, 5, 5), dtype=np.uint8)
    np.savez(
        tmp_path / "x.npz", x_train=x, y_train=[0, 1, 1, 0], true_train=[0, 1, 0, 0],
        x_test=x, y_test=[0, 1, 0, 1],
    )  # fmt: skip
    data = with_noise(load_data(str(tmp_path / "x.npz")), "none")
    assert data.true_labels.tolist() == [0, 1, 0, 0]


def test_images_with_their_channels_first_are_refused(tmp_path):
    x = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=[0, 1] * 2, x_test=x, y_test=[0, 1] * 2)
    with pytest.raises(ValueError, match="Channels come last"):
        load_data(str(tmp_path / "x.npz"))


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"`rate` must lie in \[0, 1\], got 40"):
        with_noise(load_data("digits", subset=100), "sym", 40)


def test_features_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.zeros((3, 2)), labels=[0, 1, 0])
    with pytest.raises(ValueError, match="it lacks test_features, test_labels"):
        load_data(str(tmp_path / "f.npz"))


def test_test_features_of_another_length_are_refused():
    data = feature_data()
    with pytest.raises(ValueError, match=r"`test_inputs` must have the size of `inputs`, \(5,\)"):
        replace(data, test_inputs=data.test_inputs[..., :3])


def test_digits_come_in_one_fixed_stratified_split(digits):
    np.random.seed(5)
    again = load_data("digits")
    assert digits.inputs.shape == (1437, 1, 8, 8)
    assert digits.test_inputs.shape == (360, 1, 8, 8)
    assert np.array_equal(digits.inputs, again.inputs)
    shares = np.bincount(digits.labels) / 1437 - np.bincount(digits.test_labels) / 360
    assert np.abs(shares).max() < 0.005


def test_no_digit_is_in_both_parts(digits):
    from sklearn.datasets import load_digits

    both = np.concatenate([digits.inputs, digits.test_inputs]).reshape(1797, 64)
    whole = (load_digits().data * 15).astype(np.uint8)
    assert np.array_equal(*(np.unique(rows, axis=0) for rows in (both, whole)))
    assert len(both) == len(whole)


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
    with pytest.raises(ValueError, match="'asym', 'human' or 'none', got 'loud'"):
        with_noise(digits, "loud", 0.4)


def test_a_folder_of_parquet_gives_its_pixels_labels_and_class_names(parquet_folder):
    data = load_data(str(parquet_folder))
    assert data.inputs.shape == (6, 3, 4, 6)
    assert data.inputs.dtype == np.uint8
    assert data.inputs[4, :, 3, 5].tolist() == [40, 0, 255]
    assert data.labels.tolist() == [0, 1, 2, 1, 0, 2]
    assert data.class_names == ("cat", "dog", "ox")


def test_human_labels_are_taken_by_row_number(parquet_folder):
    data = load_data(str(parquet_folder), subset=4)
    noisy = with_noise(data, "human")
    assert noisy.labels.tolist() == np.array([0, 1, 2, 0, 0, 1])[data.ids].tolist()
    assert noisy.noise["realised_rate"] == np.mean(noisy.labels != noisy.true_labels)


def test_human_labels_that_are_not_there_are_asked_for_by_name(digits, parquet_folder):
    with pytest.raises(FileNotFoundError, match=r"human_labels\.parquet"):
        with_noise(digits, "human")
    with pytest.raises(ValueError, match="random1, got 'worse'"):
        with_noise(load_data(str(parquet_folder)), "human", human_column="worse")


def test_a_subset_keeps_the_row_numbers_of_its_images(parquet_folder):
    whole, part = load_data(str(parquet_folder)), load_data(str(parquet_folder), subset=4)
    assert np.array_equal(part.inputs, whole.inputs[part.ids])
    assert np.array_equal(part.labels, whole.labels[part.ids])
    assert part.n_samples == 4


@pytest.mark.parametrize("subset", [0, 7])
def test_a_subset_out_of_range_is_refused(parquet_folder, subset):
    with pytest.raises(ValueError, match=r"`subset` must lie in \[1, n_samples\] = \[1, 6\]"):
        load_data(str(parquet_folder), subset=subset)


def test_an_npz_file_may_hold_grey_or_colour_images(tmp_path):
    grey, colour = np.zeros((5, 4, 6), np.uint8), np.zeros((5, 4, 6, 3), np.uint8)
    colour[..., 2] = 7
    labels = np.array([0, 1, 1, 0, 1])
    for name, images in (("grey", grey), ("colour", colour)):
        parts = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels[:, None]}
        np.savez(tmp_path / f"{name}.npz", **parts)
    assert load_data(str(tmp_path / "grey.npz")).inputs.shape == (5, 1, 4, 6)
    assert (load_data(str(tmp_path / "colour.npz")).inputs[:, 2] == 7).all()


def test_an_npz_file_that_lacks_something_says_what(tmp_path):
    np.savez(tmp_path / "half.npz", x_train=np.zeros((1, 2, 2)), y_train=[0])
    with pytest.raises(ValueError, match="lacks x_test, y_test"):
        load_data(str(tmp_path / "half.npz"))


def test_an_npz_file_with_pickled_objects_is_not_unpickled(tmp_path):
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "evil.npz", **dict.fromkeys(names, np.array([{}], dtype=object)))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_data(str(tmp_path / "evil.npz"))


def test_cifars_binary_files_are_read_plane_by_plane(tmp_path):
    record = np.concatenate([[7], np.repeat([1, 2, 3], 1024)]).astype(np.uint8)
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        np.tile(record, 2).tofile(tmp_path / name)
    data = load_data("cifar10", tmp_path)
    assert data.inputs.shape == (4, 3, 32, 32)
    assert data.inputs[3, :, 0, 0].tolist() == [1, 2, 3]
    assert data.class_names[data.labels[0]] == "horse"


def test_a_truncated_binary_file_is_refused(tmp_path):
    np.zeros(3073 + 5, np.uint8).tofile(tmp_path / "data_batch_1.bin")
    with pytest.raises(ValueError, match="truncated"):
        load_data("cifar10", tmp_path)


def test_absent_data_names_the_files_that_were_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.parquet.*data_batch_1\.bin.*--data-dir"):
        load_data("cifar10", tmp_path)


def test_the_real_cifar_aligns_with_its_human_labels(shared_data):
    data = with_noise(load_data("cifar10", shared_data / "cifar10", subset=500), "human")
    clean = pq.read_table(shared_data / "cifar10" / "human_labels.parquet")["clean_label"]
    assert np.array_equal(data.true_labels, clean.to_numpy()[data.ids])
    assert 0.1 < data.noise["realised_rate"] < 0.25


def test_images_without_a_channel_axis_are_refused_with_the_way_out():
    images, labels = np.zeros((2, 8, 8)), [0, 1]
    with pytest.raises(ValueError, match=r"n_channels.*got \(2, 8, 8\).*axis of one channel"):
        TrainingData(images, labels, images, labels, ("a", "b"))


def test_pixels_leave_with_mean_0_and_deviation_1_per_channel():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    images[:, 1] = 9
    pixels = Pixels(images, torch.device("cpu"))
    batch = pixels.normalise(pixels.raw(torch.arange(50)))
    assert batch.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(batch.std(dim=(0, 2, 3)), torch.tensor([1.0, 0.0, 1.0]))


def test_test_pixels_are_normalised_as_the_training_set():
    device, images = torch.device("cpu"), np.array([[[[0.0, 2.0]]]])
    training = Pixels(images, device)
    test = Pixels(images + 1, device, like=training)
    rows = torch.tensor([0])
    expected = training.normalise(training.raw(rows) + 1)
    torch.testing.assert_close(test.normalise(test.raw(rows)), expected)


RECIPES = MixupRecipes(anchors=["a", "d"], partners=["c", "b"], lam=[0.75, 0.5], labels=[1, 0])
SELECTION = Selection(
    clean=[True, False, False, True],
    trust=[0.6, 0, 0, 0.5],
    ids=["d", "c", "b", "a"],
    synthetic=RECIPES,
)
PIXELS = torch.tensor([[10.0], [20.0], [30.0], [40.0]])


def test_a_selection_becomes_its_real_and_then_its_synthetic_images():
    selected = SelectedSamples(PIXELS, [2, 0, 0, 1], SELECTION)
    images, labels, trust = selected[torch.arange(len(selected))]
    # 0.75 a + 0.25 c = 30 + 5 and 0.5 d + 0.5 b = 5 + 15.
    assert images[:, 0].tolist() == [10, 40, 35, 20]
    assert labels.tolist() == [2, 1, 1, 0]
    torch.testing.assert_close(trust, torch.tensor([0.6, 0.5, 1.0, 1.0]))


def test_a_data_loader_takes_a_selection_image_by_image_or_batch_by_batch():
    selected = SelectedSamples(PIXELS, [2, 0, 0, 1], SELECTION)
    singly = next(iter(torch.utils.data.DataLoader(selected, batch_size=4)))
    batches = torch.utils.data.BatchSampler(range(4), 4, drop_last=False)
    tensors = (torch.tensor(batch) for batch in batches)
    at_once = next(iter(torch.utils.data.DataLoader(selected, sampler=tensors, batch_size=None)))
    for one, other in zip(singly, at_once, strict=True):
        torch.testing.assert_close(one, other)


def test_a_selection_of_other_samples_is_refused():
    with pytest.raises(ValueError, match="n_samples"):
        SelectedSamples(PIXELS[:3], [2, 0, 0], SELECTION)
