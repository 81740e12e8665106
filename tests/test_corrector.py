import numpy as np
import pytest

from noisyselect import MemoryBank, TrainingLog
from noisyselect.corrector import CorrectedLabels, LabelCorrector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError, NonFiniteWarning

GIVEN = [0, 1, 1]
SOFT = [[0.2, 0.8], [0.5, 0.5], [0.1, 0.9]]


class LastPrediction(LabelCorrector, needs=("probabilities",)):
    """The last prediction, of the peer where there is one."""

    def _correct(self, log, peer):
        return (log if peer is None else peer).probabilities[-1]


def test_the_label_is_the_likeliest_class_and_of_equals_the_given_one():
    corrected = CorrectedLabels(given=GIVEN, probabilities=SOFT)
    assert corrected.labels.tolist() == [1, 1, 1]
    assert corrected.changed.tolist() == [True, False, False]
    assert corrected.ids.tolist() == [0, 1, 2]
    assert repr(corrected) == "<CorrectedLabels: 1 of 3 changed>"
    # Class 2 is given, and less likely than the two that are equal: the first of them.
    assert CorrectedLabels(given=[2], probabilities=[[0.4, 0.4, 0.2]]).labels.tolist() == [0]


def test_corrected_labels_are_a_value():
    soft = np.array(SOFT)
    corrected = CorrectedLabels(given=GIVEN, probabilities=soft, ids=["a", "b", "c"])
    soft[:] = 0
    assert corrected == CorrectedLabels(given=GIVEN, probabilities=SOFT, ids=["a", "b", "c"])
    assert corrected != CorrectedLabels(given=GIVEN, probabilities=SOFT)
    assert corrected != CorrectedLabels(given=[1, 1, 1], probabilities=SOFT, ids=["a", "b", "c"])
    assert corrected != SOFT
    for array in (corrected.given, corrected.probabilities, corrected.ids, corrected.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(corrected)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"given": [0, 1]},
            r"`probabilities` must have shape \(n_samples, n_classes\) = \(2, any\)",
        ),
        ({"given": [0, 1, 2]}, r"`given` must lie in \[0, n_classes\) = \[0, 2\), got 1 outside"),
        ({"given": [[0, 1, 1]]}, r"`given` must have shape \(n_samples,\)"),
        ({"probabilities": [[1, 0], [0.9, 0.2], [2, 0]]}, "got 2 that are not, the first in row 1"),
        (
            {"probabilities": [[1, 0], [1, 0], [1.5, -0.5]]},
            "got 1 that are not, the first in row 2",
        ),
        ({"probabilities": [[1, 0], [1, 0], [np.nan, 1]]}, "must be at least 0 and sum to 1"),
        ({"ids": [1, 1, 2]}, "`ids` must be unique"),
    ],
)
def test_what_is_no_correction_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        CorrectedLabels(**{"given": GIVEN, "probabilities": SOFT} | columns)
    with pytest.raises(TypeError, match="`given` must hold integers"):
        CorrectedLabels(given=[0.0, 1.0, 1.0], probabilities=SOFT)


def test_the_answer_has_the_samples_of_the_log():
    log = TrainingLog(labels=GIVEN, probabilities=[SOFT], ids=["x", "y", "z"])
    expected = CorrectedLabels(given=GIVEN, probabilities=SOFT, ids=["x", "y", "z"])
    assert LastPrediction().correct(log) == expected


def test_rows_of_half_precision_are_divided_by_their_sum():
    soft = np.array([[0.33, 0.33, 0.333]])
    log = TrainingLog(labels=[0], probabilities=soft[None])
    assert LastPrediction().correct(log).probabilities == pytest.approx(soft / 0.993)


def test_a_sample_without_a_valid_record_keeps_its_label():
    log = TrainingLog(labels=GIVEN, probabilities=[SOFT], predictions=[[-1, 1, 1]])
    soft = [[0.3, 0.7], [0.25, 0.75], [0.6, 0.4]]
    other = TrainingLog(labels=GIVEN, probabilities=[soft], predictions=[[1, 1, -1]])
    corrected = LastPrediction().correct(log)
    assert corrected.probabilities.tolist() == [[1, 0], *SOFT[1:]]
    assert not corrected.changed[0]
    both = LastPrediction().correct(log, other)
    assert both.probabilities.tolist() == [[1, 0], [0.25, 0.75], [0, 1]]


def test_without_any_valid_record_every_label_stays():
    with pytest.warns(NonFiniteWarning):
        log = TrainingLog(labels=GIVEN, probabilities=[SOFT], losses=[[np.nan] * 3])
    with pytest.warns(DegenerateWarning, match=r"LastPrediction: no sample .* Every label stays"):
        assert not LastPrediction().correct(log).changed.any()


def test_logs_are_checked_as_those_of_selectors():
    log = TrainingLog(labels=GIVEN, probabilities=[SOFT])
    with pytest.raises(
        MissingEvidenceError, match="LastPrediction needs `probabilities`, but this"
    ):
        LastPrediction().correct(TrainingLog(labels=GIVEN, losses=[[0.1, 0.2, 0.3]]))
    with pytest.raises(ValueError, match="`peer` must be the log of a second network"):
        LastPrediction().correct(log, TrainingLog(labels=[1, 1, 1], probabilities=[SOFT]))
    with pytest.raises(ValueError, match="`peer` must end with the same epoch"):
        LastPrediction().correct(log, TrainingLog(labels=GIVEN, probabilities=[SOFT, SOFT]))
    with pytest.raises(TypeError, match=r"needs a TrainingLog, got MemoryBank.*bank\.log"):
        LastPrediction().correct(MemoryBank([0, 1]))
    with pytest.raises(TypeError, match="must name columns of TrainingLog, got 'prob'"):
        type("Typo", (LabelCorrector,), {}, needs=("prob",))
