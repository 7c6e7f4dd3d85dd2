"""Upsampling by hand, against torch, and against the pooling and convolution that it undoes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from visiontasks.errors import DataError
from visiontasks.ops.convolution import average_pool, convolve, max_pool
from visiontasks.ops.unpooling import (
    bilinear,
    bilinear_kernel,
    max_pool_with_positions,
    transposed_convolution,
    unpool_average,
    unpool_first,
    unpool_positions,
)

fast = settings(max_examples=30)
blocks = st.tuples(st.integers(1, 3), st.integers(1, 3))
seeds = st.integers(0, 2**32 - 1)


def features(seed, channels=2, height=3, width=4):
    """Positive values, as behind a ReLU: zeros between them never win a max pool."""
    return np.random.default_rng(seed).uniform(0.1, 1, (channels, height, width))


def batch(array):
    return torch.from_numpy(np.ascontiguousarray(array))[None]


SMALL = np.array([[[1, 2], [3, 4]]])


def test_average_pooling_is_undone_by_copies():
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert unpool_average(SMALL, 2).tolist() == [expected]


def test_max_pooling_without_memory_fills_the_first_unit():
    expected = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert unpool_first(SMALL, 2).tolist() == [expected]


def test_max_pooling_with_positions_fills_the_unit_that_was_largest():
    image = np.array([[[1, 9, 2, 3], [4, 5, 8, 6], [7, 0, 1, 1], [2, 3, 1, 1]]])
    values, positions = max_pool_with_positions(image, 2)
    assert values.tolist() == [[[9, 8], [7, 1]]]
    assert positions.tolist() == [[[1, 6], [8, 10]]]  # of four equal values the first one
    expected = [[0, 9, 0, 0], [0, 0, 8, 0], [7, 0, 1, 0], [0, 0, 0, 0]]
    assert unpool_positions(values, positions, (4, 4)).tolist() == [expected]


@fast
@given(seeds, blocks)
def test_pool_then_unpool_then_pool_is_the_identity(seed, block):
    image = features(seed, height=7, width=8)
    pooled, positions = max_pool_with_positions(image, block)
    np.testing.assert_array_equal(pooled, max_pool(image, block))
    np.testing.assert_array_equal(max_pool(unpool_first(pooled, block), block), pooled)
    again = unpool_positions(pooled, positions, image.shape[1:])
    np.testing.assert_array_equal(max_pool(again, block), pooled)
    pooled = average_pool(image, block)
    np.testing.assert_allclose(average_pool(unpool_average(pooled, block), block), pooled, rtol=1e-12)


@fast
@given(seeds, blocks)
def test_unpooling_equals_torch(seed, block):
    image = features(seed, height=7, width=9)
    pooled, positions = max_pool_with_positions(image, block)
    theirs, places = F.max_pool2d(batch(image), block, return_indices=True)
    np.testing.assert_array_equal(positions, places[0])
    enlarged = F.max_unpool2d(theirs, places, block, output_size=[7, 9])[0]
    np.testing.assert_array_equal(unpool_positions(pooled, positions, (7, 9)), enlarged)
    copies = F.interpolate(batch(pooled), scale_factor=block, mode="nearest")[0]
    np.testing.assert_array_equal(unpool_average(pooled, block), copies)


def test_positions_of_another_size_are_refused():
    values, positions = max_pool_with_positions(features(0, height=4), 2)
    with pytest.raises(DataError, match=r"below 9 for 3x3 pixels, found \d+ to 1[0-5]; give the size"):
        unpool_positions(values, positions, (3, 3))
    with pytest.raises(DataError, match=r"a position for each value, found \(2, 2, 2\) for \(2, 2, 1\)"):
        unpool_positions(values[:, :, :1], positions, (4, 4))


# Transposed convolution


def test_overlaps_by_hand():
    """A row of two values, kernel of three ones, stride 2: the kernels meet in the third output."""
    row, kernel = np.array([[[1.0, 3.0]]]), np.ones((1, 1, 1, 3))
    assert transposed_convolution(row, kernel, stride=2).tolist() == [[[1, 1, 4, 3, 3]]]
    averaged = transposed_convolution(row, kernel, stride=2, overlaps="average")
    assert averaged.tolist() == [[[1, 1, 2, 3, 3]]]


def test_the_average_of_a_constant_is_the_constant():
    constant = np.full((1, 3, 4), 5.0)
    averaged = transposed_convolution(constant, np.ones((1, 1, 3, 4)), stride=2, overlaps="average")
    np.testing.assert_array_equal(averaged, np.full((1, 7, 10), 5.0))
    gaps = transposed_convolution(constant, np.ones((1, 1, 1, 1)), stride=2, overlaps="average")
    assert gaps[0, 1].tolist() == [0] * 7  # no kernel reaches these rows


geometry = {
    "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "padding": st.integers(0, 1),
}


@fast
@given(seed=seeds, **geometry)
def test_transposed_convolution_equals_torch(seed, kernel, stride, padding):
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(size=(2, 3, *kernel)), rng.normal(size=3)
    image = features(seed)
    theirs = F.conv_transpose2d(
        batch(image), torch.from_numpy(weights), torch.from_numpy(bias), stride=stride, padding=padding
    )
    ours = transposed_convolution(image, weights, bias, stride=stride, padding=padding)
    np.testing.assert_allclose(ours, theirs[0], atol=1e-12)


@fast
@given(seed=seeds, **geometry)
def test_transposed_convolution_is_the_adjoint_of_convolution(seed, kernel, stride, padding):
    """<Ax, y> = <x, A'y>; convolve's kernel is (out, in), which is (in, out) on the way back."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(2, 3, 4))
    weights = rng.normal(size=(2, 3, *kernel))
    back = transposed_convolution(y, weights, stride=stride, padding=padding)
    x = rng.normal(size=back.shape)
    forth = convolve(x, weights, stride=stride, padding=padding)
    assert forth.shape == y.shape
    assert (forth * y).sum() == pytest.approx((x * back).sum(), rel=1e-9, abs=1e-9)


def test_wrong_shapes_are_refused():
    with pytest.raises(DataError, match=r"as many input channels, found \(2, 3, 4\) and \(3, 2, 2, 2\)"):
        transposed_convolution(features(0), np.ones((3, 2, 2, 2)))
    with pytest.raises(DataError, match="padding below half of 3x4 pixels, found 2"):
        transposed_convolution(features(0), np.ones((2, 1, 1, 1)), padding=2)


# Bilinear interpolation


def test_bilinear_by_hand():
    assert bilinear(np.array([[[0, 4]]]), (1, 4)).tolist() == [[[0, 1, 3, 4]]]


@fast
@given(seeds, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_bilinear_equals_torch(seed, size):
    image = features(seed)
    theirs = F.interpolate(batch(image), size=size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bilinear(image, size), theirs[0], atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_a_transposed_convolution_with_the_bilinear_kernel_interpolates(factor):
    """But for the border, where interpolation repeats the edge and the convolution sees zeros."""
    image = features(0, channels=1)
    kernel = bilinear_kernel(factor)
    enlarged = transposed_convolution(
        image, kernel[None, None], stride=factor, padding=(len(kernel) - factor + 1) // 2
    )
    inner = np.s_[:, factor:-factor, factor:-factor]
    expected = bilinear(image, (3 * factor, 4 * factor))
    np.testing.assert_allclose(enlarged[:, : 3 * factor, : 4 * factor][inner], expected[inner], atol=1e-12)
