"""Long arrays a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator

# Samples at once, so that what a step leaves is still in the cache at the next, and its memory is
# that of the block before: fresh memory costs as much as the step.
_SIZE = 1 << 14


def blocks(n: int, size: int = _SIZE) -> Iterator[slice]:
    """Yield slices that together cover `n` rows.

    Examples
    --------
    >>> list(blocks(5, size=3))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
