"""Every selector on every saved log, one row each."""

from __future__ import annotations

import math
import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from itertools import product
from statistics import fmean
from typing import Literal, NamedTuple

from threadpoolctl import threadpool_limits

from noisyselect.arrays import BoolArray
from noisyselect.bench.pairs import Pairs
from noisyselect.bench.ranks import MeanRanks, mean_ranks
from noisyselect.bench.result import Agreement, Bench, BenchedRun, BenchRow
from noisyselect.errors import MissingDependencyError, MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.metrics import class_balance, jaccard, kappa_matrix, selection_quality
from noisyselect.noise import noise_rate
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.store import Run

# The command-line name of each selector, and the public class it makes with its defaults.
_CLASSES = {
    "gmm": "GMMSelector",
    "loss-variation": "LossVariationSelector",
    "prediction-stability": "PredictionStabilitySelector",
    "vrlv": "VRLVSelector",
    "vrlv-plus": "VRLVPlusSelector",
    "enn": "ENNCleaner",
    "consensus": "ConsensusSelector",
    "confident-margin": "ConfidentMarginSelector",
    "small-loss": "SmallLossSelector",
    "co-teaching": "CoTeachingSelector",
    "co-teaching-plus": "CoTeachingPlusSelector",
    "jocor": "JoCoRSelector",
    "bare": "BARESelector",
    "jo-src": "JoSRCSelector",
    "beta-mixture": "BetaMixtureSelector",
    "unicon": "UNICONSelector",
    "promix": "ProMixSelector",
    "o2u-net": "O2UNetSelector",
    "cnlcu-soft": "CNLCUSoftSelector",
    "cnlcu-hard": "CNLCUHardSelector",
    "mentornet": "MentorNetSelector",
    "truncated-gce": "TruncatedGCESelector",
    "nlnl": "NLNLSelector",
    "data-map": "DataMapSelector",
    "forgetting-events": "ForgettingEventsSelector",
    "selfie": "SELFIESelector",
    "self": "SELFSelector",
    "aum": "AUMSelector",
    "confident-learning": "ConfidentLearningSelector",
    "moit": "MOITSelector",
    "sel-cl": "SelCLSelector",
    "tcl": "TCLSelector",
    "fine": "FINESelector",
    "curriculum-net": "CurriculumNetSelector",
}
# Those that are compared where none are named: VRLVMix's and what it is made of, and the consensus.
_USUAL = ("gmm", "loss-variation", "prediction-stability", "vrlv", "enn", "consensus")
# What runs are ranked by: the set that is kept, and the order that the score gives.
_RANKED = ("f1", "auroc")


class _Plan(NamedTuple):
    """What is to be benched of one run."""

    run: Run
    networks: tuple[str, ...]
    epochs: tuple[int, ...]


def named_selectors(names: Iterable[str] | Literal["all"] = _USUAL) -> dict[str, Selector]:
    """Return selectors with their default options by their command-line names.

    Parameters
    ----------
    names : iterable of str, or "all", optional
        By default gmm, loss-variation, prediction-stability, vrlv, enn and consensus.

    Raises
    ------
    ValueError
        If a name is not known; the message lists those that are.
    """
    wanted = list(_CLASSES) if names == "all" else list(names)
    unknown = [name for name in wanted if name not in _CLASSES]
    if unknown or not wanted:
        raise ValueError(
            f"A selector is one of {', '.join(_CLASSES)}; got {', '.join(unknown) or 'none'}."
        )
    public = import_module("noisyselect")
    return {name: getattr(public, _CLASSES[name])() for name in wanted}


