"""Compare the trainer's methods on digits with wrong labels: same data, network, schedule, seeds.

The table of docs/trainer.md: python benchmarks/digits.py (about three minutes on two cores)
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

from noisyselect.torch import Settings, load_data, train, with_noise

MEASURES = {
    "test, last epoch": lambda result: result.last,
    "test, best epoch": lambda result: result.best,
    "wrong labels memorised": lambda result: of_both(result.epochs[-1], "fitted_wrong"),
    "precision of a": lambda result: result.epochs[-1].measures.get("precision_a", np.nan),
    "precision of b": lambda result: result.epochs[-1].measures.get("precision_b", np.nan),
    "recall": lambda result: of_both(result.epochs[-1], "recall"),
}


def of_both(epoch, measure):
    return np.mean([epoch.measures.get(f"{measure}_{network}", np.nan) for network in "ab"])


def text(values):
    percent = 100 * np.array(values)
    return "-" if np.isnan(percent).any() else f"{percent.mean():.1f} ± {percent.std(ddof=1):.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="ce,dividemix,vrlvmix")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=4 / 9, help="resampled from all classes")
    options = parser.parse_args()
    clean = load_data("digits")
    table = Table(
        title=f"mean ± deviation in % over {options.seeds} seeds, {options.epochs} epochs"
    )
    for heading in ("method", *MEASURES):
        table.add_column(heading)
    for method in options.methods.split(","):
        results = []
        for seed in range(options.seeds):
            data = with_noise(clean, "sym", options.rate, seed=seed)
            settings = Settings(method=method, epochs=options.epochs, augment=False, seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                results.append(train(data, settings, Path(folder) / "run"))
        table.add_row(method, *(text([f(result) for result in results]) for f in MEASURES.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
