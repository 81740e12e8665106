"""The figures of a report: which plot of what, and a sentence that says what there is to see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from noisyselect import plots
from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.numeric.mixture import TwoGaussians, fit_in_few_steps, unit_interval
from noisyselect.plots.palette import DISTRUSTED, RESCUED, TRUSTED
from noisyselect.report.evidence import Evidence
from noisyselect.report.svg import draw
from noisyselect.report.wording import count, counted, decimal, listed, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Width and height in pixels of one, two or three plots side by side, on a page of 1080.
_SIZES = {1: (640, 400), 2: (520, 320), 3: (346, 270)}
_ROW, _LETTER = 26, 7
# More classes are drawn as a profile, sorted, without names.
_NAMED = 40
_LONGEST_NAME = 24


@dataclass(frozen=True)
class Figure:
    """Plots side by side and what there is to see in them.

    Attributes
    ----------
    panels : tuple of Markup
        ``<svg>`` elements.
    caption : str
    """

    panels: tuple[Markup, ...]
    caption: str


def over_epochs(evidence: Evidence) -> Figure | None:
    """Return AUROC and precision over epochs, or without truth the share kept and agreement.

    None of a run of one epoch.
    """
    if evidence.log.n_epochs < 2:
        return None
    known = evidence.right is not None
    measures = ("auroc", "precision") if known else ("kept", "agreement")
    titles = {
        "auroc": "AUROC of the score, right against wrong labels",
        "precision": "Share of kept labels that are right",
        "kept": "Share of labels kept",
        "agreement": f"Share of samples decided as {evidence.rule} does",
    }
    margins = (52, 28 + _LETTER * max(map(len, evidence.selections)), 46, 34)
    panels = []
    for measure in measures:
        plot = plots.plot_auroc if measure == "auroc" else plots.plot_over_epochs
        curves = {rule: evidence.curves[measure][rule][None] for rule in evidence.rules}
        if measure == "agreement":
            # With itself every rule agrees; without values it is left out and keeps its colour.
            curves[evidence.rule] = np.full_like(curves[evidence.rule], np.nan)
        draws = partial(plot, curves=curves, title=titles[measure])
        panels.append(draw(draws, measure, titles[measure], _SIZES[2], margins))
    return Figure(tuple(panels), _over_epochs_caption(evidence, measures[0]))


def _over_epochs_caption(evidence: Evidence, measure: str) -> str:
    curves = evidence.curves[measure]
    last = {rule: float(values[-1]) for rule, values in curves.items()}
    shown = last[evidence.rule]
    if measure == "kept":
        least, most = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
        return (
            f"At the last epoch {evidence.rule} keeps {percent(shown)} of the labels; "
            f"{least} keeps the fewest, {percent(last[least])}, and {most} the most, "
            f"{percent(last[most])}."
        )
    finite = {rule: value for rule, value in last.items() if np.isfinite(value)}
    if not finite:
        return "All labels are right, or all are wrong: there is nothing to tell apart."
    best = max(finite, key=finite.__getitem__)
    text = f"At the last epoch {evidence.rule} has an AUROC of {decimal(shown, 3)}"
    if len(finite) == 1:
        return f"{text}."
    if best == evidence.rule:
        return f"{text}, the highest of {len(finite)}."
    return f"{text}; the highest is that of {best}, {decimal(last[best], 3)}."


def per_class(evidence: Evidence, names: list[str]) -> Figure:
    """Return what is kept of each class."""
    n_classes, labels = evidence.run.n_classes, evidence.run.labels
    clean = evidence.selection.clean
    kept = np.bincount(labels[clean], minlength=n_classes)
    dropped = np.bincount(labels[~clean], minlength=n_classes)
    wrong = None
    if evidence.right is not None:
        wrong = np.bincount(labels[clean & ~evidence.right], minlength=n_classes)
    least, most = int(np.argmin(kept)), int(np.argmax(kept))
    split = ""
    if wrong is not None and kept.any():
        share = wrong / np.maximum(kept, 1)
        worst = int(np.argmax(share))
        split = (
            f" Wrong labels among those kept are most frequent in {names[worst]}: "
            f"{percent(share[worst])}."
        )
    caption = (
        f"Of one class, {evidence.rule} keeps between {count(kept[least])} ({names[least]}) and "
        f"{count(kept[most])} samples ({names[most]}).{split}"
    )
    if n_classes <= _NAMED:
        short = [shortened(name) for name in names]
        size = (1080, 96 + _ROW * n_classes)
        left = 18 + _LETTER * max(map(len, short))
    else:
        order = np.argsort(-kept, kind="stable")
        kept, dropped = kept[order], dropped[order]
        wrong = None if wrong is None else wrong[order]
        short, size, left = None, (1080, 460), 18
        caption += " The classes are sorted by what is kept of them; the table has their names."
    draws = partial(plots.plot_per_class, kept=kept, dropped=dropped, kept_wrong=wrong, names=short)
    panel = draw(draws, "classes", "Samples kept and dropped by class", size, (left, 24, 46, 34))
    return Figure((panel,), caption)


def losses(evidence: Evidence) -> Figure | None:
    """Return histograms of losses with the fitted mixture; None without losses."""
    log = evidence.log
    if log.losses is None or not np.isfinite(log.losses[-1]).any():
        return None
    last, early = log.n_epochs - 1, (log.n_epochs - 1) // 3
    decided = (evidence.selection.clean, ("kept", "dropped"), f"by {evidence.rule}")
    found = decided
    if evidence.right is not None:
        found = (evidence.right, ("right", "wrong"), "by the truth")
    wanted = [(early, found), (last, found)] if early < last else [(last, found)]
    if evidence.right is not None:
        wanted.append((last, decided))
    panels = []
    for i, (epoch, (good, labels, by)) in enumerate(wanted):
        title, mixture = f"Epoch {epoch + 1}, {by}", _mixture(log.losses[epoch])
        draws = partial(
            plots.plot_loss_histogram,
            losses=log.losses[epoch],
            good=good,
            labels=labels,
            title=title,
            shares=None if mixture is None else mixture.shares,
            means=None if mixture is None else mixture.means,
            deviations=None if mixture is None else np.sqrt(mixture.variances),
        )
        alt = f"Losses at epoch {epoch + 1}, {by}"
        panels.append(draw(draws, f"losses-{i}", alt, _SIZES[len(wanted)], (74, 8, 46, 34)))
    return Figure(tuple(panels), _losses_caption(evidence, log.losses[-1]))


def _mixture(values: FloatArray) -> TwoGaussians | None:
    """Return the Gaussians that GMMSelector fits, in nats; None if losses are nearly equal."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size < 2:
        return None
    fitted = fit_in_few_steps(unit_interval(finite))
    low, width = finite.min(), finite.max() - finite.min()
    in_nats = fitted._replace(
        means=low + width * fitted.means, variances=width**2 * fitted.variances
    )
    return None if fitted.collapsed else in_nats


