import json
import math
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

import noisyselect
from noisyselect import ENNCleaner
from noisyselect.bench import mean_ranks, named_selectors, run_bench
from noisyselect.errors import (
    DamagedRunError,
    DegenerateWarning,
    MissingEvidenceError,
    NonFiniteWarning,
)
from noisyselect.metrics import class_balance, jaccard, kappa_matrix, selection_quality
from noisyselect.numeric.neighbours import FoundNeighbours
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.store import RunWriter, open_run

LABELS = np.array([0, 0, 1, 1, 2, 2])
TRUTH = np.array([0, 1, 1, 1, 2, 0])


@dataclass(frozen=True)
class Below(Selector, needs=("losses",)):
    """Keep the losses below a bound, in the mean of both networks where there are two."""

    bound: float = 0.5
    n_needed: int = 1

    def _select(self, log, peer):
        if log.n_epochs < self.n_needed:
            raise MissingEvidenceError(f"Below needs {self.n_needed} epochs, got {log.n_epochs}.")
        loss = log.losses[-1] if peer is None else (log.losses[-1] + peer.losses[-1]) / 2
        return Selection(clean=loss < self.bound, score=1 - loss)


@dataclass(frozen=True)
class Asked(Selector, needs=("losses",)):
    """Keep everything, once `ask` was called with the log."""

    ask: Callable

    def _select(self, log, peer):
        self.ask(log)
        return Selection(clean=np.ones(log.n_samples, dtype=bool))


@dataclass(frozen=True)
class Timeless(Asked, needs=("losses",)):
    """The same, and says that no epoch matters."""

    reads_epochs = False


def losses(epoch, network):
    return np.random.default_rng([epoch, ord(network)]).random(6).astype(np.float32)


def make_run(path, networks="ab", true_labels=TRUTH, n_epochs=3):
    writer = RunWriter.create(path, LABELS, true_labels=true_labels, networks=tuple(networks))
    for epoch in range(n_epochs):
        writer.write_epoch({network: {"losses": losses(epoch, network)} for network in networks})
    return open_run(path)


def test_a_row_is_the_quality_of_the_selection_on_the_last_epoch_with_the_peer(tmp_path):
    run = make_run(tmp_path / "run")
    (row,) = run_bench([run], {"below": Below()}).rows
    loss = (losses(2, "a") + losses(2, "b")) / 2
    selection = Selection(clean=loss < 0.5, score=1 - loss)
    quality = selection_quality(selection, LABELS, TRUTH, 3, losses(2, "a"))
    assert (row.run, row.selector, row.network, row.epoch) == (str(run.path), "below", "a", 2)
    assert (row.n_samples, row.n_kept) == (6, quality.n_kept)
    assert row.estimated_noise_rate == pytest.approx(1 - quality.n_kept / 6)
    measures = quality._asdict() | class_balance(selection, LABELS, 3)._asdict()
    for name, value in measures.items():
        assert getattr(row, name) == value, name
    assert row.seconds >= 0
    assert row.problem == ""


def test_a_run_of_one_network_has_no_peer(tmp_path):
    (row,) = run_bench([make_run(tmp_path / "run", "a")], {"below": Below()}).rows
    assert row.n_kept == np.count_nonzero(losses(2, "a") < 0.5)


def test_rows_come_by_run_then_epoch_then_selector_and_see_no_later_epoch(tmp_path):
    runs = [make_run(tmp_path / "one", "a"), make_run(tmp_path / "two", "b")]
    selectors = {"half": Below(), "fifth": Below(0.2)}
    rows = run_bench(runs, selectors, epochs=[1, 0, 1]).rows
    found = [(row.network, row.epoch, row.selector) for row in rows]
    expected = [(n, e, s) for n in "ab" for e in (0, 1) for s in ("half", "fifth")]
    assert found == expected
    for row in rows:
        bound = selectors[row.selector].bound
        assert row.n_kept == np.count_nonzero(losses(row.epoch, row.network) < bound)


def test_without_truth_the_kept_and_their_balance_are_still_told(tmp_path):
    (row,) = run_bench([make_run(tmp_path / "run", true_labels=None)], {"all": Below(2.0)}).rows
    assert row.n_kept == 6
    assert row.smallest_class == row.largest_class == pytest.approx(1 / 3)
    assert row.effective_classes == pytest.approx(3)
    assert all(math.isnan(value) for value in (row.precision, row.recall, row.f1, row.auroc))


