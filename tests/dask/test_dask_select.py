"""Past memory: the answer is that of memory, whatever the parts, and whoever dies."""

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections import Counter
from functools import partial

import distributed
import many_parts
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import noisyselect as ns
from noisyselect.dask import passes, select
from noisyselect.dask.blocks import plan
from noisyselect.errors import (
    DamagedRunError,
    DegenerateWarning,
    MissingEvidenceError,
    NonFiniteWarning,
)
from noisyselect.store import export_selection, open_run

# Share of samples that may be decided otherwise than in memory, and by how much a rank may be off.
BOUND, RANK_BOUND = 1e-3, 1e-3

SUPPORTED = (
    ns.GMMSelector(),
    ns.GMMSelector(threshold=0.7, n_average=3),
    ns.SmallLossSelector(),
    ns.SmallLossSelector(clean_rate=0.43, n_gradual=9),
    ns.LossVariationSelector(),
    ns.LossVariationSelector(window=3, clean_rate=0.6, change="absolute"),
    ns.PredictionStabilitySelector(window=3),
    ns.VRLVSelector(balance=False),
    ns.VRLVSelector(balance=False, variation=False),
)


def decided(folder):
    """Return what was written, in the order of the files."""
    return pd.read_parquet(folder)


def in_memory(path, selector, **which):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return selector.select(*open_run(path).logs(last=selector.history, **which))


def check_same(written, selection, out):
    """Raise AssertionError unless a selection is, to the bound, that which memory gives."""
    table = decided(out)
    assert np.array_equal(table["id"], selection.ids)
    differ = table["clean"].to_numpy() != selection.clean
    assert differ.mean() <= BOUND
    assert (table["reason"].to_numpy() != selection.reason).mean() <= BOUND
    same = table["reason"].to_numpy() == selection.reason
    assert np.abs(table["score"] - selection.score)[same].max() <= RANK_BOUND
    assert written.n_samples == selection.clean.size
    assert written.n_clean == table["clean"].sum()
    assert written.reasons == Counter(table["reason"])