def _losses_caption(evidence: Evidence, last: FloatArray) -> str:
    finite = np.isfinite(last)
    clean = evidence.selection.clean
    groups = {"kept": clean & finite, "dropped": ~clean & finite}
    if evidence.right is not None:
        groups |= {
            "rightly labelled": evidence.right & finite,
            "wrongly labelled": ~evidence.right & finite,
        }
    medians = [
        f"{decimal(float(np.median(last[group])))} for {name} samples"
        for name, group in groups.items()
        if group.any()
    ]
    mixture = _mixture(last)
    fitted = "All losses are nearly equal."
    if mixture is not None:
        low, high = (decimal(float(mean)) for mean in mixture.means)
        fitted = (
            f"The lower Gaussian, at {low} nats, holds {percent(float(mixture.shares[0]))} of the "
            f"samples; the other stands at {high}."
        )
    return f"At the last epoch the median loss is {listed(medians)}. {fitted}"


def data_map(evidence: Evidence) -> Figure | None:
    """Return mean confidence in the given label against its variation; None without losses."""
    mean, deviation = evidence.mean_trust, evidence.trust_variation
    if mean is None or deviation is None or not np.isfinite(mean).any():
        return None
    clean = evidence.selection.clean
    groups = [(clean, ("kept", "dropped"), f"By {evidence.rule}")]
    if evidence.right is not None:
        groups.append((evidence.right, ("right", "wrong"), "By the truth"))
    panels = [
        draw(
            partial(
                plots.plot_data_map,
                confidence=mean,
                variability=deviation,
                good=good,
                labels=labels,
                title=title,
            ),
            f"map-{i}",
            f"Data map, {title.lower()}",
            (520, 420) if len(groups) > 1 else (640, 480),
            (56, 12, 46, 34),
        )
        for i, (good, labels, title) in enumerate(groups)
    ]
    known = np.isfinite(mean)
    hard = known & (mean < 0.5)
    caption = (
        f"In {percent(float(hard.sum() / known.sum()))} of the samples the given label has a mean "
        f"probability below one half; {evidence.rule} drops "
        f"{percent(_share(~clean, hard))} of them and {percent(_share(~clean, known & ~hard))} of "
        "the others."
    )
    if evidence.right is not None:
        caption += (
            f" Of them {percent(_share(~evidence.right, hard))} are wrong, of the others "
            f"{percent(_share(~evidence.right, known & ~hard))}."
        )
    return Figure(tuple(panels), caption)


