import math
from fractions import Fraction

import numpy as np
import pytest

from noisyselect.numeric.batches import last_batches, lowest_of_batches, whole_share


def kept_one_by_one(values, batches, share, *, round_up):
    """The definition, batch by batch, in exact arithmetic."""
    kept = np.zeros(len(values), dtype=bool)
    for batch in set(batches.tolist()):
        rows = [i for i in range(len(values)) if batches[i] == batch]
        count = Fraction(share).limit_denominator(1000) * len(rows)
        count = max(1, math.ceil(count) if round_up else math.floor(count))
        largest = sorted(values[i] for i in rows)[count - 1]
        for i in rows:
            kept[i] = values[i] <= largest
    return kept


@pytest.mark.parametrize("round_up", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 1 - 0.8, 0.5, 0.7, 1 - 0.1, 1.0])
def test_the_kept_values_are_those_of_the_definition(share, round_up):
    rng = np.random.default_rng(0)
    # With ties, batches of one, and numbers with gaps.
    values, batches = rng.integers(0, 20, 400) / 7, rng.integers(0, 60, 400) ** 2
    got = lowest_of_batches(values, batches, share, round_up=round_up)
    assert np.array_equal(got, kept_one_by_one(values, batches, share, round_up=round_up))


def test_a_share_of_nothing_is_nothing():
    nothing = np.zeros(0, dtype=int)
    assert lowest_of_batches(np.zeros(0), nothing, 0.5).size == 0


@pytest.mark.parametrize("percent", range(101))
def test_a_share_of_a_hundred_is_whole_however_it_was_reached(percent):
    for share in (percent / 100, 1 - (100 - percent) / 100, 1 - (1 - percent / 100)):
        assert whole_share(share, 100) == percent
        assert whole_share(share, np.array([100, 0])).tolist() == [percent, 0]


def test_batches_are_those_of_the_last_epoch_and_those_without_are_one():
    batches = np.array([[0, 1, 2, 3, 4], [7, -1, 7, 30, -1]])
    numbers = last_batches(batches, 5)
    assert numbers.tolist() == [1, 0, 1, 2, 0]
    assert last_batches(None, 3).tolist() == [0, 0, 0]
