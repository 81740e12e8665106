"""What a reader wants to know first: how noisy, what was kept, is it balanced, is it right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from noisyselect.arrays import AnyArray, FloatArray
from noisyselect.metrics import kept_shares
from noisyselect.report.evidence import Evidence
from noisyselect.report.wording import count, counted, decimal, percent

# Decisions are compared with those of so many epochs before.
_BACK = 5


class Answer(NamedTuple):
    """A question, its answer in a few characters, and a sentence or two on it."""

    question: str
    figure: str
    text: str


@dataclass(frozen=True)
class Table:
    """A small table; the first column holds names, the others numbers.

    Attributes
    ----------
    caption : str
    headings : tuple of str
    rows : tuple of tuple of str
    marked : int
        The row to stand out; -1 for none.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int = -1


def answers(evidence: Evidence) -> list[Answer]:
    """Return the four answers that stand first."""
    return [_noise(evidence), _kept(evidence), _balance(evidence), _trust(evidence)]


def _noise(evidence: Evidence) -> Answer:
    question = "How noisy is it?"
    dropped = {
        rule: 1 - float(selection.clean[evidence.judged].mean()) if evidence.judged.any() else 0.0
        for rule, selection in evidence.selections.items()
    }
    own = dropped[evidence.rule]
    if evidence.right is not None:
        n_wrong = int((~evidence.right).sum())
        return Answer(
            question,
            percent(n_wrong / evidence.right.size),
            f"{count(n_wrong)} of the {count(evidence.right.size)} given labels are wrong. The "
            f"selector, which is not told, drops {percent(own)}.",
        )
    others = [dropped[rule] for rule in evidence.rules[1:]]
    text = f"An estimate: the share of labels that {evidence.rule} distrusts"
    if others:
        text += f". The other selectors distrust {percent(min(others))} to {percent(max(others))}"
    return Answer(question, f"≈ {percent(own)}", f"{text}.")


def _kept(evidence: Evidence) -> Answer:
    selection, judged = evidence.selection, evidence.judged
    n, n_samples = len(selection), selection.clean.size
    text = f"{count(n)} of {count(n_samples)} labels."
    if not judged.all():
        text += (
            f" For want of a valid record {counted(int((~judged).sum()), 'sample', 'samples')} "
            "could not be judged; none of them is kept."
        )
    if evidence.right is not None:
        right = evidence.right
        wrong_dropped = int((~selection.clean & ~right).sum())
        text += (
            f" Of the right labels {percent(_of(selection.clean, right))} are kept; of the "
            f"{count((~right).sum())} wrong ones {count(wrong_dropped)} are dropped."
        )
    return Answer("What was kept?", percent(n / n_samples), text)


def _balance(evidence: Evidence) -> Answer:
    question = "Is it balanced?"
    n_classes = evidence.run.n_classes
    if not len(evidence.selection):
        return Answer(question, "none", "No label is kept.")
    kept = kept_shares(evidence.selection, evidence.run.labels, n_classes)
    given = np.bincount(evidence.run.labels, minlength=n_classes) / evidence.run.labels.size
    empty = int((kept == 0).sum())
    text = (
        f"Shares of the smallest and the largest class among the kept labels; even would be "
        f"{percent(1 / n_classes)}. Among the given labels: {_range(given)}."
    )
    if empty:
        text += f" {counted(empty, 'class keeps', 'classes keep')} no sample at all."
    return Answer(question, _range(kept), text)


def _range(shares: FloatArray) -> str:
    return f"{percent(float(shares.min()))} to {percent(float(shares.max()))}"


def _trust(evidence: Evidence) -> Answer:
    question = "Can it be trusted?"
    if evidence.right is not None:
        quality = evidence.qualities[evidence.rule]
        before = float(evidence.right.mean())
        text = (
            f"Of the kept labels; of all labels {percent(before)} are right. A right label scores "
            f"higher than a wrong one in {percent(quality.auroc)} of all pairs (AUROC "
            f"{decimal(quality.auroc, 3)})."
        )
        return Answer(question, f"{percent(quality.precision)} right", text)
    others = evidence.rules[1:]
    agreement = [float(evidence.curves["agreement"][rule][-1]) for rule in others]
    steady = _steadiness(evidence)
    figure = percent(float(np.mean(agreement))) + " agree" if agreement else "not known"
    parts = []
    if agreement:
        parts.append(
            f"Share of samples that the other selectors decide as {evidence.rule} does, in the "
            "mean. Who is right is not known."
        )
    else:
        parts.append(
            "There are no true labels, and no other selector has what it needs. Look at the "
            "suspicious samples below."
        )
    if steady is not None:
        parts.append(f"Over the last {_BACK} epochs the share kept moved by {steady} points.")
    return Answer(question, figure, " ".join(parts))


def _steadiness(evidence: Evidence) -> str | None:
    kept = evidence.curves["kept"][evidence.rule][-(_BACK + 1) :]
    known = kept[np.isfinite(kept)]
    return f"{100 * (known.max() - known.min()):.1f}" if known.size > _BACK else None


def selectors_table(evidence: Evidence) -> Table:
    """Return all selectors at the last epoch."""
    known = evidence.right is not None
    headings = ["selector", "kept", "share", "decides alike"]
    if known:
        headings += ["precision", "recall", "AUROC"]
    rows = []
    for rule in evidence.rules:
        selection = evidence.selections[rule]
        alike = float((selection.clean == evidence.selection.clean).mean())
        row = [
            rule,
            count(len(selection)),
            percent(float(selection.clean.mean())),
            percent(alike) if rule != evidence.rule else "",
        ]
        if known:
            quality = evidence.qualities[rule]
            row += [
                percent(quality.precision),
                percent(quality.recall),
                decimal(quality.auroc, 3),
            ]
        rows.append(tuple(row))
    return Table(
        f"Every selector at the last epoch, beside {evidence.rule}",
        tuple(headings),
        tuple(rows),
        marked=0,
    )


def classes_table(evidence: Evidence, names: list[str]) -> Table:
    """Return what is given and kept of each class."""
    n_classes, labels, clean = evidence.run.n_classes, evidence.run.labels, evidence.selection.clean
    given = np.bincount(labels, minlength=n_classes)
    kept = np.bincount(labels[clean], minlength=n_classes)
    columns = {"given": given, "kept": kept}
    headings = ["class", "given", "kept", "share kept", "share of all kept"]
    if evidence.right is not None:
        headings += ["kept, wrong", "share wrong"]
        columns["wrong"] = np.bincount(labels[clean & ~evidence.right], minlength=n_classes)
    rows = []
    for i, name in enumerate(names):
        row = [
            name,
            count(given[i]),
            count(kept[i]),
            percent(_ratio(kept[i], given[i])),
            percent(_ratio(kept[i], clean.sum())),
        ]
        if "wrong" in columns:
            row += [count(columns["wrong"][i]), percent(_ratio(columns["wrong"][i], kept[i]))]
        rows.append(tuple(row))
    return Table("Every class, by given label", tuple(headings), tuple(rows))


def _of(what: AnyArray, among: AnyArray) -> float:
    return float(what[among].mean()) if among.any() else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