def test_a_selector_that_lacks_evidence_has_a_row_with_the_reason(tmp_path):
    selectors = {"long": Below(n_needed=3), "short": Below()}
    rows = run_bench([make_run(tmp_path / "run")], selectors, epochs=[1]).rows
    assert rows[0].problem == "Below needs 3 epochs, got 2."
    assert rows[0].n_kept == 0
    assert math.isnan(rows[0].precision)
    assert rows[1].problem == ""


def test_an_epoch_that_is_not_there_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    for epochs in ([3], [-1], []):
        with pytest.raises(ValueError, match=r"`epochs` must be closed epochs of .*, 0 to 2"):
            run_bench([run], {"below": Below()}, epochs=epochs)
    with pytest.raises(MissingEvidenceError, match="has no closed epoch"):
        run_bench([make_run(tmp_path / "empty", n_epochs=0)], {"below": Below()})


def test_a_damaged_epoch_stops_only_the_epochs_that_need_it(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "dynamics/network=b/epoch=0002/part-00000.parquet").write_bytes(b"")
    assert run_bench([run], {"below": Below()}, epochs=[1]).rows[0].problem == ""
    with pytest.raises(DamagedRunError, match="epoch=0002"):
        run_bench([run], {"below": Below()})


def test_all_networks_and_all_epochs_are_selected_each_once(tmp_path):
    seen = []
    selectors = {
        name: Asked(lambda log: seen.append(log.losses[-1, 0]) if is_a_row() else None)
        for name in "xy"
    }
    rows = run_bench([make_run(tmp_path / "run")], selectors, "all", "all", jobs=3).rows
    places = [(row.network, row.epoch, row.selector) for row in rows]
    assert places == [(n, e, s) for n in "ab" for e in range(3) for s in "xy"]
    once = [losses(e, n)[0] for n in "ab" for e in range(3) for _ in "xy"]
    assert sorted(seen) == sorted(once)


def test_what_reads_no_epochs_is_asked_once_per_network_and_answers_in_every_row(tmp_path):
    asked = []

    def ask(log):
        if is_a_row():
            asked.append(log.losses[-1, 0])

    selectors = {"timeless": Timeless(ask), "asked": Asked(ask), "below": Below()}
    bench = run_bench([make_run(tmp_path / "run")], selectors, "all", "all", jobs=3)
    rows = {(row.network, row.epoch, row.selector): row for row in bench.rows}
    of_each_epoch = [losses(e, n)[0] for n in "ab" for e in range(3)]
    assert sorted(asked) == sorted([losses(0, "a")[0], losses(0, "b")[0], *of_each_epoch])
    for network in "ab":
        shared = [rows[network, epoch, "timeless"] for epoch in range(3)]
        assert len({row.seconds for row in shared}) == 1
        for epoch, row in enumerate(shared):
            # All but the seconds is as if it had been asked, with the losses of the epoch.
            other = rows[network, epoch, "asked"]
            unlike = {"selector": "", "seconds": 0.0, "peak_megabytes": 0.0}
            assert repr(replace(row, **unlike)) == repr(replace(other, **unlike))
    assert len({rows["a", epoch, "below"].n_kept for epoch in range(3)}) > 1


@pytest.mark.parametrize("network", "ab")
def test_what_reads_no_epochs_is_asked_at_each_where_some_sample_is_without_a_record(
    tmp_path, network
):
    writer = RunWriter.create(tmp_path / "run", LABELS, true_labels=TRUTH, networks=("a", "b"))
    for epoch in range(3):
        dynamics = {name: {"losses": losses(epoch, name)} for name in "ab"}
        if epoch == 1:
            dynamics[network]["losses"][2] = np.nan
        writer.write_epoch(dynamics)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        run = open_run(tmp_path / "run")
        rows = run_bench([run], {"timeless": Timeless(lambda log: None)}, "all").rows
    assert [row.n_kept for row in rows] == [6, 5, 6]


def test_what_reads_no_epochs_and_lacks_evidence_says_so_in_every_row(tmp_path):
    def refuse(log):
        raise MissingEvidenceError("There is nothing to read.")

    rows = run_bench([make_run(tmp_path / "run")], {"timeless": Timeless(refuse)}, "all").rows
    assert [row.problem for row in rows] == ["There is nothing to read."] * 3


def is_a_row():
    """Return whether this is a row, and not the pass that measures memory."""
    return not tracemalloc.is_tracing()


