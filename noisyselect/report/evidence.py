"""What a report rests on: the answers of selectors, at the end of a run and over its epochs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.bench import named_selectors
from noisyselect.bench.pairs import Pairs
from noisyselect.errors import (
    MissingDependencyError,
    MissingEvidenceError,
    NoisySelectWarning,
)
from noisyselect.log import TrainingLog
from noisyselect.metrics import SelectionQuality, selection_quality
from noisyselect.report.wording import count, first_sentence, listed
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.store import Run

# Of a long run every selector answers at so many epochs; a line needs no more.
_N_EPOCHS = 30
# What "auto" shows, the first that has what it needs.
_PREFERRED = ("vrlv", "gmm", "prediction-stability", "enn")
# Class counts of so many cells are held at once.
_CELLS = 1 << 22


class Predicted(NamedTuple):
    """What a network predicted of each sample most often, and in how many epochs; -1 for never."""

    label: IntArray
    n_epochs: IntArray


@dataclass(frozen=True, eq=False)
class Evidence:
    """The answers of selectors to one run.

    Attributes
    ----------
    run : Run
    network : str
    log : TrainingLog
        Of that network.
    rule : str
        Name of the selector whose answer is shown.
    why : str
        Why it is that one, as a sentence; empty if it was asked for.
    selectors : dict of str to Selector
        Those that gave an answer.
    selections : dict of str to Selection
        At the last epoch, by selector; those that have what they need.
    problems : dict of str to str
        Why the others gave no answer.
    curves : dict of str to dict of str to array of float, shape (n_epochs,)
        Shares over epochs by measure and selector, NaN where there is none: ``kept`` and
        ``agreement`` (share of samples that the selector shown decides alike), and with truth
        ``auroc`` and ``precision``.
    notes : tuple of str
        What was warned of.
    """

    run: Run
    network: str
    log: TrainingLog
    rule: str
    why: str
    selectors: Mapping[str, Selector]
    selections: Mapping[str, Selection]
    problems: Mapping[str, str]
    curves: Mapping[str, Mapping[str, FloatArray]]
    notes: tuple[str, ...]

    @property
    def selection(self) -> Selection:
        """The answer that is shown."""
        return self.selections[self.rule]

    @property
    def rules(self) -> list[str]:
        """Names of the selectors that gave an answer, the one shown first."""
        return [self.rule, *(rule for rule in self.selections if rule != self.rule)]

    @property
    def timeless(self) -> bool:
        """Whether the log has features or neighbours, which are the latest at every epoch."""
        return self.log.features is not None or self.log.neighbours is not None

    @cached_property
    def right(self) -> BoolArray | None:
        """Which given labels are right, shape (n_samples,), or None where that is not known."""
        return None if self.run.truth is None else self.run.labels == self.run.truth

    @cached_property
    def judged(self) -> BoolArray:
        """Which samples the selector could decide on, shape (n_samples,)."""
        judged: BoolArray = self.selection.reason != "no valid record"
        return judged

    @cached_property
    def qualities(self) -> dict[str, SelectionQuality]:
        """What each selection is worth, by selector; empty where the truth is not known."""
        run, truth = self.run, self.run.truth
        if truth is None:
            return {}
        return {
            rule: selection_quality(selection, run.labels, truth, run.n_classes)
            for rule, selection in self.selections.items()
        }

    @cached_property
    def trust(self) -> FloatArray | None:
        """Probability of the given label by epoch, shape (n_epochs, n_samples); NaN if unknown."""
        if self.log.losses is None:
            return None
        # The loss is the cross-entropy of the given label.
        finite = np.isfinite(self.log.losses)
        losses = np.where(finite, np.maximum(self.log.losses, 0), 0)
        return np.where(finite, np.exp(-losses), np.nan)

    @cached_property
    def mean_trust(self) -> FloatArray | None:
        """Mean over epochs of the probability of the given label, shape (n_samples,)."""
        return None if self.trust is None else _mean(self.trust)

    @cached_property
    def trust_variation(self) -> FloatArray | None:
        """Standard deviation over epochs of that probability, shape (n_samples,)."""
        if self.trust is None or self.mean_trust is None:
            return None
        return np.sqrt(_mean((self.trust - self.mean_trust) ** 2))

    @cached_property
    def predicted(self) -> Predicted | None:
        """What was predicted of each sample most often; of equally frequent, the latest."""
        predictions = self.log.predictions
        if predictions is None:
            return None
        label = np.full(self.log.n_samples, -1)
        n_epochs = np.zeros(self.log.n_samples, dtype=np.intp)
        block = max(1, _CELLS // self.log.n_classes)
        for start in range(0, self.log.n_samples, block):
            part = slice(start, start + block)
            label[part], n_epochs[part] = _most_frequent(predictions[:, part], self.log.n_classes)
        return Predicted(label, n_epochs)


def gather(
    run: Run, selector: str, network: str | None, say: Callable[[str], None] = lambda _: None
) -> Evidence:
    """Ask the usual selectors, and the one to be shown, what they make of a run.

    Parameters
    ----------
    run : Run
    selector : str
        Name of the one to be shown, or ``"auto"``.
    network : str, optional
        By default the first.
    say : callable
        Called with what is being done.

    Raises
    ------
    MissingEvidenceError
        If the run lacks what the selector needs, or with ``"auto"`` what any needs.
    ValueError
        If the selector or network is unknown.
    """
    rules = named_selectors()
    if selector not in ("auto", *rules):
        rules = named_selectors([selector, *rules])
    name = run.networks[0] if network is None else network
    say("Reading the run")
    with warnings.catch_warnings(record=True) as of_reading:
        warnings.simplefilter("always")
        pairs = Pairs(run, [name], rules.values())
        log, peer = pairs.at(name, run.n_epochs - 1)
    selections: dict[str, Selection] = {}
    problems: dict[str, str] = {}
    of_rules: dict[str, list[warnings.WarningMessage]] = {}
    for rule, asked in rules.items():
        say(f"Selecting with {rule}")
        with warnings.catch_warnings(record=True) as of_rules[rule]:
            warnings.simplefilter("always")
            try:
                selections[rule] = asked.select(log, peer)
            except (MissingEvidenceError, MissingDependencyError) as error:
                problems[rule] = str(error)
    shown, why = _choose(selector, run, selections, problems)
    caught = of_reading + of_rules[shown]
    # Those who call see them as well.
    for warned in caught:
        warnings.warn(warned.message, stacklevel=3)
    answering = {rule: rules[rule] for rule in selections}
    return Evidence(
        run=run,
        network=name,
        log=log,
        rule=shown,
        why=why,
        selectors=answering,
        selections=selections,
        problems=problems,
        curves=_over_epochs(run, name, answering, shown, pairs, say),
        notes=(
            *_non_finite(run, name, log, peer),
            *dict.fromkeys(str(warned.message) for warned in of_rules[shown]),
        ),
    )


def _non_finite(
    run: Run, network: str, log: TrainingLog, peer: TrainingLog | None
) -> tuple[str, ...]:
    """Return a sentence on losses that are NaN or infinite, if any are."""
    other = run.networks[(run.networks.index(network) + 1) % len(run.networks)]
    logs = {network: log} if peer is None else {network: log, other: peer}
    numbers = {
        name: int((~np.isfinite(each.losses)).sum())
        for name, each in logs.items()
        if each.losses is not None
    }
    if not any(numbers.values()):
        return ()
    of_networks = [f"{count(n)} of network {name}" for name, n in numbers.items()]
    return (
        f"Losses that are NaN or infinite: {listed(of_networks)}. A sample is not judged while one "
        "stands in the epochs that a selector reads.",
    )


def _choose(
    selector: str, run: Run, selections: Mapping[str, Selection], problems: Mapping[str, str]
) -> tuple[str, str]:
    """Return the selector to show, and why."""
    if selector in problems:
        raise MissingEvidenceError(problems[selector])
    if selector != "auto":
        return selector, ""
    if "vrlv" in selections and len(run.networks) > 1:
        return "vrlv", ""
    reason = problems.get("vrlv", "VRLV is made for two networks, and this run has one.")
    for rule in _PREFERRED[1:]:
        if rule in selections:
            return rule, f"Shown is {rule}, not vrlv. {first_sentence(reason)}"
    raise MissingEvidenceError(f"No selector has what it needs. {' '.join(problems.values())}")


def _over_epochs(
    run: Run,
    network: str,
    rules: Mapping[str, Selector],
    shown: str,
    pairs: Pairs,
    say: Callable[[str], None],
) -> dict[str, dict[str, FloatArray]]:
    log = pairs.logs[network]
    measures = ["kept", "agreement"] + ([] if run.truth is None else ["auroc", "precision"])
    curves = {
        measure: {rule: np.full(log.n_epochs, np.nan) for rule in rules} for measure in measures
    }
    places = np.unique(np.linspace(0, log.n_epochs - 1, _N_EPOCHS).round().astype(np.intp))
    for place in places:
        say(f"Selecting over epochs, {place + 1} of {log.n_epochs}")
        answers = _answers(rules, *pairs.at(network, int(log.epochs[place])))
        for rule, selection in answers.items():
            curves["kept"][rule][place] = selection.clean.mean()
            if shown in answers:
                same = selection.clean == answers[shown].clean
                curves["agreement"][rule][place] = same.mean()
            if run.truth is not None:
                quality = selection_quality(selection, run.labels, run.truth, run.n_classes)
                curves["auroc"][rule][place] = quality.auroc
                curves["precision"][rule][place] = quality.precision
    return curves


def _answers(
    rules: Mapping[str, Selector], log: TrainingLog, peer: TrainingLog | None
) -> dict[str, Selection]:
    answers = {}
    with warnings.catch_warnings():
        # What is odd at an early epoch says nothing of the run.
        warnings.simplefilter("ignore", NoisySelectWarning)
        for rule, selector in rules.items():
            try:
                answers[rule] = selector.select(log, peer)
            except MissingEvidenceError:  # too few epochs yet
                continue
    return answers


def _mean(values: FloatArray) -> FloatArray:
    """Return the mean over epochs of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    total: FloatArray = np.where(known, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _most_frequent(predictions: IntArray, n_classes: int) -> tuple[IntArray, IntArray]:
    n_epochs, n_samples = predictions.shape
    samples = np.arange(n_samples)
    counts = np.zeros((n_samples, n_classes), dtype=np.int32)
    latest = np.full((n_samples, n_classes), -1, dtype=np.int32)
    for epoch, row in enumerate(predictions):
        known = row >= 0
        counts[samples[known], row[known]] += 1
        latest[samples[known], row[known]] = epoch
    label = np.argmax(counts.astype(np.int64) * (n_epochs + 1) + latest, axis=1)
    often = counts[samples, label]
    return np.where(often > 0, label, -1), often
