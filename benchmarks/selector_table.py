"""How good selectors are on logs whose truth is known: docs/benchmark.md and docs/consensus.md.

Runs are looked for in the folders given. Without any, cross-entropy is trained here, for each seed
on three kinds of noise, on scikit-learn's digits and, with --features, on a file of CIFAR-10
features, as benchmarks/encoder_features.py and `noisyselect features` write them; and the training
log of ../shared/data is taken in where it is there.

    python benchmarks/selector_table.py --work logs
    python benchmarks/selector_table.py --work logs --features e20.npz logs sym50 asym40
    python benchmarks/selector_table.py --work logs --features e20.npz --selectors all

Runs of a trainer on features have none themselves; of --features they are given those of their
samples, in a copy in --work. Runs that differ in the seed alone (NAME-seed0, NAME-seed1, ...) are
one log of the tables. Where all selectors are asked for, each is a row and each log a column; with
--page the tables replace those of docs/benchmark.md, and --plot draws their mean ranks.
"""

import argparse
import os
import re
import shutil
import tempfile
import warnings
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import numpy as np
from rich.progress import Progress

from noisyselect import ConsensusSelector, open_run
from noisyselect.bench import mean_ranks, named_selectors, run_bench
from noisyselect.errors import MissingEvidenceError, NoisySelectWarning
from noisyselect.metrics import selection_quality
from noisyselect.numeric.neighbours import nearest_neighbours
from noisyselect.store import RunWriter
from noisyselect.store.npz import import_npz

# The end of the usual warm-up, where a selection is first asked for; beside it the last epoch.
WARM_UP_END = 9
# As many as any selector asks for: the first columns are the fewer neighbours of the others.
N_NEIGHBORS = 250
COPIES = "with-features"
TITLES = {
    "AUROC of the score": "auroc",
    "F1 of what is kept": "f1",
    "Precision of what is kept": "precision",
    "Precision of as many highest scores as the consensus keeps": "at its size",
    "Share that is kept": "kept",
}
# Of all selectors: title and measure, in per cent.
ALL_TITLES = {
    "AUROC of the score": "auroc",
    "F1 of what is kept": "f1",
    "Precision of what is kept": "precision",
    "Precision, minus that of as many smallest losses": "over small loss",
    "Share that is kept": "kept",
    "F1 where the share of right labels is told": "told",
}
# What the first row says, from the share of right labels.
BASELINES = {
    "f1": ("every label", lambda right: 2 * right / (1 + right)),
    "precision": ("every label", lambda right: right),
    "kept": ("right labels", lambda right: right),
    "told": ("every label", lambda right: 2 * right / (1 + right)),
}
TOLD = ", told the rate"
# In a page, what this script writes begins below this line.
MARK = "<!-- Written by benchmarks/selector_table.py -->"
SHARED_LOG = Path("../shared/data/logs/cifar10-asym40.npz")
SHARED_LABELS = Path("../shared/data/cifar10/human_labels.parquet")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="where runs are looked for")
    parser.add_argument("--work", type=Path, help="where runs are recorded and copied to")
    parser.add_argument("--features", type=Path, help="npz of features of CIFAR-10")
    parser.add_argument("--selectors", help="names, separated by commas, or all")
    parser.add_argument("--page", type=Path, help="write the tables of all selectors into this one")
    parser.add_argument("--plot", type=Path, help="draw the mean ranks of all selectors")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="noisyselect-"))
    runs = [path.parent for folder in options.folders for path in folder.rglob("run.json")]
    runs = [run for run in runs if COPIES not in run.parts]
    if not options.folders:
        runs = list(recorded(work, options.features, options.seeds))
    runs = [with_neighbours(run, work, options.features) for run in sorted(runs)]
    print(f"{len(runs)} runs\n")
    if options.selectors == "all":
        report(judge(runs, named_selectors("all")), options.page, options.plot)
    else:
        names = options.selectors and options.selectors.split(",")
        selectors = named_selectors(names) if names else named_selectors()
        for name, text in tables(judge(runs, selectors, at_its_size=True)).items():
            print(f"{name}\n\n{text}\n")


