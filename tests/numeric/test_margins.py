import csv
from pathlib import Path

import numpy as np
import pytest

from noisyselect.numeric.margins import mean_margin

# What the package aum wrote of these logits.
AUM = Path(__file__).parents[1] / "store" / "data"


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_margin_is_what_the_aum_package_computes_from_logits(dtype):
    with np.load(AUM / "aum_logits.npz", allow_pickle=False) as arrays:
        ids, labels, logits = arrays["ids"], arrays["labels"], arrays["logits"]
    with (AUM / "full_aum_records.csv").open() as file:
        # The last record of a sample has the mean of all its epochs.
        expected = {row["sample_id"]: float(row["aum"]) for row in csv.DictReader(file)}
    got = mean_margin(softmax(logits.astype(np.float64)).astype(dtype), labels)
    assert len(expected) == ids.size
    assert got == pytest.approx([expected[name] for name in ids], abs=1e-5)


def test_a_probability_of_0_counts_as_the_smallest_that_is_not_0():
    probabilities = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1e-9], [0.125, 0.875]]])
    margin = mean_margin(probabilities, np.array([0, 0]))
    assert margin == pytest.approx([np.log(1e9), (np.log(1e-9) + np.log(1 / 7)) / 2])


def test_a_probability_of_0_counts_as_6e_8_where_all_others_are_large():
    margin = mean_margin(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([0, 0]))
    assert margin == pytest.approx([np.log(2.0**24), -np.log(2.0**24)])
