import numpy as np
import pytest
import torch

from noisyselect.numeric import neighbours as by_faiss
from noisyselect.torch import neighbours as by_torch
from noisyselect.torch.neighbours import find_neighbours, nearest_neighbours


def features(n=300, n_features=8, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, n_features)))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [1, 300 * 7, 2**26])
def test_the_answer_is_that_of_faiss_whatever_the_blocks(metric, block, monkeypatch):
    monkeypatch.setattr(by_torch, "_BLOCK", block)
    given = features() + 1e5 * (metric == "euclidean")
    expected = by_faiss.nearest_neighbours(given.numpy(), 7, metric)
    assert np.array_equal(nearest_neighbours(given, 7, metric), expected)


def test_the_sample_itself_is_no_neighbour_even_among_duplicates():
    given = torch.arange(3.0).repeat_interleave(20)[:, None] + 1
    near = nearest_neighbours(given, 5, "euclidean")
    assert (near != np.arange(60)[:, None]).all()
    assert (given.numpy()[near, 0] == given.numpy()).all()


def test_missing_neighbours_are_minus_one():
    given = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert nearest_neighbours(given, 3).tolist() == [[1, -1, -1], [0, -1, -1]]
    assert nearest_neighbours(given[:1], 2).tolist() == [[-1, -1]]


def test_no_neighbours_are_refused():
    with pytest.raises(ValueError, match=r"at least 1 neighbour, got 0"):
        nearest_neighbours(features(), 0)


def test_without_faiss_torch_finds_the_same(monkeypatch):
    expected = find_neighbours(features(), 5)
    monkeypatch.setattr(by_torch, "find_spec", lambda _: None)
    monkeypatch.setattr(by_torch, "by_faiss", None)
    found = find_neighbours(features(), 5, exact_up_to=10)
    assert np.array_equal(found.neighbours, expected.neighbours)
    assert found.recall == expected.recall == 1


def test_beyond_the_limit_the_search_is_approximate_and_says_so():
    given = features(3000, 16) / torch.arange(1, 17)
    exact = find_neighbours(given, 5, exact_up_to=3000)
    found = find_neighbours(given, 5, exact_up_to=2999)
    assert exact.recall == 1
    assert 0.95 <= found.recall < 1
    assert not np.array_equal(found.neighbours, exact.neighbours)
