"""Logs on which labels can be corrected, and logs on which they cannot."""

import numpy as np
import pytest

from noisyselect import TrainingLog


@pytest.fixture(scope="session")
def swinging_log():
    """Make a log whose predictions swing around the truth, or around memorised labels."""

    def make(memorised=False, n_epochs=14, seed=0):
        rng = np.random.default_rng(seed)
        truth = np.arange(2000) % 4
        wrong = rng.random(2000) < 0.4
        labels = np.where(wrong, (truth + rng.integers(1, 4, 2000)) % 4, truth)
        centre = 1.5 * np.eye(4)[labels if memorised else truth]
        logits = centre + rng.normal(0, 1.5, (n_epochs, 2000, 4))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        return TrainingLog(labels=labels, probabilities=probabilities.astype(np.float32)), truth

    return make
