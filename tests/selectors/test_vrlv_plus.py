import math

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from noisyselect import GMMSelector, TrainingLog, VRLVPlusSelector, check_selector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError
from noisyselect.metrics import selection_quality


def log_of(losses, labels=None):
    losses = np.atleast_2d(losses)
    labels = np.arange(losses.shape[1]) % 2 if labels is None else labels
    return TrainingLog(labels=labels, losses=losses)


def two_heaps(right=0.4, wrong=2.5, seed=0):
    """Losses of 600 right and 400 wrong labels, and which are right."""
    rng = np.random.default_rng(seed)
    losses = np.concatenate([rng.gamma(4, right / 4, 600), rng.gamma(9, wrong / 9, 400)])
    return losses, np.arange(1000) < 600


def test_trust_is_the_mean_of_posterior_and_probability():
    losses, _ = two_heaps()
    unit = (losses - losses.min()) / np.ptp(losses)
    mixture = GaussianMixture(2, reg_covar=5e-4, tol=1e-2, max_iter=10, random_state=0)
    mixture.fit(unit[:, None])
    posterior = mixture.predict_proba(unit[:, None])[:, mixture.means_.argmin()]
    expected = (posterior + [math.exp(-loss) for loss in losses]) / 2
    selection = VRLVPlusSelector().select(log_of(losses))
    assert selection.trust == pytest.approx(expected, abs=2e-3)
    assert selection.score.tolist() == selection.trust.tolist()
    assert selection.clean.tolist() == (selection.trust > 0.5).tolist()
    assert set(selection.reason[selection.clean]) == {"more likely right"}
    assert set(selection.reason[~selection.clean]) == {"more likely wrong"}


def test_only_the_last_epoch_of_the_log_itself_is_read():
    losses, _ = two_heaps()
    alone = VRLVPlusSelector().select(log_of(losses))
    other = log_of(losses[::-1] / 2)
    assert VRLVPlusSelector().select(log_of([losses[::-1], losses])) == alone
    assert VRLVPlusSelector().select(log_of(losses), other) == alone


def test_the_contract_is_kept():
    check_selector(VRLVPlusSelector())


def test_where_all_losses_are_large_it_believes_less_than_the_mixture_does():
    losses, right = two_heaps(right=1.2, wrong=5)
    log = log_of(losses)
    trust, posterior = VRLVPlusSelector().select(log).trust, GMMSelector().select(log).trust
    assert posterior[right].mean() > 0.9
    assert trust[right].mean() < 0.7


def test_where_losses_are_parted_it_keeps_nearly_all_right_labels():
    losses, right = two_heaps()
    log = log_of(losses)
    quality = selection_quality(
        VRLVPlusSelector().select(log), log.labels, np.where(right, log.labels, 1 - log.labels), 2
    )
    assert quality.precision > 0.97
    assert quality.recall > 0.97


def test_it_fails_where_wrong_labels_were_learnt_by_heart():
    losses, right = two_heaps(wrong=0.4)
    trust = VRLVPlusSelector().select(log_of(losses)).trust
    assert trust[~right].mean() > 0.6


@pytest.mark.parametrize("loss", [0.0, 0.7])
def test_equal_losses_speak_against_no_label(loss):
    with pytest.warns(DegenerateWarning, match="VRLVPlusSelector: all losses are nearly equal"):
        selection = VRLVPlusSelector().select(log_of([loss] * 4))
    assert selection.clean.all() and (selection.trust == 1).all()


def test_where_the_smallest_losses_belong_to_the_wide_group_none_may_be_kept():
    # Of a narrow heap of large losses the mixture makes the lower group, and nothing is likely.
    losses = np.concatenate([np.full(500, 3.0), np.linspace(3.0, 9.0, 500)])
    losses[:500] += np.linspace(0, 0.3, 500)
    with pytest.warns(DegenerateWarning, match="no label is more likely right than wrong"):
        selection = VRLVPlusSelector().select(log_of(losses + 40))
    assert len(selection) == 0
    assert 0 < selection.trust.max() <= 0.5


def test_losses_beyond_what_a_probability_can_be_have_a_trust():
    trust = VRLVPlusSelector().select(log_of([0.0, -1e-7, 0.01, 900.0, 901.0])).trust
    assert trust == pytest.approx([1, 1, 0.995, 0, 0], abs=1e-3)


def test_a_log_without_losses_is_refused():
    with pytest.raises(MissingEvidenceError, match="`losses`"):
        VRLVPlusSelector().select(TrainingLog(labels=[0, 1], predictions=[[0, 1]]))
