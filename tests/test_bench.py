import math
from dataclasses import dataclass

import numpy as np
import pytest

import noisyselect
from noisyselect.bench import named_selectors, run_bench
from noisyselect.errors import DamagedRunError, MissingEvidenceError
from noisyselect.metrics import selection_quality
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


def losses(epoch, network):
    return np.random.default_rng([epoch, ord(network)]).random(6).astype(np.float32)


def make_run(path, networks="ab", true_labels=TRUTH, n_epochs=3):
    writer = RunWriter.create(path, LABELS, true_labels=true_labels, networks=tuple(networks))
    for epoch in range(n_epochs):
        writer.write_epoch({network: {"losses": losses(epoch, network)} for network in networks})
    return open_run(path)


def test_a_row_is_the_quality_of_the_selection_on_the_last_epoch_with_the_peer(tmp_path):
    run = make_run(tmp_path / "run")
    (row,) = run_bench([run], {"below": Below()})
    loss = (losses(2, "a") + losses(2, "b")) / 2
    quality = selection_quality(Selection(clean=loss < 0.5, score=1 - loss), LABELS, TRUTH, 3)
    assert (row.run, row.selector, row.network, row.epoch) == (str(run.path), "below", "a", 2)
    assert (row.n_samples, row.n_kept) == (6, quality.n_kept)
    for name in ("precision", "recall", "f1", "auroc", "smallest_class", "largest_class"):
        assert getattr(row, name) == getattr(quality, name), name
    assert row.seconds >= 0
    assert row.problem == ""


def test_a_run_of_one_network_has_no_peer(tmp_path):
    (row,) = run_bench([make_run(tmp_path / "run", "a")], {"below": Below()})
    assert row.n_kept == np.count_nonzero(losses(2, "a") < 0.5)


def test_rows_come_by_run_then_epoch_then_selector_and_see_no_later_epoch(tmp_path):
    runs = [make_run(tmp_path / "one", "a"), make_run(tmp_path / "two", "b")]
    selectors = {"half": Below(), "fifth": Below(0.2)}
    rows = run_bench(runs, selectors, epochs=[1, 0])
    found = [(row.network, row.epoch, row.selector) for row in rows]
    expected = [(n, e, s) for n in "ab" for e in (1, 0) for s in ("half", "fifth")]
    assert found == expected
    for row in rows:
        bound = selectors[row.selector].bound
        assert row.n_kept == np.count_nonzero(losses(row.epoch, row.network) < bound)


def test_without_truth_the_kept_and_their_balance_are_still_told(tmp_path):
    (row,) = run_bench([make_run(tmp_path / "run", true_labels=None)], {"all": Below(2.0)})
    assert row.n_kept == 6
    assert row.smallest_class == row.largest_class == pytest.approx(1 / 3)
    assert all(math.isnan(value) for value in (row.precision, row.recall, row.f1, row.auroc))


def test_a_selector_that_lacks_evidence_has_a_row_with_the_reason(tmp_path):
    selectors = {"long": Below(n_needed=3), "short": Below()}
    rows = run_bench([make_run(tmp_path / "run")], selectors, epochs=[1])
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
    assert run_bench([run], {"below": Below()}, epochs=[1])[0].n_kept >= 0
    with pytest.raises(DamagedRunError, match="epoch=0002"):
        run_bench([run], {"below": Below()})


def test_every_name_of_the_command_line_is_a_public_selector():
    selectors = named_selectors()
    assert list(selectors) == [
        "gmm",
        "loss-variation",
        "prediction-stability",
        "vrlv",
        "enn",
        "confident-margin",
    ]
    for selector in selectors.values():
        assert isinstance(selector, Selector)
        assert getattr(noisyselect, type(selector).__name__) is type(selector)


def test_an_unknown_name_is_refused_with_the_known_ones():
    assert list(named_selectors(["vrlv", "gmm"])) == ["vrlv", "gmm"]
    with pytest.raises(ValueError, match=r"one of gmm, .*, confident-margin; got gmx, vrl\."):
        named_selectors(["gmx", "gmm", "vrl"])
    with pytest.raises(ValueError, match="got none"):
        named_selectors([])
