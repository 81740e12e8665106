"""What the methods beyond the first three do, and the parts that a run may have or lack."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from noisyselect import VRLVSelector, open_run
from noisyselect.errors import DegenerateWarning
from noisyselect.torch import Settings, compare, train
from noisyselect.torch.trainer import run as module

# On so little data nothing may be kept, or a class stay empty; that is tested where it belongs.
pytestmark = pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")

SHORT = Settings(
    epochs=6,
    warm_up=3,
    batch_size=16,
    augment=False,
    n_neighbors=5,
    pretrain_batch_size=45,
    scan_batch_size=45,
    clustering_epochs=2,
    precision="float32",
)


def settings(**changes):
    return dataclasses.replace(SHORT, **changes)


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_after(epoch):
    def on_epoch(result):
        if result.epoch == epoch:
            raise Killed

    return on_epoch


def weights(result):
    return [value for network in result.networks for value in network.state_dict().values()]


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def noisy_estimate(monkeypatch, rate):
    monkeypatch.setattr(module._Run, "_estimated_noise_rate", lambda *_: rate)


VARIANTS = {
    "coteaching": {"method": "coteaching"},
    "vrlvmix-plus": {"method": "vrlvmix-plus"},
    "scanmix": {"method": "scanmix", "pretrain_epochs": 2},
    "vrlvmix with scan": {"pretrain_epochs": 2, "scan": "on"},
    "vrlvmix on pretrained neighbours": {"pretrain_epochs": 2, "scan": "off"},
    "without vrlv": {"without": ("vrlv",)},
    "without balancing": {"without": ("balancing",)},
    "without balancing and scan": {
        "without": ("balancing", "scan"), "pretrain_epochs": 2, "scan": "on",
    },
    "ema": {"ema": 0.9},
    "pool": {"epoch_samples": 60},
    "pool, dividemix": {"epoch_samples": 60, "method": "dividemix"},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_and_resumes_to_the_same_weights(blobs, small_network, tmp_path, name):
    asked = settings(**VARIANTS[name])
    whole = train(blobs, asked, tmp_path / "whole", network=small_network)
    assert [epoch.phase for epoch in whole.epochs][3:] == [asked.method] * 3
    assert all(value.isfinite().all() for value in weights(whole))
    for last in (1, 3):
        path = tmp_path / f"broken-{last}"
        with pytest.raises(Killed):
            train(blobs, asked, path, network=small_network, on_epoch=kill_after(last))
        resumed = train(blobs, asked, path, network=small_network, resume=True)
        assert same_weights(whole, resumed)
        assert resumed.epochs == whole.epochs


def test_coteaching_keeps_less_and_less_until_the_estimated_noise_rate(
    blobs, small_network, tmp_path, monkeypatch
):
    noisy_estimate(monkeypatch, 0.4)
    asked = settings(method="coteaching", forget_epochs=2, batch_size=15)
    result = train(blobs, asked, tmp_path / "run", network=small_network)
    labelled = [epoch.measures.get("labelled_a") for epoch in result.epochs]
    assert labelled == [None] * 3 + [72, 54, 54]
    given = train(
        blobs, dataclasses.replace(asked, forget_rate=0.2), tmp_path / "given",
        network=small_network,
    )  # fmt: skip
    assert given.epochs[-1].measures["labelled_b"] == 72


def test_scan_starts_by_itself_where_the_noise_is_high_and_warm_up_begins_again(
    blobs, small_network, tmp_path, monkeypatch
):
    asked = settings(epochs=8, pretrain_epochs=2)
    noisy_estimate(monkeypatch, 0.61)
    high = train(blobs, asked, tmp_path / "high", network=small_network)
    phases = [epoch.phase for epoch in high.epochs]
    assert phases == ["warm-up"] * 3 + ["scan warm-up"] * 3 + ["vrlvmix"] * 2
    assert "scan_loss_a" in high.epochs[-1].measures
    path = tmp_path / "broken"
    with pytest.raises(Killed):
        train(blobs, asked, path, network=small_network, on_epoch=kill_after(4))
    assert same_weights(high, train(blobs, asked, path, network=small_network, resume=True))

    noisy_estimate(monkeypatch, 0.6)
    low = train(blobs, asked, tmp_path / "low", network=small_network)
    assert [epoch.phase for epoch in low.epochs] == ["warm-up"] * 3 + ["vrlvmix"] * 5
    assert "scan_loss_a" not in low.epochs[-1].measures


def test_in_a_scan_warm_up_only_the_classifier_learns(blobs, small_network, tmp_path):
    asked = settings(epochs=3, pretrain_epochs=1, scan="on")
    a, b = train(blobs, asked, tmp_path / "run", network=small_network).networks
    for (name, of_a), of_b in zip(a.named_parameters(), b.parameters(), strict=True):
        # Both begin alike and see other orders: what learnt differs.
        assert torch.equal(of_a, of_b) == (not name.startswith("classifier")), name


def test_scanmix_clusters_gently_where_the_noise_is_low(
    blobs, small_network, tmp_path, monkeypatch
):
    seen = []
    scan_epoch = module.scan_epoch

    def noting(network, head, optimiser, *args, **options):
        seen.append((optimiser.param_groups[0]["lr"], options["strong"]))
        return scan_epoch(network, head, optimiser, *args, **options)

    monkeypatch.setattr(module, "scan_epoch", noting)
    for rate, expected in ((0.6, (1e-5, False)), (0.7, (0.001, True))):
        noisy_estimate(monkeypatch, rate)
        asked = settings(epochs=4, method="scanmix", pretrain_epochs=1)
        train(blobs, asked, tmp_path / f"{rate}", network=small_network)
        assert set(seen) == {expected}
        seen.clear()


def test_clustering_is_told_what_the_peer_predicted_before_the_epoch(
    blobs, small_network, tmp_path, monkeypatch
):
    seen = []
    scan_epoch = module.scan_epoch

    def noting(network, head, optimiser, inputs, near, predicted, **options):
        seen.append(predicted.tolist())
        return scan_epoch(network, head, optimiser, inputs, near, predicted, **options)

    monkeypatch.setattr(module, "scan_epoch", noting)
    asked = settings(epochs=5, pretrain_epochs=1, scan="on")
    path = train(blobs, asked, tmp_path / "run", network=small_network).run
    logs = [open_run(path).log(name).predictions for name in "ba"]
    assert seen == [log[epoch].tolist() for epoch in (2, 3) for log in logs]


def test_pretraining_is_shared_between_runs_and_seeds(blobs, small_network, tmp_path, monkeypatch):
    asked, cache = settings(epochs=4, pretrain_epochs=1, scan="off"), tmp_path / "cache"
    first = train(
        blobs, asked, tmp_path / "first", network=small_network, pretrained=cache
    )  # fmt: skip
    assert list(cache.glob("*.safetensors"))
    assert not (first.run / "pretrained").exists()
    monkeypatch.setattr("noisyselect.torch.pretrain.pretrained.simclr_epoch", None)
    second = train(
        blobs, dataclasses.replace(asked, seed=3), tmp_path / "second", network=small_network,
        pretrained=cache,
    )  # fmt: skip
    near = [open_run(result.run).neighbours for result in (first, second)]
    assert near[0].shape == (90, 5)
    assert np.array_equal(*near)


def test_methods_that_read_no_neighbours_are_not_pretrained(
    blobs, small_network, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "pretrain", None)
    for method in ("ce", "coteaching", "dividemix"):
        asked = settings(epochs=4, method=method, pretrain_epochs=5)
        train(blobs, asked, tmp_path / method, network=small_network)


def test_the_switches_of_table_4_reach_the_selector(blobs, small_network, tmp_path, monkeypatch):
    seen = []
    select_pair = VRLVSelector.select_pair

    def noting(self, log_a, log_b):
        seen.append((self.variation, self.balance, self.n_neighbors, self.threshold))
        return select_pair(self, log_a, log_b)

    monkeypatch.setattr(VRLVSelector, "select_pair", noting)
    for without, expected in (((), (True, True)), (("vrlv",), (False, True)),
                              (("balancing", "scan"), (True, False))):  # fmt: skip
        asked = settings(epochs=4, without=without, threshold=0.4)
        train(blobs, asked, tmp_path / "-".join(("run", *without)), network=small_network)
        assert set(seen) == {(*expected, 5, 0.4)}
        seen.clear()


def test_the_running_mean_of_the_weights_is_what_is_tested_and_nothing_else(
    blobs, small_network, tmp_path
):
    plain = train(blobs, settings(), tmp_path / "plain", network=small_network)
    averaged = train(blobs, settings(ema=0.99), tmp_path / "averaged", network=small_network)
    assert same_weights(plain, averaged)
    assert plain.test_accuracy != averaged.test_accuracy


@pytest.mark.filterwarnings("ignore::noisyselect.errors.NonFiniteWarning")
def test_a_pool_is_what_the_epoch_trains_on_and_the_log_knows_no_more(
    blobs, small_network, tmp_path, monkeypatch
):
    selections = []
    learn_from = module._Run._learn_from

    def noting(self, epoch, index, selection):
        selections.append((epoch, selection))
        return learn_from(self, epoch, index, selection)

    monkeypatch.setattr(module._Run, "_learn_from", noting)
    asked = settings(epochs=7, epoch_samples=60)
    run = open_run(train(blobs, asked, tmp_path / "run", network=small_network).run)
    log = run.log("a")
    assert np.isfinite(log.losses).sum(axis=1).tolist() == [60] * 7
    assert len({tuple(row) for row in np.isfinite(log.losses)}) > 1
    for epoch, selection in selections:
        recorded = np.isfinite(log.losses[epoch - 1])
        assert sorted(selection.ids) == sorted(blobs.ids[recorded])


def test_a_sample_without_a_history_is_not_selected_by_vrlv(blobs, small_network, tmp_path):
    chosen = []

    class Noting(VRLVSelector):
        def select_pair(self, log_a, log_b):
            answer = super().select_pair(log_a, log_b)
            known = np.isfinite(log_a.losses[-(self.window + 1) :]).all(axis=0)
            if log_a.n_epochs > self.window:
                chosen.append((answer[0].clean & ~known).sum())
            return answer

    asked = settings(epochs=8, epoch_samples=60)
    selector = Noting(window=2, short_history="gmm", n_neighbors=5)
    train(blobs, asked, tmp_path / "run", network=small_network, selector=selector)
    assert len(chosen) == 5
    assert not any(chosen)


def test_bfloat16_trains_close_to_float32_and_logs_in_32_bits(blobs, small_network, tmp_path):
    runs = {
        precision: train(
            blobs, settings(method="ce", precision=precision), tmp_path / precision,
            network=small_network,
        )
        for precision in ("float32", "bfloat16")
    }  # fmt: skip
    logs = {name: open_run(result.run).log("a").losses for name, result in runs.items()}
    assert not np.array_equal(logs["float32"], logs["bfloat16"])
    np.testing.assert_allclose(logs["float32"], logs["bfloat16"], atol=0.15)
    # Of 8 bits few losses would be different.
    assert len(np.unique(logs["bfloat16"][-1])) > 85


def test_a_compiled_run_is_close_to_a_plain_one(blobs, tmp_path, monkeypatch):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    # The graphs are run as they are: what makes them fast is torch's, and takes it half a minute.
    compiling = functools.partial(torch.compile, backend=backend)
    monkeypatch.setattr(torch, "compile", compiling)

    def network():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))

    short = settings(epochs=2, warm_up=1, method="dividemix")
    plain = train(blobs, short, tmp_path / "plain", network=network)
    assert not graphs
    compiled = train(
        blobs, dataclasses.replace(short, compile=True), tmp_path / "compiled", network=network
    )
    assert graphs
    assert compiled.networks[0].state_dict().keys() == plain.networks[0].state_dict().keys()
    for one, other in zip(weights(plain), weights(compiled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_second_warm_up_that_leaves_no_epoch_for_the_method_is_said(
    blobs, small_network, tmp_path, monkeypatch
):
    noisy_estimate(monkeypatch, 0.8)
    asked = settings(epochs=6, pretrain_epochs=1, clustering_epochs=1)
    with pytest.warns(DegenerateWarning, match="the method itself never trains"):
        train(blobs, asked, tmp_path / "run", network=small_network)


def test_vrlv_reads_nothing_of_the_networks_before_a_second_warm_up(
    blobs, small_network, tmp_path, monkeypatch
):
    noisy_estimate(monkeypatch, 0.8)
    lengths = []
    select_pair = VRLVSelector.select_pair

    def noting(self, log_a, log_b):
        lengths.append(log_a.n_epochs)
        return select_pair(self, log_a, log_b)

    monkeypatch.setattr(VRLVSelector, "select_pair", noting)
    asked = settings(epochs=7, warm_up=2, window=4, pretrain_epochs=1, clustering_epochs=1)
    train(blobs, asked, tmp_path / "run", network=small_network)
    assert lengths == [2, 3, 4]


def test_a_run_names_the_precision_it_had_and_does_not_go_on_with_another(
    blobs, small_network, tmp_path, monkeypatch
):
    asked = settings(epochs=2, method="ce", precision="auto")
    monkeypatch.setattr("noisyselect.torch.precision._has_amx", lambda: False)
    path = train(blobs, asked, tmp_path / "run", network=small_network).run
    assert open_run(path).settings["precision"] == "float32"
    monkeypatch.setattr("noisyselect.torch.precision._has_amx", lambda: True)
    with pytest.raises(ValueError, match="`precision` was 'float32', got 'bfloat16'"):
        train(blobs, asked, path, network=small_network, resume=True)


def test_the_neighbours_of_a_pool_are_those_of_the_checkpoint(
    blobs, small_network, tmp_path, monkeypatch
):
    asked = settings(epochs=6, epoch_samples=60)
    whole = train(blobs, asked, tmp_path / "whole", network=small_network)
    save, calls = module.save_checkpoint, []

    def killed_at_the_fifth(*args):
        calls.append(args)
        if len(calls) == 5:
            # Neighbours of the next pool are written by then, and belong to no checkpoint.
            raise Killed
        save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", killed_at_the_fifth)
        with pytest.raises(Killed):
            train(blobs, asked, tmp_path / "broken", network=small_network)
    seen = []
    learn_from = module._Run._learn_from

    def noting(self, epoch, index, selection):
        seen.append(self.neighbours.copy())
        return learn_from(self, epoch, index, selection)

    monkeypatch.setattr(module._Run, "_learn_from", noting)
    resumed = train(blobs, asked, tmp_path / "broken", network=small_network, resume=True)
    assert same_weights(whole, resumed)
    again = train(blobs, asked, tmp_path / "again", network=small_network)
    assert same_weights(whole, again)
    assert all(np.array_equal(a, b) for a, b in zip(seen[:4], seen[-4:], strict=True))


def test_a_pre_trained_file_of_another_network_is_not_used(blobs, tmp_path):
    def network(activation):
        return lambda: torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 8), activation, torch.nn.Linear(8, 3)
        )

    asked, cache = settings(epochs=4, pretrain_epochs=1, scan="off"), tmp_path / "cache"
    for name, activation in (("relu", torch.nn.ReLU()), ("tanh", torch.nn.Tanh())):
        train(blobs, asked, tmp_path / name, network=network(activation), pretrained=cache)
    assert len(list(cache.glob("simclr-*"))) == 2


def test_too_many_images_in_files_ask_for_pools(blobs, tmp_path, monkeypatch):
    class Files:
        shape, ndim, dtype = (10**6, 3, 256, 256), 4, np.dtype(np.uint8)

    class Data:
        inputs, n_samples = Files(), 10**6

    from noisyselect.torch.trainer.samples import _check_size

    _check_size(Data, pooled=True)
    with pytest.raises(ValueError, match=r"183 GiB at once, more than 64: set `epoch_samples`"):
        _check_size(Data, pooled=False)


def test_comparisons_are_not_for_torchrun(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="start it without torchrun"):
        compare(blobs, ["ce"], SHORT, tmp_path)
