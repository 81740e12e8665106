"""Selectors ranked over several runs, and what difference between two ranks is more than luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Level of the critical difference.
_ALPHA = 0.05


@dataclass(frozen=True)
class MeanRanks:
    """Mean ranks of selectors over runs, and what difference between two is more than luck.

    Attributes
    ----------
    measure : str
        What was ranked; higher is better.
    n_runs : int
    mean_ranks : dict of str to float in [1, n_selectors]
        By selector, best first. Rank 1 is the best of a run; equal values share the mean of their
        ranks.
    left_out : tuple of str
        Selectors without a value in some run.
    friedman_p : float in [0, 1]
        Probability of ranks as different as these if no selector were better than another; NaN for
        fewer than three selectors or if all are equal on every run.
    critical_difference : float
        Mean ranks that differ by less cannot be told apart at the level of 5 %.
    """

    measure: str
    n_runs: int
    mean_ranks: dict[str, float]
    left_out: tuple[str, ...]
    friedman_p: float
    critical_difference: float


def mean_ranks(measure: str, values: Mapping[str, Sequence[float]]) -> MeanRanks:
    r"""Rank selectors over runs by a measure of which more is better.

    Parameters
    ----------
    measure : str
        Its name.
    values : mapping of str to sequence of n_runs floats
        By selector, one value per run in the same order; NaN where there is none.

    Returns
    -------
    MeanRanks

    Raises
    ------
    ValueError
        If there are fewer than two runs, or fewer than two selectors have a value in each.

    Notes
    -----
    Section 3.2 of [1]_: Friedman's test on the ranks (by its chi-square approximation, which needs
    about five runs to be trusted), and Nemenyi's critical difference

    .. math:: CD = \frac{q_\alpha}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 N}}

    for k selectors and N runs, with the quantile :math:`q_\alpha` of the studentised range for k
    groups and infinitely many degrees of freedom. Runs should be independent: other data, other
    noise, other seeds.

    References
    ----------
    .. [1] Demšar, "Statistical comparisons of classifiers over multiple data sets", Journal of
       Machine Learning Research, 2006.

    Examples
    --------
    >>> ranks = mean_ranks("f1", {"a": [0.7, 0.8], "b": [0.9, 0.8]})
    >>> ranks.mean_ranks
    {'b': 1.25, 'a': 1.75}
    """
    complete = {name: row for name, row in values.items() if np.isfinite(row).all()}
    n_runs = len(next(iter(values.values()), ()))
    if n_runs < 2 or len(complete) < 2:
        raise ValueError(
            "Mean ranks need at least two selectors with a value in each of at least two runs, got "
            f"{len(complete)} in {n_runs}."
        )
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.array(list(complete.values()))
    ranks = rankdata(-table, axis=0)
    # The test needs three groups and divides by the spread of the ranks.
    testable = len(table) > 2 and bool((ranks != ranks[0]).any())
    k = len(table)
    quantile = studentized_range.ppf(1 - _ALPHA, k, np.inf) / np.sqrt(2)
    best_first = sorted(zip(ranks.mean(axis=1).tolist(), complete, strict=True))
    return MeanRanks(
        measure=measure,
        n_runs=n_runs,
        mean_ranks={name: rank for rank, name in best_first},
        left_out=tuple(name for name in values if name not in complete),
        friedman_p=float(friedmanchisquare(*table).pvalue) if testable else float("nan"),
        critical_difference=float(quantile * np.sqrt(k * (k + 1) / (6 * n_runs))),
    )