def recorded(work, features, seeds):
    """Train with cross-entropy what is not in `work` yet, and yield the run directories."""
    from noisyselect.torch import load_data, with_noise

    # Shifts of four pixels would leave nothing of a digit of eight.
    sources = {"digits": ("digits", [("sym", 0.5), ("pair", 0.3), ("instance", 0.4)], 30, False)}
    if features is not None:
        kinds = [("sym", 0.5), ("asym", 0.4), ("instance", 0.4)]
        if SHARED_LABELS.exists():
            kinds.append(("human", 0.0))
        sources["cifar10"] = (str(features), kinds, 40, False)
        # With augmentation there is a second view to record, but less is memorised.
        sources["cifar10-augmented"] = (str(features), kinds[:1], 40, True)
    for name, (source, kinds, epochs, augment) in sources.items():
        data = load_data(source)
        for kind, rate in kinds:
            for seed in seeds:
                noise = f"{kind}{100 * rate:.0f}" if rate else kind
                run = work / name / f"{noise}-seed{seed}"
                if not (run / "run.json").exists():
                    record(run, with_noise(data, kind, rate, seed=seed), epochs, augment, seed)
                yield run
    if SHARED_LOG.exists():
        run = work / "shared" / "cifar10-asym40"
        if not run.exists():
            import_npz(SHARED_LOG, run)
            log = open_run(run).logs()[0]
            RunWriter.resume(run).write_neighbours(log.nearest(N_NEIGHBORS))  # sought once
        yield run


def record(run, data, epochs, augment, seed):
    from noisyselect.torch import Settings, train

    columns = ("probabilities", "batches", *(["second-view"] if augment else []))
    settings = Settings(method="ce", epochs=epochs, augment=augment, record=columns, seed=seed)
    with Progress(transient=True) as progress:
        bar = progress.add_task(str(run), total=epochs)
        train(data, settings, run, on_epoch=lambda _: progress.advance(bar))
    inputs = data.inputs[:, 0] if data.kind == "features" else data.inputs
    give_features(run, inputs.reshape(len(inputs), -1).astype(np.float32))


def with_neighbours(path, work, features):
    """Return the run, or a copy with features of its samples where it has nothing of the kind."""
    run = open_run(path)
    if features is None or run.neighbours is not None or "features" in str(run.files):
        return path
    rows = features_of(features, tuple(run.ids.tolist()))
    if rows is None:
        return path
    copy = work / COPIES / path.parent.name / path.name
    if not (copy / "neighbours.parquet").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("checkpoint", "pretrained"))
        give_features(copy, rows)
    return copy


@cache
def features_of(file, ids):
    """Return the features of these samples, view 0, or None where one is not in the file."""
    with np.load(file) as arrays:
        place = {sample: row for row, sample in enumerate(arrays["ids"].tolist())}
        if not set(ids) <= set(place):
            return None
        return arrays["features"][[place[sample] for sample in ids], 0]


def give_features(run, features):
    writer = RunWriter.resume(run)
    for network in open_run(run).networks:
        writer.write_features(network, features)
    writer.write_neighbours(neighbours_of(features.tobytes(), features.shape))


@cache
def neighbours_of(features, shape):
    """Return the neighbours of every row: once, where many runs have the same samples."""
    rows = np.frombuffer(features, dtype=np.float32).reshape(shape)
    return nearest_neighbours(rows, N_NEIGHBORS, "cosine")


class Judged:
    """What selectors are worth on logs.

    Attributes
    ----------
    selectors : list of str
    values : dict of list of float
        One per seed, by measure, log and selector; a log is its name and the number of epochs.
    right : dict of list of float
        Share of right labels, by log.
    problems : dict of list
        Logs, by selector and the reason why it gave no answer there.
    """

    def __init__(self, selectors):
        self.selectors = selectors
        self.values, self.right, self.problems = (defaultdict(list) for _ in range(3))

    def mean(self, measure, log, name):
        """Return the mean over the seeds; NaN where one has no value."""
        return float(np.mean(self.values[measure, log, name]))


def judge(paths, selectors, at_its_size=False):
    judged = Judged(list(selectors))
    with Progress(transient=True) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisySelectWarning)
        for path in progress.track(paths, description="Selecting"):
            add_run(judged, path, selectors, at_its_size)
    return judged


