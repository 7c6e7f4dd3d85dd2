"""Convolution as the lectures define it: a readable reference, and the arithmetic around it.

The functions on arrays loop over output positions as the formulas do. They are what the fast ones are tested
against, and what a student reads; networks use PyTorch's.
Sizes, kernels, strides and paddings are (height, width) pairs; one number stands for both. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError

Array = NDArray[Any]  # any dtype that adds and multiplies: integers, floats, symbols
Pair = tuple[int, int]  # (height, width)
Padding = int | Pair | Literal["valid", "same"]


def convolve(
    image: Array, kernel: Array, bias: Array | None = None, *, stride: int | Pair = 1, padding: Padding = 0
) -> Array:
    """Slide each kernel over the image; each output is the dot product of the kernel and the patch under it.

    output[o, y, x] = bias[o] + sum over c, m, n of kernel[o, c, m, n] * padded[c, S y + m, S x + n]

    The kernel is not flipped: mathematics calls this cross-correlation, the field calls it convolution.

    Args:
        image: (C_in, H, W), any dtype.
        kernel: (C_out, C_in, M_h, M_w).
        bias: (C_out,); None = no bias.
        stride: step of the kernel in pixels, >= 1.
        padding: pixels of zeros on each side, >= 0; or "valid" (none) or "same" (see `same_padding`).

    Returns:
        (C_out, H_out, W_out); see `output_size`.

    Raises:
        DataError: the shapes do not fit, or the kernel is larger than the padded image.

    Source: 000_b585b7f8effd23fd (multiple channels), 002_c9420f5f504d7522, 003_d93f97826a28392a.
    """
    if image.ndim != 3 or kernel.ndim != 4 or kernel.shape[1] != image.shape[0]:
        raise DataError(
            "expected an image (C_in, H, W) and a kernel (C_out, C_in, M, M) of as many input channels, "
            f"found {image.shape} and {kernel.shape}"
        )
    rows, columns = output_size(_hw(image), _hw(kernel), stride=stride, padding=padding)
    output = np.empty((len(kernel), rows, columns), dtype=np.result_type(image, kernel))
    for y, x, patch in _patches(image, _hw(kernel), stride, padding, fill=0):
        for o, weights in enumerate(kernel):
            output[o, y, x] = (weights * patch).sum()
    return output if bias is None else output + bias[:, None, None]


def max_pool(
    image: Array, window: int | Pair, *, stride: int | Pair | None = None, padding: Padding = 0
) -> Array:
    """The largest value of each channel under a window; padding never wins.

    Args:
        image: (C, H, W), any ordered dtype.
        window: size of the window in pixels.
        stride: step of the window; None = its size, so that windows do not overlap.
        padding: as for `convolve`; at most half the window, so that no window sees padding only.

    Returns:
        (C, H_out, W_out) of the same dtype.

    Raises:
        DataError: the window is larger than the padded image, or the padding than half the window.

    Source: 001_b1f6aa7dbe7f71d4 (pooling layers), 004_6ab4db5b611e3018.
    """
    lowest = np.iinfo(image.dtype).min if np.issubdtype(image.dtype, np.integer) else -np.inf
    return _pool(image, window, stride, padding, np.max, fill=lowest)


def average_pool(
    image: Array, window: int | Pair, *, stride: int | Pair | None = None, padding: Padding = 0
) -> Array:
    """The mean of each channel under a window; padded zeros are counted, as PyTorch does by default.

    Args and shapes as for `max_pool`; the result is floating point.
    """
    return _pool(image.astype(np.result_type(image, np.float32)), window, stride, padding, np.mean, fill=0)


def relu(values: Array) -> Array:
    """max(0, x), element by element."""
    return np.maximum(values, 0)


def _pool(
    image: Array,
    window: int | Pair,
    stride: int | Pair | None,
    padding: Padding,
    reduce: Callable[..., Array],
    fill: float,
) -> Array:
    step = window if stride is None else stride
    margins = _margins(_hw(image), _pair(window), step, padding)
    if any(before > span // 2 for (before, _), span in zip(margins, _pair(window), strict=True)):
        raise DataError(f"expected padding of at most half the window {window}, found {padding}")
    rows, columns = output_size(_hw(image), window, stride=step, padding=padding)
    output = np.empty((len(image), rows, columns), dtype=image.dtype)
    for y, x, patch in _patches(image, _pair(window), step, padding, fill):
        output[:, y, x] = reduce(patch, axis=(1, 2))
    return output


def _patches(
    image: Array, window: Pair, stride: int | Pair, padding: Padding, fill: float
) -> Iterator[tuple[int, int, Array]]:
    """(y, x, the (C, M_h, M_w) patch that output (y, x) sees), row by row."""
    rows, columns = output_size(_hw(image), window, stride=stride, padding=padding)
    (top, bottom), (left, right) = _margins(_hw(image), window, stride, padding)
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    step_y, step_x = _pair(stride)
    for y in range(rows):
        for x in range(columns):
            i, j = y * step_y, x * step_x
            yield y, x, padded[:, i : i + window[0], j : j + window[1]]


def output_size(
    size: Pair, kernel: int | Pair, *, stride: int | Pair = 1, padding: Padding = 0, dilation: int | Pair = 1
) -> Pair:
    """(height, width) after a convolution or pooling: floor((J + 2P - M) / S) + 1.

    "valid" is P = 0; "same" gives ceil(J / S) whatever the kernel, as TensorFlow defines it. With dilation D
    the kernel spans D * (M - 1) + 1 pixels.

    Raises:
        DataError: the kernel does not fit into the padded image.

    Source: 002_c9420f5f504d7522 (strided convolutions), 003_d93f97826a28392a (VALID and SAME). The slides of
        003 leave the floor out; it is needed wherever the stride does not divide.
    """
    spans = _spans(kernel, dilation)
    margins = _margins(size, spans, stride, padding)
    rows, columns = (
        (length + before + after - span) // step + 1
        for length, (before, after), span, step in zip(size, margins, spans, _pair(stride), strict=True)
    )
    if rows < 1 or columns < 1:
        raise DataError(
            f"expected an image of at least {spans[0]}x{spans[1]} pixels with its padding for this kernel, "
            f"found {size[0]}x{size[1]} and padding {padding}"
        )
    return rows, columns


def same_padding(size: Pair, kernel: int | Pair, *, stride: int | Pair = 1) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) zeros for SAME padding: the total is halved, the odd pixel goes last.

    For an odd kernel M and stride 1 this is (M - 1) / 2 on each side.

    Source: TensorFlow, documentation of tf.nn, "Notes on padding"; 003_d93f97826a28392a.
    """
    totals = [
        max((-(-length // step) - 1) * step + span - length, 0)
        for length, span, step in zip(size, _pair(kernel), _pair(stride), strict=True)
    ]
    top, left = (total // 2 for total in totals)
    return (top, totals[0] - top), (left, totals[1] - left)


def convolution_parameters(
    kernel: int | Pair, channels_in: int, channels_out: int, *, bias: bool = True, groups: int = 1
) -> int:
    """Weights of a convolution: (M * M * C_in + 1) * C_out, the 1 being the bias.

    Source: 002_c9420f5f504d7522 (multi-dimensional convolutions), 001_b1f6aa7dbe7f71d4 (56).
    """
    height, width = _pair(kernel)
    return (height * width * channels_in // groups + bias) * channels_out


def fully_connected_parameters(inputs: int, outputs: int, *, bias: bool = True) -> int:
    """Weights of a fully connected layer: (inputs + 1) * outputs. Source: 000_b585b7f8effd23fd (372)."""
    return (inputs + bias) * outputs


def convolution_macs(
    kernel: int | Pair, channels_in: int, channels_out: int, size_out: Pair, *, groups: int = 1
) -> int:
    """Multiplications with addition of a convolution: each output value costs M * M * C_in of them."""
    weights = convolution_parameters(kernel, channels_in, channels_out, bias=False, groups=groups)
    return weights * size_out[0] * size_out[1]


@dataclass(frozen=True, slots=True)
class Window:
    """A layer as far as its geometry goes: kernel and stride in pixels of its own input."""

    kernel: int
    stride: int = 1
    dilation: int = 1


def receptive_field(layers: Iterable[Window]) -> tuple[int, int]:
    """(receptive field, cumulative stride) of a chain of layers, in pixels of the picture, along one axis.

    Each layer adds its span less one, counted in steps of the layers before it:
    r = 1 + sum of D * (M - 1) * (product of the strides before).

    >>> receptive_field([Window(3), Window(2, stride=2)])  # a 3x3 convolution, then 2x2 pooling: 4x4 pixels
    (4, 2)

    Source: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
        equation 2; 004_6ab4db5b611e3018 (one pooled value sees 16 pixels).
    """
    field, step = 1, 1
    for layer in layers:
        field += layer.dilation * (layer.kernel - 1) * step
        step *= layer.stride
    return field, step


def _hw(array: Array) -> Pair:
    return array.shape[-2], array.shape[-1]


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def _spans(kernel: int | Pair, dilation: int | Pair) -> Pair:
    height, width = (d * (m - 1) + 1 for m, d in zip(_pair(kernel), _pair(dilation), strict=True))
    return height, width


def _margins(size: Pair, span: Pair, stride: int | Pair, padding: Padding) -> tuple[Pair, Pair]:
    if padding == "same":
        return same_padding(size, span, stride=stride)
    rows, columns = (0, 0) if padding == "valid" else _pair(padding)
    return (rows, rows), (columns, columns)
