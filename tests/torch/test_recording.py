"""What `Settings.record` writes down, and that it changes nothing else."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from noisyselect import GMMSelector, Selection, open_run
from noisyselect.errors import NonFiniteWarning
from noisyselect.store import RunWriter, validate_run
from noisyselect.store.files import write_file
from noisyselect.store.layout import read_header
from noisyselect.torch import Settings, train
from noisyselect.torch.evaluation import all_features, evaluate_second_view
from noisyselect.torch.inputs import Pixels, Views
from noisyselect.torch.mixmatch import Draws, shuffled_batches
from noisyselect.torch.trainer.columns import Columns
from noisyselect.torch.trainer.samples import EpochSamples

# On so little data nothing may be kept, or a class stay empty; that is tested where it belongs.
pytestmark = pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")

CPU = torch.device("cpu")
ALL = ("probabilities", "second-view", "batches", "features")
SHORT = Settings(
    epochs=5,
    warm_up=3,
    batch_size=16,
    n_neighbors=5,
    pretrain_batch_size=45,
    scan_batch_size=45,
    clustering_epochs=1,
    precision="float32",
)
METHODS = {
    "ce": {},
    "coteaching": {},
    "dividemix": {},
    "vrlvmix-plus": {},
    "scanmix": {"pretrain_epochs": 1},
    "vrlvmix": {},
}


def recorded(**changes):
    return replace(SHORT, **({"record": ALL} | changes))


def weights(result):
    return [value for network in result.networks for value in network.state_dict().values()]


@pytest.mark.parametrize("method", METHODS)
def test_recording_changes_no_weight_loss_or_selection(blobs, small_network, tmp_path, method):
    with_record = recorded(method=method, **METHODS[method])
    plain = train(blobs, replace(with_record, record=()), tmp_path / "plain", network=small_network)
    full = train(blobs, with_record, tmp_path / "full", network=small_network)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(full), strict=True))
    # The measures have train losses, and how many were labelled and rightly so.
    assert plain.epochs == full.epochs
    assert validate_run(full.run).defects == ()
    for name in "ab":
        before, log = (open_run(result.run).log(name) for result in (plain, full))
        for column in before.columns:
            assert np.array_equal(getattr(before, column), getattr(log, column)), column
        assert set(log.columns) - set(before.columns) == {
            *("probabilities", "second_view", "batches", "features")
        }
        assert log.probabilities.shape == log.second_view.shape == (5, 90, 3)
        assert log.batches.shape == (5, 90)


@pytest.fixture(scope="module")
def run(blobs, tmp_path_factory):
    """A recorded run of cross-entropy and its networks."""
    from noisyselect.torch import SmallCNN

    path = tmp_path_factory.mktemp("recorded") / "run"
    settings = recorded(method="ce", epochs=3)
    return settings, train(blobs, settings, path, network=lambda: SmallCNN(1, 3, 4, 16))


def test_probabilities_are_those_that_losses_predictions_and_confidences_come_from(run, blobs):
    log = open_run(run[1].run).log("b")
    probabilities = log.probabilities
    assert np.array_equal(probabilities.argmax(axis=2), log.predictions)
    assert np.array_equal(probabilities.max(axis=2), log.confidences)
    of_label = probabilities[:, np.arange(90), blobs.labels]
    np.testing.assert_allclose(-np.log(of_label), log.losses, rtol=1e-4, atol=1e-5)


def test_features_are_those_of_the_last_epoch(run, blobs):
    pixels = Pixels(blobs.inputs, CPU)
    for name, network in zip("ab", run[1].networks, strict=True):
        log = open_run(run[1].run).log(name)
        np.testing.assert_array_equal(log.features, all_features(network, pixels).numpy())


def test_the_second_view_is_augmented_anew_in_every_epoch_and_for_each_network(run, blobs):
    logs = [open_run(run[1].run).log(name) for name in "ab"]
    pixels = Pixels(blobs.inputs, CPU)
    for index, (log, network) in enumerate(zip(logs, run[1].networks, strict=True)):
        np.testing.assert_allclose(log.second_view.sum(axis=2), 1, rtol=1e-5)
        assert not np.allclose(log.second_view, log.probabilities, atol=1e-3)
        again = [evaluate_second_view(network, pixels, (0, 2, who)) for who in (index, 1 - index)]
        assert np.array_equal(log.second_view[-1], again[0])
        assert not np.allclose(log.second_view[-1], again[1], atol=1e-3)


class Seeing(torch.nn.Module):
    """Notes the images that it is given, and in which mode."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 3)
        self.seen = []

    def forward(self, images):
        self.seen.append(images.clone())
        assert not self.training
        return self.linear(images.flatten(1))


