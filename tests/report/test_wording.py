import math

import numpy as np
import pytest

from noisyselect import Selection, TrainingLog
from noisyselect.bench import named_selectors
from noisyselect.report.wording import (
    clause,
    counted,
    decimal,
    first_sentence,
    listed,
    percent,
    rule,
    sentence,
)


@pytest.mark.parametrize("name", named_selectors())
@pytest.mark.parametrize("changed", [False, True], ids=["constant rate", "changed rate"])
def test_every_reason_of_every_selector_is_said_in_words(run, name, changed):
    log = run.log()
    predictions = log.predictions.copy()
    predictions[2:, :5] = (predictions[2:, :5] + np.arange(6)[:, None]) % 3
    log = TrainingLog(
        labels=log.labels,
        losses=log.losses,
        predictions=predictions,
        features=log.features,
        lr=[1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] if changed else None,
    )
    reasons = set(named_selectors()[name].select(log).reason.tolist())
    assert len(reasons) >= 2
    for reason in reasons:
        assert clause(reason) != reason, f"{name} gives the reason {reason!r}"
    assert rule(named_selectors()[name]).startswith("keeps ")


def test_a_reason_that_is_not_known_is_said_as_it_is():
    assert clause("my own rule") == "my own rule"
    assert clause("no valid record") != "no valid record"


def test_clauses_become_a_sentence():
    assert sentence(["its loss is large", "most neighbours carry other labels"]) == (
        "Its loss is large; most neighbours carry other labels."
    )


def test_numbers_have_sensible_digits_and_what_is_not_known_has_none():
    assert percent(0.1234) == "12.3\u202f%"
    assert decimal(1.005, 1) == "1.0"
    assert percent(math.nan) == decimal(math.inf) == "\u2013"
    assert (counted(1, "sample", "samples"), counted(1200, "sample", "samples")) == (
        "1 sample",
        "1,200 samples",
    )


def test_enumerations_of_any_length():
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_the_way_out_of_an_error_is_left_out():
    assert first_sentence("It needs `x`. Record it with bank.record(x=...).") == "It needs `x`."
    assert first_sentence("It needs `x`.") == "It needs `x`."


def test_the_default_reasons_of_a_selection_are_said_too():
    selection = Selection(clean=[True, False])
    assert clause(str(selection.reason[1])) != "dropped"