def run_bench(
    runs: Iterable[Run],
    selectors: Mapping[str, Selector],
    epochs: Sequence[int] | Literal["all"] | None = None,
    network: str | None = None,
    jobs: int | None = None,
    on_row: Callable[[int, int], None] | None = None,
) -> Bench:
    """Apply every selector to every run.

    A selector sees the epochs up to and including each of `epochs`, and the log of the next network
    as its peer where the run has several. Of class probabilities, of either view, these logs have
    as many epochs as the selectors that need them look back on, so that a run need not fit into
    memory. Features and neighbours have no epochs: at an earlier epoch, selectors see the latest
    ones all the same. Neighbours are searched for once per network, before any clock runs, as many
    as the largest `n_neighbors` of the selectors that have such an option. A selector that reads no
    epochs (`Selector.reads_epochs`) is asked once per network where all records are valid, and its
    answer is measured at every epoch.

    Parameters
    ----------
    runs : iterable of Run
        All different. With truth known, the rows have precision, recall and so on.
    selectors : mapping of str to Selector
        By the name that the rows are to have; `named_selectors` makes one.
    epochs : sequence of int, or "all", optional
        Numbers of closed epochs. By default the last of each run.
    network : str, optional
        One, or ``"all"`` of each run. By default the first of each.
    jobs : int >= 1, optional
        Selections made at once, in threads that share one log. By default as many as there are
        processors.
    on_row : callable, optional
        Called after each row with the numbers of rows done and of rows in all.

    Returns
    -------
    Bench
        A selector that lacks evidence has a row with the reason. Mean ranks, where two runs or more
        have a truth, are of the last epoch and of the mean over networks.

    Raises
    ------
    DamagedRunError
        If a run is damaged.
    ValueError
        If a run has no such epoch or network, or is given twice.
    """
    n_jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if n_jobs < 1:
        raise ValueError(f"`jobs` must be at least 1, got {jobs!r}.")
    # What can be refused is refused before the work begins.
    plans = [_plan(run, epochs, network) for run in runs]
    _refuse_doubles(plans)
    n_rows = sum(len(plan.networks) * len(plan.epochs) for plan in plans) * len(selectors)
    benched: list[BenchedRun] = []
    rows: list[BenchRow] = []
    agreement: list[Agreement] = []
    for plan in plans:
        pairs = Pairs(plan.run, plan.networks, selectors.values(), plan.epochs[-1] + 1)
        seconds = _search([pairs.logs[name] for name in plan.networks], selectors.values())
        benched.append(_facts(plan, seconds))
        peaks = _peaks(plan, pairs, selectors)
        before: dict[str, BoolArray] = {}
        with closing(_answers(plan, pairs, selectors, n_jobs)) as answers:
            for place in product(plan.networks, plan.epochs):
                kept: dict[str, BoolArray] = {}
                for name in selectors:
                    row, clean = next(answers)
                    if clean is not None:
                        kept[name] = clean
                    if name in kept and name in before:
                        row = replace(row, stability=jaccard(before[name], kept[name]))
                    if place == (plan.networks[0], plan.epochs[-1]):
                        row = replace(row, peak_megabytes=peaks[name])
                    rows.append(row)
                    if on_row is not None:
                        on_row(len(rows), n_rows)
                kappa = kappa_matrix(list(kept.values()))
                agreement.append(Agreement(str(plan.run.path), *place, tuple(kept), kappa))
                # Epochs ascend: the last one of a network leaves nothing to the next network.
                before = kept if place[1] + 1 in plan.epochs else {}
    return Bench(
        selectors={name: repr(selector) for name, selector in selectors.items()},
        runs=tuple(benched),
        rows=tuple(rows),
        agreement=tuple(agreement),
        ranks=_ranks(benched, rows),
    )


def _plan(run: Run, epochs: Sequence[int] | Literal["all"] | None, network: str | None) -> _Plan:
    if run.n_epochs == 0:
        raise MissingEvidenceError(f"{run.path} has no closed epoch.")
    if epochs is None:
        chosen: Sequence[int] = [run.n_epochs - 1]
    else:
        chosen = range(run.n_epochs) if epochs == "all" else epochs
    unknown = [epoch for epoch in chosen if not 0 <= epoch < run.n_epochs]
    if unknown or not chosen:
        raise ValueError(
            f"`epochs` must be closed epochs of {run.path}, 0 to {run.n_epochs - 1}, "
            f"got {', '.join(map(str, unknown)) or 'none'}."
        )
    networks = run.networks if network == "all" else (network or run.networks[0],)
    if networks[0] not in run.networks:
        raise ValueError(
            f"`network` must be one of {', '.join(run.networks)}, or 'all', got {network!r}."
        )
    return _Plan(run, networks, tuple(sorted(set(chosen))))


def _refuse_doubles(plans: Sequence[_Plan]) -> None:
    places = [plan.run.path.resolve() for plan in plans]
    twice = [plan for plan, place in zip(plans, places, strict=True) if places.count(place) > 1]
    if twice:
        raise ValueError(f"Each run must be given once, got {twice[0].run.path} more often.")


def _search(logs: Iterable[TrainingLog], selectors: Iterable[Selector]) -> float:
    """Find the neighbours that selectors will ask their logs for, and return how long it took."""
    wanted = {selector.n_neighbors for selector in selectors if hasattr(selector, "n_neighbors")}
    start = time.perf_counter()
    searched = [
        log.nearest(k)
        for log in logs
        for k in sorted(wanted, reverse=True)  # the most first: fewer are the first of them
        if log.neighbours is None and log.features is not None
    ]
    return time.perf_counter() - start if searched else 0.0