def test_a_second_view_is_the_augmentation_of_training_and_no_state_is_touched():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1000, 1, 8, 8), dtype=np.uint8)
    images[500:] = images[:500]
    pixels = Pixels(images, CPU)
    network = Seeing().train()
    before = torch.get_rng_state()
    answer = evaluate_second_view(network, pixels, (3, 1, 0))
    assert torch.equal(torch.get_rng_state(), before)
    first, second = network.seen
    # Batches are seeded one by one, but not alike.
    assert len(first) == len(second) == 500
    assert not torch.equal(first, second)
    logits = network.linear(torch.cat(network.seen).flatten(1))
    np.testing.assert_allclose(answer, logits.softmax(dim=1).detach(), rtol=1e-5)
    # Shifted by up to 4 pixels and mirrored: what is left of an image are pixels of it, or black.
    values = (first * pixels.std + pixels.mean).round().to(torch.uint8)
    for image, view in zip(pixels.values[:20], values[:20], strict=True):
        assert set(view.flatten().tolist()) <= {0, *image.flatten().tolist()}
        assert not torch.equal(image, view)
    # Nothing of it is what training draws, with the first numbers of the same key.
    drawn = pixels.augment(pixels.values[:500], Draws.of(3, 1, 0, CPU).pixels)
    assert not torch.equal(pixels.normalise(drawn), first)


def test_a_second_view_of_features_is_one_of_several_with_some_dropped():
    # View v of sample i is i + v / 10 throughout, so that each number tells where it is from.
    own, shift = np.arange(600)[:, None, None], np.arange(3)[None, :, None] / 10
    views = Views(np.broadcast_to(own + shift, (600, 3, 64)).astype(np.float32), CPU)
    network = Seeing()
    network.eval()
    answer = evaluate_second_view(network, views, (0, 0, 0))
    seen = torch.cat(network.seen)
    logits = network.linear(seen)
    np.testing.assert_allclose(answer, logits.softmax(dim=1).detach(), rtol=1e-4, atol=1e-6)
    kept = seen.abs() > 1e-6  # what is dropped is at the mean, which is 0
    assert 0.7 < kept.float().mean() < 0.9
    values = seen * views.std + views.mean
    drawn = [
        set(row[mask].sub(i).mul(10).round().int().tolist())
        for i, (row, mask) in enumerate(zip(values, kept, strict=True))
    ]
    assert all(len(of_sample) == 1 for of_sample in drawn)
    assert set.union(*drawn) == {0, 1, 2}


def test_batches_of_cross_entropy_are_the_steps_of_the_epoch(run):
    settings, result = run
    for index, name in enumerate("ab"):
        log = open_run(result.run).log(name)
        for epoch in range(3):
            draws = Draws.of(settings.seed, epoch, index, CPU)
            for step, rows in enumerate(shuffled_batches(90, 2 * settings.batch_size, draws)):
                assert np.flatnonzero(log.batches[epoch] == step).tolist() == sorted(rows.tolist())


def test_both_networks_of_coteaching_have_the_batches_that_they_share(
    blobs, small_network, tmp_path
):
    result = train(blobs, recorded(method="coteaching"), tmp_path / "run", network=small_network)
    logs = [open_run(result.run).log(name) for name in "ab"]
    for epoch in (3, 4):
        assert np.array_equal(logs[0].batches[epoch], logs[1].batches[epoch])
        assert np.bincount(logs[0].batches[epoch]).tolist() == [30, 30, 30]
    assert not np.array_equal(logs[0].batches[0], logs[1].batches[0])


def test_only_the_last_epochs_have_probabilities_where_that_is_asked(
    blobs, small_network, tmp_path
):
    result = train(
        blobs, recorded(method="ce", record_last=2), tmp_path / "run", network=small_network
    )
    run = open_run(result.run)
    assert run.log().probabilities.shape == run.log().second_view.shape == (2, 90, 3)
    assert run.log().batches.shape == (5, 90)
    assert run.views(2) == {}


@dataclass(frozen=True, repr=False)
class Viewing(GMMSelector, needs=("losses", "probabilities", "second_view", "features")):
    """The mixture, which asks for more than it reads."""

    history = 2

    def _select(self, log, peer):
        SEEN.append(log)
        return Selection(clean=np.arange(log.n_samples) % 2 == 0)


SEEN = []


def test_a_selector_is_shown_what_it_needs_though_nothing_is_recorded(
    blobs, small_network, tmp_path
):
    SEEN.clear()
    settings = recorded(method="dividemix", record=())
    result = train(
        blobs, settings, tmp_path / "run", network=small_network, selector=Viewing() & GMMSelector()
    )
    assert len(SEEN) == 4
    for log in SEEN:
        assert log.probabilities.shape == log.second_view.shape == (2, 90, 3)
        assert np.array_equal(log.probabilities.argmax(axis=2), log.predictions)
        assert log.features.shape == (90, 16)
        assert log.batches is None
    assert open_run(result.run).files == ("samples.parquet", "truth.parquet")
    with pytest.raises(ValueError, match="needs a second view, which only `augment` makes"):
        Columns(replace(settings, augment=False), ~Viewing())


