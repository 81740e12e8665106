"""Time the approximate search for neighbours beside the exact one, on one core.

Made-up features of length 1, as an encoder may give them: 100 classes, and directions of falling
variance (the j-th has 1 / j of the first). `--noise`: no classes and the same variance in all
directions, the worst case of an index. `--log`: the features of network a in an npz.
"""

import argparse
import resource
import time
from pathlib import Path

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from noisyselect.numeric.neighbours import find_neighbours

# Rows of which the exact search is timed; all rows take as many times longer as there are more.
N_TIMED = 2000
K = 20


def made_up_features(n_samples, n_features, noise, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    if not noise:
        classes = rng.standard_normal((100, n_features), dtype=np.float32)
        features += classes[rng.integers(0, 100, n_samples)]
        features /= np.sqrt(np.arange(1, n_features + 1, dtype=np.float32))
    faiss.normalize_L2(features)
    return features


def exact_seconds(features):
    start = time.process_time()
    faiss.knn(features[:N_TIMED], features, K + 1)
    return (time.process_time() - start) * len(features) / N_TIMED


def peak_gigabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.9, 0.95, 0.99])
    arguments = parser.parse_args()

    faiss.omp_set_num_threads(1)
    if arguments.log is not None:
        with np.load(arguments.log) as log:
            features = log["feat0"].astype(np.float32)
        faiss.normalize_L2(features)
    else:
        features = made_up_features(arguments.samples, arguments.features, arguments.noise)
    exact = exact_seconds(features)
    before = peak_gigabytes()
    table = Table(
        "target recall",
        "measured",
        "seconds of CPU",
        "times faster than exact",
        title=f"{len(features):,} x {features.shape[1]} features, {K} neighbours; exact "
        f"{exact:.0f} s, from {N_TIMED:,} rows",
    )
    for target in arguments.targets:
        start = time.process_time()
        found = find_neighbours(features, K, "cosine", exact_up_to=0, target_recall=target)
        seconds = time.process_time() - start
        table.add_row(
            f"{target:.2f}", f"{found.recall:.3f}", f"{seconds:.1f}", f"{exact / seconds:.1f}"
        )
    console = Console()
    console.print(table)
    console.print(
        f"Peak memory: {peak_gigabytes() - before:.2f} GB beside the features, of which there are "
        f"{features.nbytes / 1e9:.2f} GB."
    )


if __name__ == "__main__":
    main()
