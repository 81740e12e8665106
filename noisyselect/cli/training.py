"""The commands that train, or prepare it: train, presets, features, demo."""

from __future__ import annotations

import math
import os
import shutil
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
from noisyselect.cli.terminal import terminal

if TYPE_CHECKING:
    from noisyselect.torch import EpochResult, TrainResult
    from noisyselect.torch.pretrain import PretrainEpoch


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="New run directory.")],
    preset: o.PresetName = None,
    data: o.DataName = None,
    data_dir: o.DataDir = None,
    subset: o.Subset = None,
    image_size: o.ImageSize = None,
    noise: o.Noise = None,
    noise_rate: o.NoiseRate = None,
    human_column: o.HumanColumn = None,
    labels: o.Labels = None,
    method: Annotated[
        o.Method | None,
        typer.Option(
            rich_help_panel="Method",
            metavar="METHOD",
            help="vrlvmix, vrlvmix-plus, dividemix, scanmix, coteaching or ce.",
            show_default="vrlvmix",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel="Method",
            metavar="PART",
            help="Leave out a part of VRLVMix: vrlv, balancing or scan. Repeat, or use commas.",
            show_default=False,
        ),
    ] = None,
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
    seed: Annotated[
        int | None,
        typer.Option(
            rich_help_panel="How it is run",
            help="Of the noise and of training.",
            show_default="0",
        ),
    ] = None,
    device: o.Device = "auto",
    precision: o.Precision = None,
    compile: o.Compile = None,
    record: o.Record = None,
    record_last: o.RecordLast = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel="How it is run",
            metavar="DIR",
            help="Keep what pre-training leaves here, and take it from here if there.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            rich_help_panel="How it is run",
            help="Go on where the run in RUN was stopped; give the other options again.",
        ),
    ] = False,
) -> None:
    """Train two networks on partly wrong labels."""
    given = dict(locals())
    console = terminal()
    plan = o.plan(console, given, default_noise="none")
    settings = plan.settings
    samples = plan.noisy(settings.seed)
    name: str = settings.method
    if settings.without:
        name += f" without {' and '.join(settings.without)}"
    console.print(o.describe(samples), highlight=False)
    console.print(o.describe_schedule(settings), highlight=False, soft_wrap=True)
    if settings.record:
        console.print(o.describe_record(settings), highlight=False, soft_wrap=True)
    with _epoch_progress(console, name, settings.epochs) as show:
        result = o.torch_room().train(
            samples,
            settings,
            out,
            pretrained=pretrained,
            device=device,
            resume=resume,
            on_epoch=show,
            on_pretrain=_pretrain_lines(console),
        )
    console.print(_results_table({name: result}))
    console.print(f"Run directory: {escape(str(out))}", highlight=False)


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Print this one, to start your own from.", show_default=False
        ),
    ] = None,
) -> None:
    """List the presets of the paper's tables, or print one as TOML."""
    o.torch_room()
    from noisyselect.torch.presets import load_preset, preset_names, preset_text

    if name is not None:
        typer.echo(preset_text(name), nl=False)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("preset", no_wrap=True, vertical="bottom")
    for heading in (
        *("noise", "epochs", "warm-up", "SimCLR", "scan", "lambda_u", "threshold", "network"),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for known in preset_names():
        preset = load_preset(known)
        settings, data = preset.settings, preset.data
        rate = f" {data['noise_rate']:.0%}" if "noise_rate" in data else ""
        table.add_row(
            known,
            data["noise"] + rate,
            str(settings.epochs),
            str(settings.warm_up_epochs),
            str(settings.pretrain_epochs),
            settings.scan,
            f"{settings.lambda_u:g}",
            f"{settings.threshold:g}",
            settings.network,
        )
    terminal().print(table)


def features(
    data: Annotated[str, typer.Option(help="As for train; images.")],
    out: Annotated[Path, typer.Option(metavar="NPZ", help="File to write.")],
    data_dir: o.DataDir = None,
    subset: o.Subset = None,
    views: Annotated[int, typer.Option(help="Flips and small shifts; the first is the image.")] = 4,
    filters: Annotated[int, typer.Option(help="Centroids; each gives four features.")] = 300,
    patch_size: Annotated[int, typer.Option(help="Pixels.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the patches and centroids.")] = 0,
) -> None:
    """Make features of images that `train` runs on: whitened k-means patches, without labels."""
    torch_room = o.torch_room()
    from noisyselect.torch.patches import patch_features

    console = terminal()
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


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run directories are left here.")] = Path(
        "runs/demo"
    ),
    epochs: Annotated[int, typer.Option(help="Of either method.")] = _DEMO_EPOCHS,
    seed: Annotated[int, typer.Option(help="Of the noise and of training.")] = 0,
) -> None:
    """Train VRLVMix and plain cross-entropy on digits with 40 % wrong labels, and report on it."""
    # Images of 8x8 are too small to share out: where processors are busy, threads wait for each
    # other for minutes. Read by torch when it is first imported; what the user has set stays.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch_room = o.torch_room()
    from noisyselect.report import write_report
    from noisyselect.store import open_run

    console = terminal()
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
    with console.status("Writing the report"):
        write_report(
            open_run(out / "vrlvmix"),
            out / "report.html",
            images=images,
            title="VRLVMix on digits, 40 % of the labels wrong",
        )
    console.print(f"Run directories: {escape(str(out))}/ce, vrlvmix", highlight=False)
    console.print(f"Report of vrlvmix: {escape(str(out))}/report.html", highlight=False)


def _remove_earlier_demo(path: Path) -> None:
    from noisyselect.store import open_run

    if not (path / "run.json").is_file():
        return
    settings = open_run(path).settings
    rate = (settings.get("noise") or {}).get("nominal_rate")
    if settings.get("data") != "digits" or rate != _DEMO_RATE:
        raise ValueError(f"{path} holds a run that no demo made: choose another --out.")
    shutil.rmtree(path)


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


def _pretrain_lines(console: Console) -> Callable[[PretrainEpoch], None]:
    """Print a line for every twentieth part of SimCLR or SCAN, which may take hours."""

    def show(epoch: PretrainEpoch) -> None:
        part = max(1, epoch.n_epochs // 20)
        if (epoch.epoch + 1) % part == 0 or epoch.epoch + 1 == epoch.n_epochs:
            name = {"simclr": "SimCLR", "scan": "SCAN"}[epoch.phase]
            console.print(
                f"{name} epoch {epoch.epoch + 1}/{epoch.n_epochs}: loss {epoch.loss:.3f}",
                highlight=False,
            )

    return show


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
    if any(result.chosen is not None for result in results.values()):
        table.add_column("test, best\nvalidation", justify="right", no_wrap=True)
    for name, result in results.items():
        measures = [
            _mean_measure(result.epochs[-1], measure)
            for measure in ("fitted_wrong", "precision", "recall")
        ]
        if result.chosen is not None:
            measures.append(f"{result.chosen:.1%}")
        table.add_row(name, f"{result.last:.1%}", f"{result.best:.1%}", *measures)
    return table


def _mean_measure(result: EpochResult, measure: str) -> str:
    values = [result.measures.get(f"{measure}_{network}", math.nan) for network in ("a", "b")]
    mean = sum(values) / 2
    return "-" if math.isnan(mean) else f"{mean:.1%}"
