"""Which samples make up a subset."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def subset_rows(n_samples: int, subset: int | None) -> npt.NDArray[np.int64]:
    """Return the rows of a subset in order: random, and always the same; all of them for None.

    Raises
    ------
    ValueError
        If `subset` is out of range.
    """
    if subset is None:
        return np.arange(n_samples)
    if not 1 <= subset <= n_samples:
        raise ValueError(f"`subset` must lie in [1, n_samples] = [1, {n_samples}], got {subset!r}.")
    # Random, as files may be ordered by class; and always the same, whatever the seed of the run.
    return np.sort(np.random.default_rng(0).permutation(n_samples)[:subset])
