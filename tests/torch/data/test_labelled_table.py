import numpy as np
import pandas as pd
import pytest

from noisyselect.torch.data import read_labelled_table

ROWS = pd.DataFrame(
    {
        "key": ["r3", "r1", "r2", "r0"],
        "width": [1.5, 2.5, 0.5, 4.0],
        "count": [3, 1, 7, 7],
        "large": [True, False, True, True],
        "label": ["cat", "dog", "cat", "dog"],
        "truth": ["cat", "dog", "dog", "dog"],
    }
)
PARTS = {"id_name": "key", "true_label": "truth"}


def written(folder, rows, kind=".csv"):
    path = folder / f"rows{kind}"
    if kind == ".csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_numeric_columns_are_features_and_the_others_are_what_they_are_named(tmp_path, kind):
    table = read_labelled_table(written(tmp_path, ROWS, kind), **PARTS)
    assert table.feature_names == ("width", "count", "large")
    assert table.features.tolist() == [[1.5, 3, 1], [2.5, 1, 0], [0.5, 7, 1], [4, 7, 1]]
    assert table.labels.tolist() == ["cat", "dog", "cat", "dog"]
    assert table.ids.tolist() == ["r3", "r1", "r2", "r0"]
    assert table.true_labels.tolist() == ["cat", "dog", "dog", "dog"]
    assert (table.label_name, table.id_name, table.left_out) == ("label", "key", ())


def test_what_is_ignored_is_no_feature(tmp_path):
    table = read_labelled_table(
        written(tmp_path, ROWS), label="large", ignore=["key", "label", "truth"]
    )
    assert table.feature_names == ("width", "count")
    assert table.labels.tolist() == [1, 0, 1, 1]
    assert table.ids is None
    assert table.left_out == ("key", "label", "truth")


def test_a_column_named_id_is_the_ids_and_a_label_may_be_called_target_or_y(tmp_path):
    rows = pd.DataFrame({"ID": [9, 4, 7], "x": [0.1, 0.2, 0.4], "Target": [3.0, 5.0, 3.0]})
    table = read_labelled_table(written(tmp_path, rows))
    assert table.ids.tolist() == [9, 4, 7]
    assert table.labels.tolist() == [3, 5, 3]
    assert table.labels.dtype.kind == "i"
    assert table.feature_names == ("x",)


def test_categories_of_parquet_are_names(tmp_path):
    rows = ROWS.assign(label=ROWS["label"].astype("category"))
    assert read_labelled_table(written(tmp_path, rows, ".parquet"), **PARTS).labels[1] == "dog"


def refusal(path, **options):
    with pytest.raises((ValueError, TypeError)) as caught:
        read_labelled_table(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"true_label": "truth"}, "string: features must be numbers"),
        ({}, PARTS | {"label": "lable"}, "has no column 'lable'; it has key, width"),
        ({}, PARTS | {"label": "truth"}, "column 'truth' cannot be two things at once"),
        ({"y": [0, 1, 0, 1]}, PARTS, "got label and y. Name the column of the labels"),
        ({"i": [7, 8, 9, 10]}, PARTS, "column 'i' counts the rows"),
        ({"True_Label": [1, 0, 0, 1]}, PARTS, "'True_Label' looks like true labels"),
        (
            {"width": [1.5, None, 2.0, np.inf]},
            PARTS,
            "column 'width' has 2 values that are missing or not finite, in the rows 1, 3 (from 0)",
        ),
        (
            {"label": ["cat", None, "dog", ""]},
            PARTS,
            "'label' has 2 empty values, in the rows 1, 3",
        ),
        ({"label": [0.5, 1, 2, 0]}, PARTS, "column 'label' must hold integers or strings"),
        ({"truth": ["cat", "dog", "cow", "cat"]}, PARTS, "got 1 others: cow"),
        ({}, PARTS | {"ignore": ["width", "count", "large"]}, "no column left for features"),
    ],
)
@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_what_would_be_misread_is_refused_with_the_way_out(
    tmp_path, kind, change, options, message
):
    if kind == ".parquet" and "" in change.get("label", []):
        pytest.skip("an empty name is a name in Parquet")
    path = written(tmp_path, ROWS.assign(**change), kind)
    assert message in refusal(path, **options)


