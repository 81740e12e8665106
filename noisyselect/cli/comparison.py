"""The command that compares methods: compare."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from noisyselect.cli import options as o
from noisyselect.cli.terminal import names, terminal

if TYPE_CHECKING:
    from noisyselect.arrays import FloatArray
    from noisyselect.torch import EpochResult, MethodSummary


def compare(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run directories are left here.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Separated by commas: vrlvmix, vrlvmix-plus, dividemix, scanmix, coteaching, ce, "
            "and such as 'vrlvmix without scan'."
        ),
    ] = "ce,dividemix,vrlvmix",
    ablations: Annotated[
        bool,
        typer.Option(
            "--ablations", help="Add VRLVMix without each of its parts: the paper's Table IV."
        ),
    ] = False,
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1, ...")] = 3,
    jobs: Annotated[int, typer.Option(help="Train so many at once, with one thread each.")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of the curves.", show_default="DIR/compare.png"),
    ] = None,
    preset: o.PresetName = None,
    data: o.DataName = None,
    data_dir: o.DataDir = None,
    subset: o.Subset = None,
    image_size: o.ImageSize = None,
    noise: o.Noise = None,
    noise_rate: o.NoiseRate = None,
    human_column: o.HumanColumn = None,
    labels: o.Labels = None,
    network: o.Network = None,
    weights: o.Weights = None,
    window: o.Window = None,
    lambda_u: o.LambdaU = None,
    confidence_penalty: o.ConfidencePenalty = None,
    scan: o.Scan = None,
    epochs: o.Epochs = None,
    warm_up: o.WarmUp = None,
    pretrain_epochs: o.PretrainEpochs = None,
    lr: o.LearningRate = None,
    lr_drop_epoch: o.LrDropEpoch = None,
    batch_size: o.BatchSize = None,
    augment: o.Augment = None,
    scale: o.Scale = None,
    device: o.Device = "auto",
    precision: o.Precision = None,
    compile: o.Compile = None,
) -> None:
    """Train several methods with several seeds; goes on with what is there already."""
    given = dict(locals())
    console = terminal()
    plan = o.plan(console, given, default_noise="sym")
    from noisyselect.torch.compare import ablations as rows_of_table_iv
    from noisyselect.torch.compare import memorisation, write_comparison

    settings = plan.settings
    chosen = names(methods)
    if ablations:
        chosen += [name for name in rows_of_table_iv(settings) if name not in chosen]
    console.print(o.describe(plan.noisy(seed=0)), highlight=False)
    console.print(o.describe_schedule(settings), highlight=False, soft_wrap=True)
    with _bars(console, settings.epochs) as show:
        summaries = o.torch_room().compare(
            plan.data,
            chosen,
            settings,
            out,
            noise=plan.noise,
            rate=plan.rate,
            human_column=plan.human_column,
            seeds=range(seeds),
            device=device,
            jobs=jobs,
            on_epoch=show,
        )
    console.print()
    console.print(_summary_table(summaries))
    console.print()
    console.print(memorisation(summaries), highlight=False, soft_wrap=True)
    figures = write_comparison(out, summaries, settings, _data_of(plan))
    picture = plot or out / "compare.png"
    _write_picture(picture, summaries, settings.warm_up_epochs)
    console.print(
        f"All figures: {escape(str(figures))}. Curves: {escape(str(picture))}.", highlight=False
    )


def _data_of(plan: o.Plan) -> dict[str, object]:
    return {
        "name": plan.data.name,
        "n_samples": plan.data.n_samples,
        "noise": plan.noise,
        "nominal_rate": plan.rate,
        "human_column": plan.human_column,
    }


def _write_picture(path: Path, summaries: list[MethodSummary], warm_up: int) -> None:
    from noisyselect.store.files import write_file
    from noisyselect.torch.compare import comparison_figure

    picture = io.BytesIO()
    kind = path.suffix.removeprefix(".") or "png"
    comparison_figure(summaries, warm_up).savefig(picture, format=kind)
    write_file(path.parent, path.name, picture.getvalue())


@contextmanager
def _bars(console: Console, epochs: int) -> Iterator[Callable[[str, int, EpochResult], None]]:
    """Show a bar for each training in progress on a terminal, and a line for each that ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("test accuracy {task.fields[accuracy]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {}

        def show(method: str, seed: int, result: EpochResult) -> None:
            name = f"{method}, seed {seed}"
            accuracy = f"{result.test_accuracy:.1%}"
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=epochs, accuracy="-")
            progress.update(tasks[name], completed=result.epoch + 1, accuracy=accuracy)
            if result.epoch + 1 == epochs:
                progress.remove_task(tasks[name])
                console.print(f"{name}: test accuracy {accuracy}", highlight=False)

        yield show


_SUMMARY = {
    "best": "test, best\nepoch",
    "last_5": "test, last\n5 epochs",
    "fitted_wrong": "wrong ones\nmemorised",
    "precision_a": "precision\nof a",
    "precision_b": "precision\nof b",
    "recall": "recall",
}


def _summary_table(summaries: list[MethodSummary]) -> Table:
    """Return means and deviations over the seeds, in per cent."""
    from noisyselect.torch.compare import short_name

    n_seeds = len(summaries[0].seeds)
    title = "per cent" if n_seeds == 1 else f"per cent, mean ± deviation over {n_seeds} seeds"
    table = Table(
        title=title,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", vertical="bottom", no_wrap=True)
    for heading in _SUMMARY.values():
        table.add_column(heading, justify="right", vertical="bottom")
    for summary in summaries:
        cells = [_mean_and_deviation(summary.measures[name]) for name in _SUMMARY]
        name = short_name(summary.method, summaries)
        # Indented below VRLVMix, and short enough for a line of 100.
        row = name if name == summary.method else f" {name.replace(' and ', ', ')}"
        table.add_row(row, *cells)
    return table


def _mean_and_deviation(values: FloatArray) -> str:
    if not all(map(math.isfinite, values)):
        return "-"
    mean = f"{100 * values.mean():.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * values.std(ddof=1):.1f}"
