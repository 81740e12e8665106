"""Trains small runs and notes every selection; started by torchrun, or called in one process."""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from noisyselect.errors import DegenerateWarning
from noisyselect.torch import Settings, SmallCNN, TrainingData, train
from noisyselect.torch.distributed import process_group
from noisyselect.torch.trainer import run as module

COMMON = {
    "epochs": 6, "warm_up": 3, "batch_size": 15, "n_neighbors": 5, "precision": "float32",
    "pretrain_batch_size": 45, "scan_batch_size": 31, "clustering_epochs": 2, "lr": 0.05,
}  # fmt: skip
RUNS = {
    "vrlvmix": {"record": ("probabilities", "second-view", "batches", "features")},
    "vrlvmix with scan": {"pretrain_epochs": 2, "scan": "on"},
    "dividemix": {"method": "dividemix", "augment": False, "epochs": 5},
    "pools": {"epoch_samples": 90},
    "coteaching": {"method": "coteaching", "epochs": 5, "ema": 0.9},
}


def blobs():
    """121 images of 3 classes, a third of the labels wrong; no batch is a multiple of two."""
    rng = np.random.default_rng(0)

    def images(labels):
        pixels = rng.integers(0, 90, (labels.size, 1, 8, 8), dtype=np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[0, 2:6, 2 * label : 2 * label + 3] += 150
        return pixels

    truth, test_labels = np.arange(121) % 3, np.arange(31) % 3
    labels = np.where(rng.random(121) < 1 / 3, (truth + 1) % 3, truth)
    return TrainingData(
        inputs=images(truth),
        labels=labels,
        test_inputs=images(test_labels),
        test_labels=test_labels,
        class_names=("left", "middle", "right"),
        true_labels=truth,
    )


def run_all(out):
    """Return by run what was selected, one row per network and epoch, and the last losses."""
    warnings.simplefilter("ignore", DegenerateWarning)
    chosen = {}
    for name, changes in RUNS.items():
        rows, logs = [], []
        kept = noting_measures(rows)
        result = train(
            blobs(),
            Settings(**(COMMON | changes)),
            out / name,
            network=lambda: SmallCNN(1, 3, width=4, n_hidden=16),
            on_epoch=logs.append,
        )
        module.selection_measures = kept
        chosen[name] = np.stack(rows)
        state = [value for net in result.networks for value in net.state_dict().values()]
        chosen[f"{name}: weights"] = torch.cat([value.flatten().double() for value in state])
    return chosen


def noting_measures(rows):
    """Note the selections of every epoch, whatever method made them; returns what to put back."""
    original = module.selection_measures

    def noting(selections, *rest):
        rows.extend(selection.clean for selection in selections.values())
        return original(selections, *rest)

    module.selection_measures = noting
    return original


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with process_group(torch.device("cpu")) as shards:
        answers = {name: np.asarray(values) for name, values in run_all(folder / "runs").items()}
        np.savez(folder / f"rank{shards.rank}.npz", **answers)
