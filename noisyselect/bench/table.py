"""Every selector on every saved log, one row each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from noisyselect.errors import MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.metrics import kept_shares, selection_quality
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.store import Run

# The command-line name of each selector, and the public class it makes with its defaults.
_CLASSES = {
    "gmm": "GMMSelector",
    "loss-variation": "LossVariationSelector",
    "prediction-stability": "PredictionStabilitySelector",
    "vrlv": "VRLVSelector",
    "enn": "ENNCleaner",
    "confident-margin": "ConfidentMarginSelector",
}

_NAN = float("nan")


@dataclass(frozen=True)
class BenchRow:
    """One selector on one log.

    Attributes
    ----------
    run : str
        Path of the run directory.
    selector : str
        Name that the selector was given.
    network : str
        Network whose labels are selected.
    epoch : int
        Last epoch that the selector could see.
    n_samples : int
    n_kept : int
        0 if the selector gave no answer.
    precision, recall, f1, auroc : float in [0, 1]
        As in `SelectionQuality`; NaN where undefined, without truth, or without an answer.
    smallest_class, largest_class : float in [0, 1]
        Share of the kept samples; NaN if nothing is kept.
    seconds : float
        Wall time of the selection alone.
    problem : str
        Why the selector gave no answer; empty where it did.
    """

    run: str
    selector: str
    network: str
    epoch: int
    n_samples: int
    n_kept: int = 0
    precision: float = _NAN
    recall: float = _NAN
    f1: float = _NAN
    auroc: float = _NAN
    smallest_class: float = _NAN
    largest_class: float = _NAN
    seconds: float = _NAN
    problem: str = ""


def run_bench(
    runs: Iterable[Run],
    selectors: Mapping[str, Selector],
    epochs: Sequence[int] | None = None,
    network: str | None = None,
) -> list[BenchRow]:
    """Apply every selector to every run.

    A selector sees the epochs up to and including each of `epochs`, and the log of the next network
    as its peer where the run has several. Features and neighbours have no epochs: at an earlier
    epoch, selectors see the latest ones all the same.

    Parameters
    ----------
    runs : iterable of Run
        With truth known, the rows have precision, recall, F1 and AUROC.
    selectors : mapping of str to Selector
        By the name that the rows are to have; `named_selectors` makes one.
    epochs : sequence of int, optional
        Numbers of closed epochs. By default the last of each run.
    network : str, optional
        By default the first of each run.

    Returns
    -------
    list of BenchRow
        By run, then epoch, then selector. A selector that lacks evidence has a row with the
        reason.

    Raises
    ------
    DamagedRunError
        If a run is damaged.
    ValueError
        If a run has no such epoch or network.
    """
    rows: list[BenchRow] = []
    for run in runs:
        name = run.networks[0] if network is None else network
        chosen = _check_epochs(run, epochs)
        log, peer = run.logs(name, until=max(chosen) + 1)
        for epoch in chosen:
            then = log.until(epoch + 1)
            peer_then = None if peer is None else peer.until(epoch + 1)
            rows += [
                _row(run, label, selector, name, then, peer_then)
                for label, selector in selectors.items()
            ]
    return rows


def named_selectors(names: Iterable[str] | None = None) -> dict[str, Selector]:
    """Return selectors with their default options by their command-line names.

    Parameters
    ----------
    names : iterable of str, optional
        By default all: gmm, loss-variation, prediction-stability, vrlv, enn and
        confident-margin.

    Raises
    ------
    ValueError
        If a name is not known; the message lists those that are.
    """
    wanted = list(_CLASSES) if names is None else list(names)
    unknown = [name for name in wanted if name not in _CLASSES]
    if unknown or not wanted:
        raise ValueError(
            f"A selector is one of {', '.join(_CLASSES)}; got {', '.join(unknown) or 'none'}."
        )
    public = import_module("noisyselect")
    return {name: getattr(public, _CLASSES[name])() for name in wanted}


def _check_epochs(run: Run, epochs: Sequence[int] | None) -> Sequence[int]:
    if run.n_epochs == 0:
        raise MissingEvidenceError(f"{run.path} has no closed epoch.")
    chosen = [run.n_epochs - 1] if epochs is None else epochs
    unknown = [epoch for epoch in chosen if not 0 <= epoch < run.n_epochs]
    if unknown or not chosen:
        raise ValueError(
            f"`epochs` must be closed epochs of {run.path}, 0 to {run.n_epochs - 1}, "
            f"got {', '.join(map(str, unknown)) or 'none'}."
        )
    return chosen


def _row(
    run: Run,
    label: str,
    selector: Selector,
    network: str,
    log: TrainingLog,
    peer: TrainingLog | None,
) -> BenchRow:
    row = BenchRow(str(run.path), label, network, int(log.epochs[-1]), log.n_samples)
    start = time.perf_counter()
    try:
        selection = selector.select(log, peer)
    except MissingEvidenceError as error:
        return replace(row, problem=str(error))
    seconds = time.perf_counter() - start
    return replace(row, seconds=seconds, **_quality(run, selection))


def _quality(run: Run, selection: Selection) -> dict[str, Any]:
    if run.truth is not None:
        return selection_quality(selection, run.labels, run.truth, run.n_classes)._asdict()
    shares = kept_shares(selection, run.labels, run.n_classes)
    return {
        "n_kept": len(selection),
        "smallest_class": float(shares.min()),
        "largest_class": float(shares.max()),
    }
