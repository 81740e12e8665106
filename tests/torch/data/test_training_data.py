from dataclasses import replace

import numpy as np
import pytest

from noisyselect.torch.data import ImageFiles, TrainingData


def test_images_without_a_channel_axis_are_refused_with_the_way_out():
    images, labels = np.zeros((2, 8, 8)), [0, 1]
    with pytest.raises(ValueError, match=r"n_channels.*got \(2, 8, 8\).*axis of one channel"):
        TrainingData(images, labels, images, labels, ("a", "b"))


def in_files(n=4, **more):
    files = ImageFiles("nowhere", [f"{i}.png" for i in range(n)], size=8)
    labels = np.arange(n) % 2
    return TrainingData(files, labels, files, labels, ("a", "b"), **more)


def test_images_may_stay_in_their_files():
    data = in_files()
    assert data.inputs.shape == (4, 3, 8, 8)
    assert data.n_samples == 4
    with pytest.raises(ValueError, match=r"`labels` must have shape \(n_samples,\) = \(4,\)"):
        replace(data, labels=[0, 1])
    with pytest.raises(ValueError, match="n_views, n_features"):
        replace(data, kind="features")


def test_taking_rows_keeps_what_belongs_to_each_sample():
    data = in_files(true_labels=[1, 1, 0, 0], ids=[5, 6, 7, 8]).take(np.array([2, 0]))
    assert data.ids.tolist() == [7, 5]
    assert data.labels.tolist() == [0, 0]
    assert data.true_labels.tolist() == [0, 1]
    assert data.inputs.names.tolist() == ["2.png", "0.png"]
    assert len(data.test_labels) == 4


def test_samples_to_choose_a_model_by_are_checked_like_those_of_the_test():
    data = in_files()
    assert data.val_inputs is None
    with pytest.raises(ValueError, match="must be given together"):
        replace(data, val_labels=[0, 1])
    with pytest.raises(ValueError, match=r"`val_labels` must lie in \[0, n_classes\)"):
        replace(data, val_inputs=data.inputs[[0, 1]], val_labels=[0, 2])
    small = ImageFiles("nowhere", ["x.png"], size=4)
    with pytest.raises(ValueError, match=r"`val_inputs` must have the size of `inputs`, \(8, 8\)"):
        replace(data, val_inputs=small, val_labels=[0])


def test_no_array_of_the_data_can_be_written_to():
    images = np.zeros((2, 1, 4, 4))
    data = TrainingData(
        images, [0, 1], images, [0, 1], ("a", "b"), val_inputs=images, val_labels=[1, 0]
    )
    for name in ("inputs", "labels", "test_inputs", "test_labels", "val_inputs", "val_labels"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(data, name)[0] = 1
