"""How long it takes to open a run of a million samples and a hundred epochs, and to read of it.

    python benchmarks/open_run.py [N_SAMPLES N_EPOCHS]

Writes about 1 GB into a temporary folder.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from noisyselect.store import RunWriter, open_run, validate_run


def write_run(path, n_samples, n_epochs):
    rng = np.random.default_rng(0)
    writer = RunWriter.create(path, rng.integers(0, 100, n_samples), n_classes=100)
    for _ in range(n_epochs):
        columns = {
            "losses": rng.gamma(1.0, size=n_samples),
            "predictions": rng.integers(0, 100, n_samples),
            "confidences": rng.random(n_samples),
        }
        writer.write_epoch({"a": columns}, lr=0.1)


def best_of(n_times, call):
    """Return the shortest time of a call in milliseconds."""
    seconds = []
    for _ in range(n_times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


def main():
    given = [int(number) for number in sys.argv[1:]]
    n_samples, n_epochs = given or (1_000_000, 100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        write_run(path, n_samples, n_epochs)
        run = open_run(path)
        print(f"{n_samples:,} samples, {n_epochs} epochs; milliseconds, best of several")
        for name, n_times, call in (
            ("open_run", 9, lambda: open_run(path)),
            ("its samples", 3, lambda: open_run(path).labels),
            ("one epoch", 9, lambda: run.log(last=1)),
            ("six epochs", 3, lambda: run.log(last=6)),
            ("validate", 1, lambda: validate_run(path)),
        ):
            print(f"{name:12} {best_of(n_times, call):10.1f}")


if __name__ == "__main__":
    main()
