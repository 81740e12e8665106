"""How good each selector is on logs whose truth is known: the tables of docs/consensus.md.

Runs are looked for in the folders given. Without any, cross-entropy is trained here, for each seed
on three kinds of noise, on scikit-learn's digits and, with --features, on a file of CIFAR-10
features, as benchmarks/encoder_features.py and `noisyselect features` write them; and the training
log of ../shared/data is taken in where it is there.

    python benchmarks/selector_table.py --work logs
    python benchmarks/selector_table.py --work logs --features e20.npz logs sym50 asym40

Runs of a trainer on features have none themselves; of --features they are given those of their
samples, in a copy in --work. Runs that differ in the seed alone (NAME-seed0, NAME-seed1, ...) are
one row of the tables.
"""

import argparse
import os
import re
import shutil
import tempfile
import warnings
from collections import defaultdict
from contextlib import suppress
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import numpy as np
from rich.progress import Progress

from noisyselect import ConsensusSelector, open_run
from noisyselect.bench import named_selectors, run_bench
from noisyselect.errors import MissingEvidenceError, NoisySelectWarning
from noisyselect.metrics import selection_quality
from noisyselect.numeric.neighbours import nearest_neighbours
from noisyselect.store import RunWriter
from noisyselect.store.npz import import_npz

# The end of the usual warm-up, where a selection is first asked for; beside it the last epoch.
WARM_UP_END = 9
N_NEIGHBORS = 20
COPIES = "with-features"
TITLES = {
    "AUROC of the score": "auroc",
    "F1 of what is kept": "f1",
    "Precision of what is kept": "precision",
    "Precision of as many highest scores as the consensus keeps": "at its size",
    "Share that is kept": "kept",
}
SHARED_LOG = Path("../shared/data/logs/cifar10-asym40.npz")
SHARED_LABELS = Path("../shared/data/cifar10/human_labels.parquet")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="where runs are looked for")
    parser.add_argument("--work", type=Path, help="where runs are recorded and copied to")
    parser.add_argument("--features", type=Path, help="npz of features of CIFAR-10")
    parser.add_argument("--selectors", help="names, separated by commas; by default the usual ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="noisyselect-"))
    runs = [path.parent for folder in options.folders for path in folder.rglob("run.json")]
    runs = [run for run in runs if COPIES not in run.parts]
    if not options.folders:
        runs = list(recorded(work, options.features, options.seeds))
    runs = [with_neighbours(run, work, options.features) for run in sorted(runs)]
    selectors = chosen(options.selectors)
    print(f"{len(runs)} runs\n")
    for name, text in tables(runs, selectors).items():
        print(f"{name}\n\n{text}\n")


def chosen(names):
    return named_selectors() if names is None else named_selectors(names.split(","))


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
        # With several views of a sample there is a second one to record, but less is memorised.
        sources["cifar10-augmented"] = (str(features), kinds[:2], 40, True)
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


def judged(path, selectors):
    """Yield the epochs seen, the share of right labels, a selector and what it is worth."""
    run = open_run(path)
    epochs = {run.n_epochs - 1}
    if run.settings.get("method", "ce") == "ce":  # the others have the same warm-up
        epochs.add(min(WARM_UP_END, run.n_epochs - 1))
    bench = run_bench([run], selectors, sorted(epochs), jobs=1)
    at_its_size = {epoch: dict(precision_at_its_size(run, selectors, epoch)) for epoch in epochs}
    for row in bench.rows:
        measures = {
            "auroc": row.auroc,
            "f1": row.f1,
            "precision": row.precision,
            "at its size": at_its_size[row.epoch].get(row.selector, np.nan),
            "kept": np.nan if row.problem else row.n_kept / row.n_samples,
        }
        yield row.epoch + 1, 1 - bench.runs[0].noise_rate, row.selector, measures


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


def tables(paths, selectors):
    """Return what every selector is worth on every log, as Markdown, by title."""
    values, right = defaultdict(list), defaultdict(list)
    with Progress(transient=True) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisySelectWarning)
        for path in progress.track(paths, description="Selecting"):
            log = re.sub(r"-seed\d+$", "", f"{path.parent.name}/{path.name}")
            for epochs, share, name, measures in judged(path, selectors):
                right[log, epochs].append(share)
                for measure, value in measures.items():
                    values[measure, (log, epochs), name].append(value)
    return {
        title: table(measure, values, right, list(selectors)) for title, measure in TITLES.items()
    }


def table(measure, values, right, names):
    lines = [
        f"| log | epochs | right | {' | '.join(names)} |",
        "|---" * (len(names) + 3) + "|",
    ]
    means = {log: [np.mean(values[measure, log, name]) for name in names] for log in sorted(right)}
    for log, row in means.items():
        best = None if measure == "kept" else np.nanmax(row)
        cells = [cell(value, best) for value in row]
        lines.append(f"| {log[0]} | {log[1]} | {np.mean(right[log]):.3f} | {' | '.join(cells)} |")
    cells = [cell(value, None) for value in np.mean([*means.values()], axis=0)]
    lines.append(f"| **mean** | | | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value, best):
    if np.isnan(value):
        return "-"
    text = f"{value:.3f}"
    return f"**{text}**" if best is not None and text == f"{best:.3f}" else text


if __name__ == "__main__":
    main()
