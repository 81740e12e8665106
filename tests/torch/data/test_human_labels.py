from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisyselect.torch.data import load_data, with_noise


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


def test_the_real_cifar_aligns_with_its_human_labels(shared_data):
    data = with_noise(load_data("cifar10", shared_data / "cifar10", subset=500), "human")
    clean = pq.read_table(shared_data / "cifar10" / "human_labels.parquet")["clean_label"]
    assert np.array_equal(data.true_labels, clean.to_numpy()[data.ids])
    assert 0.1 < data.noise["realised_rate"] < 0.25


HUMAN = {
    "clean_label": np.array([0, 1, 2, 1, 0, 2]),
    "aggre_label": np.array([0, 1, 2, 1, 1, 2]),
    "random_label1": np.array([0, 1, 2, 2, 1, 0]),
    "coarse": [0, 0, 0, 0, 0, 0],
}


@pytest.fixture
def torch_folder(parquet_folder):
    (parquet_folder / "human_labels.parquet").unlink()
    torch.save(HUMAN, parquet_folder / "CIFAR-10_human.pt")
    return parquet_folder


@pytest.mark.parametrize("column", ["aggregate", "aggre_label"])
def test_the_torch_files_of_cifar_n_are_read_without_running_code(torch_folder, column):
    data = load_data(str(torch_folder), subset=4)
    noisy = with_noise(data, "human", human_column=column)
    assert np.array_equal(noisy.labels, HUMAN["aggre_label"][data.ids])
    assert np.array_equal(noisy.true_labels, data.labels)


def test_a_human_file_may_lie_elsewhere(torch_folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("labels") / "mine.pt"
    (torch_folder / "CIFAR-10_human.pt").rename(elsewhere)
    noisy = with_noise(load_data(str(torch_folder)), "human", human_file=elsewhere)
    assert noisy.labels.tolist() == HUMAN["random_label1"].tolist()
    with pytest.raises(FileNotFoundError, match="got no such file at nowhere"):
        with_noise(noisy, "human", human_file="nowhere")


@pytest.mark.parametrize("format_", ["torch", "parquet"])
def test_images_in_another_order_than_the_human_labels_are_refused(parquet_folder, format_):
    shuffled = HUMAN | {"clean_label": np.array([0, 1, 2, 0, 1, 2])}
    if format_ == "torch":
        (parquet_folder / "human_labels.parquet").unlink()
        torch.save(shuffled, parquet_folder / "CIFAR-100_human.pt")
    else:
        table = pa.table(shuffled | {"random1": HUMAN["random_label1"]})
        pq.write_table(table, parquet_folder / "human_labels.parquet")
    with pytest.raises(ValueError, match=r"not aligned.* for 2 of 6 images, the first with id 3"):
        with_noise(load_data(str(parquet_folder)), "human")


class Anything:
    pass


@pytest.mark.parametrize("content", [{"clean_label": Anything()}, [1, 2]])
def test_a_torch_file_of_anything_but_arrays_is_not_unpickled(torch_folder, content):
    torch.save(content, torch_folder / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match="must hold a dictionary of label arrays alone"):
        with_noise(load_data(str(torch_folder)), "human")


def test_a_torch_file_whose_order_cannot_be_checked_is_refused(torch_folder):
    torch.save({"random_label1": np.arange(6)}, torch_folder / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match="must hold clean_label"):
        with_noise(load_data(str(torch_folder)), "human")


def test_human_labels_need_ids_that_are_row_numbers(torch_folder):
    data = load_data(str(torch_folder))
    with pytest.raises(ValueError, match="got 6 rows and row numbers from 1 to 6"):
        with_noise(replace(data, ids=np.arange(6) + 1), "human")
    with pytest.raises(ValueError, match="matched by row number, got ids that are strings"):
        with_noise(replace(data, ids=list("abcdef")), "human")


def test_the_real_cifar100_does_not_align_with_labels_in_the_original_order(shared_data, tmp_path):
    data = load_data("cifar100", shared_data / "cifar100", subset=300)
    original = np.random.default_rng(0).integers(0, 100, 50_000)
    torch.save({"clean_label": original, "noisy_label": original}, tmp_path / "CIFAR-100_human.pt")
    with pytest.raises(ValueError, match="not aligned"):
        with_noise(data, "human", human_column="noisy", human_file=tmp_path / "CIFAR-100_human.pt")
