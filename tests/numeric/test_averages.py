import numpy as np
import pytest

from noisyselect.numeric.averages import decayed_mean


@pytest.mark.parametrize("decay", [0.3, 0.9, 1.0])
def test_it_is_the_moving_average_divided_by_the_weight_it_has_gathered(decay):
    values = np.random.default_rng(0).random((7, 5, 3)).astype(np.float32)
    moving, weight = np.zeros((5, 3)), 0.0
    for row in values.astype(np.float64):
        moving, weight = decay * moving + row, decay * weight + 1
    assert decayed_mean(values, decay) == pytest.approx(moving / weight, abs=1e-12)


def test_a_single_epoch_is_its_own_mean():
    values = np.random.default_rng(1).random((1, 4))
    assert np.array_equal(decayed_mean(values, 0.5), values[0])
