from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from noisyselect.errors import DamagedRunError, NonFiniteLossError
from noisyselect.numeric.neighbours import nearest_neighbours
from noisyselect.torch.inputs import Pixels, Views
from noisyselect.torch.models import SmallCNN, SmallMLP
from noisyselect.torch.pretrain import PretrainEpoch, pretrain, pretrained
from noisyselect.torch.pretrain.simclr import ProjectionHead, projections
from noisyselect.torch.seeding import seeded
from noisyselect.torch.settings import Settings

CPU = torch.device("cpu")
SETTINGS = Settings(
    pretrain_epochs=4,
    pretrain_lr=0.05,
    pretrain_batch_size=16,
    clustering_epochs=3,
    scan_batch_size=16,
    n_neighbors=4,
    precision="float32",
)


def images(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


def small_network():
    return SmallCNN(1, 3, width=4, n_hidden=16)


class Calls:
    """Remembers the epochs that were trained, and stops at one of them."""

    def __init__(self, last=None):
        self.seen, self.last = [], last

    def __call__(self, ended):
        self.seen.append((ended.phase, ended.epoch))
        if self.seen[-1] == self.last:
            raise KeyboardInterrupt


def run(cache, settings=SETTINGS, *, values=None, cluster=True, on_epoch=None, make=small_network):
    inputs = Pixels(images() if values is None else values, CPU)
    return pretrain(inputs, make, 3, settings, CPU, cache, cluster=cluster, on_epoch=on_epoch)


def trained(cache, settings=SETTINGS, **kwargs):
    calls = Calls()
    return run(cache, settings, on_epoch=calls, **kwargs), calls.seen


def assert_same(one, other):
    for name in ("weights", "head_weights"):
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None)
        assert first is None or all(torch.equal(first[key], second[key]) for key in first)
    for name in ("neighbours", "simclr_losses", "scan_losses"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.recall == other.recall


ALL = [("simclr", epoch) for epoch in range(4)] + [("scan", epoch) for epoch in range(3)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken pre-training and the folder that it was cached in."""
    cache = tmp_path_factory.mktemp("whole")
    result, seen = trained(cache)
    assert seen == ALL
    return cache, result


def test_it_tells_of_every_epoch(tmp_path):
    told = []
    result = run(tmp_path, on_epoch=told.append)
    assert [(each.phase, each.epoch, each.n_epochs) for each in told] == [
        (phase, epoch, {"simclr": 4, "scan": 3}[phase]) for phase, epoch in ALL
    ]
    assert isinstance(told[0], PretrainEpoch)
    assert [each.loss for each in told] == [*result.simclr_losses, *result.scan_losses]


def test_the_result_has_what_a_run_starts_from(whole):
    _, result = whole
    with seeded(0, CPU):
        made = small_network().state_dict()
    same = {name for name in made if torch.equal(made[name], result.weights[name])}
    assert same == {"classifier.weight", "classifier.bias"}
    small_network().load_state_dict(result.weights)
    nn.Linear(16, 3).load_state_dict(result.head_weights)
    assert result.neighbours.shape == (40, 4) and result.neighbours.dtype == np.int64
    assert (result.neighbours != np.arange(40)[:, None]).all()
    assert result.recall == 1


def test_neighbours_are_those_of_the_projections_after_simclr(tmp_path, monkeypatch):
    heads = []

    class Remembered(ProjectionHead):
        def __init__(self, *args):
            super().__init__(*args)
            heads.append(self)

    monkeypatch.setattr(pretrained, "ProjectionHead", Remembered)
    result = run(tmp_path, cluster=False)
    network = small_network()
    network.load_state_dict(result.weights)
    features = projections(network, heads[0], Pixels(images(), CPU), batch_size=40)
    assert np.array_equal(result.neighbours, nearest_neighbours(features.numpy(), 4, "cosine"))


def test_a_second_call_trains_nothing_and_returns_the_same(whole):
    cache, result = whole
    again, seen = trained(cache)
    assert seen == []
    assert_same(again, result)


def test_all_seeds_share_one_pre_training(whole):
    cache, result = whole
    again, seen = trained(cache, replace(SETTINGS, seed=5, lr=0.1, epochs=7))
    assert seen == []
    assert_same(again, result)


def test_clustering_can_follow_later_and_changes_nothing_before_it(whole, tmp_path):
    _, result = whole
    first, seen = trained(tmp_path, cluster=False)
    assert seen == ALL[:4]
    assert first.head_weights is None and len(first.scan_losses) == 0
    second, seen = trained(tmp_path)
    assert seen == ALL[4:]
    assert_same(second, result)
    third, seen = trained(tmp_path, cluster=False)
    assert seen == []
    assert_same(third, first)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scan_lr": 0.01}, ALL[4:]),
        ({"lambda_e": 5.0}, ALL[4:]),
        ({"n_neighbors": 5}, ALL[4:]),
        ({"pretrain_lr": 0.06}, ALL),
        ({"network": "small-cnn"}, ALL),
    ],
)
def test_only_what_a_setting_decides_is_trained_again(whole, tmp_path, change, expected):
    cache, _ = whole
    for file in cache.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    again, seen = trained(tmp_path, replace(SETTINGS, **change))
    assert seen == expected
    assert again.neighbours.shape[1] == change.get("n_neighbors", 4)


def test_other_inputs_networks_and_crops_are_trained_on_anew(whole):
    cache, _ = whole
    assert trained(cache, values=images(seed=1))[1] == ALL
    assert trained(cache, make=lambda: SmallCNN(1, 3, width=4, n_hidden=12))[1] == ALL
    calls = Calls()
    cropped = Pixels(images(), CPU, crop=7)
    pretrain(
        cropped, small_network, 3, SETTINGS, CPU, cache, cluster=False, on_epoch=calls
    )  # fmt: skip
    assert calls.seen == ALL[:4]


@pytest.mark.parametrize("last", [("simclr", 0), ("simclr", 2), ("simclr", 3), ("scan", 1)])
def test_a_killed_pre_training_goes_on_to_the_same_result(whole, tmp_path, monkeypatch, last):
    _, result = whole
    monkeypatch.setattr(pretrained, "_SECONDS_BETWEEN_SAVES", 0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch=Calls(last))
    again, seen = trained(tmp_path)
    assert seen == ALL[ALL.index(last) + 1 :]
    assert_same(again, result)
    assert sorted(file.name.split("-")[0] for file in tmp_path.iterdir()) == [
        "neighbours",
        "scan",
        "simclr",
    ]


def test_states_are_not_written_more_often_than_once_a_minute(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch=Calls(("simclr", 2)))
    assert list(tmp_path.iterdir()) == []


class Dropping(nn.Module):
    """A network that draws from torch's global state."""

    def __init__(self):
        super().__init__()
        self.inner = small_network()
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch):
        return self.inner(self.dropout(batch))


def test_the_global_state_is_neither_read_nor_changed(tmp_path):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        results.append(run(tmp_path / str(seed), make=Dropping))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(*results)


@pytest.mark.parametrize("name", ["simclr", "neighbours", "scan"])
@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_damaged_file_is_named_with_the_way_out(whole, tmp_path, name, harm):
    cache, _ = whole
    for file in cache.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for path in tmp_path.glob(f"{name}-*"):
        data = path.read_bytes()
        end = bytes([data[-1] ^ 1])
        path.write_bytes(data[:-9] if harm == "truncated" else data[:-1] + end)
    with pytest.raises(DamagedRunError, match=rf"{tmp_path}/{name}-\w+\.safetensors.* Delete "):
        run(tmp_path)


def test_a_damaged_state_is_named_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_SECONDS_BETWEEN_SAVES", 0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch=Calls(("simclr", 1)))
    (partial,) = tmp_path.iterdir()
    partial.write_bytes(b"nothing")
    with pytest.raises(DamagedRunError, match=r"simclr-\w+\.partial\.safetensors.* Delete "):
        run(tmp_path)


def test_a_loss_that_is_not_finite_stops_it(tmp_path):
    values = images().astype(np.float32)
    values[3] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"simclr.* got nan at epoch 0.*`pretrain_lr`"):
        run(tmp_path, values=values)
    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []


def test_features_are_pre_trained_as_images_are(tmp_path):
    views = np.random.default_rng(0).normal(size=(30, 2, 6)).astype(np.float32)
    result = pretrain(
        Views(views, CPU),
        lambda: SmallMLP(6, 3, hidden=(12, 8)),
        3,
        SETTINGS,
        CPU,
        tmp_path,
        cluster=True,
    )
    assert result.head_weights["weight"].shape == (3, 8)
    assert np.isfinite(result.scan_losses).all()


def test_sixteen_bits_train_too(tmp_path):
    settings = replace(SETTINGS, precision="bfloat16", pretrain_epochs=1, clustering_epochs=1)
    result = run(tmp_path, settings)
    assert np.isfinite([*result.simclr_losses, *result.scan_losses]).all()
    assert result.weights["hidden.0.weight"].dtype == torch.float32
