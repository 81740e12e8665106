"""What is trained: settings of noise, the regime they are trained in, and the cells of the grid."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from readings import METHODS

from noisyselect.noise import corrupt, noise_rate
from noisyselect.torch import Settings, load_data, with_noise
from noisyselect.torch.trainer.choice import selector_of

# Epochs that nothing else is said of: those of docs/reproduction.md, and of the paper on images.
EPOCHS, IMAGE_EPOCHS = 40, 300


class Setting(NamedTuple):
    """A kind of noise as `with_noise` takes it, or ``"uneven"``."""

    kind: str
    rate: float = 0.0
    human_column: str = "random1"


SETTINGS = {
    "sym20": Setting("sym", 0.2),
    "sym50": Setting("sym", 0.5),
    "sym80": Setting("sym", 0.8),
    "asym40": Setting("asym", 0.4),
    "aggregate": Setting("human", human_column="aggregate"),
    "random1": Setting("human", human_column="random1"),
    "instance40": Setting("instance", 0.4),
    "uneven40": Setting("uneven", 0.4),
}


def uneven(n_classes, rate):
    """Return the transition matrix of class-imbalanced noise, shape (n_classes, n_classes).

    The share of wrong labels rises evenly from 0 in the first class to twice the rate in the last;
    a wrong label is any other class. So the first classes are given too many samples and the last
    ones too few: at 40 % on 10 classes of one size 1.44 and 0.56 times their number.
    """
    rates = np.linspace(0, 2 * rate, n_classes)[:, None]
    others = (1 - np.eye(n_classes)) / (n_classes - 1)
    return (1 - rates) * np.eye(n_classes) + rates * others


def with_setting(data, setting, seed, human_file=None):
    """Return the data with wrong labels of a kind."""
    if setting.kind != "uneven":
        return with_noise(
            data,
            setting.kind,
            setting.rate,
            seed=seed,
            human_column=setting.human_column,
            human_file=human_file,
        )
    labels = corrupt(data.labels, uneven(data.n_classes, setting.rate), seed)
    noise = {
        "kind": "uneven",
        "nominal_rate": setting.rate,
        "realised_rate": noise_rate(labels, data.labels),
    }
    return replace(data, labels=labels, true_labels=data.labels, noise=noise)


@dataclass(frozen=True)
class Regime:
    """The data and how they are trained on, the same for all cells of a grid."""

    data: str
    data_dir: str | None = None
    human_file: str | None = None
    images: bool = False
    network: str = "auto"
    epochs: int = EPOCHS
    subset: int | None = None
    augment: bool = False
    device: str = "auto"

    @property
    def name(self):
        """The folder of its cells."""
        usual = IMAGE_EPOCHS if self.images else EPOCHS
        parts = [
            Path(self.data).stem,
            f"{self.subset}samples" if self.subset else "",
            self.network if self.network != "auto" else "",
            "" if self.augment == self.images else "augmented" if self.augment else "plain",
            f"{self.epochs}epochs" if self.epochs != usual else "",
        ]
        return "-".join(part for part in parts if part)

    @property
    def options(self):
        """What the command line has to say to get it."""
        said = ["--data", self.data]
        said += ["--data-dir", self.data_dir] if self.data_dir else []
        said += ["--human-file", self.human_file] if self.human_file else []
        said += ["--images"] if self.images else []
        said += ["--network", self.network] if self.network != "auto" else []
        said += ["--epochs", str(self.epochs)]
        said += ["--subset", str(self.subset)] if self.subset else []
        if self.augment != self.images:
            said += ["--augment" if self.augment else "--no-augment"]
        return said

    def with_noise(self, setting, seed):
        """Return the data with the wrong labels of a setting and seed."""
        return with_setting(
            load_data(self.data, self.data_dir, subset=self.subset),
            SETTINGS[setting],
            seed,
            self.human_file,
        )

    def settings(self, setting, method, seed):
        """Return the trainer's settings.

        One set for all, but for what a method is about, and for what papers choose by the kind of
        noise: the weight of the unlabelled loss and the penalty of confidence in warm-up.
        """
        symmetric = setting.kind == "sym"
        # DivideMix's choice on CIFAR-10, for all methods.
        much = symmetric and setting.rate >= 0.5
        return Settings(
            method=method.trainer,
            network=self.network,
            epochs=self.epochs,
            augment=self.augment,
            lambda_u=25.0 if much else 0.0,
            confidence_penalty=not symmetric,
            # Of processors some would take bfloat16, and the figures would depend on the machine.
            precision="auto" if self.images else "float32",
            seed=seed,
            **method.settings,
        )


@dataclass(frozen=True)
class Cell:
    """A method in a setting with a seed: one training, one file."""

    regime: Regime
    setting: str
    method: str
    seed: int

    @property
    def path(self):
        """Where it is kept, below the folder of all cells."""
        return Path(self.regime.name, self.setting, f"{self.method}-{self.seed}.json")

    @property
    def command(self):
        """The command that makes this cell and no other."""
        words = ["python", "benchmarks/claim", *self.regime.options]
        words += ["--settings", self.setting, "--methods", self.method]
        return " ".join([*words, "--seeds", "1", "--first-seed", str(self.seed)])

    @cached_property
    def settings(self):
        """The trainer's settings."""
        setting, method = SETTINGS[self.setting], METHODS[self.method]
        return self.regime.settings(setting, method, self.seed)

    @property
    def given_selector(self):
        """The selector to pass to `train`."""
        return METHODS[self.method].selector_for(self.settings)

    @property
    def selector(self):
        """The selector that is used, the trainer's own included."""
        return selector_of(self.settings, self.given_selector)

    def data(self):
        """Return the data with their wrong labels."""
        return self.regime.with_noise(self.setting, self.seed)


def cells(regime, settings, methods, seeds):
    """Return the grid, first seeds first: what is there early compares all methods.

    Of digits there are no human labels.
    """
    return [
        Cell(regime, setting, method, seed)
        for seed in seeds
        for setting in settings
        for method in methods
        if regime.data != "digits" or SETTINGS[setting].kind != "human"
    ]


def purpose(cell):
    """Return what a cell, as its file has it, is for: choosing a reading, or confirming it.

    All of digits and all seeds from 10 on are for choosing; what was looked at to choose must not
    confirm.
    """
    regime = cell["data"].split("-")[0]
    return "development" if regime == "digits" or cell["seed"] >= 10 else "confirming"
