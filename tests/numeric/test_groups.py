import numpy as np

from noisyselect.numeric.groups import count_groups, rows_by_group


def test_groups_and_rows_are_those_of_a_search_one_by_one():
    groups = np.random.default_rng(0).choice([0, 3, 4, 9], 100)
    found = {group: rows.tolist() for group, rows in rows_by_group(groups)}
    assert list(found) == [0, 3, 4, 9]
    assert all(found[group] == np.flatnonzero(groups == group).tolist() for group in found)


def test_one_group_has_all_rows():
    assert [(g, rows.tolist()) for g, rows in rows_by_group(np.array([7, 7]))] == [(7, [0, 1])]


def test_the_members_in_a_mask_are_those_of_a_count_one_by_one():
    rng = np.random.default_rng(0)
    groups, mask = rng.integers(0, 5, 40_000), rng.random(40_000) < 0.3  # more than two blocks
    expected = [np.count_nonzero(mask & (groups == group)) for group in range(6)]
    assert count_groups(groups, mask, 6).tolist() == expected
