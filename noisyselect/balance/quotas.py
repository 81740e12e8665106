"""How many samples each class may get, and what each class weighs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray, IntArray


def class_quotas(core_counts: IntArray, clean_rate: float, n_samples: int) -> npt.NDArray[np.int64]:
    r"""Return how many samples to add to each class of the core, shape (n_classes,).

    Parameters
    ----------
    core_counts : array of int, shape (n_classes,)
        Samples of each class that are in the core :math:`D_c` already.
    clean_rate : float in [0, 1]
        Share :math:`\rho` of samples to train on with a label.
    n_samples : int
        Number N of samples.

    Notes
    -----
    Below Eq. 9 of VRLVMix, :math:`N_{over} = |D_{balance}| / C` is circular; read as
    :math:`\max(0, \lfloor \rho N / C \rfloor - |D_c^j|)` for class j. The core is never trimmed.

    Examples
    --------
    >>> class_quotas(np.array([5, 1, 0]), clean_rate=0.6, n_samples=15)
    array([0, 2, 3])
    """
    # The small term absorbs float error: 0.7 * 10 / 1 is 6.999....
    each = math.floor(clean_rate * n_samples / core_counts.size + 1e-9)
    return np.maximum(0, each - core_counts.astype(np.int64))


def class_weights(counts: IntArray) -> FloatArray:
    r"""Return the loss weight of each class, shape (n_classes,).

    A mixed sample with soft target q has the weight ``q @ class_weights(...)``.

    Parameters
    ----------
    counts : array of int, shape (n_classes,)
        Samples of each class that are trained on with a label, synthetic ones included.

    Notes
    -----
    Equation 10 of VRLVMix: :math:`w_c = |D_x| / (|D_x^c| C)`, and 0 for a class without samples.
    The mean weight over the labelled samples is the share of classes that have any.

    Examples
    --------
    >>> class_weights(np.array([3, 1]))
    array([0.66666667, 2.        ])
    """
    weights = np.zeros(counts.size)
    filled = counts > 0
    weights[filled] = counts.sum() / (counts[filled] * counts.size)
    return weights
