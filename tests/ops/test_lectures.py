"""The worked examples of the five lectures, against the reference and against torch.

Each was computed again by hand; where a slide has a slip, a comment says so and the right number is used.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visiontasks.ops.convolution import Window, convolve, max_pool, receptive_field, relu


def grid(*rows: str) -> np.ndarray:
    """A matrix as the slides print it: one string a row."""
    return np.array([[float(value) for value in row.split()] for row in rows])


@dataclass(frozen=True)
class Example:
    """One convolution with a single channel: image (H, W) and kernel (M, M) -> output."""

    name: str
    source: str
    image: np.ndarray
    kernel: np.ndarray
    output: np.ndarray
    stride: int = 1
    padding: int = 0


VERTICAL = grid("-1 2 -1", "-1 2 -1", "-1 2 -1")
HORIZONTAL = VERTICAL.T
IDENTITY = grid("0 0 0", "0 1 0", "0 0 0")

LINES = grid("0 0 0 0 0 0", "0 1 0 0 0 0", "0 1 1 1 1 1", "0 1 0 0 0 0", "0 0 0 0 0 0")

AXES = grid("0 1 0 1", "0 1 0 1", "1 1 1 1", "0 -2 0 -2")

BLOB = grid(
    "0 0 0 0 0 0 0",
    "0 0 1 1 1 0 0",
    "0 1 1 1 1 1 0",
    "0 1 1 1 0 0 0",
    "0 1 1 1 1 1 0",
    "0 0 1 1 1 0 0",
    "0 0 0 0 0 0 0",
)
BLOB_EDGES = grid("0 1 3 1 0", "1 1 1 3 3", "0 0 -2 -4 -4", "1 1 1 3 3", "0 1 3 1 0")

CURVE = grid(
    "0 0 0 0 0 30 0",
    "0 0 0 0 30 0 0",
    "0 0 0 30 0 0 0",
    "0 0 0 30 0 0 0",
    "0 0 0 30 0 0 0",
    "0 0 0 30 0 0 0",
    "0 0 0 0 0 0 0",
)
MOUSE_BACK = grid(
    "0 0 0 0 0 0 30",
    "0 0 0 0 50 50 50",
    "0 0 0 20 50 0 0",
    "0 0 0 50 50 0 0",
    "0 0 0 50 50 0 0",
    "0 0 0 50 50 0 0",
    "0 0 0 50 50 0 0",
)
MOUSE_HEAD = grid(
    "0 0 0 0 0 0 0",
    "0 40 0 0 0 0 0",
    "40 0 40 0 0 0 0",
    "40 20 0 0 0 0 0",
    "0 50 0 0 0 0 0",
    "0 0 50 0 0 0 0",
    "25 25 0 50 0 0 0",
)

EXAMPLES = [
    Example(
        "vertical edge, 5x6 -> 3x4",
        "000_b585b7f8effd23fd",
        LINES,
        VERTICAL,
        grid("3 -1 0 0", "5 -2 0 0", "3 -1 0 0"),
    ),
    Example("axes, vertical", "001_b1f6aa7dbe7f71d4", AXES, VERTICAL / 2, grid("2 -2", "-1 1")),
    # The slides leave the second filter to the reader; by hand: top left -1/2 + 1 - 3/2 = -1, and so on.
    Example("axes, horizontal", "001_b1f6aa7dbe7f71d4", AXES, HORIZONTAL / 2, grid("-1 -0.5", "3.5 4")),
    # 003 prints (-4, -3; 3, -8) and later, for the same input, (-4, -3; 2, -9): the second row of the latter
    # is a slip. 7 + 1 + 1 - (0 + 5 + 1) = 3 and 1 + 1 + 0 - (5 + 1 + 4) = -8.
    Example(
        "rows, 4x4",
        "003_d93f97826a28392a",
        grid("2 0 1 3", "7 1 1 0", "0 2 5 0", "0 5 1 4"),
        grid("1 1 1", "0 0 0", "-1 -1 -1"),
        grid("-4 -3", "3 -8"),
    ),
    Example("curve found", "003_d93f97826a28392a", MOUSE_BACK, CURVE, grid("6600")),
    Example("curve not found", "003_d93f97826a28392a", MOUSE_HEAD, CURVE, grid("0")),
    Example(
        "recap, VALID",
        "003_d93f97826a28392a",
        grid("2 0 3 1", "1 1 0 0", "1 0 2 0", "1 0 1 2"),
        grid("1 0 -1", "2 0 -2", "1 0 -1"),
        grid("0 1", "-1 -1"),
    ),
    Example("identity, 7x7 -> 5x5", "004_6ab4db5b611e3018", BLOB, IDENTITY, BLOB[1:-1, 1:-1]),
    Example("identity, padded", "004_6ab4db5b611e3018", BLOB, IDENTITY, BLOB, padding=1),
    Example(
        "blur",
        "004_6ab4db5b611e3018",
        BLOB,
        np.ones((3, 3)) / 9,
        grid("3 5 6 5 3", "5 8 8 6 3", "6 9 8 7 4", "5 8 8 6 3", "3 5 6 5 3") / 9,
    ),
    Example("horizontal edges", "004_6ab4db5b611e3018", BLOB, HORIZONTAL, BLOB_EDGES),
]


def batch(array):
    """(C, H, W) array -> (1, C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(array))[None]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_lecture_example(example):
    image, kernel = example.image[None], example.kernel[None, None]
    ours = convolve(image, kernel, stride=example.stride, padding=example.padding)
    theirs = F.conv2d(batch(image), torch.from_numpy(kernel), stride=example.stride, padding=example.padding)
    np.testing.assert_allclose(ours[0], example.output, atol=1e-12)
    np.testing.assert_allclose(theirs[0, 0].numpy(), example.output, atol=1e-12)


