"""The command for those without a training loop: audit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from noisyselect.cli import options as o
from noisyselect.cli.logs import SELECTORS
from noisyselect.cli.terminal import names, terminal

if TYPE_CHECKING:
    from noisyselect.arrays import AnyArray
    from noisyselect.torch import AuditResult
    from noisyselect.torch.data import LabelledTable

# Of the most suspicious labels.
_SHOWN = 10


def audit(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="A .csv, .parquet or .npz, or the .npy of the features.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="[y.npy]", help="Labels of an .npy.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for what is found.", show_default="<TABLE>-audit here"
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Of the labels.", show_default="label, target or y"),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="Of the ids, also in an .npz.",
            show_default="id, else row numbers",
        ),
    ] = None,
    true_label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Of the true labels, also in an .npz; the audit is measured by them, not told.",
            show_default=False,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Not a feature. Repeat, or use commas.", show_default=False
        ),
    ] = None,
    selector: Annotated[
        str, typer.Option(help=f"Gives the verdict; names {SELECTORS}.")
    ] = "confident-margin",
    folds: Annotated[int, typer.Option(help="Parts, each left out once.")] = 5,
    restarts: Annotated[int, typer.Option(help="Of the folds, for each of two networks.")] = 2,
    max_epochs: Annotated[int, typer.Option(help="It ends earlier where that is better.")] = 100,
    seed: Annotated[int, typer.Option(help="Of folds, networks and batches.")] = 0,
) -> None:
    """Find labels that look wrong, in a table of features and labels."""
    # These networks are too small to share out, and with one thread the answer is the same to the
    # bit. Read by torch when it is first imported; what the user has set stays.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch_room = o.torch_room()
    from noisyselect.bench import named_selectors
    from noisyselect.report import write_report
    from noisyselect.torch.data import read_labelled_table

    console = terminal()
    rule = named_selectors([selector])[selector]
    folder = Path(f"{table.stem}-audit") if out is None else out
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty: choose another --out.")
    with console.status(f"Reading {escape(str(table))}"):
        rows = read_labelled_table(
            table,
            labels,
            label=label,
            id_name=id_,
            true_label=true_label,
            ignore=[name for text in ignore or [] for name in names(text)],
        )
    _describe(console, table, rows)
    with _epoch_progress(console) as show:
        result: AuditResult = torch_room.audit(
            rows.features,
            rows.labels,
            ids=rows.ids,
            selector=rule,
            n_folds=folds,
            n_restarts=restarts,
            max_epochs=max_epochs,
            seed=seed,
            on_epoch=show,
        )
    run = result.write_run(folder / "run", rows.true_labels)
    result.write_csv(folder / "suspicious.csv")
    with console.status("Writing the report") as status:
        write_report(
            run,
            folder / "report.html",
            selector=selector,
            title=folder.name,
            on_step=status.update,
        )
    _print_verdict(console, result, rows.true_labels)
    console.print(
        f"{escape(str(folder))}\n"
        f"  suspicious.csv  all {result.suspicious.size:,}, the most suspicious first\n"
        "  report.html     a page to look at them\n"
        f"  {run.path.name:14}  what the networks showed",
        highlight=False,
        soft_wrap=True,
    )


def _describe(console: Console, path: Path, table: LabelledTable) -> None:
    """Print what was read, and what each column is taken for."""
    n_samples, n_features = table.features.shape
    facts = {
        escape(str(path)): f"{n_samples:,} samples",
        "  labels": table.label_name,
        "  ids": "row numbers, from 0" if table.ids is None else table.id_name,
        "  features": f"{n_features:,}{_abridged(table.feature_names)}",
        "  not used": ", ".join(table.left_out),
    }
    for name, fact in facts.items():
        if fact:
            console.print(f"{name}: {escape(fact)}", highlight=False, soft_wrap=True)


def _abridged(feature_names: tuple[str, ...]) -> str:
    if not feature_names:
        return ""
    if len(feature_names) <= 8:
        return f" ({', '.join(feature_names)})"
    return f" ({', '.join(feature_names[:5])}, ..., {', '.join(feature_names[-2:])})"


@contextmanager
def _epoch_progress(console: Console) -> Iterator[Callable[[int, float], None]]:
    """Show the epochs on a terminal while they pass."""
    columns = (
        TextColumn("Training"),
        BarColumn(),
        TextColumn("epoch {task.completed}, held-out loss {task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        # Nobody knows when the held-out loss will stop falling.
        task = progress.add_task("", total=None, loss="-")
        yield lambda epoch, loss: progress.update(task, completed=epoch + 1, loss=f"{loss:.3f}")


def _print_verdict(console: Console, result: AuditResult, true_labels: AnyArray | None) -> None:
    n_samples = result.selection.clean.size
    n_suspicious = result.suspicious.size
    console.print(
        f"[bold]{n_suspicious:,}[/] of {n_samples:,} labels are suspicious: an estimated "
        f"[bold]{n_suspicious / n_samples:.1%}[/] are wrong.",
        highlight=False,
    )
    if true_labels is not None:
        console.print(_measured(result, true_labels), highlight=False)
    if not n_suspicious:
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        title_justify="left",
    )
    for heading in ("id", "given label", "suggested label"):
        table.add_column(heading, overflow="fold", max_width=30)
    table.add_column("score", justify="right", no_wrap=True)
    for row in result.suspicious[:_SHOWN]:
        table.add_row(
            *(
                escape(str(text))
                for text in (
                    result.selection.ids[row],
                    result.classes[result.log_a.labels[row]],
                    result.classes[result.suggested[row]],
                )
            ),
            f"{result.selection.score[row]:.3f}",
        )
    console.print()
    console.print(table)
    console.print()


def _measured(result: AuditResult, true_labels: AnyArray) -> str:
    """Return how good the verdict is, in words."""
    import numpy as np

    from noisyselect.metrics import selection_quality

    labels, truth = result.log_a.labels, result.class_of(true_labels)
    wrong = labels != truth
    if not wrong.any():
        return "By the true labels, none is wrong."
    quality = selection_quality(result.selection, labels, truth, result.classes.size)
    found = wrong & ~result.selection.clean
    precision = found.sum() / max(1, np.count_nonzero(~result.selection.clean))
    return (
        f"By the true labels {wrong.mean():.1%} are wrong; {found.sum() / wrong.sum():.1%} of them "
        f"are suspicious,\nand {precision:.1%} of the suspicious are wrong. "
        f"AUROC {quality.auroc:.3f}."
    )
