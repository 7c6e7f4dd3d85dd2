"""Maps of relevance: from network pixels to original ones, and painted over the picture with a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.drawing import DARK, draw_box, draw_label, enlarged, font_size, label_height, label_width
from visiontasks.ops.pictures import resize_map
from visiontasks.types import Image, ImageInfo

Map = NDArray[np.float32]  # (H, W)

OPACITY: Final = 0.6  # of the colours over the grey picture
END: Final = 99.8  # percentile of |value| that the scale ends at: a few pixels shall not darken all others
BRIGHT: Final = (230, 230, 230)


def to_original(values: Map, info: ImageInfo) -> Map:
    """A map (h, w) in network pixels in original ones, (H, W); 0 where the network does not see them."""
    canvas = np.zeros((info.resized_height, info.resized_width), dtype=np.float32)
    top, left = max(0, -info.pad_top), max(0, -info.pad_left)
    shown = values[max(0, info.pad_top) :, max(0, info.pad_left) :][
        : len(canvas) - top, : canvas.shape[1] - left
    ]
    canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return resize_map(canvas, (info.height, info.width))


def draw_overlay(
    image: Image,
    values: Map,
    titles: Sequence[str],
    *,
    signed: bool,
    box: Sequence[float] | None = None,
    point: tuple[int, int] | None = None,
) -> Image:
    """The picture in grey with the map over it in colours, titles above and the scale below.

    Colours are even to the eye and safe for the colour-blind: viridis from 0 on (negative values as 0), with
    `signed` blue (against) to red (for) by way of grey.

    Args:
        image: (H, W, 3) uint8. values: (H, W).
        titles: a line each.
        signed: whether negative values are shown.
        box: xyxy, original pixels, outlined. point: (y, x), original pixels, marked.

    Returns:
        (f*H + margins, f*W, 3) uint8; small pictures are enlarged by the whole number f.
    """
    import matplotlib

    shown = np.abs(values) if signed else np.maximum(values, 0)
    end = float(np.percentile(shown, END)) or float(np.max(shown))
    end = end if end > 0 else 1.0
    colours = matplotlib.colormaps["coolwarm" if signed else "viridis"]
    low = -end if signed else 0.0
    table = (255 * colours(np.linspace(0, 1, 256))[:, :3]).round().astype(np.float32)  # (256, 3)
    places = np.clip((values - low) / (end - low) * 255, 0, 255).round().astype(np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)  # (H, W, 1)
    painted = enlarged(((1 - OPACITY) * grey + OPACITY * table[places]).round().astype(np.uint8))
    factor = painted.shape[0] // image.shape[0]
    if box is not None:
        draw_box(painted, [factor * side for side in box], BRIGHT)
    if point is not None:
        y, x = (factor * (side + 0.5) for side in point)
        half = max(3, font_size(*painted.shape[:2]) // 4)
        draw_box(painted, (x - half, y - half, x + half, y + half), BRIGHT)
    return _framed(painted, table, titles, low, end)


def _framed(
    painted: Image, table: NDArray[np.float32], titles: Sequence[str], low: float, end: float
) -> Image:
    """The painted picture between its titles and the scale, whose ends are written beside it."""
    height, width = painted.shape[:2]
    size = font_size(height, width)
    row = label_height(size)
    framed = np.empty((height + (len(titles) + 1) * row, width, 3), dtype=np.uint8)
    framed[:] = DARK
    top = len(titles) * row
    framed[top : top + height] = painted
    for number, title in enumerate(titles):
        draw_label(framed[number * row : (number + 1) * row], title, (0, 0), DARK, size=size)
    bottom = framed[top + height :]
    left, right = (f"{low:.2g}" if low == 0 else f"≤ {low:.2g}"), f"≥ {end:.2g}"
    draw_label(bottom, left, (0, 0), DARK, size=size)
    draw_label(bottom, right, (width - label_width(right, size), 0), DARK, size=size)
    begin, stop = label_width(left, size), width - label_width(right, size)
    if stop > begin:
        shades = table[np.linspace(0, 255, stop - begin).round().astype(int)].astype(np.uint8)
        bottom[row // 4 : row - row // 4, begin:stop] = shades
    return framed
