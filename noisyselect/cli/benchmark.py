"""The command that compares selectors on saved logs: bench."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from noisyselect.cli.logs import SELECTORS, file_kind, truth_text
from noisyselect.cli.terminal import names, terminal

if TYPE_CHECKING:
    from noisyselect.bench import Bench, BenchedRun, BenchRow, MeanRanks
    from noisyselect.selector import Selector
    from noisyselect.store import Run


def bench(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories.", show_default=False)
    ],
    selectors: Annotated[
        str | None,
        typer.Option(
            help=f"Names, {SELECTORS}, separated by commas; or all.",
            show_default="gmm, loss-variation, prediction-stability, vrlv, enn, consensus",
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(help="Epoch numbers, separated by commas, or all.", show_default="the last"),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Network whose labels are selected, or all.", show_default="the first"),
    ] = None,
    json_out: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything that was measured."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the mean ranks over several runs."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Selections at once.", show_default="the processors")
    ] = None,
) -> None:
    """Compare selectors on saved runs."""
    from noisyselect.bench import run_bench
    from noisyselect.store import open_run

    console = terminal()
    chosen = _chosen(selectors)
    numbers = _epochs(epochs)
    runs = [open_run(path) for path in paths]
    n_known = sum("truth.parquet" in run.files for run in runs)
    if plot is not None and (n_known < 2 or len(chosen) < 2):
        raise ValueError(
            "--plot draws mean ranks, for which two runs with true labels and two selectors are "
            f"needed, got {n_known} and {len(chosen)}."
        )
    with _bar(console) as show:
        found = run_bench(runs, chosen, numbers, network, jobs, show)
    if json_out is not None:
        found.write_json(json_out)
    every_epoch = numbers != "all"
    for run, facts in zip(runs, found.runs, strict=True):
        _print_run(console, run, facts, found, every_epoch)
    if found.ranks:
        _print_ranks(console, found.ranks)
    _print_where(console, found, json_out, plot, every_epoch)
    if plot is not None:
        _write_plot(plot, found.ranks)


def _chosen(text: str | None) -> dict[str, Selector]:
    from noisyselect.bench import named_selectors

    if text is None:
        return named_selectors()
    return named_selectors("all" if text == "all" else names(text))


def _epochs(text: str | None) -> list[int] | Literal["all"] | None:
    if text is None or text == "all":
        return text  # type: ignore[return-value]
    try:
        return [int(name) for name in names(text)]
    except ValueError:
        raise ValueError(f"--epochs must be all, or numbers such as 19,29; got {text!r}.") from None


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many rows are done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    shown = console.is_terminal
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        # Without a number of rows the bar is one that moves, as it should in the first search.
        task = progress.add_task("Searching for neighbours", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, description="Selecting", completed=done, total=total)

        yield show


# The columns of the table: heading of each measure, and how it is printed.
_WITH_TRUTH = {
    "precision": ("precision", "{:.1%}"),
    "gain": ("vs small\nloss", "{:+.1f}"),
    "recall": ("recall", "{:.1%}"),
    "hard_recall": ("hard\nrecall", "{:.1%}"),
    "f1": ("F1", "{:.1%}"),
    "auroc": ("AUROC", "{:.3f}"),
    "class_balance": ("class\nbalance", "{:.2f}"),
    "seconds": ("seconds", "{:.2f}"),
}
_WITHOUT_TRUTH = {
    "stability": ("stability", "{:.2f}"),
    "class_balance": ("class\nbalance", "{:.2f}"),
    "effective_classes": ("effective\nclasses", "{:.1f}"),
    "seconds": ("seconds", "{:.2f}"),
}
# Left out one after another where the terminal is too narrow for all.
_SPARED = ("seconds", "class_balance", "hard_recall")
# Of these the best value of an epoch stands out.
_BEST = {"precision", "recall", "hard_recall", "f1", "auroc"}
# What a run has once, not per epoch.
_TIMELESS = {"features", "neighbours"}


def _print_run(
    console: Console, run: Run, facts: BenchedRun, found: Bench, every_epoch: bool
) -> None:
    of_run = [row for row in found.rows if row.run == facts.path]
    last = facts.epochs[-1]
    _print_lines(
        console,
        [
            f"[bold]{escape(facts.path)}[/]",
            f"{run.labels.size:,} samples, {truth_text(run)}",
        ],
    )
    for network, group in groupby(of_run, key=lambda row: row.network):
        rows = list(group)
        shown = [row for row in rows if every_epoch or row.epoch == last]
        epochs = sorted({row.epoch for row in shown})
        counted = "epoch" if len(epochs) == 1 else "epochs"
        _print_lines(
            console, [f"[bold]network {network}[/], {counted} {', '.join(map(str, epochs))}"]
        )
        console.print(_fitting_table(console, shown, rows, run.truth is not None))
        console.print()
        _print_lines(console, _problems(shown))
        if run.truth is None:
            _print_agreement(console, found, shown[-1])
    _print_lines(console, _remarks(run, facts))


def _print_lines(console: Console, lines: list[str]) -> None:
    """Print a paragraph, if there is any."""
    for line in lines:
        console.print(line, highlight=False)
    if lines:
        console.print()


def _problems(rows: list[BenchRow]) -> list[str]:
    return [
        f"[yellow]{escape(row.selector)}, epoch {row.epoch}:[/] {escape(row.problem)}"
        for row in rows
        if row.problem
    ]


def _remarks(run: Run, facts: BenchedRun) -> list[str]:
    remarks = []
    if facts.neighbour_seconds:
        remarks.append(
            f"The search for neighbours took {facts.neighbour_seconds:.1f} s and is shared: it is "
            "not in the seconds."
        )
    if facts.epochs[0] < run.n_epochs - 1 and set(map(file_kind, run.files)) & _TIMELESS:
        remarks.append("Features and neighbours are the latest ones at every epoch.")
    return remarks


def _fitting_table(
    console: Console, shown: list[BenchRow], rows: list[BenchRow], with_truth: bool
) -> Table:
    """Return a table with as many columns as the console is wide enough for."""
    columns = dict(_WITH_TRUTH if with_truth else _WITHOUT_TRUTH)
    wide = console.options.update(max_width=1000)
    for spared in _SPARED:
        table = _table(shown, rows, columns)
        if console.measure(table, options=wide).maximum <= console.width:
            return table
        columns.pop(spared, None)
    return _table(shown, rows, columns)


def _table(
    shown: list[BenchRow], rows: list[BenchRow], columns: Mapping[str, tuple[str, str]]
) -> Table:
    """Return a table of the rows `shown`, with the best epoch of all `rows` where more are left."""
    several = shown[0].epoch != shown[-1].epoch
    with_best = "f1" in columns and len(shown) < len(rows)
    # With all its columns the table is to fit into 100 characters.
    table = _plain_table("selector", gap=1 if several or with_best else 2)
    for heading in (
        *(["epoch"] if several else []),
        "kept",
        *(heading for heading, _ in columns.values()),
        *(["best F1,\nepoch"] if with_best else []),
    ):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for _, group in groupby(shown, key=lambda row: row.epoch):
        together = list(group)
        best = {name: max((_value(row, name) for row in together), key=_rank) for name in _BEST}
        for row in together:
            cells = [str(row.epoch)] if several else []
            cells.append("-" if row.problem else f"{row.n_kept / row.n_samples:.1%}")
            for name, (_, form) in columns.items():
                cells.append(_cell(_value(row, name), form, best.get(name)))
            if with_best:
                cells.append(_best_epoch(row.selector, rows))
            table.add_row(escape(row.selector), *cells)
        table.add_section()
    return table


def _plain_table(first: str, gap: int = 2) -> Table:
    # The box itself puts one space between columns.
    padding = (0, gap - 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding)
    table.add_column(first, no_wrap=True, vertical="bottom")
    return table


def _value(row: BenchRow, name: str) -> float:
    if name == "gain":  # in points, and never -0.0
        return round(100 * (row.precision - row.small_loss_precision), 1) + 0.0
    value: float = getattr(row, name)
    return value


def _rank(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _cell(value: float, form: str, best: float | None = None) -> str:
    if math.isnan(value):
        return "-"
    text = form.format(value)
    return f"[bold green]{text}[/]" if value == best else text


def _best_epoch(selector: str, rows: list[BenchRow]) -> str:
    best = max((row for row in rows if row.selector == selector), key=lambda row: _rank(row.f1))
    return "-" if math.isnan(best.f1) else f"{best.f1:.1%} {best.epoch:>3}"


def _print_agreement(console: Console, found: Bench, row: BenchRow) -> None:
    """Print how far selectors agree where no truth can tell which of them is right."""
    place = (row.run, row.network, row.epoch)
    (matched,) = (a for a in found.agreement if (a.run, a.network, a.epoch) == place)
    if len(matched.selectors) < 2:
        return
    table = _plain_table("agreement beyond chance (kappa)")
    for i in range(1, len(matched.selectors)):
        table.add_column(str(i), justify="right", no_wrap=True)
    for i, name in enumerate(matched.selectors):
        cells = [_cell(value, "{:.2f}") for value in matched.kappa[i, :i].tolist()]
        table.add_row(f"{i + 1:>2} {escape(name)}", *cells)
    console.print(table)
    console.print()


def _print_ranks(console: Console, ranks: Sequence[MeanRanks]) -> None:
    n_runs = ranks[0].n_runs
    table = _plain_table(f"mean rank over {n_runs} runs, 1 is best")
    for of_measure in ranks:
        table.add_column(_WITH_TRUTH[of_measure.measure][0], justify="right", no_wrap=True)
    for name in dict.fromkeys(name for of_measure in ranks for name in of_measure.mean_ranks):
        cells = [_cell(one.mean_ranks.get(name, math.nan), "{:.2f}") for one in ranks]
        table.add_row(escape(name), *cells)
    table.add_section()
    table.add_row("critical difference (5 %)", *(f"{one.critical_difference:.2f}" for one in ranks))
    table.add_row("p if none is better", *(_cell(one.friedman_p, "{:.2g}") for one in ranks))
    console.print(table)
    console.print()
    left_out = dict.fromkeys(name for one in ranks for name in one.left_out)
    if left_out:
        unranked = escape(", ".join(left_out))
        _print_lines(console, [f"Not ranked, for want of a value in some run: {unranked}."])


def _write_plot(path: Path, ranks: Sequence[MeanRanks]) -> None:
    from matplotlib.figure import Figure

    from noisyselect.plots import plot_critical_difference
    from noisyselect.store.files import write_file

    if not ranks:
        raise ValueError("--plot: no two selectors have a value in every run; nothing is drawn.")
    height = max(1.2 + 0.18 * len(one.mean_ranks) for one in ranks)
    figure = Figure(figsize=(7.5, 0.2 + height * len(ranks)), dpi=150, layout="constrained")
    for place, one in enumerate(ranks, start=1):
        axes = figure.add_subplot(len(ranks), 1, place)
        title = f"Mean rank by {_WITH_TRUTH[one.measure][0]} over {one.n_runs} runs"
        plot_critical_difference(axes, one.mean_ranks, one.critical_difference, title=title)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix(".") or "png")
    write_file(path.parent, path.name, picture.getvalue())


def _print_where(
    console: Console, found: Bench, json_out: Path | None, plot: Path | None, every_epoch: bool
) -> None:
    """Print what the columns mean and where the rest is."""
    lines = []
    if any(not math.isnan(run.noise_rate) for run in found.runs):
        lines.append(
            "vs small loss: points of precision beyond that of equally many smallest losses. hard: "
            "right labels with a loss above the median. class balance: smallest to largest class "
            "that is kept."
        )
    n_rows = f"All {len(found.rows):,} rows, with every measure"
    if json_out is not None:
        lines.append(f"{n_rows}: {escape(str(json_out))}")
    elif not every_epoch:
        lines.append(f"{n_rows}, are written by --json FILE.")
    if plot is not None:
        lines.append(f"Mean ranks: {escape(str(plot))}")
    for line in lines:
        console.print(line, highlight=False)
