"""The commands between run directories and other tools: import, export, validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from noisyselect.cli.logs import RunPath, describe
from noisyselect.cli.terminal import terminal

if TYPE_CHECKING:
    from noisyselect.store import Validation


def import_(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="AUM's full_aum_records.csv, Dataset Cartography's training_dynamics, an npz, or "
            "a CSV or Parquet file of losses; it is told by its content.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="New run directory.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet of id, label, for a log without labels.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet of id, true_label; for metrics only.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Bring the training log of another tool into a run directory."""
    from noisyselect.store import import_log

    console = terminal()
    with console.status(f"Reading {escape(str(log))}"):
        run = import_log(log, out, labels=labels, truth=truth)
    console.print(f"Taken for {escape(run.settings['imported_as'])}.", highlight=False)
    console.print(describe(run))


def export(
    path: RunPath,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Table, named .csv or .parquet.")],
) -> None:
    """Write the log of a run as one table, a row for each network, epoch and sample."""
    from noisyselect.store import export_log, open_run

    console = terminal()
    run = open_run(path)
    with console.status(f"Writing {escape(str(out))}"):
        export_log(run, out)
    n_rows = run.n_epochs * run.labels.size * len(run.networks)
    console.print(f"{n_rows:,} rows written to {escape(str(out))}.", highlight=False)


def validate(path: RunPath) -> None:
    """Check a run directory and name everything that is wrong with it."""
    from noisyselect.store import validate_run

    console = terminal()
    with console.status(f"Checking {escape(str(path))}"):
        found = validate_run(path)
    lines = [
        f"[bold red]{escape(defect.file)}[/]: {escape(defect.reason)}" for defect in found.defects
    ]
    lines.append(f"[bold]{escape(str(path))}[/] {_verdict(found)}")
    if found.unlisted:
        shown = ", ".join(found.unlisted[:5])
        more = f" and {len(found.unlisted) - 5} more" if len(found.unlisted) > 5 else ""
        lines.append(f"In no list, so ignored: {escape(shown)}{more}.")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    if found.defects:
        raise typer.Exit(1)


def _verdict(found: Validation) -> str:
    counts = ", ".join(f"{n} of network {network}" for network, n in found.readable.items())
    if not found.defects:
        return f"is whole. Epochs: {counts}."
    n_defects = len(found.defects)
    defects = "1 defect" if n_defects == 1 else f"{n_defects} defects"
    if not any(found.readable.values()):
        return f"has {defects}. No epoch can be read."
    return f"has {defects}. Epochs that can be read, counted from the first: {counts}."
