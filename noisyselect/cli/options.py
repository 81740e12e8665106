"""The options that `train` and `compare` share, and what they and a preset come to.

Each is None where it was not given: then the preset's value holds, or else the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.console import Console
from rich.markup import escape

from noisyselect.cli.terminal import names
from noisyselect.errors import NoisySelectError

if TYPE_CHECKING:
    from noisyselect.torch import Settings, TrainingData
    from noisyselect.torch.presets import Preset

# Spelt out, as the help must not import torch; a test compares them.
Method = Literal["vrlvmix", "vrlvmix-plus", "dividemix", "scanmix", "coteaching", "ce"]
NoiseKind = Literal["sym", "sym-others", "asym", "pair", "instance", "human", "none"]
ScanSwitch = Literal["auto", "on", "off"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
RecordName = Literal["probabilities", "second-view", "batches", "features"]
_WITH_RATE = ("sym", "sym-others", "asym", "pair", "instance")


def _option(help_text: str, *flags: str, panel: str, **more: Any) -> Any:
    more.setdefault("show_default", False)
    return typer.Option(*flags, help=help_text, rich_help_panel=panel, **more)


_DATA, _METHOD, _SCHEDULE, _RUN = "Data", "Method", "Schedule", "How it is run"

PresetName = Annotated[
    str | None,
    _option(
        "Data and settings of a table of the paper (see presets), or of a TOML file of yours. What "
        "else is given here overrides it.",
        panel=_DATA,
        metavar="NAME|FILE",
    ),
]
DataName = Annotated[
    str | None,
    _option(
        "digits, cifar10, cifar100, clothing1m, a folder, or an npz of images or features.",
        panel=_DATA,
        show_default="the preset's",
    ),
]
DataDir = Annotated[Path | None, _option("Folder of a data set that has a name.", panel=_DATA)]
ImageSize = Annotated[
    int | None,
    _option(
        "Resize images in files to so many pixels; a network is given 7/8 of it.",
        panel=_DATA,
        metavar="PIXELS",
        show_default="256 where they differ",
    ),
]
Subset = Annotated[
    int | None,
    _option("Use N training samples.", panel=_DATA, metavar="N", show_default="all"),
]
Noise = Annotated[
    NoiseKind | None,
    _option(
        "How labels are made wrong: sym, sym-others, asym, pair, instance, human or none.",
        panel=_DATA,
        metavar="KIND",
    ),
]
NoiseRate = Annotated[
    float | None, _option("Nominal, where noise is made; no method is told.", panel=_DATA)
]
HumanColumn = Annotated[
    str | None,
    _option("Of human_labels.parquet.", panel=_DATA, show_default="random1"),
]
Labels = Annotated[
    str | None,
    _option(
        "Train on these labels instead of making noise: of an earlier run, a csv, parquet or npy.",
        panel=_DATA,
        metavar="RUN|FILE",
    ),
]
Network = Annotated[
    str | None,
    _option(
        "small-cnn, preact-resnet18, resnet50, small-mlp, or yours as module:name.",
        panel=_METHOD,
        show_default="a small one",
    ),
]
Weights = Annotated[
    str | None,
    _option(
        "File of pre-trained weights of it, or none.",
        panel=_METHOD,
        metavar="FILE",
        show_default="torchvision's for resnet50",
    ),
]
Window = Annotated[
    int | None,
    _option("Epochs VRLV looks back.", panel=_METHOD, show_default="5, or as fits"),
]
LambdaU = Annotated[
    float | None,
    _option("Weight of the unlabelled loss.", panel=_METHOD, show_default="25.0"),
]
ConfidencePenalty = Annotated[
    bool | None,
    _option(
        "In warm-up; advised for asymmetric noise.",
        "--confidence-penalty/--no-confidence-penalty",
        panel=_METHOD,
    ),
]
Scan = Annotated[
    ScanSwitch | None,
    _option("Semantic clustering of VRLVMix.", panel=_METHOD, show_default="auto"),
]
Epochs = Annotated[int | None, _option("Warm-up included.", panel=_SCHEDULE, show_default="300")]
WarmUp = Annotated[
    int | None, _option("Epochs.", panel=_SCHEDULE, show_default="10, at most half of all")
]
PretrainEpochs = Annotated[
    int | None,
    _option(
        "Of SimCLR, before the run; without, neighbours come from the warm-up.",
        panel=_SCHEDULE,
        show_default="0",
    ),
]
LearningRate = Annotated[
    float | None, _option("Learning rate.", panel=_SCHEDULE, show_default="0.02")
]
LrDropEpoch = Annotated[
    int | None,
    _option("First epoch at a tenth of it.", panel=_SCHEDULE, show_default="half of all"),
]
BatchSize = Annotated[
    int | None,
    _option("Labelled samples; twice that in warm-up.", panel=_SCHEDULE, show_default="64"),
]
Augment = Annotated[
    bool | None,
    _option(
        "Random crops and mirroring.",
        "--augment/--no-augment",
        panel=_SCHEDULE,
        show_default="the preset's; else on, off for digits",
    ),
]
Scale = Annotated[
    float | None,
    _option(
        "Shorten the whole schedule to this share, for a rehearsal; also what is given here.",
        panel=_SCHEDULE,
        metavar="SHARE",
    ),
]
Precision = Annotated[
    PrecisionName | None,
    _option("Of training passes.", panel=_RUN, show_default="auto"),
]
Compile = Annotated[
    bool | None, _option("Compile the networks.", "--compile/--no-compile", panel=_RUN)
]
Record = Annotated[
    str | None,
    _option(
        "Write down more than losses and predictions: some of probabilities, second-view, batches "
        "and features, separated by commas, or all.",
        panel=_RUN,
        metavar="COLUMNS",
    ),
]
RecordLast = Annotated[
    int | None,
    _option(
        "Write probabilities and second view of the last N epochs only.",
        panel=_RUN,
        metavar="N",
        show_default="all",
    ),
]
Device = Annotated[str, _option("As torch names it.", panel=_RUN, show_default=True)]


def torch_room() -> ModuleType:
    """Return `noisyselect.torch`, whose absence is an error like any other here."""
    try:
        return import_module("noisyselect.torch")
    except ImportError as error:
        raise NoisySelectError(str(error)) from error


@dataclass(frozen=True)
class Plan:
    """What is to be trained: a preset and the options, brought together.

    Attributes
    ----------
    data : TrainingData
        Before noise is made, or with the labels of --labels.
    noise : str or None
        What `with_noise` is to make; None leaves the labels as they are.
    rate : float
    human_column : str
    settings : Settings
    """

    data: TrainingData
    noise: NoiseKind | None
    rate: float
    human_column: str
    settings: Settings

    def noisy(self, seed: int) -> TrainingData:
        """Return the data with the given labels of a seed."""
        if self.noise is None:
            return self.data
        noisy: TrainingData = torch_room().with_noise(
            self.data, self.noise, self.rate, seed=seed, human_column=self.human_column
        )
        return noisy


def plan(console: Console, options: Mapping[str, Any], default_noise: NoiseKind) -> Plan:
    """Read the preset, where one is named, and the data.

    Parameters
    ----------
    console : Console
    options : mapping of str to object
        The options of the command by name. Those named as fields of `Settings` are settings.
    default_noise : str
        Where neither preset nor options say.
    """
    torch_room()
    from noisyselect.torch.presets import Preset, load_preset
    from noisyselect.torch.settings import Settings

    preset = options["preset"]
    preset = load_preset(preset) if preset else Preset("", {}, Settings())
    noise, rate = _noise(preset, options, default_noise)
    name = options["data"] or preset.data.get("data")
    if name is None:
        raise ValueError("--data is needed, or a --preset that names the data.")
    with console.status("Reading samples"):
        data = _read(name, options)
    settings = _settings(preset, options, data, name)
    column = options["human_column"] or preset.data.get("human_column", "random1")
    return Plan(data, noise, rate, column, settings)


def _noise(
    preset: Preset, options: Mapping[str, Any], default: NoiseKind
) -> tuple[NoiseKind | None, float]:
    given, rate = options["noise"], options["noise_rate"]
    named = f"--noise {given or preset.data.get('noise')}"
    if not (given or preset.data.get("noise")):
        named = f"--noise {default}, the default of this command,"
    if options["labels"] is not None:
        if given is not None or rate is not None:
            raise ValueError("--labels brings its own noise: leave out --noise and --noise-rate.")
        return None, 0.0
    # A rate belongs to its kind of noise: the preset's goes with the preset's.
    source = preset.data if given is None else {}
    kind = given or source.get("noise", default)
    rate = source.get("noise_rate") if rate is None else rate
    if rate is None and kind in _WITH_RATE:
        raise ValueError(
            f"{named} needs --noise-rate, a share such as 0.4. For labels that are noisy already "
            "there is --noise none."
        )
    if rate is not None and kind not in _WITH_RATE:
        raise ValueError(
            f"--noise {kind} has no --noise-rate: leave it out, or make noise, such as --noise sym."
        )
    return kind, rate or 0.0


def _read(name: str, options: Mapping[str, Any]) -> TrainingData:
    room = torch_room()
    data: TrainingData = room.load_data(
        name, options["data_dir"], subset=options["subset"], size=options["image_size"]
    )
    if options["labels"] is not None:
        from noisyselect.torch.data import with_labels

        data = with_labels(data, options["labels"])
    return data


# What presets say of images, and features have not: their own network, and no pre-training.
_ON_FEATURES: dict[str, Any] = {
    "network": "auto",
    "weights": None,
    "pretrain_epochs": 0,
    "scan": "off",
}


def _settings(
    preset: Preset, options: Mapping[str, Any], data: TrainingData, data_name: str
) -> Settings:
    settings = preset.settings
    given = {
        field.name: options[field.name]
        for field in fields(settings)
        if options.get(field.name) is not None
    }
    if preset.name and data.kind == "features":
        given = _ON_FEATURES | given
    if not preset.name:
        # Mirrored digits are other digits, or none.
        given.setdefault("augment", data_name != "digits")
    if "without" in given:
        given["without"] = tuple(name for text in given["without"] for name in names(text))
    record = given.pop("record", None)
    settings = replace(settings, **given)
    if record is not None:
        settings = replace(settings, record=_recorded(names(record), settings))
    scale = options["scale"]
    return settings if scale is None else settings.scaled(scale)


def _recorded(asked: list[str], settings: Settings) -> tuple[RecordName, ...]:
    """Return what is to be recorded; "all" is what a run of these settings can have."""
    if asked != ["all"]:
        return tuple(asked)  # type: ignore[arg-type]  # Settings refuses other names
    impossible = {"second-view": not settings.augment, "features": bool(settings.epoch_samples)}
    return tuple(name for name in get_args(RecordName) if not impossible.get(name))


def describe(data: TrainingData) -> str:
    """Return size and noise of a data set in two sentences."""
    noise = data.noise or {}
    nominal = noise.get("nominal_rate")
    made = noise.get("kind", "as given")
    if nominal is not None and made in _WITH_RATE:
        made += f", nominal rate {nominal:.1%}"
    wrong = "how many labels are wrong is not known"
    if data.true_labels is not None:
        wrong = f"{(data.labels != data.true_labels).mean():.1%} of the labels are wrong"
    elif made == "none":
        wrong = "labels as they come"
    return (
        f"{escape(data.name)}: {data.n_samples:,} training and {len(data.test_labels):,} test "
        f"samples of {data.n_classes} classes.\n"
        f"Noise {escape(made)}; {wrong}. No method is told."
    )


def describe_schedule(settings: Settings) -> str:
    """Return the schedule in a sentence."""
    before = ""
    if settings.pretrain_epochs and settings.method in ("vrlvmix", "scanmix"):
        before = f", after {settings.pretrain_epochs} epochs of SimCLR"
    drop = next((e for e in range(settings.epochs) if settings.lr_at(e) < settings.lr), math.inf)
    lr = f"learning rate {settings.lr:g}"
    if 0 < drop < settings.epochs:
        lr += f", a tenth of it after {drop}"
    return (
        f"Network {escape(settings.network)}, {settings.epochs} epochs, "
        f"{settings.warm_up_epochs} of them warm-up{before}; {lr}."
    )


def describe_record(settings: Settings) -> str:
    """Return what is recorded beside losses and predictions in a sentence."""
    last = ""
    if settings.record_last is not None:
        last = f"; probabilities and second view of the last {settings.record_last} epochs"
    return f"Recorded beside losses and predictions: {', '.join(settings.record)}{last}."