def test_a_network_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`network` must be one of a, b, or 'all', got 'c'"):
        run_bench([make_run(tmp_path / "run")], {"below": Below()}, network="c")


def test_a_run_counts_once(tmp_path):
    run = make_run(tmp_path / "run")
    again = open_run(tmp_path / "run" / ".." / "run")
    with pytest.raises(ValueError, match="Each run must be given once"):
        run_bench([run, again], {"below": Below()})


def test_jobs_run_side_by_side(tmp_path):
    meeting = threading.Barrier(2)

    def meet(log):
        if is_a_row():
            meeting.wait(timeout=30)

    run = make_run(tmp_path / "run")
    assert len(run_bench([run], {"one": Asked(meet), "other": Asked(meet)}, jobs=2).rows) == 2
    with pytest.raises(ValueError, match="`jobs` must be at least 1, got 0"):
        run_bench([run], {"below": Below()}, jobs=0)


def test_the_number_of_jobs_changes_no_measure(tmp_path):
    run, selectors = make_run(tmp_path / "run"), {"half": Below(), "most": Below(0.8)}

    def measured(jobs):
        rows = run_bench([run], selectors, "all", "all", jobs=jobs).rows
        return repr([replace(row, seconds=0, peak_megabytes=0) for row in rows])

    assert measured(1) == measured(4)


def test_an_error_in_a_selector_stops_the_rest(tmp_path):
    calls = []

    def fail(log):
        if is_a_row():
            calls.append(1)
            time.sleep(0.01)
            raise ZeroDivisionError

    selectors = {str(i): Asked(fail) for i in range(50)}
    with pytest.raises(ZeroDivisionError):
        run_bench([make_run(tmp_path / "run")], selectors, jobs=1)
    assert len(calls) < 50


def test_seconds_are_those_of_the_selection_and_not_of_waiting(tmp_path):
    def work(log):
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    selectors = {"waits": Asked(lambda log: time.sleep(0.2)), "works": Asked(work)}
    waits, works = run_bench([make_run(tmp_path / "run")], selectors).rows
    assert waits.seconds < 0.05 < works.seconds


def test_memory_is_that_of_one_selection_at_the_last_epoch_of_the_first_network(tmp_path):
    selectors = {
        "small": Asked(lambda log: np.ones(1_000_000, dtype=np.int8)),
        "large": Asked(lambda log: np.ones(5_000_000, dtype=np.int8)),
        "none": Below(n_needed=9),
    }
    rows = run_bench([make_run(tmp_path / "run")], selectors, "all", "all").rows
    peaks = {(row.network, row.epoch, row.selector): row.peak_megabytes for row in rows}
    assert peaks["a", 2, "small"] == pytest.approx(1, abs=0.3)
    assert peaks["a", 2, "large"] == pytest.approx(5, abs=0.3)
    assert sum(map(math.isnan, peaks.values())) == len(peaks) - 2


