"""The commands on saved logs: info, select."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from noisyselect.cli.terminal import terminal

if TYPE_CHECKING:
    from noisyselect.store import Run

# How help texts name selectors: there are too many to be listed in each.
SELECTORS = "as `noisyselect selectors` lists them"

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)
]
Network = Annotated[
    str | None, typer.Option(help="Network whose log is read.", show_default="the first")
]


def info(path: RunPath) -> None:
    """Show what is in a run directory."""
    from noisyselect.store import open_run

    terminal().print(describe(open_run(path)))


def selectors() -> None:
    """List the selectors: name, what the log must have, what is kept."""
    from noisyselect.bench import named_selectors

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("selector", no_wrap=True)
    table.add_column("needs", no_wrap=True)
    table.add_column("keeps")
    for name, selector in named_selectors("all").items():
        table.add_row(
            name,
            ", ".join(selector.needs) or "features or neighbours",
            selector.summary.removeprefix("Keep "),
        )
    terminal().print(table)


def select(
    path: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Table of id, clean, score, reason, named .csv or .parquet."
        ),
    ],
    selector: Annotated[str, typer.Option(help=f"Name, {SELECTORS}.")] = "vrlv",
    network: Network = None,
    until: Annotated[
        int | None,
        typer.Option(metavar="E", help="Use the epochs before E.", show_default="all"),
    ] = None,
    cleanlab: Annotated[
        bool,
        typer.Option(
            "--cleanlab",
            help="Write the columns of cleanlab's label issues instead: id, is_label_issue, "
            "label_quality, given_label, predicted_label.",
        ),
    ] = False,
) -> None:
    """Decide which labels of a run to trust, and write the decision as a table."""
    from noisyselect.bench import named_selectors
    from noisyselect.store import export_label_issues, export_selection, open_run
    from noisyselect.store.export import check_table_name

    check_table_name(out)
    console = terminal()
    run = open_run(path)
    rule = named_selectors([selector])[selector]
    with console.status(f"Selecting with {selector}"):
        log, peer = run.logs(network, until, rule.history, rule.probability_window)
        selection = rule.select(log, peer)
    if cleanlab:
        export_label_issues(selection, log, out)
    else:
        export_selection(selection, out)
    share = len(selection) / selection.clean.size
    console.print(
        f"{selector} trusts [bold]{len(selection):,}[/] of {selection.clean.size:,} labels "
        f"({share:.1%}). Written to {escape(str(out))}.",
        highlight=False,
    )


def write_text(out: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    from noisyselect.store.files import write_file

    write_file(out.parent, out.name, text.encode())


def truth_text(run: Run) -> str:
    """Return how many labels of a run are wrong, in words."""
    from noisyselect.noise import noise_rate

    if run.truth is None:
        return "true labels not known"
    return f"{noise_rate(run.labels, run.truth):.1%} of the given labels are wrong"


def file_kind(path: str) -> str:
    """Return what a file of a run directory holds: samples, features and so on."""
    return path.split("/", maxsplit=1)[0].removesuffix(".parquet")


def describe(run: Run) -> Table:
    """Return what is in a run as a table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    counts = Counter(run.labels.tolist())
    sizes = [counts[label] for label in range(run.n_classes)]
    names = "" if run.class_names is None else f": {', '.join(run.class_names)}"
    facts = {
        "run": str(run.path),
        "samples": f"{run.labels.size:,}, {truth_text(run)}",
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
    """Return one line for each of features, neighbours, probabilities and second view."""
    folders: dict[str, dict[str, None]] = {}
    for path in run.files:
        if file_kind(path) not in ("samples", "truth"):
            folders.setdefault(file_kind(path), {}).update(dict.fromkeys(path.split("/")[1:-1]))
    lines = []
    for kind, names in folders.items():
        networks = [name for name in names if not name.startswith("epoch=")]
        epochs = sorted(name for name in names if name.startswith("epoch="))
        # Of some runs hundreds.
        ends = [f"{epochs[0]} to {epochs[-1]}"] if len(epochs) > 1 else epochs
        lines.append(f"{kind} {', '.join(networks + ends)}".rstrip())
    return lines


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
