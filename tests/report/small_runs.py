"""Runs small enough to be reported on in a second."""

import numpy as np

from noisyselect.store import RunWriter, open_run

N_SAMPLES, N_CLASSES, N_EPOCHS = 90, 3, 8
# The first 18 labels are wrong.
TRUTH = np.arange(N_SAMPLES) % N_CLASSES
LABELS = np.where(np.arange(N_SAMPLES) < 18, (TRUTH + 1) % N_CLASSES, TRUTH)


def write_run(path, networks="ab", n_epochs=N_EPOCHS, columns=("losses", "predictions"), **options):
    """Networks that learn the right labels steadily and doubt the wrong ones to the end."""
    rng = np.random.default_rng(0)
    features = options.pop("features", True)
    broken = options.pop("broken", ())
    writer = RunWriter.create(
        path, LABELS, networks=tuple(networks), **({"true_labels": TRUTH} | options)
    )
    for epoch in range(n_epochs):
        dynamics = {}
        for network in networks:
            losses = np.where(LABELS == TRUTH, 1 / (epoch + 1), 2.5) + rng.random(N_SAMPLES) / 10
            losses[list(broken)] = np.nan
            every = {
                "losses": losses,
                "predictions": np.where(rng.random(N_SAMPLES) < 0.1, 0, TRUTH),
            }
            dynamics[network] = {name: every[name] for name in columns}
        writer.write_epoch(dynamics, lr=0.1)
    if features:
        for network in networks:
            writer.write_features(
                network, np.eye(N_CLASSES)[TRUTH] + rng.random((N_SAMPLES, 3)) / 9
            )
    return open_run(path)
