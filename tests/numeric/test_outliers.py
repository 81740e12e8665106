import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from noisyselect.numeric.outliers import local_outliers


@pytest.mark.parametrize(
    ("n_values", "k", "contamination"), [(5, 2, 0.1), (8, 2, 0.1), (12, 3, 0.25)]
)
def test_the_outliers_are_those_of_scikit_learn_sample_by_sample(n_values, k, contamination):
    values = np.random.default_rng(n_values).gamma(1.0, 1.0, (n_values, 40)).astype(np.float32)
    got = local_outliers(values, k, contamination)
    for column in range(40):
        model = LocalOutlierFactor(n_neighbors=k, contamination=contamination)
        expected = model.fit_predict(values[:, [column]].astype(np.float64)) == -1
        assert np.array_equal(got[:, column], expected)


def test_a_value_that_stands_alone_is_the_outlier():
    values = np.array([[0.1, 3.0], [0.2, 3.1], [9.0, 3.2], [0.3, 0.0], [0.4, 3.3]])
    assert local_outliers(values).T.tolist() == [
        [False, False, True, False, False],
        [False, False, False, True, False],
    ]


def test_equal_values_have_no_outlier():
    assert not local_outliers(np.full((6, 3), 0.7)).any()


def test_many_samples_are_answered_as_a_few_are(monkeypatch):
    values = np.random.default_rng(0).normal(size=(7, 50))
    whole = local_outliers(values)
    monkeypatch.setattr("noisyselect.numeric.outliers._CHUNK", 8)
    assert np.array_equal(local_outliers(values), whole)
