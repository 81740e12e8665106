"""Bring a training log saved as npz into a run directory."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from noisyselect.arrays import (
    AnyArray,
    check_shape,
)
from noisyselect.store.foreign import new_run
from noisyselect.store.run import Run, open_run
from noisyselect.store.writer import RunWriter


def import_npz(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> Run:
    """Bring a training log of two networks, saved as npz, into a new run directory.

    Parameters
    ----------
    source : path
        An npz file with the arrays ``loss`` of shape (n_epochs, n_networks, n_samples), or
        (n_epochs, n_samples) of one network, and ``label`` (n_samples,); and where known ``pred``
        and ``conf`` of the shape of ``loss``, ``lr`` (n_epochs,), ``true`` (n_samples,), and of
        network i in the last epoch ``feat<i>`` (n_samples, n_features) and ``prob<i>`` (n_samples,
        n_classes). Networks are named a, b, ... Nothing is unpickled.
    out : path
        Must not exist, or be an empty directory.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If the file is no such log.
    FileExistsError
        If something is at `out` already.
    """
    arrays = _read_npz(Path(source))
    if arrays["loss"].ndim == 2:  # of one network
        arrays |= {name: arrays[name][:, None] for name in _DYNAMICS if name in arrays}
    check_shape("loss", arrays["loss"], dict.fromkeys(("n_epochs", "n_networks", "n_samples")))
    n_epochs, n_networks, _ = arrays["loss"].shape
    networks = [chr(ord("a") + i) for i in range(n_networks)]
    n_classes = 1 + max(
        int(arrays[name].max()) for name in ("label", "true", "pred") if name in arrays
    )
    _check_npz(arrays, n_classes)
    with new_run(Path(out)) as path:
        writer = RunWriter.create(
            path,
            arrays["label"],
            n_classes=n_classes,
            true_labels=arrays.get("true"),
            networks=networks,
            settings={"imported_from": Path(source).name, "imported_as": "an npz of arrays"},
        )
        for epoch in range(n_epochs):
            dynamics = {
                network: {
                    column: arrays[name][epoch, i]
                    for name, column in _DYNAMICS.items()
                    if name in arrays
                }
                for i, network in enumerate(networks)
            }
            writer.write_epoch(dynamics, lr=float(arrays["lr"][epoch]) if "lr" in arrays else None)
        for i, network in enumerate(networks):
            if f"feat{i}" in arrays:
                writer.write_features(network, arrays[f"feat{i}"])
            if f"prob{i}" in arrays:
                writer.write_probabilities(network, n_epochs - 1, arrays[f"prob{i}"])
    return open_run(out)


# Arrays of one value per epoch, network and sample, and their columns in a log.
_DYNAMICS = {"loss": "losses", "pred": "predictions", "conf": "confidences"}
_NPZ_KINDS = {"loss": "f", "pred": "iu", "conf": "f", "lr": "f", "label": "iu", "true": "iu"}


# What numpy and zipfile raise where a file is damaged.
_UNREADABLE = (
    *(ValueError, EOFError, AttributeError, TypeError, OSError, RuntimeError),
    *(BadZipFile, zlib.error),
)


def _read_npz(source: Path) -> dict[str, AnyArray]:
    with source.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except _UNREADABLE:
            raise ValueError(
                f"{source}: is not an npz file of plain arrays, or is damaged. Nothing is "
                "unpickled."
            ) from None
    absent = [name for name in ("loss", "label") if name not in arrays]
    if absent:
        raise ValueError(
            f"{source}: a training log has loss and label, and may have pred, conf, lr and true; "
            f"this file lacks {', '.join(absent)} and has {', '.join(arrays) or 'nothing'}."
        )
    for name, kinds in _NPZ_KINDS.items():
        if name in arrays and arrays[name].dtype.kind not in kinds:
            wanted = "floats" if kinds == "f" else "integers"
            raise ValueError(f"{source}: {name} must hold {wanted}, got {arrays[name].dtype}.")
    return arrays


def _check_npz(arrays: Mapping[str, AnyArray], n_classes: int) -> None:
    """Refuse what does not fit together before anything is written."""
    n_epochs, n_networks, n_samples = arrays["loss"].shape
    sample = {"n_samples": n_samples}
    expected: dict[str, Mapping[str, int | None]] = {
        "pred": {"n_epochs": n_epochs, "n_networks": n_networks} | sample,
        "conf": {"n_epochs": n_epochs, "n_networks": n_networks} | sample,
        "lr": {"n_epochs": n_epochs},
        "label": sample,
        "true": sample,
    }
    for i in range(n_networks):
        expected[f"feat{i}"] = sample | {"n_features": None}
        expected[f"prob{i}"] = sample | {"n_classes": n_classes}
    for name, shape in expected.items():
        if name in arrays:
            check_shape(name, arrays[name], shape)
