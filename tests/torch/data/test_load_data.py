import numpy as np
import pytest

from noisyselect.torch.data import load_data, with_noise


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


def test_a_folder_of_parquet_gives_its_pixels_labels_and_class_names(parquet_folder):
    data = load_data(str(parquet_folder))
    assert data.inputs.shape == (6, 3, 4, 6)
    assert data.inputs.dtype == np.uint8
    assert data.inputs[4, :, 3, 5].tolist() == [40, 0, 255]
    assert data.labels.tolist() == [0, 1, 2, 1, 0, 2]
    assert data.class_names == ("cat", "dog", "ox")


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


def test_a_subset_takes_true_labels_along(tmp_path):
    x, truth = np.arange(20, dtype=np.uint8).reshape(20, 1, 1), np.arange(20) % 4
    np.savez(
        tmp_path / "x.npz", x_train=x, y_train=truth[::-1], true_train=truth, x_test=x, y_test=truth
    )
    data = load_data(str(tmp_path / "x.npz"), subset=7)
    assert np.array_equal(data.true_labels, data.ids % 4)
    assert np.array_equal(data.inputs.ravel(), data.ids)


def test_class_names_may_also_stand_one_on_a_line(parquet_folder):
    (parquet_folder / "classes.json").unlink()
    (parquet_folder / "classes.txt").write_text("cat\ndog\n\nyak\n")
    assert load_data(str(parquet_folder)).class_names == ("cat", "dog", "yak")
