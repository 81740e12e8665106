"""The digits embedded in scikit-learn."""

from __future__ import annotations

import numpy as np

from noisyselect.torch.data.training_data import TrainingData


def digits() -> TrainingData:
    """Return 1437 training and 360 test images of 8x8; one fixed stratified split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    # 0..16 become 0..240 without rounding.
    images = (bunch.images * 15).astype(np.uint8)[:, None]
    train, test = train_test_split(
        np.arange(len(images)), test_size=360, stratify=bunch.target, random_state=0
    )
    return TrainingData(
        inputs=images[train],
        labels=bunch.target[train],
        test_inputs=images[test],
        test_labels=bunch.target[test],
        class_names=tuple(str(name) for name in bunch.target_names),
        name="digits",
    )
