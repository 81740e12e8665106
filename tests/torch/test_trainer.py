import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from noisyselect import ENNCleaner, GMMSelector, Selection, VRLVSelector, open_run
from noisyselect.errors import DegenerateWarning, NonFiniteLossError
from noisyselect.numeric.neighbours import nearest_neighbours
from noisyselect.selectors.consensus import ConsensusSelector
from noisyselect.torch import Settings, SmallCNN, TrainingData, load_data, train, with_noise
from noisyselect.vote import Vote

SHORT = Settings(epochs=8, warm_up=4, batch_size=16, augment=False, lr_drop_epoch=6)
METHODS = ("vrlvmix", "dividemix", "ce")

# On so little data nothing may be kept, or a class stay empty; that is tested where it belongs.
pytestmark = pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_after(epoch):
    def on_epoch(result):
        if result.epoch == epoch:
            raise Killed

    return on_epoch


def weights(result):
    return [value for network in result.networks for value in network.state_dict().values()]


def assert_same_run(one, other):
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    assert one.epochs == other.epochs
    logs = [open_run(result.run) for result in (one, other)]
    for network in ("a", "b"):
        first, second = (run.log(network) for run in logs)
        for column in ("losses", "predictions", "confidences", "lr", "phases"):
            assert np.array_equal(getattr(first, column), getattr(second, column))


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_writes_what_it_saw(
    blobs, small_network, tmp_path, method, augment
):
    settings = dataclasses.replace(SHORT, method=method, augment=augment)
    seen = []
    result = train(blobs, settings, tmp_path / "run", network=small_network, on_epoch=seen.append)
    assert tuple(seen) == result.epochs
    assert [epoch.phase for epoch in seen] == ["warm-up"] * 4 + [method] * 4
    run = open_run(tmp_path / "run")
    log = run.log("b")
    assert log.losses.shape == (8, 90)
    assert np.isfinite(log.losses).all()
    assert log.lr.tolist() == [0.02] * 6 + [0.002] * 2
    assert np.array_equal(run.truth, blobs.true_labels)
    assert run.settings["method"] == method
    assert run.settings["noise"] == {"kind": "test"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("last_epoch", [1, 3, 5])
def test_a_killed_and_resumed_run_equals_the_unbroken_one(
    blobs, small_network, tmp_path, method, last_epoch
):
    settings = dataclasses.replace(SHORT, method=method, augment=method == "vrlvmix")
    whole = train(blobs, settings, tmp_path / "whole", network=small_network)
    with pytest.raises(Killed):
        train(
            blobs,
            settings,
            tmp_path / "broken",
            network=small_network,
            on_epoch=kill_after(last_epoch),
        )
    resumed = train(blobs, settings, tmp_path / "broken", network=small_network, resume=True)
    assert_same_run(whole, resumed)


def test_a_kill_between_log_and_checkpoint_loses_that_epoch_alone(
    blobs, small_network, tmp_path, monkeypatch
):
    whole = train(blobs, SHORT, tmp_path / "whole", network=small_network)
    calls = []

    def save_twice(*args):
        calls.append(args)
        if len(calls) == 6:
            raise Killed
        save(*args)

    import noisyselect.torch.trainer.run as module

    save = module.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", save_twice)
        with pytest.raises(Killed):
            train(blobs, SHORT, tmp_path / "broken", network=small_network)
    assert open_run(tmp_path / "broken").n_epochs == 6
    resumed = train(blobs, SHORT, tmp_path / "broken", network=small_network, resume=True)
    assert_same_run(whole, resumed)


def test_a_run_killed_in_its_first_epoch_is_resumed_from_nothing(
    blobs, small_network, tmp_path, monkeypatch
):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("noisyselect.torch.trainer.run.save_checkpoint", killed)
        with pytest.raises(Killed):
            train(blobs, SHORT, tmp_path / "broken", network=small_network)
    resumed = train(blobs, SHORT, tmp_path / "broken", network=small_network, resume=True)
    assert_same_run(train(blobs, SHORT, tmp_path / "whole", network=small_network), resumed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(90, dtype=int)}, "the labels or ids are others"),
        ({"ids": np.arange(90)}, "the labels or ids are others"),
        ({"inputs": None}, "`fingerprint` was"),
        ({"test_labels": np.zeros(30, dtype=int)}, "`fingerprint` was"),
        ({"noise": {"kind": "other"}}, "`noise` was {'kind': 'test'}"),
    ],
)
@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_a_run_does_not_go_on_with_other_data(
    blobs, small_network, tmp_path, change, message, with_checkpoint
):
    train(blobs, replace(SHORT, epochs=2), tmp_path / "run", network=small_network)
    if not with_checkpoint:
        (tmp_path / "run" / "checkpoint" / "state.safetensors").unlink()
    if "inputs" in change:
        change = {"inputs": 255 - blobs.inputs}
    with pytest.raises(ValueError, match=message):
        train(
            replace(blobs, **change),
            replace(SHORT, epochs=2),
            tmp_path / "run",
            network=small_network,
            resume=True,
        )