def _facts(plan: _Plan, neighbour_seconds: float) -> BenchedRun:
    run = plan.run
    return BenchedRun(
        path=str(run.path),
        n_samples=run.labels.size,
        n_classes=run.n_classes,
        networks=plan.networks,
        epochs=plan.epochs,
        noise_rate=math.nan if run.truth is None else noise_rate(run.labels, run.truth),
        neighbour_seconds=neighbour_seconds,
    )


def _peaks(plan: _Plan, pairs: Pairs, selectors: Mapping[str, Selector]) -> dict[str, float]:
    """Return the memory in 10^6 bytes that each selection takes on the last epoch.

    Apart from the rows, as tracing costs time, and alone, as it counts what all threads hold.
    """
    log, peer = pairs.at(plan.networks[0], plan.epochs[-1])
    peaks = {}
    for name, selector in selectors.items():
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the row will warn
                selector.select(log, peer)
            peaks[name] = tracemalloc.get_traced_memory()[1] / 1e6
        except (MissingEvidenceError, MissingDependencyError):
            peaks[name] = math.nan
        finally:
            tracemalloc.stop()
    return peaks


class _Asked(NamedTuple):
    """What a selector answered."""

    selection: Selection | None
    seconds: float
    problem: str


def _answers(
    plan: _Plan,
    pairs: Pairs,
    selectors: Mapping[str, Selector],
    jobs: int,
) -> Generator[tuple[BenchRow, BoolArray | None]]:
    """Yield the row of each network, epoch and selector, and the mask of what was kept, if any."""
    questions = product(plan.networks, plan.epochs, selectors)

    def ask(network: str, epoch: int, name: str) -> _Asked:
        return _ask(selectors[name], *pairs.at(network, epoch))

    def answer(question: tuple[str, int, str]) -> tuple[BenchRow, BoolArray | None]:
        network, epoch, name = question
        shared = once.get((network, name))
        asked = ask(*question) if shared is None else shared.result()
        return _row(plan.run, pairs.at(network, epoch)[0], network, name, asked)

    # Threads and not processes: numpy works outside the interpreter's lock, and all read one log.
    pool = ThreadPoolExecutor(jobs)
    try:
        # A product of matrices takes one thread, or those of all jobs would wait for each other.
        with threadpool_limits(1, user_api="blas"):
            # These are begun before the questions that wait for them.
            once = {
                (network, name): pool.submit(ask, network, plan.epochs[0], name)
                for network in plan.networks
                if pairs.all_valid(network)
                for name, selector in selectors.items()
                if not selector.reads_epochs
            }
            yield from pool.map(answer, questions)
    finally:
        pool.shutdown(cancel_futures=True)


def _ask(selector: Selector, log: TrainingLog, peer: TrainingLog | None) -> _Asked:
    start = time.thread_time()
    try:
        selection = selector.select(log, peer)
    except (MissingEvidenceError, MissingDependencyError) as error:
        return _Asked(None, math.nan, str(error))
    return _Asked(selection, time.thread_time() - start, "")


def _row(
    run: Run, log: TrainingLog, network: str, name: str, asked: _Asked
) -> tuple[BenchRow, BoolArray | None]:
    """Return the measures of an answer, with the losses of the last epoch of `log`."""
    row = BenchRow(str(run.path), name, network, int(log.epochs[-1]), log.n_samples)
    selection, seconds, problem = asked
    if selection is None:
        return replace(row, problem=problem), None
    measures = class_balance(selection, run.labels, run.n_classes)._asdict()
    if run.truth is not None:
        losses = None if log.losses is None else log.losses[-1]
        measures |= selection_quality(
            selection, run.labels, run.truth, run.n_classes, losses
        )._asdict()
    n_kept = len(selection)
    estimated = 1 - n_kept / log.n_samples
    row = replace(row, n_kept=n_kept, estimated_noise_rate=estimated, seconds=seconds)
    return replace(row, **measures), selection.clean


def _ranks(benched: Sequence[BenchedRun], rows: Sequence[BenchRow]) -> tuple[MeanRanks, ...]:
    """Rank the selectors on the last epoch of each run with truth, in the mean over networks."""
    known = [run for run in benched if not math.isnan(run.noise_rate)]
    ranks = []
    for measure in _RANKED:
        values: dict[str, list[float]] = {}
        for run in known:
            last: dict[str, list[float]] = {}
            for row in rows:
                if (row.run, row.epoch) == (run.path, run.epochs[-1]):
                    last.setdefault(row.selector, []).append(getattr(row, measure))
            for name, of_networks in last.items():
                values.setdefault(name, []).append(fmean(of_networks))
        complete = [name for name, row in values.items() if not math.isnan(sum(row))]
        if len(known) > 1 and len(complete) > 1:
            ranks.append(mean_ranks(measure, values))
    return tuple(ranks)
