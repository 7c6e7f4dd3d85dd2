"""The reference convolution and its arithmetic against the lectures' numbers and against torch."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from visiontasks.errors import DataError
from visiontasks.ops.convolution import (
    Window,
    average_pool,
    convolution_macs,
    convolution_parameters,
    convolve,
    fully_connected_parameters,
    max_pool,
    output_size,
    receptive_field,
    same_padding,
)

fast = settings(max_examples=40, deadline=None, derandomize=True)
sides = st.integers(1, 9)
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))


def batch(array):
    """(C, H, W) array -> (1, C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(array))[None]


# Arithmetic


def test_parameters_of_the_lectures():
    assert convolution_parameters(3, 1, 1) == 10  # 000: against the fully connected layer's 372
    assert fully_connected_parameters(5 * 6, 3 * 4) == 372
    assert convolution_parameters(3, 3, 2) == 56  # 001
    assert fully_connected_parameters(28 * 28, 10) == 7850  # 004: a digit as a vector of length 784


@pytest.mark.parametrize(
    ("bias", "groups", "kernel"), [(True, 1, (3, 3)), (False, 2, (1, 5)), (True, 4, (2, 3))]
)
def test_parameters_equal_torch(bias, groups, kernel):
    layer = torch.nn.Conv2d(8, 12, kernel, bias=bias, groups=groups)
    found = convolution_parameters(kernel, 8, 12, bias=bias, groups=groups)
    assert found == sum(weights.numel() for weights in layer.parameters())


def test_macs_count_each_product():
    # AlexNet's first layer: 55 * 55 outputs of 64 channels, each 11 * 11 * 3 products
    assert convolution_macs(11, 3, 64, (55, 55)) == 70_276_800
    assert convolution_macs(3, 32, 32, (10, 20), groups=32) == 9 * 32 * 200


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        pytest.param((5, 6), 3, 1, 0, (3, 4), id="000 edge detector"),
        pytest.param((32, 20), 3, 1, 0, (30, 18), id="000 K=3 shrinks by 2"),
        pytest.param((32, 20), 3, 1, 1, (32, 20), id="000 K=3, pad by 1"),
        pytest.param((32, 20), 5, 1, 2, (32, 20), id="000 K=5, pad by 2"),
        pytest.param((32, 20), 2, 2, 0, (16, 10), id="000 pooling by P=2"),
        pytest.param((7, 7), 3, 2, 1, (4, 4), id="001 kernel 3, stride 2, padding 1"),
        pytest.param((3, 3), 2, 1, 0, (2, 2), id="002 symbols"),
        pytest.param((10, 7), 3, 1, "valid", (8, 5), id="002 valid"),
        pytest.param((10, 7), 3, 1, "same", (10, 7), id="002 same"),
        pytest.param((10, 7), 3, 2, 1, (5, 4), id="002 strided, floor"),
        pytest.param((4, 4), 3, 1, 0, (2, 2), id="003 VALID, w = 4"),
        pytest.param((4, 4), 3, 1, 1, (4, 4), id="003 SAME, w = 4"),
        pytest.param((4, 4), 3, 1, "same", (4, 4), id="003 SAME by name"),
        pytest.param((5, 5), 3, 2, 0, (2, 2), id="003 stride 2"),
        pytest.param((5, 5), 3, 1, 1, (5, 5), id="003 5x5 padded to 7x7"),
        pytest.param((2, 2), 3, 1, 2, (4, 4), id="003 padding 2: 2x2 becomes 6x6"),
        pytest.param((7, 7), 3, 1, 0, (5, 5), id="004 7x7 -> 5x5"),
        pytest.param((9, 9), 3, 1, 0, (7, 7), id="004 padded by hand to 9x9"),
        pytest.param((5, 5), 2, 2, 0, (2, 2), id="004 pooling, floor"),
        pytest.param((224, 224), 11, 4, 2, (55, 55), id="001 AlexNet's first layer"),
    ],
)
def test_output_size(size, kernel, stride, padding, expected):
    assert output_size(size, kernel, stride=stride, padding=padding) == expected
    output = convolve(np.ones((1, *size)), np.ones((1, 1, kernel, kernel)), stride=stride, padding=padding)
    assert output.shape == (1, *expected)


def test_a_residual_block_needs_padding():
    # 001 gives residual blocks "kernel size 3, no padding"; without padding F(x) and x could not be added.
    assert output_size((56, 56), 3, padding=0) == (54, 54)
    assert output_size((56, 56), 3, padding=1) == (56, 56)


