"""Whether a run that is resumed is the one that was started."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from noisyselect.arrays import IntArray
from noisyselect.selector import Selector
from noisyselect.store import Run
from noisyselect.torch.data import TrainingData
from noisyselect.torch.precision import resolve_precision
from noisyselect.torch.settings import Settings


def describe(
    data: TrainingData,
    settings: Settings,
    selector: Selector | None,
    neighbours: IntArray | None,
    device: torch.device,
) -> dict[str, Any]:
    """Return what is written down of a run, and what tells it from every other.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    selector : Selector, optional
    neighbours : array of int, shape (n_samples, k), optional
        As given by the user.
    device : torch.device
    """
    return {
        **asdict(settings),
        # "auto" is not the same everywhere.
        "precision": resolve_precision(settings.precision, device),
        "selector": repr(selector),
        "data": data.name,
        "noise": data.noise,
        "fingerprint": _fingerprint(data, neighbours),
    }


def check_same_run(data: TrainingData, described: dict[str, Any], run: Run) -> None:
    """Refuse to go on with a run that was started with other data or settings.

    Raises
    ------
    ValueError
        Naming each difference.
    """
    # As JSON has it, which knows no tuples. What came later than the run was at its default in it.
    asked, saved = json.loads(json.dumps(described)), json.loads(json.dumps(asdict(Settings())))
    saved |= run.settings
    changes = [
        f"`{name}` was {saved.get(name)!r}, got {asked[name]!r}"
        for name in asked
        if asked[name] != saved.get(name)
    ]
    if not (np.array_equal(run.labels, data.labels) and np.array_equal(run.ids, data.ids)):
        changes.append("the labels or ids are others")
    if changes:
        raise ValueError(
            "A run is resumed with the data and settings that it was started with: "
            f"{'; '.join(changes)}. Pass those, or train into another directory."
        )


def _fingerprint(data: TrainingData, neighbours: IntArray | None) -> str:
    """Return a digest of what no other setting tells apart."""
    digest = hashlib.sha256()
    tested = (data.test_inputs, data.test_labels, data.val_inputs, data.val_labels)
    for values in (data.inputs, *tested, neighbours):
        if isinstance(values, np.ndarray):
            digest.update(np.ascontiguousarray(values).data)
        elif values is not None:  # files, whose names must do
            digest.update("\0".join((str(values.shape), *values.names)).encode())
    return digest.hexdigest()[:16]