def trajectories(evidence: Evidence) -> Figure | None:
    """Return losses over epochs of kept, dropped and rescued samples.

    None without losses of two epochs, or if no sample could be judged.
    """
    losses = evidence.log.losses
    if losses is None or len(losses) < 2:
        return None
    groups = {
        name: (group, colour)
        for name, (group, colour) in _kept_dropped_rescued(evidence).items()
        if group.any()
    }
    if not groups:
        return None
    finite = {name: _finite(losses[:, group]) for name, (group, _) in groups.items()}
    top = max((float(np.quantile(v, 0.95)) for v in finite.values() if v.size), default=1.0)

    def plot(axes: Axes, group: BoolArray, **options: Any) -> None:
        plots.plot_trajectories(axes, losses[:, group], **options)
        axes.set_ylim(0, max(top, 1e-3))

    panels = [
        draw(
            partial(plot, group=group, colour=colour, title=f"{name}, {count(group.sum())}"),
            f"trajectories-{name.lower()}",
            f"Losses over epochs of samples that are {name.lower()}",
            _SIZES[len(groups)],
            (56, 10, 46, 34),
        )
        for name, (group, colour) in groups.items()
    ]
    ends = [
        f"{decimal(float(np.median(_finite(losses[0, group]))))} to "
        f"{decimal(float(np.median(_finite(losses[-1, group]))))} nats for {name.lower()} samples"
        for name, (group, _) in groups.items()
        if _finite(losses[0, group]).size and _finite(losses[-1, group]).size
    ]
    caption = f"From the first epoch to the last the median loss goes from {listed(ends)}."
    return Figure(tuple(panels), caption + _rescued_text(evidence))


def _kept_dropped_rescued(evidence: Evidence) -> dict[str, tuple[BoolArray, str]]:
    clean = evidence.selection.clean
    groups = {"Kept": (clean, TRUSTED), "Dropped": (~clean & evidence.judged, DISTRUSTED)}
    small_loss = evidence.selections.get("gmm")
    if small_loss is not None and evidence.rule != "gmm":
        groups["Rescued"] = (clean & (small_loss.reason == "large loss"), RESCUED)
    return groups


def _rescued_text(evidence: Evidence) -> str:
    groups = _kept_dropped_rescued(evidence)
    if "Rescued" not in groups:
        return ""
    rescued = groups["Rescued"][0]
    if not rescued.any():
        return f" None is rescued: {evidence.rule} keeps no sample that gmm finds of large loss."
    text = (
        f" Rescued means kept by {evidence.rule} although gmm finds the loss large: "
        f"{counted(int(rescued.sum()), 'sample', 'samples')}"
    )
    if evidence.right is not None:
        text += f", {percent(_share(evidence.right, rescued))} of them with the right label"
    return f"{text}."


def confusion(evidence: Evidence, names: list[str]) -> Figure | None:
    """Return given against predicted and, where known, true labels; None without predictions."""
    predicted, run = evidence.predicted, evidence.run
    if predicted is None or not (predicted.label >= 0).any():
        return None
    wanted = [(predicted.label, "predicted label", "Given against predicted")]
    if run.truth is not None:
        wanted.append((run.truth, "true label", "Given against true"))
    short = [shortened(name, 12) for name in names]
    edge = 30 + (_LETTER * max(map(len, short)) if run.n_classes <= 12 else 24)
    panels = [
        draw(
            partial(
                plots.plot_confusion,
                counts=cross_table(run.labels, labels, run.n_classes),
                names=short,
                columns=columns,
                title=f"{title}, percent of a row" if run.n_classes <= 12 else title,
            ),
            f"confusion-{i}",
            title,
            (520, 500),
            (edge, 8, edge, 34),
        )
        for i, (labels, columns, title) in enumerate(wanted)
    ]
    known = predicted.label >= 0
    differ = known & (predicted.label != run.labels)
    caption = (
        f"What was predicted most often differs from the given label in "
        f"{percent(_share(differ, known))} of the samples"
    )
    pairs = confused_pairs(evidence)
    if pairs:
        given, other, n = pairs[0]
        caption += (
            f"; the most frequent disagreement is {names[given]}, predicted as {names[other]}, "
            f"{counted(n, 'time', 'times')}"
        )
    return Figure(tuple(panels), f"{caption}.")


def confused_pairs(evidence: Evidence, n: int = 10) -> list[tuple[int, int, int]]:
    """Return the most frequent pairs of different given and predicted labels, and their counts."""
    predicted, run = evidence.predicted, evidence.run
    if predicted is None:
        return []
    table = cross_table(run.labels, predicted.label, run.n_classes)
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:n]
    rows, columns = np.unravel_index(order, table.shape)
    return [
        (int(row), int(column), int(table[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if table[row, column]
    ]


def cross_table(rows: IntArray, columns: IntArray, n_classes: int) -> IntArray:
    """Return how often each pair of labels occurs; a negative label is none."""
    known = columns >= 0
    pairs = rows[known].astype(np.intp) * n_classes + columns[known]
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def shortened(name: str, length: int = _LONGEST_NAME) -> str:
    """Return a name that is not too long to stand beside a plot."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _finite(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _share(of: BoolArray, among: BoolArray) -> float:
    return float(of[among].mean()) if among.any() else float("nan")
