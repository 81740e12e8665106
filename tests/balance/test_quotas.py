import numpy as np
import pytest

from noisyselect.balance.quotas import class_quotas, class_weights


def test_quotas_worked_by_hand():
    # rho N / C = 0.75 * 12 / 3 = 3; a class that has more already gets nothing and loses nothing.
    assert class_quotas(np.array([0, 2, 5]), 0.75, 12).tolist() == [3, 1, 0]


def test_float_error_costs_no_sample():
    # 0.7 * 10 is 7.000000000000001 or 6.999999999999999 depending on the order of operations.
    for n_classes in (1, 2, 5, 10):
        for each in range(1, 50):
            n_samples = 10 * n_classes * each
            quotas = class_quotas(np.zeros(n_classes, dtype=int), 0.7, n_samples)
            assert quotas.tolist() == [7 * each] * n_classes


def test_weights_worked_by_hand():
    # |D_x| = 6, C = 3: 6 / (4 * 3), 6 / (2 * 3), and 0 for the empty class.
    assert class_weights(np.array([4, 2, 0])) == pytest.approx([0.5, 1.0, 0.0])


def test_no_labels_have_no_weights():
    assert class_weights(np.array([0, 0])).tolist() == [0, 0]
