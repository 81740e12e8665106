import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisyselect import MixupRecipes, Selection
from noisyselect.selection import Reasons

N = 6


@st.composite
def selections(draw):
    def values():
        return draw(st.lists(st.floats(0, 1), min_size=N, max_size=N))

    mask = draw(st.lists(st.booleans(), min_size=N, max_size=N))
    return Selection(clean=np.array(mask), score=values(), trust=values())


EMPTY = Selection(clean=np.zeros(N, dtype=bool))
FULL = Selection(clean=np.ones(N, dtype=bool))


@given(selections(), selections(), selections())
def test_the_laws_of_the_algebra_hold_exactly(a, b, c):
    assert a & b == b & a
    assert a | b == b | a
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)
    assert a & a == a
    assert a | a == a
    assert a & (a | b) == a
    assert a | (a & b) == a
    assert a & (b | c) == (a & b) | (a & c)
    assert ~(a & b) == ~a | ~b
    assert ~(a | b) == ~a & ~b
    assert a - b == a & ~b
    assert a ^ b == (a - b) | (b - a)
    assert a & FULL == a
    assert a | EMPTY == a
    assert (a & b) <= a <= (a | b)


@given(selections())
def test_the_complement_of_the_complement_is_the_same_up_to_rounding(a):
    again = ~~a
    assert np.array_equal(again.clean, a.clean)
    assert again.score == pytest.approx(a.score, abs=1e-15)


@given(selections())
def test_the_masks_form_a_boolean_algebra(a):
    assert len(a - a) == 0
    assert len(a ^ a) == 0
    assert len(a | ~a) == N
    assert len(a) + len(~a) == N


def test_a_small_example_worked_by_hand():
    a = Selection(clean=[True, True, False], score=[0.9, 0.6, 0.2], ids=["x", "y", "z"])
    b = Selection(clean=[True, False, True], score=[0.7, 0.5, 0.8], ids=["x", "y", "z"])
    assert (a & b).labelled.tolist() == ["x"]
    assert (a & b).score.tolist() == [0.7, 0.5, 0.2]
    assert (a | b).labelled.tolist() == ["x", "y", "z"]
    assert (a - b).labelled.tolist() == ["y"]
    assert (a ^ b).labelled.tolist() == ["y", "z"]
    assert (~a).labelled.tolist() == ["z"]
    assert a.unlabelled.tolist() == ["z"]
    assert len(a) == 2
    assert "y" in a
    assert "z" not in a
    assert (a & b) < a
    assert not a <= b


def test_the_defaults_follow_from_the_mask():
    selection = Selection(clean=[True, False])
    assert selection.score.tolist() == [1, 0]
    assert selection.trust.tolist() == [1, 0]
    assert selection.weights.tolist() == [1, 0]
    assert selection.reason.tolist() == ["kept", "dropped"]
    assert selection.unlabelled.tolist() == [1]
    assert selection.synthetic is None


def test_equality_sees_every_field():
    plain = Selection(clean=[True, False])
    recipes = MixupRecipes(anchors=[0], partners=[1], lam=[0.7], labels=[0])
    for other in (
        Selection(clean=[True, True]),
        Selection(clean=[True, False], score=[0.9, 0.1]),
        Selection(clean=[True, False], ids=[5, 6]),
        Selection(clean=[True, False], trust=[0.5, 0]),
        Selection(clean=[True, False], weights=[2, 0]),
        Selection(clean=[True, False], reason=["core", "dropped"]),
        Selection(clean=[True, False], synthetic=recipes),
        Selection(clean=[True, False], unlabelled_mask=[True, True]),
    ):
        assert other != plain
    assert plain != "something else"


def test_reasons_as_codes_are_those_as_text_and_read_as_text():
    clean, names = np.array([True, False, True]), ["small", "a much longer one", "small"]
    coded = Selection(
        clean=clean, reason=Reasons(np.array([1, 0, 1], np.uint8), (names[1], "small"))
    )
    spelled = Selection(clean=clean, reason=names)
    assert coded == spelled
    assert coded.reason.tolist() == spelled.reason.tolist() == names
    assert coded.reasons.spelled_out().tolist() == spelled.reasons.spelled_out().tolist() == names
    assert pickle.loads(pickle.dumps(coded)) == replace(coded) == coded
    with pytest.raises(ValueError, match="read-only"):
        coded.reason[0] = "other"
    with pytest.raises(ValueError, match=r"`reason` must have shape \(n_samples,\) = \(3,\)"):
        Selection(clean=clean, reason=Reasons(np.zeros(2, np.uint8), ("x",)))


def test_many_different_reasons_keep_their_names():
    names = [f"reason {i}" for i in range(300)]
    selection = Selection(clean=np.ones(300, dtype=bool), reason=names)
    assert selection.reasons.spelled_out().tolist() == names


