import numpy as np

from noisyselect.numeric.groups import rows_by_group


def test_groups_and_rows_are_those_of_a_search_one_by_one():
    groups = np.random.default_rng(0).choice([0, 3, 4, 9], 100)
    found = {group: rows.tolist() for group, rows in rows_by_group(groups)}
    assert list(found) == [0, 3, 4, 9]
    assert all(found[group] == np.flatnonzero(groups == group).tolist() for group in found)


def test_one_group_has_all_rows():
    assert [(g, rows.tolist()) for g, rows in rows_by_group(np.array([7, 7]))] == [(7, [0, 1])]
