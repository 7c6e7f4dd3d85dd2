"""Pictures with boxes on them, readable at any size of picture and number of boxes; and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from visiontasks.classes import BACKGROUND, ClassMap
from visiontasks.detection.types import Boxes, Detections, Floats
from visiontasks.drawing import (
    DARK,
    SMALLEST_FONT,
    color_of,
    contact_sheet,
    draw_box,
    draw_label,
    enlarged,
    font_size,
    label_height,
    label_width,
    shorten,
)
from visiontasks.plots import plot_confusion, plot_precision_recall
from visiontasks.types import Example, Image

SMALLEST_SHARE: Final = 0.016  # letters where boxes are small, as a share of the picture's shorter side
BOX_SHARE: Final = 0.25  # letters, as a share of the middling box's side
COVER: Final = 0.2  # of the picture, that labels may hide
LETTER_AREA: Final = 1.1  # of a letter with its share of the plate, as a multiple of its size squared
NAME_SHARE: Final = 0.4  # of the picture's width, that a name may take
LEGEND_LINES: Final = 8  # classes in the legend
WINDOWS: Final = 36  # windows of an example that are drawn
Plate = tuple[float, float, float, float]  # xyxy, pixels of the drawing


def draw(image: Image, result: Detections | Boxes, classes: ClassMap) -> Image:
    """The picture with its boxes, each in its class's colour, with name and score.

    The best boxes are drawn last and named first; a label that would hide another one is left out, and then
    a legend counts the classes.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: a prediction, or the true boxes.
        classes: their names; long ones are shortened.

    Returns:
        (f*H, f*W, 3) uint8: the same size, but where the shorter side has less than 200 pixels the picture
        is enlarged by the whole number f, so that labels can be read.
    """
    drawn = enlarged(image)
    boxes: Floats = result.boxes * (drawn.shape[0] / image.shape[0])
    if isinstance(result, Detections):
        numbers = [f" {score:.2f}" for score in result.scores.tolist()]
    else:
        numbers = [" (crowd)" if crowd else "" for crowd in result.crowd.tolist()]
    _draw_boxes(drawn, boxes, [classes.names[label] for label in result.labels.tolist()], numbers)
    return drawn


def draw_example(example: Example[Boxes], classes: ClassMap) -> Image:
    """What the network is fed with: the picture in network pixels, with the boxes that it is trained on.

    Args:
        example: image (3, H, W) uint8 and a target with boxes and labels; or windows (W, 3, h, w) and a
            target with the label of each, K for the background, -1 for those that are left out.
        classes: their K names.
    """
    names = [*classes.names, BACKGROUND, "(not learnt from)"]  # the last is number -1
    labels = [names[label] for label in np.asarray(example.target.labels).tolist()]
    image = np.moveaxis(np.asarray(example.image), -3, -1)  # (..., H, W, 3)
    if image.ndim == 4:  # windows
        shown = zip(image[:WINDOWS], labels, strict=False)
        return contact_sheet([_draw_window(np.ascontiguousarray(window), name) for window, name in shown])
    drawn = enlarged(np.ascontiguousarray(image))
    boxes = np.asarray(example.target.boxes, dtype=np.float64) * (drawn.shape[0] / image.shape[0])
    _draw_boxes(drawn, boxes, labels, [""] * len(labels))
    return drawn


def _draw_window(image: Image, name: str) -> Image:
    drawn = enlarged(image)
    draw_label(drawn, name, (0, 0), color_of(name))
    return drawn


def _draw_boxes(image: Image, boxes: Floats, names: Sequence[str], numbers: Sequence[str]) -> None:
    """Paint boxes (N, 4), best first, and as many of their labels as there is room for; in place."""
    size = _letters(image, boxes, [name + number for name, number in zip(names, numbers, strict=True)])
    for i in reversed(range(len(boxes))):
        draw_box(image, boxes[i].tolist(), color_of(names[i]), thickness=max(2, size // 6))
    longest = int(NAME_SHARE * image.shape[1])
    short = {name: shorten(name, size, longest) for name in set(names)}
    texts = [short[name] + number for name, number in zip(names, numbers, strict=True)]
    places = _places(image, boxes, texts, size, [])
    if None in places:
        places = _places(image, boxes, texts, size, _draw_legend(image, names, size))
    for name, text, place in zip(names, texts, places, strict=True):
        if place is not None:
            draw_label(image, text, place[:2], color_of(name), size=size)


def _letters(image: Image, boxes: Floats, texts: Sequence[str]) -> int:
    """Size of letters, pixels: small beside small or many boxes, but readable when all of it is shown."""
    largest = font_size(image.shape[0], image.shape[1])
    if not len(boxes):
        return largest
    smallest = max(SMALLEST_FONT, SMALLEST_SHARE * min(image.shape[:2]))
    side = float(np.median(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))))
    cover = sum(map(len, texts)) * LETTER_AREA / (COVER * image.shape[0] * image.shape[1])
    size: float = np.clip(min(BOX_SHARE * side, cover**-0.5), smallest, largest)
    return round(size)


def _places(
    image: Image, boxes: Floats, texts: Sequence[str], size: int, taken: Sequence[Plate]
) -> list[Plate | None]:
    """Where each label goes; None where it would hide another one, or where all hide too much of the picture.

    taken: places that are not free.
    """
    height = label_height(size)
    room_left = COVER * image.shape[0] * image.shape[1]
    free = np.empty((len(taken) + len(boxes), 4))
    free[: len(taken)] = np.reshape(taken, (-1, 4))
    places: list[Plate | None] = []
    count = len(taken)
    for (left, top, right, bottom), text in zip(boxes.tolist(), texts, strict=True):
        width = label_width(text, size)
        above, inside, below = (left, top - height), (left, top), (left, bottom)
        corners = np.round([above, inside, below, (right - width, top - height), (left, bottom - height)])
        room = np.array([image.shape[1] - width, image.shape[0] - height])
        plates = np.tile(np.maximum(0, np.minimum(corners, room)), 2) + np.array([0, 0, width, height])
        apart = np.logical_or(
            plates[:, None, :2] >= free[None, :count, 2:], plates[:, None, 2:] <= free[None, :count, :2]
        )  # (5, count, 2)
        fits = np.flatnonzero(apart.any(axis=2).all(axis=1))
        if not len(fits) or (places and room_left < width * height):
            places.append(None)
            continue
        free[count] = plates[fits[0]]
        x, y, x2, y2 = free[count].tolist()
        places.append((x, y, x2, y2))
        room_left -= width * height
        count += 1
    return places


def _draw_legend(image: Image, names: Sequence[str], size: int) -> list[Plate]:
    """How many boxes of each class, in the upper left corner; returns the places that it takes."""
    counts = Counter(names).most_common()
    lines = [(name, f"{count} {shorten(name, size, image.shape[1] // 2)}") for name, count in counts]
    if len(lines) > LEGEND_LINES:
        lines[LEGEND_LINES - 1 :] = [("", f"{len(lines) - LEGEND_LINES + 1} more classes")]
    height = label_height(size)
    for line, (name, text) in enumerate(lines):
        draw_label(image, text, (0, line * height), color_of(name) if name else DARK, size=size)
    return [
        (0.0, float(line * height), float(label_width(text, size)), float((line + 1) * height))
        for line, (_, text) in enumerate(lines)
    ]


def plots(tables: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of an evaluation, as PNG by file name. tables: the evaluator's."""
    return {
        "precision_recall.png": plot_precision_recall(tables["curves"], tables["overlaps"]),
        "confusion.png": plot_confusion(tables["confusion"]),
    }
