import numpy as np
import pytest
from small_runs import LABELS, TRUTH, write_run

from noisyselect.report.evidence import gather
from noisyselect.report.suspects import describe, suspicious_rows


@pytest.fixture(scope="module")
def evidence(run):
    return gather(run, "auto", None)


NAMES = ["x", "y", "z"]


def test_they_are_all_that_is_dropped_least_probable_label_first(evidence):
    rows = suspicious_rows(evidence)
    assert sorted(rows) == np.flatnonzero(~evidence.selection.clean).tolist()
    assert (np.diff(evidence.mean_trust[rows]) >= 0).all()
    assert (np.diff((rows < 18).astype(int)) <= 0).all(), "the wrong labels stand first"


def test_without_losses_the_lowest_score_stands_first(tmp_path):
    run = write_run(tmp_path / "run", columns=("predictions",))
    evidence = gather(run, "prediction-stability", None)
    rows = suspicious_rows(evidence)
    assert rows.size > 5
    assert (np.diff(evidence.selection.score[rows]) >= 0).all()
    (first, *_) = describe(evidence, rows[:1], NAMES, {})
    assert np.isnan([first.trust, first.loss]).all()


@pytest.mark.filterwarnings("ignore::noisyselect.errors.NonFiniteWarning")
def test_a_sample_that_could_not_be_judged_is_no_suspect(tmp_path):
    evidence = gather(write_run(tmp_path / "run", broken=(3, 50)), "auto", None)
    assert not {3, 50} & set(suspicious_rows(evidence).tolist())


def test_what_is_said_of_a_sample(run, evidence):
    (it,) = describe(evidence, np.array([5]), NAMES, {5: "data:,picture"})
    assert (it.id, it.given, it.true, it.wrong) == ("5", NAMES[LABELS[5]], NAMES[TRUTH[5]], True)
    assert it.predicted == NAMES[TRUTH[5]] and 5 <= it.n_predicted <= 8
    assert it.loss == pytest.approx(run.log("a").losses[-1, 5])
    assert it.score == evidence.selection.score[5]
    assert it.thumbnail == "data:,picture"


def test_the_reasons_are_those_of_all_selectors_that_drop_it(evidence):
    row = suspicious_rows(evidence)[0]
    (it,) = describe(evidence, np.array([row]), NAMES, {})
    against = [rule for rule, answer in evidence.selections.items() if not answer.clean[row]]
    assert it.n_against == len(against) > 2
    assert "its loss is large" in it.why.lower()
    assert "most neighbours carry other labels" in it.why
    assert "not all evidence" not in it.why.lower(), "the parts say more than their sum"


def test_what_vrlv_alone_drops_is_said_as_a_whole(evidence):
    alone = np.flatnonzero(
        ~evidence.selection.clean
        & np.all([evidence.selections[rule].clean for rule in evidence.rules[1:]], axis=0)
    )
    for it in describe(evidence, alone, NAMES, {}):
        assert it.n_against == 1
        assert it.why.startswith("Not all evidence is for it")