def test_a_selector_warns_once_per_row(tmp_path):
    def warn(log):
        warnings.warn("nothing is selected", DegenerateWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bench = run_bench([make_run(tmp_path / "run")], {"warns": Asked(warn)}, "all")
    assert len(caught) == len(bench.rows) == 3


def test_neighbours_are_searched_for_once_per_network_and_in_nobodys_seconds(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    writer = RunWriter.resume(tmp_path / "run")
    for network in "ab":
        writer.write_features(network, np.random.default_rng(0).random((6, 2)))
    calls = []

    def search(features, k, metric):
        calls.append(k)
        time.sleep(0.05)
        of_the_same_label = np.array([1, 0, 3, 2, 5, 4])
        return FoundNeighbours(np.tile(of_the_same_label[:, None], (1, k)), 1.0)

    monkeypatch.setattr("noisyselect.log.find_neighbours", search)
    selectors = {"enn": ENNCleaner(2), "again": ENNCleaner(2), "more": ENNCleaner(3)}
    bench = run_bench([open_run(run.path)], selectors, "all", "all", jobs=4)
    # The two nearest are the first of three.
    assert calls == [3, 3]
    assert bench.runs[0].neighbour_seconds >= 0.1
    assert run_bench([run], {"below": Below()}).runs[0].neighbour_seconds == 0


def test_stability_compares_with_the_epoch_before_on_the_same_network(tmp_path):
    run = make_run(tmp_path / "run", n_epochs=5)
    rows = run_bench([run], {"below": Below()}, [0, 1, 3, 4], "all").rows

    def kept(epoch, network):
        return (losses(epoch, "a") + losses(epoch, "b")) / 2 < 0.5

    for row in rows:
        if row.epoch in (0, 3):
            assert math.isnan(row.stability)
        else:
            expected = jaccard(kept(row.epoch, row.network), kept(row.epoch - 1, row.network))
            assert row.stability == expected


def test_agreement_is_between_the_selectors_that_answered(tmp_path):
    bounds = {"half": Below(), "no": Below(n_needed=9), "most": Below(0.7)}
    bench = run_bench([make_run(tmp_path / "run", "a")], bounds, [1, 2])
    assert [(a.network, a.epoch) for a in bench.agreement] == [("a", 1), ("a", 2)]
    for agreement in bench.agreement:
        loss = losses(agreement.epoch, "a")
        assert agreement.selectors == ("half", "most")
        np.testing.assert_array_equal(agreement.kappa, kappa_matrix([loss < 0.5, loss < 0.7]))


def test_ranks_are_of_the_last_epoch_and_the_mean_over_networks(tmp_path):
    runs = [make_run(tmp_path / name, n_epochs=n) for name, n in (("one", 2), ("two", 4))]
    runs.append(make_run(tmp_path / "unknown", true_labels=None))
    selectors = {"half": Below(), "most": Below(0.8), "short": Below(n_needed=3)}
    bench = run_bench(runs, selectors, "all", "all")
    by_f1, by_auroc = bench.ranks
    assert (by_f1.measure, by_auroc.measure) == ("f1", "auroc")
    assert by_f1.n_runs == 2
    assert by_f1.left_out == ("short",)
    values = {
        name: [
            np.mean(
                [
                    row.f1
                    for row in bench.rows
                    if (row.selector, row.run, row.epoch) == (name, str(run.path), run.n_epochs - 1)
                ]
            )
            for run in runs[:2]
        ]
        for name in ("half", "most")
    }
    assert by_f1.mean_ranks == mean_ranks("f1", values).mean_ranks
    assert run_bench(runs[1:], selectors).ranks == ()
    assert run_bench(runs[:2], {"half": Below()}).ranks == ()


def test_every_row_is_reported_as_it_is_done(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    calls = []
    run_bench(runs, {"x": Below(), "y": Below()}, "all", on_row=lambda *call: calls.append(call))
    assert calls == [(done, 12) for done in range(1, 13)]


def test_json_holds_everything_and_no_nan(tmp_path):
    selectors = {"half": Below(), "long": Below(n_needed=9)}
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    bench = run_bench(runs, selectors, "all")
    bench.write_json(tmp_path / "new" / "bench.json")
    text = (tmp_path / "new" / "bench.json").read_text()
    found = json.loads(text, parse_constant=pytest.fail)
    assert list(found) == [
        *("format", "version", "selectors", "runs", "rows", "agreement", "ranks"),
    ]
    assert (found["format"], found["version"]) == ("noisyselect-bench", 1)
    assert found["selectors"] == {name: repr(rule) for name, rule in selectors.items()}
    assert found["runs"][1]["epochs"] == [0, 1, 2]
    assert len(found["rows"]) == 12
    for row, plain in zip(bench.rows, found["rows"], strict=True):
        for name, value in plain.items():
            exact = getattr(row, name)
            assert value == (None if exact != exact else exact), name
    assert found["agreement"][0]["kappa"] == bench.agreement[0].kappa.tolist()
    assert found["ranks"] == []
    # One row per line.
    assert text.count("\n{") == 2 + 12 + 6


def test_every_name_of_the_command_line_is_a_public_selector():
    selectors = named_selectors("all")
    usual = ["gmm", "loss-variation", "prediction-stability", "vrlv", "enn", "consensus"]
    assert list(named_selectors()) == usual
    public = {type(each).__name__ for each in selectors.values()}
    assert public == {
        name
        for name in noisyselect.__all__
        if name.endswith(("Selector", "Cleaner")) and name != "Selector"
    }
    for selector in selectors.values():
        assert isinstance(selector, Selector)
        assert getattr(noisyselect, type(selector).__name__) is type(selector)


def test_an_unknown_name_is_refused_with_the_known_ones():
    assert list(named_selectors(["vrlv", "gmm"])) == ["vrlv", "gmm"]
    with pytest.raises(ValueError, match=r"one of gmm, .*, fine, .*; got gmx, vrl\."):
        named_selectors(["gmx", "gmm", "vrl"])
    with pytest.raises(ValueError, match="got none"):
        named_selectors([])
