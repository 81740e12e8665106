"""The command that compares selectors on saved logs: bench."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from noisyselect.cli.logs import SELECTORS, Network, file_kind, truth_text, write_text
from noisyselect.cli.terminal import names, terminal

if TYPE_CHECKING:
    from noisyselect.bench import BenchRow
    from noisyselect.store import Run


def bench(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories.", show_default=False)
    ],
    selectors: Annotated[
        str, typer.Option(help=f"Some of {SELECTORS}, separated by commas.")
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
    write_text(out, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


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
    console.print(f"{run.labels.size:,} samples, {truth_text(run)}", highlight=False)
    console.print()
    console.print(table)
    console.print()
    if (
        any(row.epoch < run.n_epochs - 1 for row in rows)
        and set(map(file_kind, run.files)) & _TIMELESS
    ):
        console.print("Features and neighbours are the latest ones at every epoch.")
    for row in rows:
        if row.problem:
            console.print(
                f"[yellow]{escape(row.selector)}, epoch {row.epoch}:[/] {escape(row.problem)}",
                highlight=False,
            )


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
