from statistics import NormalDist

import numpy as np
import pytest

from noisyselect.numeric.evidence import (
    agreement,
    correlations,
    correlations_with_groups,
    neighbour_shares,
    normal_scores,
    vote_margin,
    vote_shares,
)


def test_normal_scores_are_quantiles_of_the_ranks():
    quantile = NormalDist().inv_cdf
    scores = normal_scores(np.array([3.0, 1.0, 9.0, 4.0]))
    assert scores == pytest.approx([quantile(q) for q in (0.375, 0.125, 0.875, 0.625)])


def test_equal_values_share_their_rank_and_nan_says_nothing():
    scores = normal_scores(np.array([2.0, np.nan, 2.0, 5.0, 1.0]))
    alone = normal_scores(np.array([2.0, 2.0, 5.0, 1.0]))
    assert scores == pytest.approx([alone[0], 0, alone[1], alone[2], alone[3]])
    assert scores[0] == 0 == scores[2]
    assert not normal_scores(np.ones(4)).any()
    assert not normal_scores(np.array([np.nan, np.nan, 1.0])).any()


def test_correlations_are_those_of_numpy_and_of_a_constant_row_zero():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 50)), rng.normal(size=(2, 50)) * 1e6 + 5
    assert correlations(a, b) == pytest.approx(np.corrcoef(a, b)[:3, 3:], abs=1e-12)
    assert correlations(np.full((1, 50), 0.1), a).tolist() == [[0, 0, 0]]


def test_correlations_with_groups_are_those_with_their_indicators():
    rng = np.random.default_rng(5)
    values = rng.normal(size=50) * 1e6 + 5
    groups = rng.random((4, 50)) < [[0.02], [0.3], [0.5], [0.9]]
    expected = np.corrcoef(groups.astype(float), values)[:4, 4]
    assert correlations_with_groups(list(groups), values) == pytest.approx(expected, abs=1e-12)
    all_and_none = [np.ones(50, dtype=bool), np.zeros(50, dtype=bool)]
    assert correlations_with_groups(all_and_none, values).tolist() == [0, 0]
    assert correlations_with_groups(list(groups), np.full(50, 0.1)).tolist() == [0] * 4


def test_evidence_is_judged_by_other_sources_alone():
    rng = np.random.default_rng(1)
    truth, shared = rng.normal(size=(2, 4000))
    noise = rng.normal(size=(3, 4000))
    # Two copies of one error agree with each other and with nobody else.
    rows = np.array([shared, shared + 0.1 * noise[0], truth + 0.1 * noise[1], truth + noise[2]])
    agreed = agreement(rows, ["losses", "losses", "losses", "predictions"])
    table = np.corrcoef(rows)
    assert agreed[:3] == pytest.approx(np.maximum(table[:3, 3], 0), abs=1e-8)
    assert agreed[3] == pytest.approx(table[3, :3].mean(), abs=1e-8)
    assert agreed[2] > 0.6 > 0.1 > agreed[0]


def test_within_one_source_the_other_kinds_judge_and_one_alone_is_believed():
    rows = np.random.default_rng(2).normal(size=(3, 100)) + np.arange(100) / 20
    table = np.corrcoef(rows)
    others = (table.sum(axis=1) - 1) / 2
    assert agreement(rows, ["losses"] * 3) == pytest.approx(others, abs=1e-8)
    assert agreement(rows[:1], ["losses"]).tolist() == [1]
    assert agreement(np.array([rows[0], -rows[0]]), ["a", "b"]).tolist() == [0, 0]


def test_votes_are_counted_and_none_are_no_votes():
    votes = np.array([[0, 2, -1], [0, 1, -1], [1, -1, -1]])
    shares = vote_shares(votes, 3)
    assert shares[:2] == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 0.5, 0.5]]))
    assert np.isnan(shares[2]).all()


def test_shares_of_neighbours_are_means_over_those_that_are_there(monkeypatch):
    monkeypatch.setattr("noisyselect.numeric.evidence._BLOCK", 7)
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(4), 30)
    neighbours = rng.integers(-1, 30, (30, 5))
    neighbours[7] = -1
    got = neighbour_shares(shares, neighbours)
    for row in range(30):
        near = [shares[j] for j in neighbours[row] if j >= 0]
        if near:
            assert got[row] == pytest.approx(np.mean(near, axis=0))
    assert np.isnan(got[7]).all()


def test_the_margin_is_that_of_its_definition():
    rng = np.random.default_rng(4)
    shares, labels = rng.dirichlet(np.ones(5), 60), rng.integers(0, 4, 60)  # none of class 4
    shares[3] = np.nan
    means = {}
    for k in range(4):
        of_class = [shares[i, k] for i in range(60) if labels[i] == k and i != 3]
        means[k] = sum(of_class) / len(of_class)
    got = vote_margin(shares, labels)
    for i in range(60):
        if i != 3:
            rivals = [shares[i, k] - means[k] for k in means if k != labels[i]]
            assert got[i] == pytest.approx(shares[i, labels[i]] - means[labels[i]] - max(rivals))
    assert np.isnan(got[3])


def test_a_single_class_has_no_rival():
    assert np.isfinite(vote_margin(np.ones((4, 1)), np.zeros(4, dtype=int))).all()