def test_resuming_into_an_empty_folder_starts_a_run(blobs, small_network, tmp_path):
    settings = Settings(method="ce", epochs=1, augment=False)
    result = train(blobs, settings, tmp_path, network=small_network, resume=True)
    assert len(result.epochs) == 1


@pytest.mark.parametrize(
    ("selector", "given"),
    [
        (GMMSelector() & ENNCleaner(4), True),
        (GMMSelector() & ENNCleaner(4), False),
        (Vote([GMMSelector(), ENNCleaner(4)], at_least=1), False),
        (ConsensusSelector(n_neighbors=4), False),
    ],
)
def test_any_selector_of_neighbours_gets_them(blobs, small_network, tmp_path, selector, given):
    near = nearest_neighbours(blobs.inputs.reshape(90, -1).astype(float), 5) if given else None
    result = train(
        blobs,
        Settings(method="dividemix", epochs=3, augment=False),
        tmp_path / "run",
        network=small_network,
        selector=selector,
        neighbours=near,
    )
    assert result.epochs[-1].measures["labelled_a"] > 0
    saved = open_run(tmp_path / "run").log("b").neighbours
    assert saved.shape == (90, 5 if given else 4)
    assert near is None or np.array_equal(saved, near)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cudaa", "a name that torch knows.*got 'cudaa'"), ("cuda", "torch finds no such device")],
)
def test_a_device_that_is_not_there_is_refused(blobs, tmp_path, device, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        train(blobs, SHORT, tmp_path / "run", device=device)


def test_dropout_draws_the_same_after_a_resumption(blobs, tmp_path):
    def network():
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 9), torch.nn.Dropout(0.5), torch.nn.Linear(9, 3)
        )

    whole = train(blobs, SHORT, tmp_path / "whole", network=network)
    with pytest.raises(Killed):
        train(blobs, SHORT, tmp_path / "broken", network=network, on_epoch=kill_after(4))
    torch.rand(17)
    resumed = train(blobs, SHORT, tmp_path / "broken", network=network, resume=True)
    assert_same_run(whole, resumed)


def test_resuming_a_finished_run_changes_nothing(blobs, small_network, tmp_path):
    done = train(blobs, SHORT, tmp_path / "run", network=small_network)
    again = train(blobs, SHORT, tmp_path / "run", network=small_network, resume=True)
    assert_same_run(done, again)


def test_settings_that_differ_on_resumption_are_refused_by_name(blobs, small_network, tmp_path):
    train(blobs, SHORT, tmp_path / "run", network=small_network)
    other = dataclasses.replace(SHORT, lr=0.5, seed=3)
    with pytest.raises(ValueError, match=r"`lr` was 0.02, got 0.5; `seed` was 0, got 3"):
        train(blobs, other, tmp_path / "run", network=small_network, resume=True)
    with pytest.raises(ValueError, match="`selector`"):
        train(
            blobs,
            SHORT,
            tmp_path / "run",
            network=small_network,
            selector=VRLVSelector(window=2),
            resume=True,
        )
    assert open_run(tmp_path / "run").n_epochs == SHORT.epochs


def test_other_labels_on_resumption_are_refused(blobs, small_network, tmp_path):
    train(blobs, SHORT, tmp_path / "run", network=small_network)
    other = dataclasses.replace(blobs, labels=blobs.true_labels)
    with pytest.raises(ValueError, match="labels"):
        train(other, SHORT, tmp_path / "run", network=small_network, resume=True)


def test_a_run_never_overwrites_another(blobs, small_network, tmp_path):
    train(blobs, SHORT, tmp_path / "run", network=small_network)
    with pytest.raises(FileExistsError):
        train(blobs, SHORT, tmp_path / "run", network=small_network)


