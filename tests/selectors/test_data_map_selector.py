from statistics import fmean, pstdev

import numpy as np
import pytest

from noisyselect import GMMSelector, TrainingLog, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.metrics import selection_quality
from noisyselect.selectors.data_map import DataMapSelector


def log_of(probabilities, labels=None):
    probabilities = np.asarray(probabilities, dtype=float)
    labels = np.zeros(probabilities.shape[1], dtype=int) if labels is None else labels
    return TrainingLog(labels=labels, losses=-np.log(probabilities), n_classes=2)


def by_the_definition(probabilities, n_keep):
    """Mean, deviation and region of each sample, one by one."""
    n_samples = len(probabilities[0])
    series = [[row[i] for row in probabilities] for i in range(n_samples)]
    mean, deviation = [fmean(x) for x in series], [pstdev(x) for x in series]
    kept = set(sorted(range(n_samples), key=lambda i: -mean[i])[:n_keep])
    ambiguous = sorted(range(n_samples), key=deviation.__getitem__)[
        n_samples - round(0.33 * n_samples) :
    ]
    regions = [
        "ambiguous" if i in ambiguous else "easy to learn" if i in kept else "hard to learn"
        for i in range(n_samples)
    ]
    return kept, mean, regions


def test_three_samples_worked_by_hand():
    # Means 0.85, 0.5 and 0.15, deviations 0.05, 0.4 and 0.05.
    selection = DataMapSelector(clean_rate=0.67).select(log_of([[0.9, 0.9, 0.2], [0.8, 0.1, 0.1]]))
    assert selection.clean.tolist() == [True, True, False]
    assert selection.score == pytest.approx([0.85, 0.5, 0.15])
    assert selection.reason.tolist() == ["easy to learn", "ambiguous", "hard to learn"]


@pytest.mark.parametrize("seed", range(4))
def test_mask_score_and_regions_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(1.0, 1.0, (9, 50)).clip(1e-6)
    for window in (200, 4):
        kept, mean, regions = by_the_definition(probabilities[-window:].tolist(), 35)
        got = DataMapSelector(clean_rate=0.7, window=window).select(log_of(probabilities))
        assert set(got.labelled) == kept
        assert got.score == pytest.approx(mean, abs=1e-12)
        assert got.reason.tolist() == regions


def memorised_run(n_late=3):
    """Wrong labels are learnt by heart in the last epochs, right ones from the first on."""
    rng = np.random.default_rng(0)
    wrong = np.arange(3000) % 10 < 3
    level = np.where(wrong, 0.2, 0.75)
    probabilities = [level] * 10 + [np.full(3000, 0.95)] * n_late
    spread = 0.2 * np.minimum(np.array(probabilities), 1 - np.array(probabilities))
    return probabilities + spread * rng.uniform(-1, 1, spread.shape), wrong


def test_what_was_learnt_late_is_told_where_the_last_losses_are_alike():
    probabilities, wrong = memorised_run()
    labels = np.arange(3000) % 2
    quality = selection_quality(
        DataMapSelector(clean_rate=0.7).select(log_of(probabilities, labels)),
        labels,
        labels ^ wrong,
        2,
        -np.log(probabilities[-1]),
    )
    assert quality.precision > 0.99 > 0.75 > quality.small_loss_precision
    assert quality.auroc > 0.99


def test_a_window_after_wrong_labels_were_learnt_by_heart_tells_nothing():
    probabilities, wrong = memorised_run(n_late=4)
    late = DataMapSelector(clean_rate=0.7, window=4).select(log_of(probabilities))
    assert (~wrong)[late.clean].mean() < 0.75


def test_by_default_as_many_are_kept_as_the_mixture_keeps():
    log = log_of(memorised_run()[0][:10])
    assert len(DataMapSelector().select(log)) == len(GMMSelector().select(log))


def test_of_equal_confidences_the_lower_variability_comes_first():
    log = log_of([[0.25, 0.5, 0.125, 0.0625], [0.75, 0.5, 0.875, 0.0625]])
    selection = DataMapSelector(clean_rate=0.5).select(log)
    assert selection.clean.tolist() == [True, True, False, False]


def test_a_single_epoch_is_refused():
    with pytest.raises(
        MissingEvidenceError, match="DataMapSelector needs at least 2 epochs, got 1"
    ):
        DataMapSelector().select(log_of([[0.5, 0.6]]))


@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_equal_confidences_speak_against_no_label(n_samples):
    with pytest.warns(DegenerateWarning, match="all confidences are equal; every label is kept"):
        selection = DataMapSelector(clean_rate=0.2).select(log_of(np.full((3, n_samples), 0.4)))
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_a_share_of_none_is_warned_of():
    with pytest.warns(DegenerateWarning, match="less than one sample; no label is kept"):
        assert len(DataMapSelector(clean_rate=0.1).select(log_of([[0.4, 0.5], [0.6, 0.7]]))) == 0


@pytest.mark.parametrize("rule", [DataMapSelector(), DataMapSelector(clean_rate=0.6, window=3)])
def test_the_contract_is_kept(rule):
    check_selector(rule)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"clean_rate": -1}, r"`clean_rate` must lie in \(0, 1\], got -1"),
        ({"window": 1}, "`window` must be at least 2 epochs, got 1"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        DataMapSelector(**option)
