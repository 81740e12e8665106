"""What the trainer hands to the epochs it trains; the epochs themselves are tested elsewhere."""

import inspect

import numpy as np
import pytest
import torch

from noisyselect import GMMSelector, Selection, VRLVPlusSelector, VRLVSelector, open_run
from noisyselect.torch import SelectedSamples, Settings, train
from noisyselect.torch.trainer import run as module

WARM_UP, EPOCHS = 3, 6

# On so little data nothing may be kept, or a class stay empty; that is tested where it belongs.
pytestmark = pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")


def settings(**changes):
    return Settings(
        **{"epochs": EPOCHS, "warm_up": WARM_UP, "batch_size": 16, "augment": False, **changes}
    )


@pytest.fixture
def calls(monkeypatch):
    """The arguments by name of every epoch of both kinds, which are trained all the same."""
    recorded = {"warm_up_epoch": [], "mixmatch_epoch": []}

    def recording(name):
        original = getattr(module, name)

        def record(*args, **kwargs):
            recorded[name].append(inspect.signature(original).bind(*args, **kwargs).arguments)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, record)

    for name in recorded:
        recording(name)
    return recorded


@pytest.fixture
def pairs(monkeypatch):
    """What VRLV was asked and what it answered, epoch by epoch."""
    recorded = []
    original = VRLVSelector.select_pair

    def select_pair(self, log_a, log_b):
        answer = original(self, log_a, log_b)
        recorded.append(((log_a, log_b), answer))
        return answer

    monkeypatch.setattr(VRLVSelector, "select_pair", select_pair)
    return recorded


def trained_on(call, data, selection):
    """Whether an epoch had the samples, labels and trust of `selection`, and its unlabelled."""
    wanted = SelectedSamples(call["inputs"].values, data.labels, selection)
    given = call["labelled"]
    return (
        len(given) == len(wanted)
        and all(
            torch.equal(*columns) for columns in zip(all_of(given), all_of(wanted), strict=True)
        )
        and call["unlabelled"].tolist() == np.flatnonzero(selection.unlabelled_mask).tolist()
    )


def all_of(samples):
    return samples[torch.arange(len(samples))]


@pytest.mark.parametrize("method", ["vrlvmix", "dividemix"])
def test_the_unlabelled_weight_rises_over_the_ramp_for_both_networks(
    blobs, small_network, tmp_path, calls, method
):
    ramped = settings(method=method, epochs=7, lambda_u=30.0, ramp_epochs=2)
    train(blobs, ramped, tmp_path / "run", network=small_network)
    weights = [call["lambda_u"] for call in calls["mixmatch_epoch"]]
    assert weights == [0, 0, 15, 15, 30, 30, 30, 30]


def test_each_network_trains_with_the_other_as_its_peer(blobs, small_network, tmp_path, calls):
    a, b = train(blobs, settings(), tmp_path / "run", network=small_network).networks
    assert [call["network"].module for call in calls["warm_up_epoch"]] == [a, b] * WARM_UP
    modules = [(call["network"].module, call["peer"].module) for call in calls["mixmatch_epoch"]]
    assert modules == [
        (a, b), (b, a),
    ] * (EPOCHS - WARM_UP)  # fmt: skip


def test_vrlvmix_weighs_classes_by_the_labelled_rows_with_the_synthetic_ones(
    blobs, small_network, tmp_path, calls
):
    # So high a rate leaves quotas that only synthetic samples can fill.
    selector = VRLVSelector(window=2, clean_rate=0.9)
    train(blobs, settings(), tmp_path / "run", network=small_network, selector=selector)
    assert len(calls["mixmatch_epoch"]) == 2 * (EPOCHS - WARM_UP)
    counts_differ = []
    for call in calls["mixmatch_epoch"]:
        labels = all_of(call["labelled"])[1].tolist()
        counts = [labels.count(c) for c in range(3)]
        # Equation 10: |D_x| / (|D_x^c| C), and 0 for a class without samples.
        expected = [len(labels) / (count * 3) if count else 0 for count in counts]
        assert call["class_weights"].tolist() == pytest.approx(expected)
        counts_differ.append(call["labelled"].n_synthetic > 0 and len(set(counts)) > 1)
    assert any(counts_differ)  # else weights of 1, or without the synthetic rows, would do


@pytest.mark.parametrize(
    ("method", "selector"),
    [
        ("dividemix", None),
        ("dividemix", VRLVSelector(window=2)),
        ("vrlvmix", VRLVSelector(window=2, balance=False)),
    ],
    ids=["dividemix", "dividemix with VRLV", "vrlvmix without balance"],
)
def test_only_balanced_vrlvmix_weighs_classes(
    blobs, small_network, tmp_path, calls, method, selector
):
    train(
        blobs, settings(method=method), tmp_path / "run", network=small_network, selector=selector
    )
    weights = [call["class_weights"] for call in calls["mixmatch_epoch"]]
    assert weights == [None] * 2 * (EPOCHS - WARM_UP)


