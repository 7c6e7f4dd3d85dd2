"""Maps on another grid."""

import numpy as np

from visiontasks.ops.pictures import resize_map


def test_each_axis_is_averaged_where_it_shrinks():
    values = np.zeros((2, 8), np.float32)
    values[:, 2] = 4.0
    expected = [[0, 2, 0, 0]] * 5  # columns in pairs; rows only grow
    np.testing.assert_allclose(resize_map(values, (5, 4)), expected, atol=1e-6)
    np.testing.assert_allclose(resize_map(values.T.copy(), (4, 5)), np.array(expected).T, atol=1e-6)
    np.testing.assert_array_equal(resize_map(values, (2, 8)), values)
