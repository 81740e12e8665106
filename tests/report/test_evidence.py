import warnings
from collections import Counter

import numpy as np
import pytest
from small_runs import LABELS, N_EPOCHS, N_SAMPLES, TRUTH, write_run

from noisyselect.bench import named_selectors
from noisyselect.errors import MissingEvidenceError, NonFiniteWarning
from noisyselect.metrics import selection_quality
from noisyselect.report.evidence import gather


@pytest.fixture(scope="module")
def evidence(run):
    return gather(run, "auto", None)


def test_two_networks_are_shown_with_vrlv_and_every_selector_has_answered(run, evidence):
    assert (evidence.rule, evidence.why, evidence.network) == ("vrlv", "", "a")
    assert not evidence.problems
    assert evidence.rules[0] == "vrlv" and sorted(evidence.rules) == sorted(named_selectors())
    for rule, selector in named_selectors().items():
        assert evidence.selections[rule] == selector.select(*run.logs("a")), rule


def test_curves_are_what_each_selector_would_have_said_at_that_epoch(run, evidence):
    for rule, selector in named_selectors().items():
        for epoch in range(N_EPOCHS):
            found = {name: curves[rule][epoch] for name, curves in evidence.curves.items()}
            try:
                selection = selector.select(*run.logs("a", until=epoch + 1))
            except MissingEvidenceError:
                assert np.isnan(list(found.values())).all()
                continue
            quality = selection_quality(selection, LABELS, TRUTH, 3)
            assert found["kept"] == selection.clean.mean()
            assert (found["auroc"], found["precision"]) == (quality.auroc, quality.precision)
    last = {rule: curve[-1] for rule, curve in evidence.curves["agreement"].items()}
    for rule, selection in evidence.selections.items():
        assert last[rule] == np.mean(selection.clean == evidence.selection.clean)


def test_the_network_asked_for_is_selected_for(run):
    assert gather(run, "gmm", "b").selection == named_selectors()["gmm"].select(*run.logs("b"))


def test_one_network_is_shown_with_gmm_and_the_reason_is_said(tmp_path):
    evidence = gather(write_run(tmp_path / "run", networks="a"), "auto", None)
    assert evidence.rule == "gmm"
    assert "made for two networks" in evidence.why


def test_what_has_no_neighbours_is_shown_with_gmm_and_the_reason_is_said(tmp_path):
    evidence = gather(write_run(tmp_path / "run", features=False), "auto", None)
    assert evidence.rule == "gmm"
    assert "VRLVSelector needs `neighbours` or `features`" in evidence.why
    assert "bank.record" not in evidence.why
    assert set(evidence.problems) == {"vrlv", "enn"}


def test_without_losses_predictions_decide(tmp_path):
    run = write_run(tmp_path / "run", networks="a", columns=("predictions",), features=False)
    evidence = gather(run, "auto", None)
    assert evidence.rule == "prediction-stability"
    assert evidence.trust is evidence.mean_trust is evidence.trust_variation is None


def test_a_selector_asked_for_that_lacks_evidence_is_refused(tmp_path):
    run = write_run(tmp_path / "run", n_epochs=2, features=False)
    with pytest.raises(MissingEvidenceError, match="VRLVSelector needs 6 epochs"):
        gather(run, "vrlv", None)
    with pytest.raises(ValueError, match=r"A selector is one of gmm, .*; got gmx"):
        gather(run, "gmx", None)
    bare = write_run(tmp_path / "bare", n_epochs=2, columns=("predictions",), features=False)
    with pytest.raises(MissingEvidenceError, match="No selector has what it needs"):
        gather(bare, "auto", None)


def test_without_truth_there_are_no_measures_of_truth(tmp_path):
    evidence = gather(write_run(tmp_path / "run", true_labels=None), "auto", None)
    assert set(evidence.curves) == {"kept", "agreement"}
    assert evidence.right is None and not evidence.qualities


def test_samples_without_a_valid_record_are_not_judged_and_the_caller_is_warned(tmp_path):
    run = write_run(tmp_path / "run", broken=(3, 50))
    with pytest.warns(NonFiniteWarning):
        evidence = gather(run, "auto", None)
    assert np.flatnonzero(~evidence.judged).tolist() == [3, 50]
    assert np.isnan(evidence.mean_trust[[3, 50]]).all()
    assert len(evidence.notes) == 1
    assert "16 of network a and 16 of network b" in evidence.notes[0]


def test_trust_is_the_probability_of_the_given_label(run, evidence):
    losses = run.log("a").losses
    np.testing.assert_allclose(evidence.mean_trust, np.exp(-losses).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(evidence.trust_variation, np.exp(-losses).std(axis=0), rtol=1e-4)


@pytest.mark.parametrize("n_epochs", [8, 2])
def test_predicted_is_the_most_frequent_class_and_of_equally_frequent_the_latest(
    tmp_path, n_epochs
):
    run = write_run(tmp_path / "run", networks="a", n_epochs=n_epochs, features=False)
    predictions = run.log("a").predictions
    predicted = gather(run, "gmm", None).predicted
    n_ties = 0
    for sample in range(N_SAMPLES):
        counts = Counter(predictions[:, sample].tolist())
        most = max(counts.values())
        often = [label for label in predictions[::-1, sample].tolist() if counts[label] == most]
        n_ties += len(set(often)) > 1
        assert predicted.label[sample] == often[0]
        assert predicted.n_epochs[sample] == most
    assert (n_ties > 3) == (n_epochs == 2)


def test_a_long_run_is_asked_at_thirty_epochs_the_last_among_them(tmp_path):
    run = write_run(
        tmp_path / "run", networks="a", n_epochs=70, columns=("losses",), features=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = gather(run, "gmm", None).curves["kept"]["gmm"]
    known = np.flatnonzero(np.isfinite(kept))
    assert (known.size, known[0], known[-1]) == (30, 0, 69)