@pytest.mark.parametrize("selector", SUPPORTED, ids=repr)
def test_the_answer_is_that_of_memory(client, run, tmp_path, selector):
    written = select(run, selector, tmp_path / "out", client)
    check_same(written, in_memory(run, selector), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 4


def test_the_answer_on_as_many_samples_as_memory_counts_by_itself(client, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("noisyselect.dask.blocks.BLOCK_ROWS", 40_000)
    labels, losses, predictions = many_parts.make_logs(200_000, seed=9)
    networks = {"a": (losses, predictions)}
    run = many_parts.write_run(tmp_path / "run", labels, networks, rows=20_000)
    selector = ns.VRLVSelector(balance=False)
    written = select(run, selector, tmp_path / "out", client)
    check_same(written, in_memory(run, selector), tmp_path / "out")


@pytest.mark.parametrize("least_tasks", [1, 2])
def test_tasks_of_several_blocks_give_the_answer_of_memory(
    client, run, tmp_path, monkeypatch, least_tasks
):
    monkeypatch.setattr(passes, "_LEAST_TASKS", least_tasks)  # four blocks in one task, or in two
    selector = ns.VRLVSelector(balance=False)
    written = select(run, selector, tmp_path / "out", client)
    check_same(written, in_memory(run, selector), tmp_path / "out")


def test_two_networks_change_of_the_rate_gaps_and_missing_losses(client, tmp_path):
    n = 40_000
    labels, losses, predictions = many_parts.make_logs(n, seed=1)
    _, losses_b, predictions_b = many_parts.make_logs(n, seed=1)
    rng = np.random.default_rng(2)
    losses_b *= rng.lognormal(0, 0.1, losses_b.shape)
    losses[3, rng.random(n) < 0.02] = np.nan
    predictions = np.where(rng.random(predictions.shape) < 0.01, -1, predictions)
    present = rng.random(losses.shape) < 0.98
    present[:, 10_000:20_000] = False  # all of one block, in all epochs
    networks = {"a": (losses, predictions), "b": (losses_b, predictions_b)}
    run = many_parts.write_run(
        tmp_path / "run",
        labels,
        networks,
        lr=[0.1, 0.1, 0.1, 0.01, 0.01, 0.01],
        present=present,
        ids=np.array([f"sample-{i:07d}" for i in range(n)]),
    )
    for number, selector in enumerate(
        (
            ns.VRLVSelector(window=3, balance=False, gamma1=0.5, gamma2=0.9),
            ns.VRLVSelector(window=3, balance=False, variation=False, n_average=2),
            ns.SmallLossSelector(),
        )
    ):
        out = tmp_path / f"out-{number}"
        with pytest.warns(NonFiniteWarning, match="non-finite values"):
            written = select(run, selector, out, client)
        selection = in_memory(run, selector)
        check_same(written, selection, out)
        assert written.reasons["no valid record"] > 10_000


def test_heavy_ties_are_cut_as_memory_cuts_them(client, tmp_path):
    """Losses that reached 0 tie in each change, its variance and the last loss."""
    labels, losses, predictions = many_parts.make_logs(40_000, seed=3)
    losses[:, np.random.default_rng(4).random(labels.size) < 0.4] = 0
    losses[-1] = np.round(losses[-1], 1)
    labels[labels == 3] = 4  # a class of which there is no sample
    run = many_parts.write_run(tmp_path / "run", labels, {"a": (losses, predictions)})
    for number, selector in enumerate(
        (
            ns.LossVariationSelector(clean_rate=0.25),
            ns.SmallLossSelector(clean_rate=0.55),
        )
    ):
        out = tmp_path / f"out-{number}"
        check_same(select(run, selector, out, client), in_memory(run, selector), out)


def test_changes_within_a_hair_of_one_another_are_ranked(client, tmp_path):
    """All in a few bins of the first count, which is then no rank at all."""
    labels, losses, predictions = many_parts.make_logs(40_000, seed=5)
    rng = np.random.default_rng(6)
    steps = 1 + 1e-3 * rng.random(losses.shape)
    losses = np.cumsum(steps[::-1], axis=0)[::-1]
    run = many_parts.write_run(tmp_path / "run", labels, {"a": (losses, predictions)})
    selector = ns.LossVariationSelector(clean_rate=0.5)
    written = select(run, selector, tmp_path / "out", client)
    check_same(written, in_memory(run, selector), tmp_path / "out")


def test_rows_are_found_by_their_place_where_ids_do_not_ascend(client, logs, tmp_path):
    labels, losses, predictions = (values[..., :9_000] for values in logs)
    ids = np.random.default_rng(0).permutation(9_000)
    networks = {"a": (losses, predictions)}
    run = many_parts.write_run(tmp_path / "run", labels, networks, ids=ids, rows=2_000)
    selector = ns.PredictionStabilitySelector(window=3)
    written = select(run, selector, tmp_path / "out", client)
    check_same(written, in_memory(run, selector), tmp_path / "out")

    present = np.ones(losses.shape, dtype=bool)
    present[2, 7] = False
    gaps = many_parts.write_run(
        tmp_path / "gaps", labels, networks, ids=ids, rows=2_000, present=present
    )
    with pytest.raises(ValueError, match="8,999 rows for 9,000 samples, and ids do not ascend"):
        select(gaps, selector, tmp_path / "other", client)
    assert not (tmp_path / "other").exists()


def test_one_whole_file_per_epoch_as_the_writer_leaves_it(client, logs, tmp_path):
    labels, losses, predictions = (values[..., :5_000] for values in logs)
    from noisyselect.store import RunWriter

    writer = RunWriter.create(tmp_path / "run", labels)
    for loss, prediction in zip(losses, predictions, strict=True):
        writer.write_epoch({"a": {"losses": loss, "predictions": prediction}}, lr=0.1)
    selector = ns.PredictionStabilitySelector()
    written = select(tmp_path / "run", selector, tmp_path / "out", client, until=6)
    check_same(written, in_memory(tmp_path / "run", selector), tmp_path / "out")


def test_it_writes_the_table_that_export_writes(client, run, tmp_path):
    selector = ns.GMMSelector()
    select(run, selector, tmp_path / "out", client)
    export_selection(in_memory(run, selector), tmp_path / "whole.parquet")
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert schema.equals(pq.read_schema(tmp_path / "whole.parquet"), check_metadata=True)


def test_equal_losses_keep_all_and_no_valid_record_keeps_none(client, logs, tmp_path):
    labels, losses, predictions = (values[..., :3_000] for values in logs)
    same = many_parts.write_run(
        tmp_path / "same", labels, {"a": (np.full_like(losses, 0.5), predictions)}, rows=500
    )
    for selector in (ns.GMMSelector(), ns.SmallLossSelector()):
        out = tmp_path / type(selector).__name__
        with pytest.warns(DegenerateWarning, match="every label is kept"):
            assert select(same, selector, out, client).n_clean == 3_000
        check_same(select_again(same, selector, out, client), in_memory(same, selector), out)
    none = many_parts.write_run(
        tmp_path / "none", labels, {"a": (np.full_like(losses, np.nan), predictions)}, rows=500
    )
    with (
        pytest.warns(NonFiniteWarning),
        pytest.warns(DegenerateWarning, match="no sample has a valid record"),
    ):
        written = select(none, ns.GMMSelector(), tmp_path / "nothing", client)
    assert written.reasons == {"no valid record": 3_000}


def select_again(run, selector, out, client):
    again = out.with_name(f"{out.name}-again")
    with pytest.warns(DegenerateWarning):
        return select(run, selector, again, client)


def test_a_worker_killed_in_the_middle_costs_time_alone(client, run, tmp_path):
    selector = ns.LossVariationSelector(window=3)
    undisturbed = select(run, selector, tmp_path / "undisturbed", client)
    killed = []

    def kill():
        beside = tmp_path / ".out.creating"
        while not (beside / "tables" / "table-1.npy").exists():
            time.sleep(0.005)
        killed.append(next(iter(client.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    written = select(run, selector, tmp_path / "out", client)
    killer.join()
    client.wait_for_workers(2)
    assert killed
    assert killed[0] not in client.run(os.getpid).values()
    assert written._replace(path=undisturbed.path) == undisturbed
    pd.testing.assert_frame_equal(decided(tmp_path / "out"), decided(tmp_path / "undisturbed"))


def test_what_is_half_written_is_not_there(client, run, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileExistsError, match="taken exists: choose another path"):
        select(run, ns.GMMSelector(), tmp_path / "taken", client)
    part = run / "dynamics/network=a/epoch=0005/part-00001.parquet"
    whole = part.read_bytes()
    try:
        part.write_bytes(whole[:-20] + bytes(20))
        with pytest.raises(DamagedRunError, match=r"part-00001\.parquet: "):
            select(run, ns.GMMSelector(), tmp_path / "out", client)
        part.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        with pytest.raises(DamagedRunError, match="does not match its checksum"):
            select(run, ns.GMMSelector(), tmp_path / "out", client)
    finally:
        part.write_bytes(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (ns.AUMSelector(), "supports GMMSelector, LossVariationSelector, Pred.*got AUMSelector"),
        (ns.VRLVSelector(), r"does not support `balance` .* VRLVSelector\(balance=False\)"),
        (ns.SmallLossSelector(per_class=True), "does not support `per_class`"),
        (ns.GMMSelector() & ns.SmallLossSelector(), "got Combined"),
    ],
    ids=repr,
)
def test_what_is_not_supported_says_what_is(client, run, tmp_path, selector, message):
    with pytest.raises(TypeError, match=message):
        select(run, selector, tmp_path / "out", client)


def test_too_few_epochs_and_unknown_ids_are_refused_as_in_memory(client, logs, tmp_path, run):
    with pytest.raises(MissingEvidenceError, match="needs 6 epochs"):
        select(run, ns.LossVariationSelector(), tmp_path / "out", client, until=4)
    with pytest.raises(MissingEvidenceError, match="needs 6 epochs"):
        select(run, ns.VRLVSelector(balance=False), tmp_path / "out", client, until=4)
    with pytest.raises(ValueError, match="`network` must be one of a, got 'x'"):
        select(run, ns.GMMSelector(), tmp_path / "out", client, network="x")
    labels, losses, predictions = (values[..., :900] for values in logs)
    stranger = many_parts.write_run(
        tmp_path / "run", labels, {"a": (losses, predictions)}, rows=300, n_samples=600
    )
    with pytest.raises(DamagedRunError, match="300 rows of the epochs have ids that are not in"):
        select(stranger, ns.GMMSelector(), tmp_path / "out", client)


def test_rows_that_no_task_could_hold_are_refused(client, logs, tmp_path, monkeypatch):
    labels, losses, predictions = (values[..., :3_000] for values in logs)
    run = many_parts.write_run(tmp_path / "run", labels, {"a": (losses, predictions)}, rows=900)
    monkeypatch.setattr("noisyselect.dask.blocks.BLOCK_ROWS", 900)
    monkeypatch.setattr("noisyselect.dask.blocks._MOST_ROWS", 899)
    with pytest.raises(ValueError, match=r"[0-9,]+ rows at once for 900 samples, more than 899\."):
        select(run, ns.GMMSelector(), tmp_path / "out", client)


def least_peak(work):
    """Return the memory that some work takes at its peak; other threads may take more beside it."""
    peaks = []
    for attempt in range(3):
        tracemalloc.start()
        work(attempt)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(peaks)


def test_the_memory_of_a_task_does_not_grow_with_the_samples(tmp_path, monkeypatch):
    """One thread of this process does all; its peak hardly rises with eight times the samples."""
    monkeypatch.setattr("noisyselect.dask.blocks.BLOCK_ROWS", 20_000)
    peaks = []
    for n_samples in (40_000, 320_000):
        labels, losses, predictions = many_parts.make_logs(n_samples)
        run = many_parts.write_run(
            tmp_path / f"run-{n_samples}", labels, {"a": (losses, predictions)}, rows=20_000
        )
        cluster = distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        )
        with cluster, distributed.Client(cluster) as local:
            out = tmp_path / f"out-{n_samples}"
            work = partial(select_beside, run, out, local)
            peaks.append(least_peak(work))
    # The messages take 1.6 times as much; one kept copy of the losses read made it 2.7 times.
    assert peaks[1] < 2 * peaks[0]


def select_beside(run, out, client, attempt):
    select(run, ns.GMMSelector(), out.with_name(f"{out.name}-{attempt}"), client)


def test_a_task_of_many_blocks_holds_one_at_a_time(tmp_path):
    labels, losses, predictions = many_parts.make_logs(80_000)
    root = many_parts.write_run(tmp_path / "run", labels, {"a": (losses, predictions)})
    selector = ns.VRLVSelector(balance=False)
    window, blocks, _ = plan(open_run(root), "a", None, selector.history)
    assert len(blocks) == 8

    def look(n_blocks, _attempt=0):
        passes._look(selector, window, blocks[:n_blocks])

    look(1)  # what is imported at the first call
    assert least_peak(partial(look, 8)) < 1.1 * least_peak(partial(look, 1))


def test_the_package_does_not_import_dask_and_says_so_where_it_lacks():
    script = (
        "import sys, noisyselect, noisyselect.store, noisyselect.cli\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)\n"
        "sys.modules['distributed'] = None\n"
        "try:\n    import noisyselect.dask\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "noisyselect.dask needs dask, an optional extra: install noisyselect[dask]."
    )