def add_run(judged, path, selectors, at_its_size):
    run = open_run(path)
    epochs = {run.n_epochs - 1}
    if run.settings.get("method", "ce") == "ce":  # the others have the same warm-up
        epochs.add(min(WARM_UP_END, run.n_epochs - 1))
    right = float(np.mean(run.labels == run.truth))
    told = told_the_rate(selectors, right)
    bench = run_bench([run], {**selectors, **told}, sorted(epochs), jobs=1)
    f1_told = {(row.epoch, row.selector): row.f1 for row in bench.rows if row.selector in told}
    sized = {}
    if at_its_size:
        sized = {epoch: dict(precision_at_its_size(run, selectors, epoch)) for epoch in epochs}
    name = re.sub(r"-seed\d+$", "", f"{path.parent.name}/{path.name}")
    for epoch in epochs:
        judged.right[name, epoch + 1].append(right)
    for row in bench.rows:
        if row.selector in told:
            continue
        log = (name, row.epoch + 1)
        measures = {
            "auroc": row.auroc,
            "f1": row.f1,
            "precision": row.precision,
            "over small loss": row.precision - row.small_loss_precision,
            "kept": np.nan if row.problem else row.n_kept / row.n_samples,
            "told": f1_told.get((row.epoch, row.selector + TOLD), np.nan),
            "at its size": sized.get(row.epoch, {}).get(row.selector, np.nan),
        }
        for measure, value in measures.items():
            judged.values[measure, log, row.selector].append(value)
        logs = judged.problems[row.selector, row.problem]
        if row.problem and log not in logs:
            logs.append(log)


def told_the_rate(selectors, right):
    """Return those that can be told the share of right labels, told."""
    return {
        name + TOLD: replace(selector, clean_rate=right)
        for name, selector in selectors.items()
        if getattr(selector, "clean_rate", 0) is None
    }


def precision_at_its_size(run, selectors, epoch):
    """Yield the precision of as many of each selector's highest scores as the consensus keeps."""
    log, peer = run.logs(until=epoch + 1)
    kept = ConsensusSelector().select(log, peer)
    for name, selector in selectors.items():
        with suppress(MissingEvidenceError):
            score = selector.select(log, peer).score
            # What it calls losses is any order.
            quality = selection_quality(kept, run.labels, run.truth, run.n_classes, losses=-score)
            yield name, quality.small_loss_precision


def tables(judged):
    """Return what every selector is worth on every log, as Markdown, by title: logs are rows."""
    return {title: table(measure, judged) for title, measure in TITLES.items()}


def table(measure, judged):
    names, right = judged.selectors, judged.right
    lines = header(["log", "epochs", "right", *names])
    means = {log: [judged.mean(measure, log, name) for name in names] for log in sorted(right)}
    for log, row in means.items():
        best = None if measure == "kept" else np.nanmax(row)
        cells = [cell(value, best) for value in row]
        lines.append(line([log[0], log[1], f"{np.mean(right[log]):.3f}", *cells]))
    cells = [cell(value, None) for value in np.mean([*means.values()], axis=0)]
    lines.append(line(["**mean**", "", "", *cells]))
    return "\n".join(lines)


def header(cells):
    return [line(cells), "|---" * len(cells) + "|"]


def line(cells):
    return f"| {' | '.join(map(str, cells))} |"


def cell(value, best):
    if np.isnan(value):
        return "-"
    text = f"{value:.3f}"
    return f"**{text}**" if best is not None and text == f"{best:.3f}" else text


def report(judged, page, plot):
    """Print, or write into a page, the tables in which selectors are rows; draw their ranks."""
    text = "\n\n".join(sections(judged))
    if page is None:
        print(text)
    else:
        above = page.read_text().partition(MARK)[0]
        page.write_text(f"{above}{MARK}\n\n{text}\n")
    if plot is not None:
        draw_ranks(judged, plot)


def moments(judged):
    """Yield a title and the logs of that moment: the end of warm-up, and that of training."""
    logs = sorted(judged.right)
    last = {log[0]: log for log in logs}  # of several epochs the later one stays
    yield "At the end of warm-up", [log for log in logs if log != last[log[0]]]
    yield "After the last epoch", [*last.values()]


