import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

from noisyselect import Selection
from noisyselect.bench import run_bench
from noisyselect.bench.pairs import Pairs
from noisyselect.errors import DamagedRunError, MissingEvidenceError
from noisyselect.metrics import selection_quality
from noisyselect.selector import Selector
from noisyselect.store import RunWriter, open_run

LABELS = np.array([0, 1, 2, 0, 1, 2])
TRUTH = np.array([0, 1, 2, 0, 2, 1])
FIRST, SECOND = np.random.default_rng(0).dirichlet(np.ones(3), (2, 2, 5, 6)).astype(np.float32)
BATCHES = np.random.default_rng(1).integers(0, 3, (5, 6))


@dataclass(frozen=True)
class Unsure(Selector, needs=("probabilities", "second_view", "batches")):
    """Keep what both views are sure of in the mean of some epochs."""

    window: int = 2

    @property
    def history(self):
        return self.window

    def _select(self, log, peer):
        views = (log.probabilities, log.second_view, peer.probabilities)
        sure = np.mean([view[-self.window :].max(axis=2).mean(axis=0) for view in views], axis=0)
        return Selection(clean=sure > np.median(sure), score=sure)


@pytest.fixture
def run(tmp_path):
    writer = RunWriter.create(tmp_path / "run", LABELS, true_labels=TRUTH, networks=("a", "b"))
    for epoch in range(5):
        dynamics = {"losses": np.ones(6), "batches": BATCHES[epoch]}
        writer.write_epoch(dict.fromkeys("ab", dynamics))
        for index, name in enumerate("ab"):
            writer.write_probabilities(name, epoch, FIRST[index, epoch])
            writer.write_second_view(name, epoch, SECOND[index, epoch])
    return open_run(tmp_path / "run")


@pytest.fixture
def read(monkeypatch):
    """The files of class probabilities that are read, as network and epoch."""
    names = []
    from noisyselect.store import files

    original = files.read_file

    def noting(path):
        if path.parts[-4] in ("probabilities", "second_view"):
            names.append((path.parts[-4], path.parts[-3][-1], int(path.parts[-2][-4:])))
        return original(path)

    monkeypatch.setattr(files, "read_file", noting)
    return names


@dataclass(frozen=True)
class Patient(Selector, needs=("losses",)):
    """Keeps everything, after a look at many epochs."""

    history = 9

    def _select(self, log, peer):
        return Selection(clean=np.ones(log.n_samples, dtype=bool))


def test_class_probabilities_are_of_as_many_epochs_as_those_look_back_on_that_need_them():
    assert (Unsure(3).probability_window, Patient().probability_window) == (3, 1)
    both = Patient() & ~Unsure(3)
    assert (both.history, both.probability_window) == (9, 3)
    assert both.needs == ("losses", "probabilities", "second_view", "batches")
    assert (~Patient()).probability_window == 1


@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_a_pair_has_the_probabilities_that_the_longest_looking_selector_needs(run, read, epoch):
    pairs = Pairs(run, ["b"], [Unsure(1), Patient() | ~Unsure(3)])
    assert read == []
    for index, log in zip((1, 0), pairs.at("b", epoch), strict=True):
        start = max(0, epoch - 2)
        assert log.epochs.tolist() == list(range(epoch + 1))
        assert np.array_equal(log.probabilities, FIRST[index, start : epoch + 1])
        assert np.array_equal(log.second_view, SECOND[index, start : epoch + 1])
        assert np.array_equal(log.batches, BATCHES[: epoch + 1])
    assert sorted({number for *_, number in read}) == list(range(start, epoch + 1))
    before = list(read)
    pairs.at("b", epoch)
    assert read == before


def test_a_bench_of_all_epochs_answers_as_each_selector_does_on_the_whole_log(run):
    selectors = {"two": Unsure(), "one": Unsure(1), "both": Unsure(1) & Unsure(3)}
    rows = run_bench([run], selectors, "all", "all", jobs=3).rows
    assert [row.problem for row in rows] == [""] * 30
    for row in rows:
        selection = selectors[row.selector].select(*run.logs(row.network, until=row.epoch + 1))
        assert row.n_kept == len(selection)
        assert row.auroc == selection_quality(selection, LABELS, TRUTH, 3).auroc


def test_the_last_epoch_reads_the_probabilities_of_no_other(run, read):
    run_bench([run], {"one": Unsure(1)})
    assert sorted(read) == [
        (view, name, 4) for view in ("probabilities", "second_view") for name in "ab"
    ]


def test_a_bench_of_all_epochs_reads_each_file_once_per_network_that_is_selected_for(run, read):
    run_bench([run], {"one": Unsure(1), "again": Unsure(1)}, "all", jobs=1)
    # The last epoch comes first, for the pass that measures memory.
    assert len(read) == 2 * 2 * (5 + 1)


def test_a_run_with_a_gap_has_what_follows_it(run, tmp_path):
    (run.path / "probabilities/network=a/epoch=0002/part-00000.parquet").write_bytes(b"")
    assert Pairs(run, ["a"], [Unsure(1)]).at("a", 3)[0].probabilities.shape == (1, 6, 3)
    with pytest.raises(DamagedRunError, match="epoch=0002"):
        Pairs(run, ["a"], [Unsure(2)]).at("a", 3)


def test_an_unknown_network_and_a_run_without_epochs_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="`network` must be one of a, b, got 'c'"):
        Pairs(run, ["c"], [])
    RunWriter.create(tmp_path / "empty", LABELS)
    with pytest.raises(MissingEvidenceError, match="no closed epoch"):
        Pairs(open_run(tmp_path / "empty"), ["a"], [])


def test_logs_are_freed_with_the_pairs_that_hold_them(run):
    pairs = Pairs(run, ["a"], [Unsure()])
    kept = [weakref.ref(pairs.at("a", 4)[0]), weakref.ref(pairs.logs["b"])]
    gc.disable()
    try:
        del pairs
        assert [each() for each in kept] == [None, None]
    finally:
        gc.enable()