def test_what_one_method_prescribes_does_not_survive_a_combination():
    recipes = MixupRecipes(anchors=[0], partners=[1], lam=[0.7], labels=[0])
    rich = Selection(clean=[True, False], weights=[3, 0], reason=["core", "x"], synthetic=recipes)
    both = rich & rich
    assert both == Selection(clean=[True, False])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"clean": [1, 0]}, TypeError, "`clean` must be a mask of bools"),
        ({"clean": [[True]]}, ValueError, r"`clean` must have shape \(n_samples,\) = \(any,\)"),
        (
            {"score": [0.5]},
            ValueError,
            r"`score` must have shape \(n_samples,\) = \(2,\), got \(1,\)",
        ),
        ({"score": [0.5, 1.5]}, ValueError, r"`score` must lie in \[0, 1\]"),
        ({"score": [0.5, np.nan]}, ValueError, r"`score` must lie in \[0, 1\] and be finite"),
        ({"trust": [-0.1, 0.5]}, ValueError, r"`trust` must lie in \[0, 1\]"),
        ({"weights": [np.inf, 0]}, ValueError, "`weights` must be finite"),
        ({"ids": [3, 3]}, ValueError, "`ids` must be unique, got 1 ids more than once: 3"),
        ({"ids": [0.5, 1.5]}, TypeError, "`ids` must hold integers or strings"),
    ],
)
def test_bad_values_are_refused_with_what_was_expected(changes, error, message):
    with pytest.raises(error, match=message):
        Selection(**({"clean": [True, False]} | changes))


def test_selections_of_other_samples_do_not_combine():
    a, b = Selection(clean=[True, False]), Selection(clean=[True, False], ids=[1, 0])
    with pytest.raises(ValueError, match="same samples in the same order"):
        a & b
    with pytest.raises(ValueError, match="same samples in the same order"):
        a <= b  # noqa: B015


@pytest.mark.parametrize("sign", ["&", "|", "-", "^", "<=", "<"])
def test_a_foreign_operand_is_a_type_error(sign):
    with pytest.raises(TypeError):
        eval(f"selection {sign} 3", {"selection": Selection(clean=[True])})


def test_rows_are_found_by_id():
    selection = Selection(clean=[True, False, True], ids=["c", "a", "b"], weights=[3, 0, 1])
    assert selection.weights[selection.rows(["b", "c", "b"])].tolist() == [1, 3, 1]
    with pytest.raises(ValueError, match="1 unknown: z"):
        selection.rows(["a", "z"])


def test_a_selection_is_neither_true_nor_false():
    with pytest.raises(TypeError, match="len"):
        bool(Selection(clean=[True]))


def test_a_selection_does_not_change_with_the_array_it_was_made_from():
    mask, score = np.array([True, False]), np.array([0.9, 0.1])
    selection = Selection(clean=mask, score=score)
    mask[1], score[1] = True, 0.8
    assert selection.clean.tolist() == [True, False]
    assert selection.score.tolist() == [0.9, 0.1]


def test_a_selection_cannot_be_written_to():
    selection = Selection(clean=np.array([True, False]))
    with pytest.raises(ValueError, match="read-only"):
        selection.score[0] = 0.5
    with pytest.raises(AttributeError):
        selection.clean = None


def test_the_representation_says_how_many_are_clean():
    assert repr(Selection(clean=[True, True, False])) == "<Selection: 2 of 3 clean>"


def test_recipes_compare_and_count():
    recipes = MixupRecipes(anchors=[0, 1], partners=[2, 3], lam=[0.6, 0.9], labels=[1, 0])
    assert len(recipes) == 2
    assert recipes == MixupRecipes([0, 1], [2, 3], np.array([0.6, 0.9]), [1, 0])
    assert recipes != MixupRecipes([0, 1], [2, 3], [0.6, 0.8], [1, 0])
    with pytest.raises(ValueError, match=r"`lam` must lie in \[0, 1\]"):
        MixupRecipes([0], [2], [np.nan], [1])
    with pytest.raises(ValueError, match=r"`lam` must have shape \(n_synthetic,\) = \(2,\)"):
        MixupRecipes([0, 1], [2, 3], [0.6], [1, 0])


def test_what_can_be_written_to_is_copied_and_what_cannot_is_not():
    score = np.array([0.9, 0.1])
    view = score.view()
    view.flags.writeable = False  # still written to through `score`
    selection = Selection(clean=np.array([True, False]), score=view, trust=score)
    score[:] = 0.5
    assert selection.score.tolist() == selection.trust.tolist() == [0.9, 0.1]
    with pytest.raises(ValueError, match="read-only"):
        selection.score[0] = 0
    again = Selection(clean=selection.clean, score=selection.score, trust=selection.score)
    assert again.score is again.trust is selection.score