@pytest.mark.parametrize("penalty", [True, False])
def test_the_confidence_penalty_is_for_warm_up_and_only_if_set(
    blobs, small_network, tmp_path, calls, penalty
):
    cross_entropy = settings(method="ce", confidence_penalty=penalty)
    train(blobs, cross_entropy, tmp_path / "run", network=small_network)
    penalised = [call["penalise"] for call in calls["warm_up_epoch"]]
    assert penalised == [penalty] * 2 * WARM_UP + [False] * 2 * (EPOCHS - WARM_UP)


class Nothing(GMMSelector):
    """Keeps no label."""

    def _select(self, log, peer):
        return Selection(clean=np.zeros(log.n_samples, dtype=bool), ids=log.ids)


def test_a_network_without_labelled_samples_is_not_penalised(blobs, small_network, tmp_path, calls):
    penalised = settings(method="dividemix", confidence_penalty=True)
    train(blobs, penalised, tmp_path / "run", network=small_network, selector=Nothing())
    assert calls["mixmatch_epoch"] == []
    after = calls["warm_up_epoch"][2 * WARM_UP :]
    assert [call["penalise"] for call in after] == [False] * 2 * (EPOCHS - WARM_UP)


@pytest.mark.parametrize("unlabelled", ["rest", "printed"])
def test_vrlvmix_trains_each_network_on_its_own_selection(
    blobs, small_network, tmp_path, calls, pairs, unlabelled
):
    selector = VRLVSelector(window=2, unlabelled=unlabelled)
    run = open_run(
        train(blobs, settings(), tmp_path / "run", network=small_network, selector=selector).run
    )
    assert len(pairs) == EPOCHS - WARM_UP
    for epoch, (logs, _) in enumerate(pairs, start=WARM_UP):
        for name, log in zip("ab", logs, strict=True):
            assert np.array_equal(log.losses, run.log(name).until(epoch).losses[-log.n_epochs :])
    own = [selection for _, answer in pairs for selection in answer]
    assert any(of_a != of_b for _, (of_a, of_b) in pairs)
    assert len(calls["mixmatch_epoch"]) == len(own)
    for call, selection in zip(calls["mixmatch_epoch"], own, strict=True):
        assert trained_on(call, blobs, selection)


def test_dividemix_trains_each_network_on_the_selection_of_the_peer(
    blobs, small_network, tmp_path, calls
):
    dividemix = settings(method="dividemix")
    run = open_run(train(blobs, dividemix, tmp_path / "run", network=small_network).run)
    asked = [(epoch, name) for epoch in range(WARM_UP, EPOCHS) for name in ("b", "a")]
    selections = [GMMSelector().select(run.log(name).until(epoch)) for epoch, name in asked]
    assert all(of_b != of_a for of_b, of_a in zip(selections[::2], selections[1::2], strict=True))
    assert len(calls["mixmatch_epoch"]) == len(selections)
    for call, selection in zip(calls["mixmatch_epoch"], selections, strict=True):
        assert trained_on(call, blobs, selection)


def test_vrlvmix_plus_trains_on_every_label_as_far_as_the_peer_lets_it_be_trusted(
    blobs, small_network, tmp_path, calls
):
    plus = settings(method="vrlvmix-plus")
    run = open_run(train(blobs, plus, tmp_path / "run", network=small_network).run)
    everything = np.ones(blobs.n_samples, dtype=bool)
    asked = [(epoch, name) for epoch in range(WARM_UP, EPOCHS) for name in ("b", "a")]
    trusts = [VRLVPlusSelector().select(run.log(name).until(e)).trust for e, name in asked]
    assert not np.allclose(trusts[0], trusts[1])
    expected = [Selection(clean=everything, trust=trust) for trust in trusts]
    assert len(calls["mixmatch_epoch"]) == len(expected)
    for call, selection in zip(calls["mixmatch_epoch"], expected, strict=True):
        assert call["refine_together"]
        assert call["class_weights"] is None
        assert trained_on(call, blobs, selection)


def test_vrlvmix_plus_takes_no_more_than_the_trust_of_another_selector(
    blobs, small_network, tmp_path, calls
):
    class Half(GMMSelector):
        """Keeps nothing, and half believes it."""

        def _select(self, log, peer):
            nothing = np.zeros(log.n_samples, dtype=bool)
            return Selection(clean=nothing, trust=nothing + 0.5, ids=log.ids)

    train(
        blobs, settings(method="vrlvmix-plus"), tmp_path / "run", network=small_network,
        selector=Half(),
    )  # fmt: skip
    assert len(calls["warm_up_epoch"]) == 2 * WARM_UP
    for call in calls["mixmatch_epoch"]:
        assert len(call["labelled"]) == blobs.n_samples
        assert (call["labelled"].trust == 0.5).all()
        assert len(call["unlabelled"]) == 0
