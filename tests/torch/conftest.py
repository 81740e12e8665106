"""A data set that a small network learns in seconds; without torch nothing here is collected."""

from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch

    # Networks this small gain nothing from threads, and wait for them where processors are busy.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def blobs():
    """90 images of 3 classes, a bright spot in one of 3 places, a third of the labels wrong."""
    from noisyselect.torch import TrainingData

    rng = np.random.default_rng(0)

    def images(labels):
        pixels = rng.integers(0, 90, (labels.size, 1, 8, 8), dtype=np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[0, 2:6, 2 * label : 2 * label + 3] += 150
        return pixels

    truth, test_labels = np.arange(90) % 3, np.arange(30) % 3
    labels = truth.copy()
    wrong = rng.permutation(90)[:30]
    labels[wrong] = (truth[wrong] + 1) % 3
    return TrainingData(
        inputs=images(truth),
        labels=labels,
        test_inputs=images(test_labels),
        test_labels=test_labels,
        class_names=("left", "middle", "right"),
        true_labels=truth,
        # Neither contiguous nor in order: rows must never be taken for ids.
        ids=np.arange(90)[::-1] * 7 + 3,
        name="blobs",
        noise={"kind": "test"},
    )


@pytest.fixture
def small_network():
    """What makes a tiny network of the blobs."""
    from noisyselect.torch import SmallCNN

    return lambda: SmallCNN(1, 3, width=4, n_hidden=16)