def test_all_methods_warm_up_alike(blobs, small_network, tmp_path):
    runs = [
        train(
            blobs, dataclasses.replace(SHORT, method=method), tmp_path / method,
            network=small_network,
        )
        for method in METHODS
    ]  # fmt: skip
    logs = [open_run(run.run).log("b").until(4).losses for run in runs]
    assert np.array_equal(logs[0], logs[1])
    assert np.array_equal(logs[0], logs[2])


def test_both_networks_begin_differently(blobs, small_network, tmp_path):
    result = train(blobs, Settings(epochs=1), tmp_path / "run", network=small_network)
    log_a, log_b = (open_run(result.run).log(name) for name in "ab")
    assert not np.array_equal(log_a.losses, log_b.losses)


def test_the_global_random_state_is_neither_read_nor_changed(blobs, small_network, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(blobs, SHORT, tmp_path / "first", network=small_network)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same_run(first, train(blobs, SHORT, tmp_path / "second", network=small_network))


def test_true_labels_change_no_weight(blobs, small_network, tmp_path):
    known = train(blobs, SHORT, tmp_path / "known", network=small_network)
    for name, truth in (("unknown", None), ("wrong", np.zeros(90, dtype=int))):
        data = dataclasses.replace(blobs, true_labels=truth, noise=None)
        result = train(data, SHORT, tmp_path / name, network=small_network)
        pairs = zip(weights(known), weights(result), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_without_true_labels_there_are_no_measures_of_them(blobs, small_network, tmp_path):
    data = dataclasses.replace(blobs, true_labels=None)
    result = train(data, SHORT, tmp_path / "run", network=small_network)
    assert set(result.epochs[-1].measures) == {
        "train_loss_a", "train_loss_b", "labelled_a", "labelled_b",
    }  # fmt: skip


def test_a_loss_that_is_not_finite_names_network_epoch_and_batch(blobs, tmp_path):
    class Breaking(torch.nn.Module):
        """Gives NaN in the second batch of its second epoch of training."""

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 3)
            self.calls = 0

        def forward(self, images):
            self.calls += self.training
            scale = torch.nan if self.calls == 5 else 1.0
            return self.linear(images.flatten(1)) * scale

    with pytest.raises(NonFiniteLossError, match="network a is nan at epoch 1, batch 1 of 3"):
        train(blobs, SHORT, tmp_path / "run", network=Breaking)
    assert open_run(tmp_path / "run").n_epochs == 1


class Nothing(GMMSelector):
    """Keeps no label."""

    def _select(self, log, peer):
        return Selection(clean=np.zeros(log.n_samples, dtype=bool))


@pytest.mark.filterwarnings("always")
def test_a_network_without_labelled_samples_goes_on_as_in_warm_up(blobs, small_network, tmp_path):
    kept = dataclasses.replace(SHORT, method="dividemix")
    with pytest.warns(DegenerateWarning, match="no sample is labelled for network b"):
        result = train(blobs, kept, tmp_path / "run", network=small_network, selector=Nothing())
    plain = train(
        blobs, dataclasses.replace(SHORT, method="ce"), tmp_path / "ce", network=small_network
    )
    assert all(torch.equal(a, b) for a, b in zip(weights(result), weights(plain), strict=True))


class Everything(GMMSelector):
    """Keeps every label."""

    def _select(self, log, peer):
        return Selection(clean=np.ones(log.n_samples, dtype=bool))


@pytest.mark.parametrize("augment", [True, False])
def test_nothing_unlabelled_is_no_fault(blobs, small_network, tmp_path, augment):
    settings = dataclasses.replace(SHORT, method="dividemix", augment=augment)
    result = train(blobs, settings, tmp_path / "run", network=small_network, selector=Everything())
    assert all(value.isfinite().all() for value in weights(result))


def test_each_network_of_dividemix_learns_from_what_the_other_selects(
    blobs, small_network, tmp_path
):
    seen = []

    class Noting(GMMSelector):
        def _select(self, log, peer):
            seen.append(log.losses[-1])
            return super()._select(log, peer)

    settings = dataclasses.replace(SHORT, method="dividemix", epochs=5)
    result = train(blobs, settings, tmp_path / "run", network=small_network, selector=Noting())
    run = open_run(result.run)
    assert np.array_equal(seen[0], run.log("b").losses[3])
    assert np.array_equal(seen[1], run.log("a").losses[3])


def test_the_clean_rate_is_estimated_once_at_the_end_of_warm_up(
    blobs, small_network, tmp_path, monkeypatch
):
    rates = []
    select_pair = VRLVSelector.select_pair

    def noting(self, log_a, log_b):
        rates.append(self.clean_rate)
        return select_pair(self, log_a, log_b)

    monkeypatch.setattr(VRLVSelector, "select_pair", noting)
    result = train(blobs, SHORT, tmp_path / "run", network=small_network)
    warm_up = open_run(result.run).log("a").until(4)
    assert rates == [GMMSelector().select(warm_up).clean.mean()] * 4


def test_neighbours_may_be_given(blobs, small_network, tmp_path, monkeypatch):
    monkeypatch.setattr("noisyselect.torch.trainer.run.all_features", None)
    neighbours = (np.arange(90)[:, None] + [3, 6, 9]) % 90
    train(blobs, SHORT, tmp_path / "run", network=small_network, neighbours=neighbours)
    assert np.array_equal(open_run(tmp_path / "run").log("a").neighbours, neighbours)


def test_a_method_refuses_a_selector_that_it_cannot_use(blobs, tmp_path):
    with pytest.raises(ValueError, match="must be a VRLVSelector"):
        train(blobs, SHORT, tmp_path / "run", selector=GMMSelector())
    settings = dataclasses.replace(SHORT, method="ce")
    with pytest.raises(ValueError, match="which has none"):
        train(blobs, settings, tmp_path / "run", selector=GMMSelector())


def test_a_short_warm_up_falls_back_to_the_mixture_until_the_window_is_full(
    blobs, small_network, tmp_path
):
    settings = dataclasses.replace(SHORT, warm_up=1, window=3)
    result = train(blobs, settings, tmp_path / "run", network=small_network)
    # The fall-back gives both networks one selection.
    shared = [
        epoch.measures["labelled_a"] == epoch.measures["labelled_b"] for epoch in result.epochs[1:4]
    ]
    assert all(shared)


def test_a_result_sums_up_its_epochs(blobs, small_network, tmp_path):
    result = train(blobs, SHORT, tmp_path / "run", network=small_network)
    assert result.best == max(result.test_accuracy)
    assert result.last == result.test_accuracy[-1]
    assert result.last_5 == pytest.approx(sum(result.test_accuracy[-5:]) / 5)


def test_vrlvmix_learns_what_cross_entropy_memorises_away(tmp_path):
    data = with_noise(load_data("digits", subset=600), "sym", 0.5, seed=0)
    settings = Settings(epochs=36, augment=False, batch_size=32)
    plain_settings = dataclasses.replace(settings, method="ce")
    robust = train(data, settings, tmp_path / "vrlvmix", network=lambda: SmallCNN(1, 10, 16))
    plain = train(data, plain_settings, tmp_path / "ce", network=lambda: SmallCNN(1, 10, 16))
    assert plain.epochs[-1].measures["fitted_wrong_a"] > 0.8
    assert robust.epochs[-1].measures["fitted_wrong_a"] < 0.1
    assert robust.last > plain.last + 0.1


def test_features_of_several_views_are_trained_on_with_and_without_augmentation(tmp_path):
    rng = np.random.default_rng(0)
    truth, test_labels = np.arange(300) % 3, np.arange(60) % 3
    labels = np.where(rng.random(300) < 0.4, rng.integers(0, 3, 300), truth)

    def features(classes):
        views = 3 * np.eye(3, 8)[classes][:, None] + 0.2 * rng.normal(size=(classes.size, 2, 8))
        return (views + rng.normal(size=(classes.size, 1, 8))).astype(np.float32)

    data = TrainingData(
        inputs=features(truth),
        labels=labels,
        test_inputs=features(test_labels),
        test_labels=test_labels,
        class_names=("a", "b", "c"),
        true_labels=truth,
        kind="features",
    )
    for augment in (False, True):
        settings = Settings(epochs=8, augment=augment, lr=0.05)
        result = train(data, settings, tmp_path / f"run-{augment}")
        assert result.last > 0.85
        assert result.epochs[-1].measures["precision_b"] > 0.85
