import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from noisyselect import GMMSelector, TrainingLog
from noisyselect.errors import DegenerateWarning


def unit(losses):
    return (losses - losses.min()) / (losses.max() - losses.min())


def sklearn_posterior(values):
    """As DivideMix's code has it, but for a seed."""
    model = GaussianMixture(2, reg_covar=5e-4, tol=1e-2, max_iter=10, random_state=0)
    model.fit(values[:, None])
    return model.predict_proba(values[:, None])[:, model.means_.argmin()]


def test_the_split_of_the_real_log_is_that_of_dividemix_at_every_epoch(real_logs):
    for log in real_logs:
        for epoch in (1, 5, 19, 20, 29):
            expected = sklearn_posterior(unit(log.losses[epoch].astype(np.float64))) > 0.5
            got = GMMSelector().select(log.until(epoch + 1)).clean
            # Its 2-means may stop a little beside the best split.
            assert np.mean(got == expected) >= 0.99


def test_the_last_normalised_losses_are_averaged():
    rng = np.random.default_rng(0)
    losses = rng.gamma(1.0, 1.0, (4, 200)) * np.array([[100.0], [3.0], [2.0], [1.0]])
    log = TrainingLog(labels=np.arange(200) % 2, losses=losses)
    mean = np.mean([unit(row) for row in losses[-3:]], axis=0)
    expected = sklearn_posterior(unit(mean) * np.ptp(mean) + mean.min())
    got = GMMSelector(n_average=3).select(log)
    assert got.score == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(got.trust, got.score)


def test_a_log_shorter_than_the_average_uses_what_there_is():
    log = TrainingLog(labels=[0, 1, 0], losses=[[0.1, 0.2, 3.0]])
    assert GMMSelector(n_average=5).select(log).clean.tolist() == [True, True, False]


def test_five_losses_worked_by_hand():
    # On [0, 1] the losses are 0, 0, 0, 1, 1: two heaps of width 0, posterior 1 and 0.
    log = TrainingLog(labels=[0, 0, 1, 1, 1], losses=[[2.0, 2.0, 2.0, 6.0, 6.0]])
    selection = GMMSelector().select(log)
    assert selection.labelled.tolist() == [0, 1, 2]
    assert selection.score == pytest.approx([1, 1, 1, 0, 0], abs=1e-12)
    assert selection.reason.tolist() == ["small loss"] * 3 + ["large loss"] * 2


def test_the_threshold_is_strict_and_moves_the_cut():
    losses = np.random.default_rng(1).gamma(1.0, 1.0, (1, 500))
    log = TrainingLog(labels=np.zeros(500, dtype=int), losses=losses)
    loose, strict = GMMSelector(threshold=0.1).select(log), GMMSelector(threshold=0.9).select(log)
    assert strict < loose
    assert np.array_equal(strict.clean, strict.score > 0.9)


def test_equal_losses_speak_against_no_label():
    log = TrainingLog(labels=[0, 1, 0], losses=[[0.7, 0.7, 0.7]])
    with pytest.warns(DegenerateWarning, match="losses are nearly equal; every label is kept"):
        selection = GMMSelector().select(log)
    assert selection.clean.all()
    assert (selection.score == 1).all()


def test_mean_losses_that_are_nearly_equal_speak_against_no_label():
    losses = np.random.default_rng(0).random((2, 100))
    # On [0, 1] the mean of both epochs is 1/2, but for a millionth.
    losses[1] = 1 - losses[0] + 1e-6 * losses[1]
    log = TrainingLog(labels=np.zeros(100, dtype=int), losses=losses)
    with pytest.warns(DegenerateWarning, match="nearly equal"):
        assert GMMSelector(n_average=2).select(log).clean.all()


def test_in_a_single_heap_two_groups_are_found_all_the_same():
    losses = np.random.default_rng(0).normal(1.0, 0.1, (1, 20_000))
    selection = GMMSelector().select(TrainingLog(labels=np.zeros(20_000, dtype=int), losses=losses))
    assert 0.4 < len(selection) / 20_000 < 0.6


def test_nothing_kept_is_warned_of():
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(1.0, 0.1, 500), rng.normal(1.4, 0.3, 500)])
    log = TrainingLog(labels=np.zeros(1000, dtype=int), losses=losses[None])
    with pytest.warns(DegenerateWarning, match="no posterior exceeds 0.9999"):
        assert len(GMMSelector(threshold=0.9999).select(log)) == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"threshold": 1.0}, r"`threshold` must lie in \[0, 1\), got 1.0"),
        ({"threshold": float("nan")}, "`threshold` must lie in"),
        ({"n_average": 0}, "`n_average` must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        GMMSelector(**option)
