from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisyselect.torch.data import TrainingData, load_data, save_features


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


def test_features_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.zeros((3, 2)), labels=[0, 1, 0])
    with pytest.raises(ValueError, match="it lacks test_features, test_labels"):
        load_data(str(tmp_path / "f.npz"))


def test_test_features_of_another_length_are_refused():
    data = feature_data()
    with pytest.raises(ValueError, match=r"`test_inputs` must have the size of `inputs`, \(5,\)"):
        replace(data, test_inputs=data.test_inputs[..., :3])


def npy_folder(folder, **more):
    x = np.arange(60, dtype=np.float32).reshape(12, 5)
    arrays = {
        "features": x,
        "labels": np.arange(12) % 3,
        "test_features": x[:4] + 1,
        "test_labels": np.arange(4) % 3,
    }
    for name, values in (arrays | more).items():
        np.save(folder / f"{name}.npy", values)
    return x


def test_features_in_npy_files_stay_on_disk(tmp_path):
    x = npy_folder(tmp_path, ids=np.arange(12) * 10, true_labels=np.zeros(12, int))
    data = load_data(str(tmp_path))
    assert data.kind == "features"
    assert isinstance(data.inputs, np.memmap)
    assert np.array_equal(data.inputs[:, 0], x)
    assert np.array_equal(data.test_inputs[:, 0], x[:4] + 1)
    assert data.n_classes == 3
    part = load_data(str(tmp_path), subset=5)
    assert np.array_equal(part.inputs[:, 0], x[part.ids // 10])
    assert part.true_labels.tolist() == [0] * 5


def test_an_npy_file_that_is_missing_or_damaged_is_named(tmp_path):
    npy_folder(tmp_path)
    whole = (tmp_path / "labels.npy").read_bytes()
    (tmp_path / "labels.npy").write_bytes(whole[:40])
    with pytest.raises(ValueError, match=r"labels\.npy cannot be read as an array"):
        load_data(str(tmp_path))
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(ValueError, match="it lacks labels"):
        load_data(str(tmp_path))


def feature_parquet(folder, columns, n_test=3):
    pq.write_table(pa.table(columns), folder / "train.parquet")
    test = {name: values[:n_test] for name, values in columns.items()}
    pq.write_table(pa.table(test), folder / "test.parquet")


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 4)])
def test_features_may_be_lists_in_parquet(tmp_path, kind):
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    labels = pa.array(np.arange(9) % 3, pa.int8())
    feature_parquet(tmp_path, {"feature": pa.array(list(x), kind), "label": labels})
    (tmp_path / "classes.txt").write_text("cat\ndog\nyak\nowl\n")
    data = load_data(str(tmp_path), subset=6)
    assert data.kind == "features"
    assert np.array_equal(data.inputs[:, 0], x[data.ids])
    assert np.array_equal(data.labels, data.ids % 3)
    assert np.array_equal(data.test_inputs[:, 0], x[:3])
    assert data.class_names == ("cat", "dog", "yak", "owl")


def test_several_views_in_parquet_keep_their_order_ids_and_true_labels(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 2, 4))
    columns = {f"feature_{view}": pa.array(list(x[:, view])) for view in (1, 0)}
    columns |= {"label": pa.array([0, 1] * 3), "true_label": pa.array([1] * 6)}
    columns |= {"id": pa.array(list("abcdef"))}
    feature_parquet(tmp_path, columns)
    data = load_data(str(tmp_path))
    assert np.array_equal(data.inputs, x)
    assert data.ids.tolist() == list("abcdef")
    assert data.true_labels.tolist() == [1] * 6


@pytest.mark.parametrize(
    ("feature", "match"),
    [
        (pa.array([[1.0], [1.0, 2.0]]), "lists of one length"),
        (pa.array([1.0, 2.0]), "must hold lists"),
    ],
)
def test_a_column_that_holds_no_features_is_refused(tmp_path, feature, match):
    feature_parquet(tmp_path, {"feature": feature, "label": pa.array([0, 1])})
    with pytest.raises(ValueError, match=match):
        load_data(str(tmp_path))


def test_parquet_features_that_lack_a_view_or_a_label_are_refused(tmp_path):
    x = pa.array([[1.0, 2.0], [3.0, 4.0]])
    feature_parquet(tmp_path, {"feature_0": x, "feature_2": x, "label": pa.array([0, 1])})
    with pytest.raises(ValueError, match="without a gap, got feature_0, feature_2"):
        load_data(str(tmp_path))
    feature_parquet(tmp_path, {"feature": x, "label": pa.array([0, None])})
    with pytest.raises(ValueError, match="`label` must be known for all, got 1 that are null"):
        load_data(str(tmp_path))
