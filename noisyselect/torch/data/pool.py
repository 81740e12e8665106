"""The samples of an epoch, where the data is too large for every epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import check_classes, check_shape, integers


def balanced_pool(
    labels: npt.ArrayLike, n_classes: int, size: int, epoch: int, keep_epochs: int, seed: int
) -> npt.NDArray[np.int64]:
    r"""Return the rows that an epoch works on: equally many of each given label.

    DivideMix draws a fresh balanced subset of Clothing1M for each epoch. Then hardly a sample is
    seen in two epochs running, and a selector that compares epochs has nothing to go by. Here
    samples stay. The rows of class c, in an order drawn once, make a ring of :math:`N_c`; the pool
    is a window on it,

    .. math::

        \{ s_c(e), \dots, s_c(e) + n_c - 1 \} \bmod N_c,
        \qquad s_c(e) = \lfloor e \, n_c / k \rfloor,

    for epoch e and k `keep_epochs`. As :math:`s_c(e + k) = s_c(e) + n_c`, a sample that comes in
    stays for exactly k epochs, a k-th of the pool is replaced after each epoch, and all samples of
    a class have had a turn before one has a second. There are two exceptions. The first pool is
    all new, so its samples leave after 1 to k epochs. And where the ring is shorter than the
    window and a step, samples that leave come back at once.

    Nothing is remembered between epochs, so a resumed run draws what it would have drawn.

    Parameters
    ----------
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels; in the same order in every epoch.
    n_classes : int
    size : int
        Number of rows wanted, at least `n_classes`. Each class has the same share, the first ones
        one more where it does not divide. A class that has fewer gives them all, and the pool is
        so much smaller.
    epoch : int
        From 0.
    keep_epochs : int
        At least 1, which replaces all after each epoch.
    seed : int

    Returns
    -------
    array of int64 in [0, n_samples)
        Sorted, all different.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> labels = [0, 0, 0, 0, 1, 1, 1, 1, 1]
    >>> rows = [balanced_pool(labels, 2, 4, epoch, keep_epochs=2, seed=0) for epoch in (0, 1)]
    >>> [len(set(rows[0]) & set(rows[1])), len(rows[1])]
    [2, 4]
    """
    given = integers("labels", labels)
    check_shape("labels", given, {"n_samples": None})
    check_classes("labels", given, n_classes)
    for name, value, least in (
        ("size", size, n_classes),
        ("epoch", epoch, 0),
        ("keep_epochs", keep_epochs, 1),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
    windows = []
    for c in range(n_classes):
        ring = np.random.default_rng((seed, c)).permutation(np.flatnonzero(given == c))
        n = min(size // n_classes + (c < size % n_classes), ring.size)
        start = epoch * n // keep_epochs
        windows.append(np.take(ring, np.arange(start, start + n), mode="wrap"))
    return np.sort(np.concatenate(windows))