def sections(judged):
    """Yield Markdown: for each moment a table of each measure, and why answers are missing."""
    for moment, logs in moments(judged):
        common = of_most_selectors(judged, logs)
        by_auroc = sorted(
            judged.selectors,
            key=lambda name: -np.nan_to_num(mean_over(judged, "auroc", common, name)),
        )
        yield f"### {moment}"
        for title, measure in ALL_TITLES.items():
            rows = [name for name in by_auroc if any(given(judged, measure, logs, name))]
            yield f"**{title}**, {moment.lower()}"
            yield "\n".join(wide_table(judged, measure, logs, common, rows))
        yield "\n".join(reasons(judged, logs))


def given(judged, measure, logs, name):
    """Yield for each log whether the selector has a value there."""
    return (not np.isnan(judged.mean(measure, log, name)) for log in logs)


def of_most_selectors(judged, logs):
    """Return the logs on which as many selectors answer as on any: means are over these."""
    answers = {
        log: sum(not np.isnan(judged.mean("auroc", log, name)) for name in judged.selectors)
        for log in logs
    }
    return [log for log in logs if answers[log] == max(answers.values())]


def mean_over(judged, measure, logs, name):
    return np.mean([judged.mean(measure, log, name) for log in logs])


def wide_table(judged, measure, logs, common, names):
    yield from header(["", "mean", *(name for name, _ in logs)])
    if measure in BASELINES:
        title, worth = BASELINES[measure]
        right = {log: worth(np.array(judged.right[log])) for log in logs}
        mean = percent(np.mean([right[log].mean() for log in common]))
        yield line([f"*{title}*", mean, *(spread(right[log]) for log in logs)])
    columns = [[mean_over(judged, measure, common, name) for name in names]]
    columns += [[judged.mean(measure, log, name) for name in names] for log in logs]
    best = [None if measure == "kept" else percent(np.nanmax(column)) for column in columns]
    for name, means in zip(names, zip(*columns, strict=True), strict=True):
        cells = [percent(means[0]), *(spread(judged.values[measure, log, name]) for log in logs)]
        bold = [percent(mean) == top for mean, top in zip(means, best, strict=True)]
        yield line([name, *(f"**{c}**" if b else c for c, b in zip(cells, bold, strict=True))])


def spread(values):
    """Return the mean of the seeds in per cent, with their deviation where there are several."""
    mean = percent(np.mean(values))
    return (
        mean if mean == "-" or len(values) == 1 else f"{mean} ± {percent(np.std(values, ddof=1))}"
    )


def percent(value):
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def reasons(judged, logs):
    """Yield why selectors are missing, those of one reason together."""
    missing = defaultdict(list)
    for (name, problem), where in judged.problems.items():
        here = [log[0] for log in where if log in logs]
        if problem and here:
            needs = problem.partition(" needs ")[2].partition(". ")[0]
            missing["all logs" if len(here) == len(logs) else ", ".join(here), needs].append(name)
    for (where, needs), names in missing.items():
        yield f"- No answer on {where} from {', '.join(names)}: needs {needs}."


def draw_ranks(judged, path):
    """Draw the mean rank of every selector at both moments, by AUROC and by F1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    for axes, (moment, logs) in zip(figure.subplots(1, 2), moments(judged), strict=True):
        common = of_most_selectors(judged, logs)
        for measure, text, marker, colour in (
            ("auroc", "AUROC of the score", "o", "C0"),
            ("f1", "F1 of what is kept", "s", "C1"),
        ):
            ranks = mean_ranks(
                measure,
                {
                    name: [judged.mean(measure, log, name) for log in common]
                    for name in judged.selectors
                },
            )
            if measure == "auroc":
                names = list(ranks.mean_ranks)
                axes.plot([1, 1 + ranks.critical_difference], [-1.2, -1.2], color="0.5", lw=2)
                axes.text(
                    1, -1.5, f"critical difference {ranks.critical_difference:.1f}", fontsize=8
                )
            places = [ranks.mean_ranks[name] for name in names]
            axes.plot(places, range(len(names)), marker, color=colour, label=text, ms=5)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.4, -2.6)
        axes.set_xlim(0.5, len(names) + 0.5)
        axes.grid(axis="y", lw=0.4)
        axes.set_xlabel("mean rank, 1 is best")
        axes.set_title(f"{moment}, {len(common)} logs", fontsize="medium")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path)


if __name__ == "__main__":
    main()
