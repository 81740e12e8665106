"""CIFAR-10's binary version, and the names of its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisyselect.torch.data.training_data import TrainingData

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def read_cifar_binary(folder: Path) -> TrainingData:
    """Return CIFAR-10 from ``data_batch_1.bin`` ... and ``test_batch.bin``.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is absent or does not hold whole records.
    """
    train = _records(sorted(folder.glob("data_batch_*.bin")))
    test = _records([folder / "test_batch.bin"])
    return TrainingData(
        inputs=train[:, 1:].reshape(-1, 3, 32, 32),
        labels=train[:, 0],
        test_inputs=test[:, 1:].reshape(-1, 3, 32, 32),
        test_labels=test[:, 0],
        class_names=CIFAR10_CLASSES,
        name=folder.name,
        folder=folder,
    )


def _records(paths: list[Path]) -> npt.NDArray[np.uint8]:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"CIFAR-10's binary version needs {path}, which is absent.")
        if path.stat().st_size % 3073:
            raise ValueError(
                f"{path} must hold records of 3073 bytes, got {path.stat().st_size} bytes: it "
                "is truncated or not of CIFAR-10's binary version."
            )
    return np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
