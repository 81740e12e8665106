import numpy as np
import pytest

from noisyselect.torch.data import ImageFiles, load_data

TRAIN = [f"images/0/00/{i},{i}.jpg" for i in range(6)]
VAL, TEST = ["images/1/11/7.jpg"], ["images/1/11/8.jpg", "images/1/11/9.jpg"]
NOISY = dict(zip(TRAIN, (13, 0, 2, 2, 5, 0), strict=True))
CLEAN = dict(zip((*VAL, *TEST, TRAIN[0]), (4, 13, 1, 12), strict=True))


def write_lists(folder, clean=CLEAN, noisy=NOISY):
    for name, keys in (
        ("noisy_train", TRAIN),
        ("clean_train", TRAIN[:1]),
        ("clean_val", VAL),
        ("clean_test", TEST),
    ):
        (folder / f"{name}_key_list.txt").write_text("\n".join(keys) + "\n")
    for name, labels in (("noisy", noisy), ("clean", clean)):
        lines = [f"{key} {label}" for key, label in labels.items()]
        (folder / f"{name}_label_kv.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def clothing(tmp_path, write_image):
    for number, name in enumerate((*TRAIN, *VAL, *TEST)):
        write_image(tmp_path / name, 20 * number, width=30, height=20)
    write_lists(tmp_path)
    return tmp_path


def test_its_lists_say_which_image_trains_validates_and_tests(clothing):
    data = load_data("clothing1m", clothing, size=16)
    assert data.labels.tolist() == [13, 0, 2, 2, 5, 0]
    assert (data.val_labels.tolist(), data.test_labels.tolist()) == ([4], [13, 1])
    assert data.ids.tolist() == list(range(6))
    assert data.inputs.shape == (6, 3, 16, 16)
    brightness = [
        part.read().mean((1, 2, 3)).tolist()
        for part in (data.inputs, data.val_inputs, data.test_inputs)
    ]
    assert brightness == [[0, 20, 40, 60, 80, 100], [120], [140, 160]]
    assert (data.n_classes, data.class_names[8], data.name) == (14, "Down Coat", "clothing1m")
    assert data.true_labels is None


def test_images_have_256_pixels_and_are_not_read_before_they_are_wanted(clothing):
    (clothing / TRAIN[3]).unlink()
    data = load_data("clothing1m", clothing)
    assert isinstance(data.inputs, ImageFiles)
    assert data.inputs.shape == (6, 3, 256, 256)


def test_a_subset_keeps_the_lines_of_its_images_as_ids(clothing):
    data = load_data("clothing1m", clothing, subset=4)
    assert data.n_samples == 4
    assert np.array_equal(data.labels, np.array([13, 0, 2, 2, 5, 0])[data.ids])
    assert data.inputs.names.tolist() == [TRAIN[i] for i in data.ids]


def test_true_labels_are_there_if_every_training_image_has_one(clothing):
    write_lists(clothing, clean=CLEAN | dict.fromkeys(TRAIN, 3))
    assert load_data("clothing1m", clothing).true_labels.tolist() == [3] * 6


def test_lists_may_lie_in_a_folder_of_annotations_with_names_of_classes(clothing):
    (clothing / "annotations").mkdir()
    for path in clothing.glob("*.txt"):
        path.rename(clothing / "annotations" / path.name)
    names = [f"class {c}" for c in range(14)]
    (clothing / "annotations" / "category_names_eng.txt").write_text("\n".join(names))
    data = load_data(str(clothing))
    assert data.class_names == tuple(names)
    assert data.labels.tolist() == list(NOISY.values())


def test_what_is_missing_is_named(clothing):
    noisy = {key: label for key, label in NOISY.items() if key not in TRAIN[2:4]}
    write_lists(clothing, noisy=noisy)
    with pytest.raises(ValueError, match=r"got none for 2 of 6, the first images/0/00/2,2\.jpg"):
        load_data("clothing1m", clothing)
    write_lists(clothing)
    (clothing / "clean_val_key_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"needs .*clean_val_key_list\.txt"):
        load_data("clothing1m", clothing)


def test_images_that_were_not_unpacked_are_asked_for(clothing):
    (clothing / TEST[0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"names images/1/11/8\.jpg, which is not in"):
        load_data("clothing1m", clothing)


@pytest.mark.parametrize("line", ["images/1.jpg", "images/1.jpg x", "images/1.jpg -1"])
def test_a_line_without_a_label_is_refused(clothing, line):
    (clothing / "noisy_label_kv.txt").write_text(f"{TRAIN[0]} 1\n{line}\n")
    with pytest.raises(ValueError, match="line 2 must be a path and a class number"):
        load_data("clothing1m", clothing)
