"""The command that writes a report: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from noisyselect.cli.logs import SELECTORS, Network, RunPath
from noisyselect.cli.terminal import terminal


def report(
    path: RunPath,
    out: Annotated[Path, typer.Option(metavar="HTML", help="File to write.")],
    selector: Annotated[
        str,
        typer.Option(
            help=f"Whose answer is shown; names {SELECTORS}.",
            show_default="vrlv for two networks, else gmm",
        ),
    ] = "auto",
    network: Network = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Show the samples: digits, cifar10, cifar100, a folder or npz, as train takes it.",
            show_default="no images",
        ),
    ] = None,
) -> None:
    """Write a run as one HTML page: how noisy it is, what to keep, which samples to look at."""
    from noisyselect.report import write_report
    from noisyselect.store import open_run

    console = terminal()
    run = open_run(path)
    with console.status("Reading the run") as status:
        evidence = write_report(
            run, out, selector=selector, network=network, images=images, on_step=status.update
        )
    kept = len(evidence.selection)
    console.print(
        f"{evidence.rule} trusts [bold]{kept:,}[/] of {run.labels.size:,} labels "
        f"({kept / run.labels.size:.1%}).",
        highlight=False,
    )
    size = out.stat().st_size / 1e6
    console.print(f"Report: {escape(str(out))} ({size:.1f} MB)", highlight=False, soft_wrap=True)
