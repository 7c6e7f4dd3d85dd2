"""Pictures with their classes painted over, and a legend; and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import BACKGROUND, ClassMap
from visiontasks.drawing import (
    DARK,
    Color,
    color_of,
    draw_label,
    enlarged,
    font_size,
    label_height,
    label_width,
    shorten,
)
from visiontasks.plots import plot_confusion
from visiontasks.segmentation.types import IGNORE, Mask, SegmentationMap, count_pixels
from visiontasks.types import Example, Image

OPACITY: Final = 0.5  # of the paint
BAND: Final = 1 << 22  # pixels that are painted at once: bounds the memory
SMALLEST_SHARE: Final = 0.001  # of the pixels, below which a class is not in the legend
NAME_SHARE: Final = 0.3  # of the picture's width, that a name may take
LEGEND_SHARE: Final = 0.34  # of the picture's height, that the legend may take


def draw(image: Image, result: SegmentationMap | Mask, classes: ClassMap) -> Image:
    """The picture with each class painted over it in its colour, contours, and a legend at the lower edge.

    The class `background` is left unpainted, what a truth ignores is dark.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: a prediction, or a true mask (H, W).
        classes: their names; long ones are shortened.

    Returns:
        (f*H, f*W, 3) uint8: the same size, but where the shorter side has less than 200 pixels the picture
        is enlarged by the whole number f, so that the legend can be read.
    """
    mask = result.mask if isinstance(result, SegmentationMap) else result
    drawn = enlarged(image)
    _paint(drawn, mask, classes)
    _draw_legend(drawn, _entries(mask, classes))
    return drawn


def draw_example(example: Example[Mask], classes: ClassMap) -> Image:
    """What the network is fed with: the picture in network pixels, with the mask that it is trained on.

    Args:
        example: image (3, H, W) uint8; target (H, W) uint8.
        classes: their names.
    """
    image = np.ascontiguousarray(np.asarray(example.image).transpose(1, 2, 0))  # (H, W, 3)
    return draw(image, np.asarray(example.target), classes)


def plots(tables: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of an evaluation, as PNG by file name. tables: the evaluator's."""
    return {"confusion.png": plot_confusion(tables["confusion"])}


def _paint(drawn: Image, mask: Mask, classes: ClassMap) -> None:
    """Paint the classes, in place. drawn: (f*H, f*W, 3). mask: (H, W)."""
    factor = drawn.shape[0] // mask.shape[0]
    paint = np.zeros((256, 3), dtype=np.uint8)
    paint[IGNORE] = DARK
    paint[: len(classes)] = [color_of(name) for name in classes.names]
    opacity = np.full(256, OPACITY, dtype=np.float32)
    if BACKGROUND in classes.names:
        opacity[classes.names.index(BACKGROUND)] = 0
    # What a pixel becomes is kept[class] * pixel + added[class]: two table look-ups in 8 bits.
    added = np.rint(paint * opacity[:, None]).astype(np.uint8)  # (256, 3)
    kept = np.rint(256 * (1 - opacity)).astype(np.uint16)
    rows = max(1, BAND // drawn.shape[1] // factor)
    for top in range(0, len(mask), rows):
        part = mask[top : top + rows + 1].repeat(factor, axis=0).repeat(factor, axis=1)  # with a row below
        band = drawn[factor * top : factor * (top + rows)]
        contours = _contours(part)[: len(band)]
        part = part[: len(band)]
        contours &= opacity[part] > 0
        band[:] = (band * kept[part][..., None] >> 8).astype(np.uint8) + added[part]
        band[contours] = paint[part[contours]]


def _contours(mask: Mask) -> NDArray[np.bool_]:
    """Pixels whose neighbour to the right or below is of another class: (H, W)."""
    contours = np.zeros(mask.shape, dtype=np.bool_)
    contours[:, :-1] = mask[:, :-1] != mask[:, 1:]
    contours[:-1] |= mask[:-1] != mask[1:]
    return contours


def _entries(mask: Mask, classes: ClassMap) -> list[tuple[str, float, Color]]:
    """(name, share of the pixels, colour) of the classes that a mask has, most pixels first."""
    shares = count_pixels(mask) / max(1, mask.size)
    found = [
        (name, float(share), color_of(name))
        for name, share in zip(classes.names, shares.tolist(), strict=False)
    ]
    found.append(("(ignored)", float(shares[IGNORE]), DARK))
    return sorted((entry for entry in found if entry[1] >= SMALLEST_SHARE), key=lambda entry: -entry[1])


def _draw_legend(drawn: Image, entries: Sequence[tuple[str, float, Color]]) -> None:
    """Plates side by side in rows from the lower edge up, as many as there is room for; in place."""
    height, width = drawn.shape[:2]
    size = font_size(height, width)
    plates = [
        (f"{shorten(name, size, int(NAME_SHARE * width))} {percent(share)}", color)
        for name, share, color in entries
    ]
    limit = max(1, int(LEGEND_SHARE * height) // label_height(size))
    rows = _rows(plates, size, width)
    count = len(plates)
    while len(rows) > limit and count:
        count -= 1
        rows = _rows([*plates[:count], (f"{len(plates) - count} more", DARK)], size, width)
    top = height - len(rows) * label_height(size)
    for line, row in enumerate(rows):
        left = 0
        for text, color in row:
            draw_label(drawn, text, (left, top + line * label_height(size)), color, size=size)
            left += label_width(text, size)


def _rows(plates: Sequence[tuple[str, Color]], size: int, width: int) -> list[list[tuple[str, Color]]]:
    """Plates broken into rows of at most `width` pixels."""
    rows: list[list[tuple[str, Color]]] = []
    left = width
    for plate in plates:
        needed = label_width(plate[0], size)
        if left + needed > width or not rows:
            rows.append([])
            left = 0
        rows[-1].append(plate)
        left += needed
    return rows


def percent(share: float) -> str:
    """A share for people: `34%`, below one per cent `0.4%`."""
    return f"{share:.0%}" if share >= 0.00995 else f"{share:.1%}"
