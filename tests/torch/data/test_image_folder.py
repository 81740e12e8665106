import json

import numpy as np
import pytest

from noisyselect.torch.data import ImageFiles, load_data
from noisyselect.torch.data import image_folder as module

ROWS = (
    ("red/0.png", "dog", "train", "cat"),
    ("red/1.png", "cat", "test", ""),
    ("deep/er/2.png", "cat", "train", "cat"),
    ("3.png", "ox", "val", ""),
    ("4.png", "ox", "train", "ox"),
)


def table(folder, header, rows):
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path, write_image):
    for number, (name, *_) in enumerate(ROWS):
        write_image(tmp_path / name, (10 * number, 0, 255))
    table(tmp_path, ("file", "label", "split", "true_label"), ROWS)
    return tmp_path


def test_a_table_says_which_image_is_what(folder):
    data = load_data(str(folder))
    assert data.inputs.shape == (3, 3, 4, 6)
    assert data.inputs[:, 0, 0, 0].tolist() == [0, 20, 40]
    assert data.test_inputs[:, 0, 0, 0].tolist() == [10]
    assert data.val_inputs[:, 0, 0, 0].tolist() == [30]
    assert data.class_names == ("cat", "dog", "ox")
    assert data.labels.tolist() == [1, 0, 2]
    assert data.true_labels.tolist() == [0, 0, 2]
    assert (data.test_labels.tolist(), data.val_labels.tolist()) == ([0], [2])
    assert data.ids.tolist() == [0, 2, 4]
    assert data.name == folder.name


def test_a_subset_of_the_training_images_is_decoded_alone(folder):
    (folder / "deep/er/2.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"2\.png cannot be read"):
        load_data(str(folder))
    data = load_data(str(folder), subset=2)
    assert data.ids.tolist() == [0, 4]
    assert data.true_labels.tolist() == [0, 2]
    assert len(data.test_labels) == 1


def test_images_of_several_sizes_stay_in_their_files(folder, write_image):
    write_image(folder / "4.png", (40, 0, 255), width=9, height=7)
    data = load_data(str(folder))
    assert isinstance(data.inputs, ImageFiles)
    assert data.inputs.shape == (3, 3, 256, 256)
    data = load_data(str(folder), size=3)
    assert data.inputs.read([0, 2])[:, 0].tolist() == [[[0] * 3] * 3, [[40] * 3] * 3]
    assert data.val_inputs.read()[0, 0, 0, 0] == 30


def test_more_images_than_memory_should_hold_stay_in_their_files(folder, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BYTES", 5 * 3 * 24 - 1)
    assert isinstance(load_data(str(folder)).inputs, ImageFiles)
    monkeypatch.setattr(module, "_MAX_BYTES", 5 * 3 * 24)
    assert isinstance(load_data(str(folder)).inputs, np.ndarray)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classes.txt", "ox\ncat\nyak\ndog\n"),
        ("classes.json", json.dumps(["ox", "cat", "yak", "dog"])),
    ],
)
def test_the_order_of_the_classes_may_be_given(folder, file, content):
    (folder / file).write_text(content)
    data = load_data(str(folder))
    assert data.class_names == ("ox", "cat", "yak", "dog")
    assert data.labels.tolist() == [3, 1, 0]
    assert data.true_labels.tolist() == [1, 1, 0]


def test_labels_may_be_numbers_with_or_without_names(folder):
    numbers = [
        (name, label, split)
        for (name, _, split, _), label in zip(ROWS, (10, 2, 0, 3, 2), strict=True)
    ]
    table(folder, ("file", "label", "split"), numbers)
    data = load_data(str(folder))
    # As numbers: 10 comes after 2.
    assert data.n_classes == 11
    assert data.labels.tolist() == [10, 0, 2]
    assert data.true_labels is None
    (folder / "classes.txt").write_text("\n".join("abcdefghijk"))
    assert load_data(str(folder)).labels.tolist() == [10, 0, 2]
    assert load_data(str(folder)).class_names[10] == "k"


def test_true_labels_that_some_training_image_lacks_are_left_out(folder):
    table(folder, ("file", "label", "split", "true_label"), [*ROWS[:4], (*ROWS[4][:3], "")])
    assert load_data(str(folder)).true_labels is None


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([5, 9, 3, 8, 7], [5, 3, 7]),
        (["007", "1", "2", "3", "7"], ["007", "2", "7"]),
    ],
)
def test_ids_may_be_numbers_or_strings(folder, ids, expected):
    rows = [(*row[:3], i) for row, i in zip(ROWS, ids, strict=True)]
    table(folder, ("file", "label", "split", "id"), rows)
    assert load_data(str(folder)).ids.tolist() == expected


@pytest.mark.parametrize(
    ("header", "rows", "match"),
    [
        (("file", "label"), [("3.png", "a")], "must say which images test.*Add a column split"),
        (("name", "label"), [("3.png", "a")], "lacks file and has name, label"),
        (
            ("file", "label", "split"),
            [("3.png", "a", "dev")],
            "train, val or test, got 1 others.*dev",
        ),
        (("file", "label", "split"), [("3.png", "a", "train")], "got 1 and 0"),
        (("file", "label", "split"), [("3.png", "a")], "must have 3 fields a row"),
        (("file", "label", "split"), [("3.png", "a", "train")] * 2, "each file once"),
        (
            ("file", "label", "split"),
            [("3.png", "", "train"), ("4.png", "a", "test")],
            "`label` must hold the names of the 1 classes",
        ),
    ],
)
def test_a_table_that_does_not_say_enough_is_refused(folder, header, rows, match):
    table(folder, header, rows)
    with pytest.raises(ValueError, match=match):
        load_data(str(folder))


def test_a_class_that_is_not_among_the_names_is_refused(folder):
    (folder / "classes.txt").write_text("ox\ncat\n")
    with pytest.raises(ValueError, match=r"2 classes or numbers in \[0, 2\), got 1 others: dog"):
        load_data(str(folder))