def test_a_selector_is_shown_the_batches_that_are_recorded(blobs, small_network, tmp_path):
    seen = []

    class Noting(GMMSelector):
        def _select(self, log, peer):
            seen.append(log)
            return super()._select(log, peer)

    settings = recorded(method="dividemix", augment=False, record=("batches", "probabilities"))
    result = train(blobs, settings, tmp_path / "run", network=small_network, selector=Noting())
    log = open_run(result.run).log("a")
    assert np.array_equal(seen[-1].batches[-1], log.batches[3])
    # What no rule of the run reads, its banks do not hold.
    assert seen[-1].probabilities is None


class Killed(BaseException):
    """Stands for the end of the process."""


def killing_at(monkeypatch, name, count):
    """Let the process end before a method of the writer is called for the `count`-th time."""
    original, calls = getattr(RunWriter, name), []

    def write(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            raise Killed
        return original(self, *args, **kwargs)

    monkeypatch.setattr(RunWriter, name, write)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".safetensors"
    }


@pytest.fixture(scope="module")
def whole(blobs, tmp_path_factory):
    from noisyselect.torch import SmallCNN

    path = tmp_path_factory.mktemp("whole") / "run"
    return train(blobs, recorded(), path, network=lambda: SmallCNN(1, 3, width=4, n_hidden=16))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("write_probabilities", 2),
        ("write_second_view", 7),
        ("write_features", 1),
        ("write_features", 2),
        ("write_epoch", 5),
    ],
)
def test_a_recorded_run_killed_between_its_files_ends_with_those_of_the_unbroken_one(
    blobs, small_network, tmp_path, monkeypatch, whole, name, count
):
    with monkeypatch.context() as patch:
        killing_at(patch, name, count)
        with pytest.raises(Killed):
            train(blobs, recorded(), tmp_path / "run", network=small_network)
    resumed = train(blobs, recorded(), tmp_path / "run", network=small_network, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert contents(whole.run) == contents(resumed.run)


def test_a_run_with_a_pool_has_nothing_of_the_samples_outside_it(blobs, small_network, tmp_path):
    settings = recorded(epoch_samples=30, record=("probabilities", "second-view", "batches"))
    result = train(blobs, settings, tmp_path / "run", network=small_network)
    with pytest.warns(NonFiniteWarning):
        log = open_run(result.run).log("a")
    assert validate_run(result.run).defects == ()
    outside = np.isnan(log.losses)
    assert outside.any(axis=1).all()
    assert np.array_equal(np.isnan(log.probabilities).all(axis=2), outside)
    assert np.array_equal(np.isnan(log.second_view).all(axis=2), outside)
    assert (log.batches[outside] == -1).all()
    # Those new to the pool were not trained in the epoch that ended.
    samples = EpochSamples(blobs, settings, CPU)
    new = np.setdiff1d(samples.rows(1), samples.rows(0))
    assert new.size
    expected = np.full(90, -1)
    batches = shuffled_batches(30, 2 * settings.batch_size, Draws.of(settings.seed, 0, 0, CPU))
    for step, places in enumerate(batches):
        expected[samples.rows(0)[places]] = step
    expected[np.setdiff1d(np.arange(90), samples.rows(1))] = -1
    assert log.batches[0].tolist() == expected.tolist()
    assert (expected[new] == -1).all()


def test_a_run_of_before_there_was_recording_goes_on(blobs, small_network, tmp_path):
    settings = recorded(record=(), epochs=1, method="ce")
    train(blobs, settings, tmp_path / "run", network=small_network)
    header = read_header(tmp_path / "run")
    older = {name: value for name, value in header.settings.items() if "record" not in name}
    write_file(tmp_path / "run", "run.json", header._replace(settings=older).sealed())
    train(blobs, settings, tmp_path / "run", network=small_network, resume=True)
    with pytest.raises(ValueError, match=r"`record` was \[\], got \['batches'\]"):
        train(
            blobs,
            replace(settings, record=("batches",)),
            tmp_path / "run",
            network=small_network,
            resume=True,
        )


def test_a_network_without_a_linear_layer_has_no_features_which_is_said_first(blobs, tmp_path):
    def network():
        return torch.nn.Sequential(torch.nn.Conv2d(1, 3, 8), torch.nn.Flatten())

    with pytest.raises(TypeError, match=r"has no nn\.Linear"):
        train(blobs, recorded(record=("features",)), tmp_path / "run", network=network)
    assert not (tmp_path / "run").exists()
