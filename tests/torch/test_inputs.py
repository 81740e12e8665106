import numpy as np
import pytest
import torch

from noisyselect.torch.inputs import Views

CPU = torch.device("cpu")


def views(n_samples=200, n_views=3, n_features=50):
    """Feature f of view v of sample i is 1000 i + 10 v + f / 10."""
    i, v, f = np.ogrid[:n_samples, :n_views, :n_features]
    return (1000.0 * i + 10 * v + f / 10).astype(np.float32)


def test_the_plain_view_is_the_first():
    inputs = Views(views(), CPU)
    rows = torch.tensor([3, 1])
    assert inputs.plain(inputs.raw(rows))[:, 0].tolist() == [3000, 1000]


def test_every_sample_gets_a_view_of_its_own_and_all_views_come_up():
    inputs = Views(views(), CPU)
    inputs.dropped = 0.0
    batch = inputs.augment(inputs.values, torch.Generator().manual_seed(0))
    chosen = (batch - inputs.values[:, 0])[:, 0] / 10
    assert set(chosen.tolist()) == {0, 1, 2}
    # One view for the whole sample, not one per feature.
    assert torch.equal(batch, inputs.values[torch.arange(200), chosen.long()])


def test_a_fifth_of_the_features_is_set_to_the_mean_which_is_zero_when_normalised():
    inputs = Views(views(), CPU)
    batch = inputs.augment(inputs.values, torch.Generator().manual_seed(0))
    dropped = inputs.normalise(batch) == 0
    assert 0.18 < dropped.float().mean() < 0.22
    assert len({tuple(row) for row in dropped.tolist()}) > 190


def test_test_features_are_normalised_as_the_training_set_was():
    inputs = Views(np.array([[[0.0, 5.0]], [[2.0, 5.0]]]), CPU)
    other = Views(np.array([[[4.0, 6.0]]]), CPU, like=inputs)
    first, second = inputs.normalise(inputs.plain(inputs.values)).tolist()
    assert first[0] == pytest.approx(-second[0])
    assert first[1] == second[1] == 0  # a constant feature stays 0
    assert other.normalise(other.plain(other.values))[0, 0] > second[0]