@fast
@given(size=st.tuples(sides, sides), kernel=kernels, stride=strides)
def test_same_is_tensorflows(size, kernel, stride):
    """Size ceil(J / S); the total padding is the least that gives it, its odd pixel at the end."""
    assert output_size(size, kernel, stride=stride, padding="same") == tuple(
        math.ceil(length / step) for length, step in zip(size, stride, strict=True)
    )
    for length, span, step, (before, after) in zip(
        size, kernel, stride, same_padding(size, kernel, stride=stride), strict=True
    ):
        assert after - before in (0, 1)
        needed = (math.ceil(length / step) - 1) * step + span
        assert before + after == max(needed - length, 0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_same_equals_torch(kernel):
    rng = np.random.default_rng(kernel)
    image, weights = rng.normal(size=(2, 6, 7)), rng.normal(size=(3, 2, kernel, kernel))
    theirs = F.conv2d(batch(image), torch.from_numpy(weights), padding="same")[0]
    np.testing.assert_allclose(convolve(image, weights, padding="same"), theirs, atol=1e-12)


def test_receptive_fields_of_chains():
    vgg16 = [*[Window(3)] * 2, Window(2, 2)] * 2 + [*[Window(3)] * 3, Window(2, 2)] * 3
    assert receptive_field(vgg16) == (212, 32)  # Araujo et al. 2019
    assert receptive_field([]) == (1, 1)
    assert receptive_field([Window(3, dilation=2), Window(3, stride=2), Window(3)]) == (11, 2)


# Random input against torch


@fast
@given(
    size=st.tuples(sides, sides),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=kernels,
    stride=strides,
    padding=paddings,
    seed=st.integers(0, 99),
)
def test_convolve_equals_torch(size, channels, kernel, stride, padding, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(channels[0], *size))
    weights, bias = rng.normal(size=(channels[1], channels[0], *kernel)), rng.normal(size=channels[1])
    arguments = batch(image), torch.from_numpy(weights), torch.from_numpy(bias)
    if any(side + 2 * p < k for side, p, k in zip(size, padding, kernel, strict=True)):
        with pytest.raises(DataError, match=f"found {size[0]}x{size[1]}"):
            convolve(image, weights, bias, stride=stride, padding=padding)
        with pytest.raises(RuntimeError, match="Kernel size"):
            F.conv2d(*arguments, stride=stride, padding=padding)
        return
    theirs = F.conv2d(*arguments, stride=stride, padding=padding)[0]
    np.testing.assert_allclose(
        convolve(image, weights, bias, stride=stride, padding=padding), theirs, atol=1e-12
    )


@fast
@given(
    size=st.tuples(sides, sides), kernel=kernels, stride=strides, padding=paddings, seed=st.integers(0, 99)
)
def test_pools_equal_torch(size, kernel, stride, padding, seed):
    assume(all(p <= k // 2 for p, k in zip(padding, kernel, strict=True)))
    assume(all(side + 2 * p >= k for side, p, k in zip(size, padding, kernel, strict=True)))
    image = np.random.default_rng(seed).normal(size=(2, *size))
    options = {"stride": stride, "padding": padding}
    np.testing.assert_array_equal(
        max_pool(image, kernel, **options), F.max_pool2d(batch(image), kernel, **options)[0]
    )
    np.testing.assert_allclose(
        average_pool(image, kernel, **options), F.avg_pool2d(batch(image), kernel, **options)[0], atol=1e-12
    )


def test_pools_keep_whole_numbers_apart_from_padding():
    image = np.full((1, 2, 2), -5, dtype=np.int64)
    np.testing.assert_array_equal(max_pool(image, 2, padding=1), np.full((1, 2, 2), -5))
    np.testing.assert_array_equal(average_pool(image, 2, padding=1), np.full((1, 2, 2), -1.25))


@fast
@given(shift=st.tuples(st.integers(0, 4), st.integers(0, 4)), seed=st.integers(0, 99))
def test_translation_equivariance(shift, seed):
    """000, 001, 002: if the picture is shifted, the output is shifted by as much."""
    rng = np.random.default_rng(seed)
    pattern, kernel = rng.normal(size=(4, 4)), rng.normal(size=(1, 1, 3, 3))

    def output_of_pattern_at(y, x):
        image = np.zeros((1, 14, 14))
        image[0, 3 + y : 7 + y, 3 + x : 7 + x] = pattern
        return convolve(image, kernel, padding=1)[0]

    np.testing.assert_allclose(
        output_of_pattern_at(*shift), np.roll(output_of_pattern_at(0, 0), shift, axis=(0, 1)), atol=1e-12
    )


@fast
@given(seed=st.integers(0, 99), factor=st.floats(-3, 3))
def test_linearity(seed, factor):
    """000: convolution is a linear operation."""
    rng = np.random.default_rng(seed)
    first, second, kernel = (
        rng.normal(size=(2, 5, 5)),
        rng.normal(size=(2, 5, 5)),
        rng.normal(size=(3, 2, 3, 3)),
    )
    np.testing.assert_allclose(
        convolve(first + factor * second, kernel),
        convolve(first, kernel) + factor * convolve(second, kernel),
        atol=1e-9,
    )


# Errors


def test_shapes_that_do_not_fit():
    with pytest.raises(DataError, match=r"found \(3, 5, 5\) and \(2, 1, 3, 3\)"):
        convolve(np.ones((3, 5, 5)), np.ones((2, 1, 3, 3)))
    with pytest.raises(DataError, match=r"at least 3x3 pixels.*found 2x5"):
        convolve(np.ones((1, 2, 5)), np.ones((1, 1, 3, 3)))
    with pytest.raises(DataError, match="at most half the window 2, found 2"):
        max_pool(np.ones((1, 5, 5)), 2, padding=2)


def test_imports_no_torch():
    code = "import sys, visiontasks.ops.convolution; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
