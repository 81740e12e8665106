"""How far the given label is ahead of the best other class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray

# The least positive number of float16, the coarsest format that probabilities are recorded in.
_LEAST = float(np.finfo(np.float16).smallest_subnormal)


def mean_margin(probabilities: FloatArray, labels: IntArray) -> npt.NDArray[np.float64]:
    r"""Return the area under the margin: its mean over epochs, in nats.

    Parameters
    ----------
    probabilities : array of float in [0, 1], shape (n_epochs, n_samples, n_classes)
        Softmax outputs of at least two classes.
    labels : array of int in [0, n_classes), shape (n_samples,)

    Returns
    -------
    array of float64, shape (n_samples,)
        :math:`\operatorname{mean}_t (z_{iy} - \max_{c \ne y} z_{ic})`. Logits z differ as log
        probabilities do.

    Notes
    -----
    A probability of 0 is one that was too small for the digits it was recorded with: it counts as
    the smallest that is not 0, at most 6e-8, the least that float16 has. O(n_epochs n_samples
    n_classes) time, memory for one epoch.

    Examples
    --------
    >>> mean_margin(np.array([[[0.8, 0.1, 0.1], [0.2, 0.4, 0.4]]]), np.array([0, 0])).round(3)
    array([ 2.079, -0.693])
    """
    rows = np.arange(labels.size)
    least = min(float(epoch.min(where=epoch > 0, initial=_LEAST)) for epoch in probabilities)
    total = np.zeros(labels.size)
    for epoch in probabilities:
        others = epoch.astype(np.float64)
        own = others[rows, labels]
        others[rows, labels] = 0
        total += np.log(np.maximum(own, least)) - np.log(np.maximum(others.max(axis=1), least))
    return total / len(probabilities)
