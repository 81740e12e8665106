import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisyselect.store import RunWriter
from noisyselect.torch.data import TrainingData, with_labels


@pytest.fixture
def data():
    x = np.zeros((6, 1, 2, 2))
    truth = [0, 1, 2, 0, 1, 2]
    return TrainingData(x, truth, x, truth, tuple("abc"), ids=[10, 3, 7, 1, 20, 5])


WRONG = {1: 2, 3: 1, 5: 0, 7: 2, 10: 0, 20: 1}  # of 1 and 5 only


def save(path, ids, labels):
    if path.suffix == ".csv":
        rows = [f"{label},x,{i}" for i, label in zip(ids, labels, strict=True)]
        path.write_text("\n".join(["label,other,id", *rows]) + "\n")
    else:
        columns = {"id": pa.array(ids), "label": pa.array(labels, pa.int16())}
        pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_labels_are_matched_by_id(data, tmp_path, name):
    save(tmp_path / name, list(WRONG), list(WRONG.values()))
    noisy = with_labels(data, tmp_path / name)
    assert noisy.labels.tolist() == [WRONG[i] for i in data.ids.tolist()]
    assert noisy.true_labels.tolist() == data.labels.tolist()
    assert noisy.noise == {
        "kind": "saved",
        "source": str(tmp_path / name),
        "nominal_rate": 2 / 6,
        "realised_rate": 2 / 6,
    }


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_ids_may_be_strings(data, tmp_path, name):
    x = np.zeros((3, 1, 2, 2))
    strings = TrainingData(x, [0, 1, 2], x, [0, 1, 2], tuple("abc"), ids=["q", "007", "7"])
    save(tmp_path / name, ["7", "007", "q"], [0, 1, 2])
    assert with_labels(strings, tmp_path / name).labels.tolist() == [2, 1, 0]


def test_an_array_of_labels_is_taken_in_the_order_of_the_data(data, tmp_path):
    np.save(tmp_path / "y.npy", np.array([2, 2, 2, 0, 1, 2], np.int8))
    assert with_labels(data, tmp_path / "y.npy").labels.tolist() == [2, 2, 2, 0, 1, 2]
    np.save(tmp_path / "y.npy", np.zeros(5, int))
    with pytest.raises(ValueError, match=r"\(n_samples,\) = \(6,\), got \(5,\).*has no ids"):
        with_labels(data, tmp_path / "y.npy")


def test_the_given_labels_of_a_run_are_taken_by_id(data, tmp_path):
    given, ids = list(WRONG.values()), list(WRONG)
    RunWriter.create(tmp_path / "run", given, n_classes=3, ids=ids, true_labels=[0] * 6)
    noisy = with_labels(data, tmp_path / "run")
    assert noisy.labels.tolist() == [WRONG[i] for i in data.ids.tolist()]
    assert noisy.true_labels.tolist() == data.labels.tolist()


def test_labels_of_other_samples_are_refused_with_counts_and_the_first_few(data, tmp_path):
    save(tmp_path / "y.csv", [1, 3, 5, 99, 98], [0] * 5)
    with pytest.raises(ValueError, match=r"3 are missing \(10, 20, 7\), 2 are unknown \(98, 99\)"):
        with_labels(data, tmp_path / "y.csv")
    save(tmp_path / "y.csv", [*WRONG, 7], [0] * 7)
    with pytest.raises(ValueError, match="each id once, got 1 again: 7"):
        with_labels(data, tmp_path / "y.csv")


def test_labels_out_of_range_are_refused(data, tmp_path):
    save(tmp_path / "y.parquet", list(WRONG), [0, 1, 2, 3, -1, 0])
    with pytest.raises(ValueError, match=r"`labels` must lie in .* = \[0, 3\), got 2"):
        with_labels(data, tmp_path / "y.parquet")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("y.csv", "id,class\n1,0\n", "columns id and label, got id, class"),
        ("y.csv", "", "columns id and label, got none"),
        ("y.csv", "id,label\n1,cat\n2\n", "got 2 rows that have not, the first"),
        ("y.parquet", "nothing", "cannot be read as Parquet"),
        ("y.txt", "1 2", r"named \.csv, \.parquet or \.npy"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(data, tmp_path, name, content, match):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=match):
        with_labels(data, tmp_path / name)


def test_a_source_that_is_not_there_is_asked_for(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No labels at .*y\.csv"):
        with_labels(data, tmp_path / "y.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is not a run directory"):
        with_labels(data, tmp_path / "empty")
