import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from noisyselect.bench import mean_ranks

# Demšar 2006, Table 6: AUC of C4.5 with two parameters tuned or not, on 14 data sets.
DEMSAR = {
    "C4.5": [
        *(0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661),
        *(0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957),
    ],
    "C4.5+m": [
        *(0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668),
        *(0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978),
    ],
    "C4.5+cf": [
        *(0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609),
        *(0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946),
    ],
    "C4.5+m+cf": [
        *(0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685),
        *(0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970),
    ],
}


def test_the_example_of_the_paper():
    ranks = mean_ranks("AUC", DEMSAR)
    assert list(ranks.mean_ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    expected = {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert ranks.mean_ranks == pytest.approx(expected, abs=1e-3)
    assert ranks.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert ranks.friedman_p == pytest.approx(0.02, abs=0.01)
    assert (ranks.n_runs, ranks.left_out) == (14, ())


# Demšar 2006, Table 5a.
@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_has_the_quantiles_of_the_paper(k, q):
    values = {str(i): [i, i + 0.5, i + 0.7] for i in range(k)}
    expected = q * math.sqrt(k * (k + 1) / (6 * 3))
    assert mean_ranks("f1", values).critical_difference == pytest.approx(expected, rel=1e-3)


def test_ranks_are_counted_pair_by_pair():
    rng = np.random.default_rng(0)
    values = {str(i): rng.integers(0, 4, 7) / 3 for i in range(5)}

    def rank(name, run):
        beaten_by = [other[run] > values[name][run] for other in values.values()]
        equal = [other[run] == values[name][run] for other in values.values()]
        return sum(beaten_by) + (1 + sum(equal)) / 2

    ranks = mean_ranks("f1", values)
    for name in values:
        expected = np.mean([rank(name, run) for run in range(7)])
        assert ranks.mean_ranks[name] == pytest.approx(expected)
    assert ranks.friedman_p == friedmanchisquare(*values.values()).pvalue


def test_a_selector_without_a_value_in_some_run_is_left_out():
    ranks = mean_ranks("f1", {"a": [0.1, 0.2], "b": [0.3, math.nan], "c": [0.2, 0.1]})
    assert ranks.left_out == ("b",)
    assert ranks.mean_ranks == {"a": 1.5, "c": 1.5}


def test_two_selectors_and_equal_ones_have_no_test():
    assert math.isnan(mean_ranks("f1", {"a": [0.1, 0.2], "b": [0.3, 0.1]}).friedman_p)
    equal = mean_ranks("f1", {name: [0.5, 0.7] for name in "abc"})
    assert math.isnan(equal.friedman_p)
    assert set(equal.mean_ranks.values()) == {2}


@pytest.mark.parametrize(
    "values", [{}, {"a": [0.1, 0.2]}, {"a": [0.1], "b": [0.2]}, {"a": [0, 1], "b": [math.nan, 1]}]
)
def test_too_little_to_rank_is_refused(values):
    with pytest.raises(ValueError, match="Mean ranks need at least two selectors"):
        mean_ranks("f1", values)
