import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from noisyselect.numeric.largest import largest_of_rows


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, np.nan, np.inf]),
    )
)
def test_the_largest_of_each_row_is_that_of_numpy(table):
    columns, values = largest_of_rows(table)
    assert np.array_equal(columns, table.argmax(axis=1))
    assert np.array_equal(values, table.max(axis=1), equal_nan=True)


@pytest.mark.parametrize("n_columns", [1, 10, 16, 17, 100])
def test_many_rows_are_those_of_numpy(n_columns):
    table = np.random.default_rng(0).random((20_000, n_columns))
    columns, values = largest_of_rows(table)
    assert np.array_equal(columns, table.argmax(axis=1))
    assert np.array_equal(values, table.max(axis=1))
    assert largest_of_rows(table[:0]).columns.size == 0
