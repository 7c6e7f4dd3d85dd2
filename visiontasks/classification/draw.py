"""Pictures with their class on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.classification.types import Classification
from visiontasks.drawing import (
    color_of,
    draw_label,
    enlarged,
    font_size,
    label_height,
    shorten,
    text_width,
)
from visiontasks.plots import plot_confusion, plot_reliability
from visiontasks.types import Example, Image

LINES = 3  # classes on a picture
SMALLEST_SHARE = 0.05  # probability below which the second and third class are left out


def draw(image: Image, result: Classification | int, classes: ClassMap) -> Image:
    """The picture with its class in the upper left corner.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: a prediction (its best classes with their probabilities), or a true class's index.
        classes: their names; long ones are shortened.

    Returns:
        (f*H, f*W, 3) uint8: the same size, but where the shorter side has less than 200 pixels the picture
        is enlarged by the whole number f, so that the label can be read.
    """
    if isinstance(result, Classification):
        best = [(index, p) for index, p in result.top(LINES) if p >= SMALLEST_SHARE] or result.top(1)
        return _draw_shares(image, best, classes)
    return _draw_shares(image, [(int(result), None)], classes)


def draw_example(example: Example[int], classes: ClassMap) -> Image:
    """What the network is fed with: the picture in network pixels, with the classes of its target.

    Args:
        example: image (3, H, W) uint8; target (K,), the share of each class (mixup blends two).
        classes: their names.
    """
    image = np.ascontiguousarray(np.asarray(example.image).transpose(1, 2, 0))  # (H, W, 3)
    target = np.asarray(example.target)
    order = np.argsort(-target, kind="stable")[: LINES - 1]
    shares = [(int(index), float(target[index])) for index in order if target[index] > 0]
    if len(shares) == 1:
        return _draw_shares(image, [(shares[0][0], None)], classes)
    return _draw_shares(image, shares, classes)


def _draw_shares(image: Image, shares: Sequence[tuple[int, float | None]], classes: ClassMap) -> Image:
    """Labels from the upper left corner down: (class, its share or None)."""
    drawn = enlarged(image)
    height, width = drawn.shape[:2]
    size = font_size(height, width)
    for line, (index, share) in reversed(list(enumerate(shares))):  # the best on top, where there is no room
        name, number = classes.names[index], "" if share is None else f" {share:.2f}"
        text = shorten(name, size, width - text_width(number, size) - size) + number
        draw_label(drawn, text, (0, line * label_height(size)), color_of(name), size=size)
    return drawn


def plots(tables: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of an evaluation, as PNG by file name. tables: the evaluator's."""
    figures = {"confusion.png": plot_confusion(tables["confusion"])}
    if tables["reliability"]:
        figures["reliability.png"] = plot_reliability(tables["reliability"])
    return figures