def test_a_table_without_a_label_column_names_what_it_has(tmp_path):
    path = written(tmp_path, ROWS.rename(columns={"label": "species"}))
    assert "got none of them in key, width, count, large, species" in refusal(path, **PARTS)


def test_no_rows_twice_the_same_column_and_no_table_are_refused(tmp_path):
    assert "has no rows" in refusal(written(tmp_path, ROWS[:0]), **PARTS)
    (tmp_path / "twice.csv").write_text("x,x,label\n1,2,a\n")
    assert "more than one column x" in refusal(tmp_path / "twice.csv")
    (tmp_path / "ragged.csv").write_text("x,label\n1,a\n1,2,3\n")
    assert "cannot be read as CSV" in refusal(tmp_path / "ragged.csv")
    (tmp_path / "none.parquet").write_bytes(b"no table")
    assert "cannot be read as Parquet" in refusal(tmp_path / "none.parquet")
    assert "must be a .npy, .npz, .csv or .parquet file" in refusal(tmp_path / "x.xlsx")
    with pytest.raises(FileNotFoundError):
        read_labelled_table(tmp_path / "nowhere.csv")


def test_a_pair_of_npy(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(3, dtype=np.float16))
    np.save(tmp_path / "y.npy", np.array(["a", "b", "a"]))
    table = read_labelled_table(tmp_path / "X.npy", tmp_path / "y.npy")
    assert table.features.tolist() == np.eye(3).tolist()
    assert table.labels.tolist() == ["a", "b", "a"]
    assert "needs a second .npy" in refusal(tmp_path / "X.npy")
    assert "hold their labels themselves" in refusal(
        tmp_path / "X.csv", labels_path=tmp_path / "y.npy"
    )
    np.save(tmp_path / "objects.npy", np.array([1, "a"], dtype=object))
    assert "plain numbers or strings" in refusal(
        tmp_path / "X.npy", labels_path=tmp_path / "objects.npy"
    )
    (tmp_path / "cut.npy").write_bytes((tmp_path / "X.npy").read_bytes()[:-5])
    assert "cut.npy cannot be read" in refusal(tmp_path / "cut.npy", labels_path=tmp_path / "y.npy")


def test_an_npz_of_either_names(tmp_path):
    X, y = np.eye(3), np.array([4, 9, 4])
    np.savez(tmp_path / "xy.npz", X=X, y=y, names=np.array(["p", "q", "r"]), right=y)
    table = read_labelled_table(tmp_path / "xy.npz", id_name="names", true_label="right")
    assert table.ids.tolist() == ["p", "q", "r"]
    assert table.true_labels.tolist() == [4, 9, 4]
    assert "has no array 'name'; it has X, y, names" in refusal(tmp_path / "xy.npz", id_name="name")
    assert "has no columns to choose from" in refusal(tmp_path / "xy.npz", label="y")
    np.savez(tmp_path / "other.npz", a=X)
    assert "either X and y or features and labels, got a" in refusal(tmp_path / "other.npz")


def test_of_saved_features_the_first_view_is_the_sample(tmp_path):
    views = np.random.default_rng(0).normal(size=(4, 2, 3))
    np.savez(
        tmp_path / "F.npz",
        features=views,
        labels=np.array([0, 1, 0, 1]),
        test_features=views,
        test_labels=np.array([0, 1, 0, 1]),
    )
    table = read_labelled_table(tmp_path / "F.npz")
    assert np.array_equal(table.features, views[:, 0])
    assert table.left_out == ("test_features", "test_labels")
