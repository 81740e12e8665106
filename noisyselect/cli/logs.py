"""The commands on saved logs: import, info, select, bench."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from noisyselect.cli.terminal import names, terminal

if TYPE_CHECKING:
    from noisyselect.bench import BenchRow
    from noisyselect.selection import Selection
    from noisyselect.store import Run

# Spelt out, as the help must not import the selectors.
_KNOWN = "gmm, loss-variation, prediction-stability, vrlv, enn"

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)
]
Network = Annotated[
    str | None, typer.Option(help="Network whose log is read.", show_default="the first")
]


def import_(
    log: Annotated[Path, typer.Argument(metavar="LOG.npz", help="A saved training log.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="New run directory.")],
) -> None:
    """Bring a training log saved as npz into a run directory."""
    from noisyselect.store import import_npz

    console = terminal()
    with console.status(f"Reading {escape(str(log))}"):
        run = import_npz(log, out)
    console.print(_describe(run))


def info(path: RunPath) -> None:
    """Show what is in a run directory."""
    from noisyselect.store import open_run

    terminal().print(_describe(open_run(path)))


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

    console = terminal()
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

    console = terminal()
    chosen = named_selectors(names(selectors))
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


def _numbers(text: str) -> list[int]:
    try:
        return [int(name) for name in names(text)]
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
