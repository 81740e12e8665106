"""The directions along which the rows of a matrix extend most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def along_main_directions(
    rows: npt.NDArray[np.float64], n_directions: int
) -> npt.NDArray[np.float64]:
    """Return the coordinates of the rows along the first eigenvectors of their gram matrix.

    Of rows whose mean was subtracted, these are the principal components.

    Parameters
    ----------
    rows : array of float64, shape (n_rows, n_features)
        Of a size whose squares are finite.
    n_directions : int
        At most the smaller of both lengths.

    Returns
    -------
    array of float64, shape (n_rows, n_directions)
        The direction of the largest eigenvalue first. Signs have no meaning.

    Notes
    -----
    O(n_rows n_features m + m^3) with m the smaller of both lengths: rows.T @ rows and rows @ rows.T
    have the same eigenvalues, and the smaller one is decomposed.
    """
    from scipy.linalg import eigh

    wide = len(rows) < rows.shape[1]
    gram = rows @ rows.T if wide else rows.T @ rows
    last = [len(gram) - n_directions, len(gram) - 1]
    values, vectors = eigh(gram, subset_by_index=last)
    along: npt.NDArray[np.float64]
    along = vectors * np.sqrt(np.maximum(values, 0)) if wide else rows @ vectors
    return along[:, ::-1]
