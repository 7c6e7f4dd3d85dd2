"""Upsampling as the lectures define it: unpooling, transposed convolution, bilinear interpolation.

Readable functions on arrays, which loop as the formulas do: what networks' fast layers are tested against.
Sizes, blocks, kernels and strides are (height, width) pairs; one number stands for both. Imports no torch.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError
from visiontasks.ops.convolution import Array, Pair, output_size


def unpool_average(features: Array, block: int | Pair) -> Array:
    """Undo average pooling: each value is copied to every unit of its block.

    Args:
        features: (C, h, w), any dtype.
        block: size of the block that one value fills.

    Returns:
        (C, h * block height, w * block width) of the same dtype.

    Source: 002_c9420f5f504d7522 (unpooling operation for average pooling).
    """
    rows, columns = _pair(block)
    return features.repeat(rows, axis=1).repeat(columns, axis=2)


def unpool_first(features: Array, block: int | Pair) -> Array:
    """Undo max pooling without memory: the value goes to the first unit of its block, zeros to the rest.

    Args and result as for `unpool_average`.

    Source: 002_c9420f5f504d7522 (unpooling operation for max-pooling).
    """
    rows, columns = _pair(block)
    channels, height, width = features.shape
    output = np.zeros((channels, height * rows, width * columns), dtype=features.dtype)
    output[:, ::rows, ::columns] = features
    return output


def max_pool_with_positions(image: Array, block: int | Pair) -> tuple[Array, NDArray[np.int64]]:
    """Max pooling by blocks that do not overlap, and a record of which unit of each block was the largest.

    Args:
        image: (C, H, W), any ordered dtype; rows and columns that fill no block are left out.
        block: size of the block.

    Returns:
        values (C, h, w), and positions (C, h, w) int64: places y * W + x in the image; of equal values the
        first one.

    Raises: DataError when the block is larger than the image.

    Source: 002_c9420f5f504d7522 (unpooling with spatial information kept).
    """
    rows, columns = _pair(block)
    channels, _, width = image.shape
    height_out, width_out = output_size((image.shape[1], width), (rows, columns), stride=(rows, columns))
    values = np.empty((channels, height_out, width_out), dtype=image.dtype)
    positions = np.empty(values.shape, dtype=np.int64)
    for c, y, x in np.ndindex(values.shape):
        unit = image[c, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
        m, n = np.unravel_index(int(np.argmax(unit)), unit.shape)
        values[c, y, x] = unit[m, n]
        positions[c, y, x] = (y * rows + m) * width + x * columns + n
    return values, positions


def unpool_positions(features: Array, positions: NDArray[np.int64], size: Pair) -> Array:
    """Undo max pooling with memory: each value goes back to where the largest one stood, zeros to the rest.

    Args:
        features: (C, h, w), any dtype.
        positions: (C, h, w) from `max_pool_with_positions`.
        size: (height, width) of the image that was pooled.

    Returns:
        (C, height, width) of the dtype of `features`.

    Raises: DataError when shapes differ, or a position lies outside.

    Source: 002_c9420f5f504d7522; Badrinarayanan et al. 2017 (arXiv 1511.00561, section 3).
    """
    if features.shape != positions.shape:
        raise DataError(f"expected a position for each value, found {positions.shape} for {features.shape}")
    if positions.size and not 0 <= np.min(positions) <= np.max(positions) < size[0] * size[1]:
        raise DataError(
            f"expected positions below {size[0] * size[1]} for {size[0]}x{size[1]} pixels, "
            f"found {np.min(positions)} to {np.max(positions)}; give the size of the image that was pooled"
        )
    output = np.zeros((len(features), size[0] * size[1]), dtype=features.dtype)
    for channel, values, places in zip(output, features, positions, strict=True):
        channel[places.ravel()] = values.ravel()
    return output.reshape(len(features), *size)


def transposed_convolution(
    features: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    overlaps: Literal["sum", "average"] = "sum",
) -> Array:
    """Each input value lays the kernel, times itself, over the output; one step in is `stride` steps out.

    The sum is the adjoint of `convolve` with the same kernel, stride and padding: <Ax, y> = <x, A'y>. The
    average divides each output by how many kernels reach it.

    Args:
        features: (C_in, h, w), any dtype.
        kernel: (C_in, C_out, M_h, M_w), as PyTorch lays it out.
        bias: (C_out,); None = no bias.
        stride: output pixels from one input value to the next, >= 1.
        padding: pixels that are cut off on each side, >= 0.
        overlaps: what becomes of an output that several kernels reach.

    Returns:
        (C_out, (h - 1) * S + M - 2P, (w - 1) * S + M - 2P); average: floating point.

    Raises: DataError when the shapes do not fit, or padding cuts everything off.

    Source: 002_c9420f5f504d7522 (fully convolutional networks, transpose convolution); Dumoulin & Visin 2016
        (arXiv 1603.07285, section 4).
    """
    if features.ndim != 3 or kernel.ndim != 4 or kernel.shape[0] != features.shape[0]:
        raise DataError(
            "expected features (C_in, h, w) and a kernel (C_in, C_out, M, M) of as many input channels, "
            f"found {features.shape} and {kernel.shape}"
        )
    (step_y, step_x), (top, left) = _pair(stride), _pair(padding)
    rows, columns = kernel.shape[2:]
    height, width = (features.shape[1] - 1) * step_y + rows, (features.shape[2] - 1) * step_x + columns
    if height <= 2 * top or width <= 2 * left:
        raise DataError(f"expected padding below half of {height}x{width} pixels, found {padding}")
    output = np.zeros((kernel.shape[1], height, width), dtype=np.result_type(features, kernel))
    reached = np.zeros((height, width), dtype=np.int64)
    for y, x in np.ndindex(features.shape[1:]):
        i, j = y * step_y, x * step_x
        stamp = (features[:, y, x, None, None, None] * kernel).sum(axis=0)  # (C_out, M_h, M_w)
        output[:, i : i + rows, j : j + columns] += stamp
        reached[i : i + rows, j : j + columns] += 1
    if overlaps == "average":
        output = output / np.maximum(reached, 1)
    output = output[:, top : height - top, left : width - left]
    return output if bias is None else output + bias[:, None, None]


def bilinear_kernel(factor: int) -> NDArray[np.float64]:
    """The kernel (2F - F % 2, the same) with which a transposed convolution of stride F interpolates.

    Padding is (kernel - stride) / 2, rounded up. Its values fall off linearly from the centre.

    Source: Long et al. 2015 (arXiv 1411.4038, section 3.3).

    >>> bilinear_kernel(2)[1]
    array([0.1875, 0.5625, 0.5625, 0.1875])
    """
    size = 2 * factor - factor % 2
    line = 1 - np.abs(np.arange(size) - (size - 1) / 2) / factor
    return np.outer(line, line)


def bilinear(image: Array, size: Pair) -> Array:
    """Interpolate between the four nearest pixels, whose centres lie at half numbers; edges repeat.

    Args:
        image: (C, h, w), numbers.
        size: (height, width) of the result.

    Returns:
        (C, height, width) floating point.
    """
    image = image.astype(np.result_type(image, np.float32))
    rows, columns = image.shape[1:]
    output = np.empty((len(image), *size), dtype=image.dtype)
    for i, j in np.ndindex(*size):
        y, x = (i + 0.5) * rows / size[0] - 0.5, (j + 0.5) * columns / size[1] - 0.5
        y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        upper = image[:, top, left] * (1 - (x - left)) + image[:, top, right] * (x - left)
        lower = image[:, bottom, left] * (1 - (x - left)) + image[:, bottom, right] * (x - left)
        output[:, i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return output


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
