"""Selectors are values: combine them with set algebra on a log from plain arrays.

The arrays may come from any tool; here they are made up. Run: python examples/compose_selectors.py
"""

from noisyselect import (
    ENNCleaner,
    GMMSelector,
    LossVariationSelector,
    PredictionStabilitySelector,
    TrainingLog,
)
from noisyselect.checks import synthetic_log
from noisyselect.metrics import selection_quality


def run(n_samples=2000, seed=0):
    made_up, truth = synthetic_log(n_samples, n_epochs=8, noise_rate=0.4, overlap=0.9, seed=seed)
    log = TrainingLog(
        labels=made_up.labels,
        losses=made_up.losses,  # (n_epochs, n_samples), in nats
        predictions=made_up.predictions,  # (n_epochs, n_samples)
        features=made_up.features,  # (n_samples, n_features)
    )

    small = GMMSelector()
    stable = LossVariationSelector() & PredictionStabilitySelector()
    selectors = {
        "small loss": small,
        "stable": stable,
        "small loss and stable": small & stable,
        "small loss or stable": small | stable,
        "stable, yet of large loss": stable - small,
        "neighbours agree": ENNCleaner(),
        "small loss, or neighbours agree": small | ENNCleaner(),
    }
    return {
        name: selection_quality(selector.select(log), log.labels, truth, log.n_classes)
        for name, selector in selectors.items()
    }


if __name__ == "__main__":
    print(f"{'':34s}kept  precision  recall")
    for name, quality in run().items():
        print(f"{name:34s}{quality.n_kept:4d}  {quality.precision:9.3f}  {quality.recall:6.3f}")
