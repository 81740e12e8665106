"""From a run directory to a selection on disk, over Dask."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import distributed

from noisyselect.dask.blocks import plan
from noisyselect.dask.passes import Passes
from noisyselect.dask.rules import RULES, check_supported
from noisyselect.errors import DegenerateWarning
from noisyselect.selector import Selector
from noisyselect.store.run import Run, open_run


class Selected(NamedTuple):
    """What `select` has written.

    Attributes
    ----------
    path : Path
        The folder of Parquet files, in the order of the samples.
    n_samples, n_clean : int
    reasons : dict of str to int
        Number of samples by the rule that kept or dropped them.
    """

    path: Path
    n_samples: int
    n_clean: int
    reasons: dict[str, int]


def select(
    run: Run | str | os.PathLike[str],
    selector: Selector,
    out: str | os.PathLike[str],
    client: distributed.Client | None = None,
    *,
    network: str | None = None,
    until: int | None = None,
) -> Selected:
    """Decide which labels of a run to trust, where the run does not fit into memory.

    Each task reads the samples of a few row groups in all epochs of the selector's window. What a
    rule has to know of all samples is counted block by block and added up; then each block is
    decided, and written, by itself. A worker that dies costs the time of its tasks.

    Parameters
    ----------
    run : Run or path
        A run directory that all workers reach under the same path.
    selector : Selector
        `GMMSelector`, `SmallLossSelector`, `LossVariationSelector`, `PredictionStabilitySelector`
        or `VRLVSelector`. Of `VRLVSelector` the selection of the first network, without `balance`;
        of `SmallLossSelector` not `per_class`.
    out : path
        Folder to be written, ``part-00000.parquet`` and so on with the columns id, clean, score and
        reason in the order of the samples. It must not exist; it is there whole or not at all.
        All workers must reach it too.
    client : distributed.Client, optional
        By default that which is active, else one on a cluster of this machine's cores, for this
        call.
    network : str, optional
        By default the first of the run. The next one, where there is one, is the peer.
    until : int, optional
        Use the epochs before this number only. By default all.

    Returns
    -------
    Selected

    Raises
    ------
    TypeError
        If the selector, or an option of it, is not supported here.
    FileExistsError
        If `out` exists.
    DamagedRunError
        If a file that is read is missing, truncated or altered, or makes no sense.
    MissingEvidenceError
        If the run lacks a column or epochs that the selector needs.
    ValueError
        If the run has no such network, or its rows lie so that no task can read a part of them.

    Warns
    -----
    DegenerateWarning
        As the selector does.
    NonFiniteWarning
        If losses are NaN or infinite.

    Notes
    -----
    Against ``selector.select(*run.logs())``: on 131,072 valid samples or more, at most 0.1 % of
    the samples are decided otherwise. The mixture and the counted ranks work on the same bins in
    both; values of heavy bins are ranked by their float32; and a share of samples is cut off to
    within 0.005 % of them. A rank in `score` is right to 0.001. On fewer samples, memory answers by
    exact ranks, and these are right to the width of a bin, 1/2048 of the value.

    Cost: four to eight passes over the losses, and predictions, of the window; O(n_samples) time.
    A worker holds one block of a million samples, or one row group, and tables of some 100 MB,
    whatever the number of samples.
    """
    check_supported(selector)
    opened = run if isinstance(run, Run) else open_run(run)
    opened = open_run(opened.path.absolute())  # where a worker finds it
    chosen = opened._check_network(network)
    target = Path(out).absolute()
    window, blocks, files = plan(opened, chosen, until, selector.history)
    with _made_whole(target) as beside, _client(client) as cluster:
        scratch = beside / "tables"
        scratch.mkdir()
        passes = Passes(cluster, selector, window, blocks, files, scratch)
        decision = RULES[type(selector)](selector, passes) if passes.survey.n_valid else None
        written = passes.write(decision, beside)
        shutil.rmtree(scratch)
        for unfinished in beside.glob(".*.tmp"):  # of workers that died
            unfinished.unlink()
    if not written.n_clean:
        why = "no label is kept" if passes.survey.n_valid else "no sample has a valid record"
        warnings.warn(f"{type(selector).__name__}: {why}.", DegenerateWarning, stacklevel=2)
    return Selected(target, written.n_samples, written.n_clean, dict(written.reasons))


@contextmanager
def _client(given: distributed.Client | None) -> Iterator[distributed.Client]:
    if given is not None:
        yield given
        return
    try:
        yield distributed.get_client()
    except ValueError:
        options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": ":0"}
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as own:
            yield own


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """Yield a folder to write into, which is in its place when the block ends without an error."""
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another path, or remove it.")
    beside = target.with_name(f".{target.name}.creating")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        beside.replace(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
