"""The command line: each command is one library call and a few lines of print."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from noisyselect import __version__
from noisyselect.errors import NoisySelectError, NoisySelectWarning

if TYPE_CHECKING:
    from noisyselect.arrays import FloatArray
    from noisyselect.bench import BenchRow
    from noisyselect.selection import Selection
    from noisyselect.store import Run
    from noisyselect.torch import EpochResult, MethodSummary, TrainResult

app = typer.Typer(
    help="Decide from what training shows which labels to trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Spelt out, as the help must not import the selectors.
_KNOWN = "gmm, loss-variation, prediction-stability, vrlv, enn"

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)
]
Network = Annotated[
    str | None, typer.Option(help="Network whose log is read.", show_default="the first")
]
# Options that the commands that train have in common.
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of cifar10 or cifar100.", show_default=False)
]
Subset = Annotated[
    int | None, typer.Option(metavar="N", help="Use N training samples.", show_default="all")
]
NoiseRate = Annotated[
    float | None,
    typer.Option(help="Nominal rate of sym and asym; no method is told.", show_default=False),
]
WarmUp = Annotated[int | None, typer.Option(help="Epochs.", show_default="10, at most half of all")]
LrDropEpoch = Annotated[
    int | None, typer.Option(help="First epoch at a tenth of it.", show_default="half of all")
]
Augment = Annotated[
    bool | None, typer.Option("--augment/--no-augment", show_default="on, off for digits")
]


def main() -> None:
    """Run the command line; what goes wrong is one red line and the exit status 1."""
    with _plain_warnings():
        try:
            app()
        except (NoisySelectError, ValueError, TypeError, OSError) as error:
            _complain("Error", "bold red", error)
            sys.exit(1)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("default", NoisySelectWarning)
        warnings.showwarning = lambda message, *_, **__: _complain("Warning", "yellow", message)
        yield


def _complain(kind: str, style: str, message: Exception | str) -> None:
    text = " ".join(str(message).split()) or type(message).__name__
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"[{style}]{kind}:[/] {escape(text)}"
    )


def _console() -> Console:
    # A pipe has no width, and rich would cut the table to 80 columns.
    return Console(width=None if sys.stdout.isatty() else 100)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"noisyselect {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None: ...


@app.command("import")
def import_(
    log: Annotated[Path, typer.Argument(metavar="LOG.npz", help="A saved training log.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="New run directory.")],
) -> None:
    """Bring a training log saved as npz into a run directory."""
    from noisyselect.store import import_npz

    console = _console()
    with console.status(f"Reading {escape(str(log))}"):
        run = import_npz(log, out)
    console.print(_describe(run))


@app.command()
def info(path: RunPath) -> None:
    """Show what is in a run directory."""
    from noisyselect.store import open_run

    _console().print(_describe(open_run(path)))


@app.command()
def select(
    path: RunPath,
    out: Annotated[Path, typer.Option(metavar="CSV", help="Table of id, clean, score, reason.")],
    selector: Annotated[str, typer.Option(help=f"One of {_KNOWN}.")] = "vrlv",
    network: Network = None,
    until: Annotated[
        int | None,
        typer.Option(metavar="E", help="Use the epochs before E.", show_default="all"),
    ] = None,
) -> None:
    """Decide which labels of a run to trust, and write the decision as a table."""
    from noisyselect.bench import named_selectors
    from noisyselect.store import open_run

    console = _console()
    run = open_run(path)
    rule = named_selectors([selector])[selector]
    with console.status(f"Selecting with {selector}"):
        selection = rule.select(*run.logs(network, until))
    _write_csv(out, selection)
    share = len(selection) / selection.clean.size
    console.print(
        f"{selector} trusts [bold]{len(selection):,}[/] of {selection.clean.size:,} labels "
        f"({share:.1%}). Written to {escape(str(out))}.",
        highlight=False,
    )


def _write_csv(out: Path, selection: Selection) -> None:
    import numpy as np

    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "clean", "score", "reason"])
    table.writerows(
        zip(
            selection.ids.tolist(),
            np.where(selection.clean, "true", "false").tolist(),
            selection.score.tolist(),
            selection.reason.tolist(),
            strict=True,
        )
    )
    _write_text(out, text.getvalue())


def _write_text(out: Path, text: str) -> None:
    from noisyselect.store.files import write_file

    write_file(out.parent, out.name, text.encode())


@app.command()
def bench(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories.", show_default=False)
    ],
    selectors: Annotated[
        str, typer.Option(help=f"Some of {_KNOWN}, separated by commas.")
    ] = "gmm,loss-variation,prediction-stability,vrlv",
    epochs: Annotated[
        str | None,
        typer.Option(help="Epoch numbers, separated by commas.", show_default="the last"),
    ] = None,
    network: Network = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="JSON", help="Write the rows here as well.")
    ] = None,
) -> None:
    """Compare selectors on saved runs."""
    from noisyselect.bench import named_selectors, run_bench
    from noisyselect.store import open_run

    console = _console()
    chosen = named_selectors(_names(selectors))
    numbers = None if epochs is None else _numbers(epochs)
    runs = [open_run(path) for path in paths]
    with console.status("Selecting"):
        rows = run_bench(runs, chosen, numbers, network)
    if json_out is not None:
        _write_json(json_out, rows)
    per_run = len(rows) // len(runs)
    for i, run in enumerate(runs):
        _print_bench(console, run, rows[i * per_run : (i + 1) * per_run])
    if json_out is not None:
        console.print(f"Rows written to {escape(str(json_out))}.", highlight=False)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(name) for name in _names(text)]
    except ValueError:
        raise ValueError(f"--epochs must be numbers such as 19,29; got {text!r}.") from None


def _write_json(out: Path, rows: list[BenchRow]) -> None:
    # JSON has no NaN.
    plain = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(row).items()
        }
        for row in rows
    ]
    _write_text(out, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


# Heading of each measure that needs true labels, and how it is printed.
_MEASURES = {
    "precision": ("precision", "{:.1%}"),
    "recall": ("recall", "{:.1%}"),
    "f1": ("F1", "{:.1%}"),
    "auroc": ("AUROC", "{:.3f}"),
}
# What a run has once, not per epoch.
_TIMELESS = {"features", "neighbours"}


def _print_bench(console: Console, run: Run, rows: list[BenchRow]) -> None:
    shown = [] if run.truth is None else list(_MEASURES)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("selector", no_wrap=True, vertical="bottom")
    for heading in (
        "epoch",
        "kept",
        *(_MEASURES[name][0] for name in shown),
        "smallest to\nlargest class",
        "seconds",
    ):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for epoch, group in groupby(rows, key=lambda row: row.epoch):
        together = list(group)
        best = {name: max((getattr(row, name) for row in together), key=_rank) for name in shown}
        for row in together:
            measures = [_measure(name, getattr(row, name), best[name]) for name in shown]
            table.add_row(escape(row.selector), str(epoch), *_kept(row, measures))
        table.add_section()
    console.print(f"[bold]{escape(str(run.path))}[/]  network {rows[0].network}", highlight=False)
    console.print(f"{run.labels.size:,} samples, {_truth_text(run)}", highlight=False)
    console.print()
    console.print(table)
    console.print()
    if any(row.epoch < run.n_epochs - 1 for row in rows) and set(map(_kind, run.files)) & _TIMELESS:
        console.print("Features and neighbours are the latest ones at every epoch.")
    for row in rows:
        if row.problem:
            console.print(
                f"[yellow]{escape(row.selector)}, epoch {row.epoch}:[/] {escape(row.problem)}",
                highlight=False,
            )


def _kind(path: str) -> str:
    return path.split("/", maxsplit=1)[0].removesuffix(".parquet")


def _rank(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _measure(name: str, value: float, best: float) -> str:
    if math.isnan(value):
        return "-"
    text = _MEASURES[name][1].format(value)
    return f"[bold green]{text}[/]" if value == best else text


def _kept(row: BenchRow, measures: list[str]) -> list[str]:
    if row.problem:
        return ["-", *measures, "-", "-"]
    kept = f"{row.n_kept:,} {row.n_kept / row.n_samples:>4.0%}"
    classes = f"{row.smallest_class:.1%} to {row.largest_class:.1%}" if row.n_kept else "-"
    return [kept, *measures, classes, f"{row.seconds:.2f}"]


def _truth_text(run: Run) -> str:
    from noisyselect.noise import noise_rate

    if run.truth is None:
        return "true labels not known"
    return f"{noise_rate(run.labels, run.truth):.1%} of the given labels are wrong"


def _describe(run: Run) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    counts = Counter(run.labels.tolist())
    sizes = [counts[label] for label in range(run.n_classes)]
    names = "" if run.class_names is None else f": {', '.join(run.class_names)}"
    facts = {
        "run": str(run.path),
        "samples": f"{run.labels.size:,}, {_truth_text(run)}",
        "classes": f"{run.n_classes} of {min(sizes):,} to {max(sizes):,} samples{names}",
        "networks": ", ".join(run.networks),
        "epochs": _epoch_text(run),
        "also has": "\n".join(_extras(run)),
        "test accuracy": _accuracy_text(run),
        "settings": ", ".join(f"{name}={value}" for name, value in run.settings.items()) or "none",
        "written by": ", ".join(f"{name} {value}" for name, value in run.versions.items()),
    }
    for name, fact in facts.items():
        if fact:
            table.add_row(name, escape(fact))
    return table


def _extras(run: Run) -> list[str]:
    """Return one line for each of features, neighbours and probabilities."""
    kinds: dict[str, list[str]] = {}
    for path in run.files:
        if _kind(path) not in ("samples", "truth"):
            place = path.removesuffix("/part-00000.parquet").split("/")[1:]
            kinds.setdefault(_kind(path), []).append(" ".join(place))
    return [f"{kind} {', '.join(places)}".rstrip() for kind, places in kinds.items()]


def _accuracy_text(run: Run) -> str:
    reached = [epoch["metrics"].get("test_accuracy") for epoch in run.epochs]
    known = [value for value in reached if isinstance(value, float)]
    return f"{known[-1]:.1%} last, {max(known):.1%} best" if known else ""


def _epoch_text(run: Run) -> str:
    planned = run.settings.get("epochs")
    text = f"{run.n_epochs}" if planned is None else f"{run.n_epochs} of {planned}"
    if len(run.epochs) < run.n_epochs:
        text += f", readable up to the first damaged one: {len(run.epochs)}"
    rates = [f"{line['lr']:.3g}" for line in run.epochs if line["lr"] is not None]
    if rates:
        text += f"; lr {' then '.join(rate for rate, _ in groupby(rates))}"
    phases = [line["phase"] for line in run.epochs if line["phase"]]
    if phases:
        text += f"; {' then '.join(phase for phase, _ in groupby(phases))}"
    return text


@app.command()
def train(
    data: Annotated[
        str,
        typer.Option(help="digits, cifar10, cifar100, a folder, or an npz of images or features."),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="New run directory.")],
    noise: Annotated[
        Literal["sym", "asym", "human", "none"], typer.Option(help="How labels are made wrong.")
    ] = "none",
    noise_rate: NoiseRate = None,
    human_column: Annotated[str, typer.Option(help="Of human_labels.parquet.")] = "random1",
    data_dir: DataDir = None,
    subset: Subset = None,
    method: Annotated[Literal["vrlvmix", "dividemix", "ce"], typer.Option()] = "vrlvmix",
    epochs: Annotated[int, typer.Option(help="Warm-up included.")] = 300,
    warm_up: WarmUp = None,
    window: Annotated[
        int | None, typer.Option(help="Epochs VRLV looks back.", show_default="5, or as fits")
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.02,
    lr_drop_epoch: LrDropEpoch = None,
    batch_size: Annotated[int, typer.Option(help="Labelled images; twice that in warm-up.")] = 64,
    augment: Augment = None,
    confidence_penalty: Annotated[
        bool, typer.Option(help="In warm-up; advised for asymmetric noise.")
    ] = False,
    lambda_u: Annotated[float, typer.Option(help="Weight of the unlabelled loss.")] = 25.0,
    seed: Annotated[int, typer.Option(help="Of the noise and of training.")] = 0,
    device: Annotated[str, typer.Option(help="As torch names it.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in RUN was stopped.")
    ] = False,
) -> None:
    """Train two networks on partly wrong labels."""
    _check_noise(noise, noise_rate)
    torch_room = _torch_room()
    console = Console()
    settings = torch_room.Settings(
        method=method,
        epochs=epochs,
        warm_up=warm_up,
        window=window,
        lr=lr,
        lr_drop_epoch=lr_drop_epoch,
        batch_size=batch_size,
        augment=data != "digits" if augment is None else augment,
        confidence_penalty=confidence_penalty,
        lambda_u=lambda_u,
        seed=seed,
    )
    with console.status("Reading images"):
        images = torch_room.load_data(data, data_dir, subset=subset)
        images = torch_room.with_noise(
            images, noise, noise_rate or 0.0, seed=seed, human_column=human_column
        )
    with _epoch_progress(console, method, epochs) as show:
        result = torch_room.train(
            images, settings, out, device=device, resume=resume, on_epoch=show
        )
    console.print(_results_table({method: result}))
    console.print(f"Run directory: {escape(str(out))}", highlight=False)


@app.command()
def compare(
    data: Annotated[str, typer.Option(help="As for train.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run directories are left here.")],
    methods: Annotated[str, typer.Option(help="Separated by commas.")] = "ce,dividemix,vrlvmix",
    noise: Annotated[Literal["sym", "asym", "human"], typer.Option()] = "sym",
    noise_rate: NoiseRate = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1, ...")] = 3,
    data_dir: DataDir = None,
    subset: Subset = None,
    epochs: Annotated[int, typer.Option(help="Warm-up included.")] = 300,
    warm_up: WarmUp = None,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.02,
    lr_drop_epoch: LrDropEpoch = None,
    augment: Augment = None,
    lambda_u: Annotated[float, typer.Option(help="Weight of the unlabelled loss.")] = 25.0,
) -> None:
    """Train several methods with several seeds; goes on with what is there already."""
    _check_noise(noise, noise_rate)
    torch_room = _torch_room()
    console = _console()
    settings = torch_room.Settings(
        epochs=epochs,
        warm_up=warm_up,
        lr=lr,
        lr_drop_epoch=lr_drop_epoch,
        augment=data != "digits" if augment is None else augment,
        lambda_u=lambda_u,
    )
    with console.status("Reading samples"):
        samples = torch_room.load_data(data, data_dir, subset=subset)

    def show(method: str, seed: int, result: EpochResult) -> None:
        if result.epoch + 1 == epochs:
            console.print(
                f"{method}, seed {seed}: test accuracy {result.test_accuracy:.1%}", highlight=False
            )

    summaries = torch_room.compare(
        samples,
        _names(methods),
        settings,
        out,
        noise=noise,
        rate=noise_rate or 0.0,
        seeds=range(seeds),
        on_epoch=show,
    )
    console.print(_summary_table(summaries))


_SUMMARY = {
    "last_5": "test, last\n5 epochs",
    "best": "test, best\nepoch",
    "fitted_wrong": "wrong labels\nmemorised",
    "precision_a": "precision\nof a",
    "precision_b": "precision\nof b",
    "recall": "recall",
}


def _summary_table(summaries: list[MethodSummary]) -> Table:
    """Return means and deviations over the seeds, in per cent."""
    n_seeds = len(summaries[0].seeds)
    title = "per cent" if n_seeds == 1 else f"per cent, mean ± deviation over {n_seeds} seeds"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", vertical="bottom", no_wrap=True)
    for heading in _SUMMARY.values():
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for summary in summaries:
        cells = [_mean_and_deviation(summary.measures[name]) for name in _SUMMARY]
        table.add_row(summary.method, *cells)
    return table


def _mean_and_deviation(values: FloatArray) -> str:
    if not all(map(math.isfinite, values)):
        return "-"
    mean = f"{100 * values.mean():.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * values.std(ddof=1):.1f}"


@app.command()
def features(
    data: Annotated[str, typer.Option(help="As for train; images.")],
    out: Annotated[Path, typer.Option(metavar="NPZ", help="File to write.")],
    data_dir: DataDir = None,
    subset: Subset = None,
    views: Annotated[int, typer.Option(help="Flips and small shifts; the first is the image.")] = 4,
    filters: Annotated[int, typer.Option(help="Centroids; each gives four features.")] = 300,
    patch_size: Annotated[int, typer.Option(help="Pixels.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the patches and centroids.")] = 0,
) -> None:
    """Make features of images that `train` runs on: whitened k-means patches, without labels."""
    torch_room = _torch_room()
    from noisyselect.torch.patches import patch_features

    console = Console()
    with console.status("Reading images"):
        images = torch_room.load_data(data, data_dir, subset=subset)
    with console.status("Learning and encoding patches"):
        made = patch_features(
            images.inputs,
            images.test_inputs,
            n_views=views,
            n_filters=filters,
            patch_size=patch_size,
            seed=seed,
        )
        torch_room.save_features(out, images, *made)
    n_samples, n_views, n_features = made[0].shape
    console.print(
        f"{n_samples:,} samples, {n_views} views of {n_features:,} features, "
        f"written to {escape(str(out))}.",
        highlight=False,
    )


# Enough for plain cross-entropy to memorise the wrong labels, which is what the demo shows.
_DEMO_EPOCHS = 40
# Resampled from all ten classes, 4 in 9 labels come out wrong 4 times in 10.
_DEMO_RATE = 4 / 9


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run directories are left here.")] = Path(
        "runs/demo"
    ),
    epochs: Annotated[int, typer.Option(help="Of either method.")] = _DEMO_EPOCHS,
    seed: Annotated[int, typer.Option(help="Of the noise and of training.")] = 0,
) -> None:
    """Train VRLVMix and plain cross-entropy on digits with 40 % wrong labels."""
    # Images of 8x8 are too small to share out: where processors are busy, threads wait for each
    # other for minutes. Read by torch when it is first imported; what the user has set stays.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch_room = _torch_room()
    console = Console()
    clean = torch_room.load_data("digits")
    images = torch_room.with_noise(clean, "sym", _DEMO_RATE, seed=seed)
    console.print(
        f"{images.n_samples:,} digits with {images.noise['realised_rate']:.1%} of the labels "
        "wrong. No method is told.",
        highlight=False,
    )
    results = {}
    for name, method in (("cross-entropy", "ce"), ("VRLVMix", "vrlvmix")):
        settings = torch_room.Settings(method=method, epochs=epochs, augment=False, seed=seed)
        path = out / method
        _remove_earlier_demo(path)
        with _epoch_progress(console, name, epochs) as show:
            results[name] = torch_room.train(images, settings, path, on_epoch=show)
    console.print(_results_table(results))
    console.print(f"Run directories: {escape(str(out))}/ce, vrlvmix", highlight=False)


def _remove_earlier_demo(path: Path) -> None:
    from noisyselect.store import open_run

    if not (path / "run.json").is_file():
        return
    settings = open_run(path).settings
    rate = (settings.get("noise") or {}).get("nominal_rate")
    if settings.get("data") != "digits" or rate != _DEMO_RATE:
        raise ValueError(f"{path} holds a run that no demo made: choose another --out.")
    shutil.rmtree(path)


def _check_noise(noise: str, rate: float | None) -> None:
    if (rate is None) == (noise in ("sym", "asym")):
        raise ValueError("--noise sym and asym need --noise-rate, and no other noise has one.")


def _torch_room() -> ModuleType:
    """Return `noisyselect.torch`, whose absence is an error like any other here."""
    from importlib import import_module

    try:
        return import_module("noisyselect.torch")
    except ImportError as error:
        raise NoisySelectError(str(error)) from error


@contextmanager
def _epoch_progress(
    console: Console, name: str, epochs: int
) -> Iterator[Callable[[EpochResult], None]]:
    """Show a bar on a terminal, else a line per epoch."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("test accuracy {task.fields[accuracy]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{name:13}", total=epochs, accuracy="-")

        def show(result: EpochResult) -> None:
            accuracy = f"{result.test_accuracy:.1%}"
            progress.update(task, completed=result.epoch + 1, accuracy=accuracy)
            if not console.is_terminal:
                console.print(
                    f"{name} epoch {result.epoch + 1}/{epochs} ({result.phase}): "
                    f"test accuracy {accuracy}",
                    highlight=False,
                )

        yield show


def _results_table(results: dict[str, TrainResult]) -> Table:
    """Return test accuracies, and the last selection of both networks where there was one."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    for heading in (
        "test, last\nepoch",
        "test, best\nepoch",
        "wrong labels\nmemorised",
        "selection\nprecision",
        "selection\nrecall",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, result in results.items():
        measures = [
            _mean_measure(result.epochs[-1], measure)
            for measure in ("fitted_wrong", "precision", "recall")
        ]
        table.add_row(name, f"{result.last:.1%}", f"{result.best:.1%}", *measures)
    return table


def _mean_measure(result: EpochResult, measure: str) -> str:
    values = [result.measures.get(f"{measure}_{network}", math.nan) for network in ("a", "b")]
    mean = sum(values) / 2
    return "-" if math.isnan(mean) else f"{mean:.1%}"
