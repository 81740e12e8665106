"""One cell: train, take the selections apart, keep a small file, delete the run."""

import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from anatomy import anatomy
from keeping import write_json
from scores import SCORED, separation

from noisyselect import open_run
from noisyselect.torch import train
from noisyselect.torch.neighbours import find_neighbours


def make(cell, folder, runs):
    """Train a cell, or go on with it, and write its file below `folder`.

    Parameters
    ----------
    cell : Cell
    folder : path
        Of all cells.
    runs : path
        Where its run directory is until it is finished.
    """
    started, data = time.perf_counter(), cell.data()
    run_path = Path(runs, cell.path).with_suffix("")
    trained = []
    result = train(
        data,
        cell.settings,
        run_path,
        selector=cell.given_selector,
        device=cell.regime.device,
        resume=True,
        on_epoch=lambda epoch: trained.append(epoch.epoch),
    )
    seconds = time.perf_counter() - started
    run = open_run(run_path)
    content = {
        "data": cell.regime.name,
        "setting": cell.setting,
        "method": cell.method,
        "seed": cell.seed,
        "command": cell.command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "hardware": hardware(cell.regime.device),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        # Of a cell that was killed and resumed: of its last epochs.
        "seconds": seconds,
        "epochs_in_seconds": len(trained),
        "precision": run.settings["precision"],
        "selector": run.settings["selector"],
        "noise": data.noise,
        "n_samples": data.n_samples,
        **accuracies(result),
        "noise_rate": estimated_rate(run),
        "curves": curves(run),
        "anatomy": anatomy(run, cell.selector, cell.settings.warm_up_epochs),
    }
    write_json(Path(folder, cell.path), content)
    if cell.method in SCORED:
        near = neighbours_of(data, cell.settings.n_neighbors, cell.regime.device)
        scores = separation(run, near)
        write_json(scores_path(folder, cell.path), scores)
    shutil.rmtree(run_path)


def scores_path(folder, path):
    """Return where the scores of a cell are kept."""
    return Path(folder, path.parent, "scores", path.name)


def hardware(device):
    """Return what computed: the accelerator, or the processor and how many threads of it."""
    if _device(device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} thread(s)"


def _device(name):
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _processor():
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def accuracies(result):
    """Return test accuracy over the last 5 epochs, of the best one, and of the last one."""
    return {"last_5": result.last_5, "best": result.best, "last": result.last}


def estimated_rate(run):
    """Return the noise rate that the run estimated at the end of warm-up, if it did."""
    rates = [line["metrics"].get("noise_rate") for line in run.epochs]
    return next((rate for rate in rates if rate is not None), None)


def curves(run):
    """Return test accuracy, and share of the wrong labels that each network predicts, by epoch."""
    return {
        name: [line["metrics"].get(name) for line in run.epochs]
        for name in ("test_accuracy", "fitted_wrong_a", "fitted_wrong_b")
    }


def neighbours_of(data, k, device):
    """Return the neighbours of each training sample: by view 0 of its features, or its pixels."""
    inputs = data.inputs[:, 0] if data.kind == "features" else data.inputs
    flat = torch.from_numpy(np.array(inputs, dtype=np.float32).reshape(len(inputs), -1))
    return find_neighbours(flat.to(_device(device)), k).neighbours
