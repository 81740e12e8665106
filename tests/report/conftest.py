"""A run to be reported on, and images of its samples."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import N_SAMPLES, write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run with all there can be, and its truth."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def pictures():
    """What thumbnails are made of: images of the samples, in another order than the run's."""
    order = np.random.default_rng(1).permutation(N_SAMPLES)
    # The shade of an image tells which sample it is.
    inputs = np.repeat(order, 3 * 8 * 8).reshape(N_SAMPLES, 3, 8, 8).astype(np.uint8)
    return SimpleNamespace(
        inputs=inputs,
        ids=order,
        kind="images",
        name="shades",
        n_classes=3,
        class_names=tuple("xyz"),
    )
