import numpy as np
import pytest
from small_runs import LABELS, TRUTH, write_run

from noisyselect.report import summary
from noisyselect.report.evidence import gather
from noisyselect.report.wording import percent

RIGHT = LABELS == TRUTH


@pytest.fixture(scope="module")
def evidence(run):
    return gather(run, "auto", None)


def test_the_four_answers_with_truth(evidence):
    noise, kept, balance, trust = summary.answers(evidence)
    clean = evidence.selection.clean
    shares = np.bincount(LABELS[clean], minlength=3) / clean.sum()
    assert noise.figure == percent(np.mean(~RIGHT))
    assert percent(np.mean(~clean)) in noise.text
    assert kept.figure == percent(clean.mean())
    assert f"{percent(clean[RIGHT].mean())} are kept" in kept.text
    assert f"{np.count_nonzero(~clean & ~RIGHT)} are dropped" in kept.text
    assert balance.figure == f"{percent(shares.min())} to {percent(shares.max())}"
    assert trust.figure == f"{percent(RIGHT[clean].mean())} right"
    assert f"of all labels {percent(RIGHT.mean())}" in trust.text


def test_without_truth_noise_is_an_estimate_and_trust_is_agreement(tmp_path):
    evidence = gather(write_run(tmp_path / "run", true_labels=None), "auto", None)
    noise, _, _, trust = summary.answers(evidence)
    dropped = [np.mean(~evidence.selections[rule].clean) for rule in evidence.rules]
    alike = [
        np.mean(evidence.selections[rule].clean == evidence.selection.clean)
        for rule in evidence.rules[1:]
    ]
    assert noise.figure == f"≈ {percent(dropped[0])}"
    assert f"{percent(min(dropped[1:]))} to {percent(max(dropped[1:]))}" in noise.text
    assert trust.figure == f"{percent(np.mean(alike))} agree"


def test_without_truth_and_company_trust_is_not_known(tmp_path):
    run = write_run(tmp_path / "run", true_labels=None, columns=("predictions",), features=False)
    trust = summary.answers(gather(run, "auto", None))[3]
    assert trust.figure == "not known"


@pytest.mark.filterwarnings("ignore::noisyselect.errors.NonFiniteWarning")
def test_what_could_not_be_judged_is_counted_and_not_held_for_noise(tmp_path):
    run = write_run(tmp_path / "run", broken=range(60, 90), true_labels=None)
    evidence = gather(run, "gmm", None)
    noise, kept, *_ = summary.answers(evidence)
    assert "30 samples could not be judged" in kept.text
    assert noise.figure == f"≈ {percent(18 / 60)}"


def test_a_class_without_any_sample_kept_is_counted(tmp_path):
    evidence = gather(write_run(tmp_path / "run", n_classes=5), "gmm", None)
    balance = summary.answers(evidence)[2]
    assert balance.figure.startswith(percent(0))
    assert "2 classes keep no sample" in balance.text


def test_the_selectors_stand_side_by_side_the_one_shown_first(evidence):
    table = summary.selectors_table(evidence)
    assert table.headings[-3:] == ("precision", "recall", "AUROC")
    assert [row[0] for row in table.rows] == evidence.rules and table.marked == 0
    for rule, *row in table.rows:
        clean = evidence.selections[rule].clean
        alike = percent(np.mean(clean == evidence.selection.clean)) if rule != "vrlv" else ""
        assert row[:3] == [str(clean.sum()), percent(clean.mean()), alike]
        assert row[3:5] == [percent(RIGHT[clean].mean()), percent(clean[RIGHT].mean())]


def test_the_numbers_of_every_class(evidence):
    table = summary.classes_table(evidence, ["x", "y", "z"])
    clean = evidence.selection.clean
    for i, (name, given, kept, _, _, wrong, _) in enumerate(table.rows):
        own = i == LABELS
        assert name == "xyz"[i]
        counts = (own.sum(), (own & clean).sum(), (own & clean & ~RIGHT).sum())
        assert (given, kept, wrong) == tuple(map(str, counts))