def test_one_element_is_the_dot_product_of_kernel_and_patch():
    # 000: element (1, 2) of the output comes from input[1:4, 2:5]
    output = convolve(LINES[None], VERTICAL[None, None])[0]
    assert output[1, 2] == (VERTICAL * LINES[1:4, 2:5]).sum() == 0


def test_two_kernels_give_two_channels():
    # 000: Kernel[0, 0] looks for vertical lines, Kernel[1, 0] for horizontal ones
    bank = np.stack([VERTICAL, HORIZONTAL])[:, None]
    output = convolve(LINES[None], bank)
    assert output.shape == (2, 3, 4)
    np.testing.assert_array_equal(output[1], grid("0 -1 -3 -3", "2 4 6 6", "0 -1 -3 -3"))
    np.testing.assert_array_equal(output, F.conv2d(batch(LINES[None]), torch.from_numpy(bank))[0].numpy())


def test_symbols():
    # 002: a 3x3 image convolved with a 2x2 filter, as letters
    import sympy

    letters = np.array(sympy.symbols("a b c d e f g h i j k l m"))
    image, kernel = letters[:9].reshape(1, 3, 3), letters[9:].reshape(1, 1, 2, 2)
    a, b, c, d, e, f, g, h, i, j, k, ell, m = letters
    expected = [
        [a * j + b * k + d * ell + e * m, b * j + c * k + e * ell + f * m],
        [d * j + e * k + g * ell + h * m, e * j + f * k + h * ell + i * m],
    ]
    assert (convolve(image, kernel)[0] == np.array(expected, dtype=object)).all()


def test_axes_are_told_apart_by_the_pooled_features():
    # 001: convolve with two filters, then max pooling over all that is left
    bank = np.stack([VERTICAL, HORIZONTAL])[:, None] / 2
    features = convolve(AXES[None], bank)
    np.testing.assert_array_equal(max_pool(features, 2)[:, 0, 0], [2, 4])
    np.testing.assert_array_equal(F.max_pool2d(batch(features), 2)[0, :, 0, 0].numpy(), [2, 4])


def test_edges_relu_and_max_pooling():
    # 004: the whole chain
    edges = convolve(BLOB[None], HORIZONTAL[None, None])
    activated = relu(edges)
    np.testing.assert_array_equal(edges[0], BLOB_EDGES)
    np.testing.assert_array_equal(activated[0], np.where(BLOB_EDGES > 0, BLOB_EDGES, 0))
    np.testing.assert_array_equal(max_pool(activated, 2)[0], grid("1 3", "1 3"))
    np.testing.assert_array_equal(F.max_pool2d(batch(activated), 2)[0].numpy(), max_pool(activated, 2))


def test_a_pooled_pixel_sees_16_input_pixels():
    # 004, and found again by changing each input pixel in turn
    convolution, pooling = Window(3), Window(2, stride=2)
    assert receptive_field([convolution, pooling]) == (4, 2)

    def pooled(image):
        return max_pool(convolve(image[None], np.ones((1, 1, 3, 3))), 2)[0]

    seen = [
        (y, x)
        for y, x in np.ndindex(BLOB.shape)
        if pooled(BLOB + 100 * (np.indices(BLOB.shape) == np.array([y, x])[:, None, None]).all(0))[0, 0]
        != pooled(BLOB)[0, 0]
    ]
    assert seen == [(y, x) for y in range(4) for x in range(4)]
    # The slide adds that pooling once more gives a pixel that sees the entire input. It sees 6x6 of the 7x7:
    # the first pooling leaves out the last row and column of its 5x5 input.
    assert receptive_field([convolution, pooling, pooling]) == (6, 4)


def test_each_input_pixel_feeds_few_outputs():
    # 003: "partially connected"; a corner of the 4x4 image feeds one output, the middle all four
    feeds = np.zeros((4, 4), dtype=int)
    for y, x in np.ndindex(4, 4):
        impulse = np.zeros((1, 4, 4))
        impulse[0, y, x] = 1
        feeds[y, x] = np.count_nonzero(convolve(impulse, np.ones((1, 1, 3, 3))))
    np.testing.assert_array_equal(feeds, grid("1 2 2 1", "2 4 4 2", "2 4 4 2", "1 2 2 1"))


def test_zero_padding_masks_the_filter():
    # 003: at a corner, a padded convolution equals one with the part of the filter that lies on the image
    image, kernel = np.arange(25.0).reshape(5, 5), np.arange(1.0, 10).reshape(3, 3)
    corner = convolve(image[None], kernel[None, None], padding="same")[0, 0, 0]
    assert corner == (image[:2, :2] * kernel[1:, 1:]).sum()
