import numpy as np
import pytest
from scipy.stats import rankdata

from noisyselect import GMMSelector, LossVariationSelector, TrainingLog
from noisyselect.checks import synthetic_log
from noisyselect.errors import MissingEvidenceError


def test_three_samples_worked_by_hand():
    # Changes: 1, 2, 3 and then 3, 2, 1. Ranks 0, 1/2, 1 and 1, 1/2, 0: variances 1/4, 0, 1/4.
    losses = [[9.0, 9.0, 9.0], [8.0, 7.0, 6.0], [5.0, 5.0, 5.0]]
    log = TrainingLog(labels=[0, 1, 0], losses=losses)
    selection = LossVariationSelector(window=2, clean_rate=0.3).select(log)
    assert selection.clean.tolist() == [False, True, False]
    assert selection.score.tolist() == [0.25, 1.0, 0.25]
    assert selection.reason.tolist() == ["varying loss", "stable loss", "varying loss"]


def test_only_the_last_window_of_changes_counts():
    log, _ = synthetic_log()
    changed = log.losses.copy()
    changed[: log.n_epochs - 4] = 7.0
    other = TrainingLog(labels=log.labels, losses=changed)
    rule = LossVariationSelector(window=3, clean_rate=0.5)
    assert rule.select(log) == rule.select(other)


@pytest.mark.parametrize("change", ["signed", "absolute"])
def test_the_answer_is_that_of_the_slow_oracle_on_the_real_log(real_logs, change):
    log = real_logs[1].until(20)
    n = log.n_samples
    changes = [log.losses[t - 1].astype(float) - log.losses[t] for t in range(15, 20)]
    changes = np.abs(changes) if change == "absolute" else changes
    variance = np.var([rankdata(row) for row in changes], axis=0)
    expected = np.zeros(n, dtype=bool)
    expected[np.argsort(variance, kind="stable")[: round(0.6 * n)]] = True
    got = LossVariationSelector(clean_rate=0.6, change=change).select(log)
    assert np.mean(got.clean == expected) > 0.9999  # float ties at the cut
    assert got.score == pytest.approx(1 - (rankdata(variance) - 1) / (n - 1), abs=2e-3)


def test_the_clean_rate_is_by_default_that_of_the_mixture():
    log, _ = synthetic_log()
    assert len(LossVariationSelector().select(log)) == len(GMMSelector().select(log))


def test_a_short_log_is_refused_or_shrinks_the_window():
    log, _ = synthetic_log(n_epochs=4)
    with pytest.raises(MissingEvidenceError, match=r"needs 6 epochs of losses .* got 4"):
        LossVariationSelector().select(log)
    shrunk = LossVariationSelector(short_history="shrink").select(log)
    assert shrunk == LossVariationSelector(window=3).select(log)
    with pytest.raises(MissingEvidenceError, match="needs 3 epochs"):
        LossVariationSelector(short_history="shrink").select(log.last(2))


def test_a_steadily_learnt_sample_of_large_loss_is_kept_where_small_loss_drops_it():
    rng = np.random.default_rng(0)
    epoch = np.arange(6)[:, None]
    easy = 1.0 * 0.8**epoch * rng.uniform(0.98, 1.02, (6, 80))
    hard = 2.6 - 0.2 * epoch + rng.uniform(-0.01, 0.01, (6, 10))
    wrong = 2.0 + rng.uniform(-1.0, 1.0, (6, 30))
    losses = np.concatenate([easy, hard, wrong], axis=1)
    log = TrainingLog(labels=np.zeros(120, dtype=int), losses=losses)
    steady = LossVariationSelector(clean_rate=90 / 120).select(log)
    assert steady.clean[80:90].mean() > 0.8
    assert GMMSelector().select(log).clean[80:90].mean() < 0.5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"window": 1}, "`window` must be at least 2"),
        ({"clean_rate": 0.0}, r"`clean_rate` must lie in \(0, 1\]"),
        ({"clean_rate": 1.5}, r"`clean_rate` must lie in \(0, 1\]"),
        ({"change": "relative"}, "`change` must be 'signed' or 'absolute'"),
        ({"short_history": "gmm"}, "`short_history` must be 'error' or 'shrink'"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        LossVariationSelector(**option)
