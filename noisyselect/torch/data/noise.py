"""Labels made wrong in a known way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from noisyselect.arrays import AnyArray
from noisyselect.noise import (
    CIFAR10_FLIPS,
    asymmetric,
    corrupt,
    instance_dependent,
    noise_rate,
    pair,
    symmetric,
)
from noisyselect.torch.data.cifar import CIFAR10_CLASSES
from noisyselect.torch.data.human_labels import human_labels
from noisyselect.torch.data.image_files import ImageFiles
from noisyselect.torch.data.training_data import TrainingData

NoiseKind = Literal["sym", "sym-others", "asym", "pair", "instance", "human", "none"]


def with_noise(
    data: TrainingData,
    kind: NoiseKind,
    rate: float = 0.0,
    *,
    seed: int = 0,
    human_column: str = "random1",
    human_file: str | Path | None = None,
) -> TrainingData:
    """Return the data with wrong labels among the given ones, and its own labels as the true ones.

    Parameters
    ----------
    data : TrainingData
        Its labels are taken for true.
    kind : {"sym", "sym-others", "asym", "pair", "instance", "human", "none"}
        ``"sym"``, symmetric noise: any class, the true one included, so that a nominal 0.5 on 10
        classes makes 45 % of the labels wrong (DivideMix and its descendants).

        ``"sym-others"``: any class but the true one (Co-teaching and its descendants).

        ``"asym"``, asymmetric noise: on CIFAR-10 five classes become one that looks alike, so that
        half the nominal share is wrong; elsewhere each becomes the next of its superclass, as on
        CIFAR-100, or simply the next.

        ``"pair"``: each class becomes the next, whatever the superclasses.

        ``"instance"``: depends on the sample, see `instance_dependent`; of features, on view 0.

        ``"human"``: labels that people gave, of ``human_labels.parquet`` or the files of CIFAR-N's
        authors (``CIFAR-10_human.pt``, ``CIFAR-100_human.pt``), matched by row number. Where the
        file has clean labels, they have to be those of the data.

        ``"none"``: the labels as they are, and nothing said of the truth.
    rate : float in [0, 1], default=0.0
        Nominal noise rate; ignored for human labels.
    seed : int, default=0
    human_column : str, default="random1"
        Of ``human_labels.parquet`` or the torch files; in these aggregate, worst, random1, random2,
        random3 and noisy stand for their longer names.
    human_file : path, optional
        By default it is looked for beside the images.

    Returns
    -------
    TrainingData
        Its `noise` has the kind, the nominal and the realised rate.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no human labels, their rows are not those of the images, or an option is out
        of range.
    TypeError
        If instance-dependent noise is asked of images in files.
    """
    if kind not in get_args(NoiseKind):
        *others, last = (repr(known) for known in get_args(NoiseKind))
        raise ValueError(f"`kind` must be {', '.join(others)} or {last}, got {kind!r}.")
    if kind == "none":
        return replace(data, noise={"kind": "none"})
    if not 0 <= rate <= 1:
        raise ValueError(f"`rate` must lie in [0, 1], got {rate!r}.")
    if kind == "human":
        labels = human_labels(data, human_column, human_file)
    elif kind == "instance":
        labels = instance_dependent(_features(data), data.labels, rate, seed, data.n_classes)
    else:
        labels = corrupt(data.labels, _transition(data, kind, rate), seed)
    realised = noise_rate(labels, data.labels)
    noise = {
        "kind": kind,
        "nominal_rate": realised if kind == "human" else rate,
        "realised_rate": realised,
    }
    return replace(data, labels=labels, true_labels=data.labels, noise=noise)


def _transition(data: TrainingData, kind: str, rate: float) -> AnyArray:
    match kind:
        case "sym":
            return symmetric(data.n_classes, rate)
        case "sym-others":
            return symmetric(data.n_classes, rate, include_true=False)
        case "asym":
            return asymmetric(data.n_classes, rate, _flips(data))
        case _:
            return pair(data.n_classes, rate)


def _flips(data: TrainingData) -> Mapping[int, int]:
    """Return which class each class is mistaken for."""
    if data.class_names == CIFAR10_CLASSES:
        return CIFAR10_FLIPS
    groups = [0] * data.n_classes if data.superclasses is None else data.superclasses
    members = [
        [c for c, group in enumerate(groups) if group == wanted] for wanted in sorted(set(groups))
    ]
    return {
        source: target
        for group in members
        if len(group) > 1
        for source, target in zip(group, group[1:] + group[:1], strict=True)
    }


def _features(data: TrainingData) -> AnyArray:
    if isinstance(data.inputs, ImageFiles):
        raise TypeError(
            "Instance-dependent noise needs every image in memory, and these stay in their files. "
            "Make it on features of them, save the labels, and use `with_labels`."
        )
    return data.inputs[:, 0] if data.kind == "features" else data.inputs
