"""Time the kernels beside what a user would pick instead: same data, same process, one core.

Run by `make bench`. Ratios are the alternative's time over ours, the median of the repetitions with
the least and the greatest; ratios travel between machines, seconds do not.
"""

import argparse
import time

import numpy as np
from imblearn.under_sampling import EditedNearestNeighbours
from rich.console import Console
from rich.table import Table
from sklearn.mixture import GaussianMixture

from noisyselect import ENNCleaner, TrainingLog, VRLVSelector
from noisyselect.numeric.mixture import fit_two_gaussians, low_mean_posterior, unit_interval
from noisyselect.numeric.ranks import rank_variance


def made_up_log(n_samples, n_epochs=11, n_classes=10, n_features=16, seed=0):
    """Return a log of decaying losses, a third of them slower, with features by class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_samples)
    wrong = rng.random(n_samples) < 0.33
    pace = np.where(wrong, 0.02, 0.25)
    epoch = np.arange(n_epochs)[:, None]
    losses = 2.5 * np.exp(-pace * epoch + 0.3 * rng.normal(size=(n_epochs, n_samples)))
    moved = rng.random((n_epochs, n_samples)) < np.where(wrong, 0.3, 0.02)
    return TrainingLog(
        labels=np.where(wrong, rng.integers(0, n_classes, n_samples), truth),
        losses=losses.astype(np.float32),
        predictions=np.where(moved, (truth + 1) % n_classes, truth),
        features=np.eye(n_classes, n_features)[truth] + 0.2 * rng.normal(size=(n_samples, 1)),
        neighbours=(np.arange(n_samples)[:, None] + rng.permutation(1000)[:20] + 1) % n_samples,
        n_classes=n_classes,
    )


def sklearn_mixture(values):
    model = GaussianMixture(2, reg_covar=5e-4, tol=1e-6, max_iter=1000, random_state=0)
    return model.fit(values[:, None]).predict_proba(values[:, None])


def double_argsort(losses):
    changes = losses[:-1].astype(np.float64) - losses[1:]
    return np.argsort(np.argsort(changes, axis=1), axis=1).var(axis=0)


def jobs(n_samples):
    """Yield a name, ours, and the alternative or None."""
    log = made_up_log(n_samples)
    values = unit_interval(log.losses[-1])
    yield (
        "mixture: fit and posterior | GaussianMixture",
        lambda: low_mean_posterior(values, fit_two_gaussians(values)),
        lambda: sklearn_mixture(values),
    )
    yield (
        "variance of ranks, window 10 | double argsort",
        lambda: rank_variance(log.losses),
        lambda: double_argsort(log.losses),
    )
    few = log.take(np.arange(min(n_samples, 10_000)))
    yield (
        f"ENN, {few.n_samples} samples, given neighbours | imbalanced-learn",
        lambda: ENNCleaner().select(few),
        lambda: EditedNearestNeighbours(n_neighbors=20).fit_resample(few.features, few.labels),
    )
    yield (
        "VRLV, two networks, given neighbours",
        lambda: VRLVSelector(window=5).select_pair(log, log),
        None,
    )


def seconds(function, repetitions):
    taken = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    table = Table(title=f"{options.samples:,} samples, {options.repetitions} repetitions")
    for heading in ("job | alternative", "ours, s", "theirs, s", "times faster (least - greatest)"):
        table.add_column(heading, justify="left" if "job" in heading else "right")
    for name, ours, theirs in jobs(options.samples):
        own = seconds(ours, options.repetitions)
        if theirs is None:
            table.add_row(name, f"{np.median(own):.3f}", "", "")
            continue
        other = seconds(theirs, options.repetitions)
        ratio = other / own
        spread = f"{np.median(ratio):.0f} ({ratio.min():.0f} - {ratio.max():.0f})"
        table.add_row(name, f"{np.median(own):.3f}", f"{np.median(other):.3f}", spread)
    Console().print(table)


if __name__ == "__main__":
    main()
