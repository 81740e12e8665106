import numpy as np
import pytest
from sklearn.decomposition import PCA

from noisyselect.numeric.directions import along_main_directions


@pytest.mark.parametrize("shape", [(60, 7), (7, 60), (20, 20)])
def test_coordinates_are_those_of_the_singular_value_decomposition(shape):
    rows = np.random.default_rng(0).normal(1.0, 1.0, shape)
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    along = along_main_directions(rows, 5)
    assert np.abs(along) == pytest.approx(np.abs(u * s)[:, :5], abs=1e-9)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)])
def test_of_centred_rows_they_are_the_principal_components(shape):
    rows = np.random.default_rng(1).normal(size=shape) * np.linspace(1, 3, shape[1])
    expected = PCA(4, svd_solver="full").fit_transform(rows)
    along = along_main_directions(rows - rows.mean(axis=0), 4)
    assert np.abs(along) == pytest.approx(np.abs(expected), abs=1e-9)


def test_rows_of_zeros_are_nowhere():
    assert (along_main_directions(np.zeros((3, 5)), 2) == 0).all()
    assert (along_main_directions(np.zeros((5, 3)), 2) == 0).all()
