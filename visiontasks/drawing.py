"""What every task draws with: labels, boxes, colours, sheets. Pictures are (H, W, 3) uint8 RGB."""

from __future__ import annotations

import colorsys
import hashlib
import importlib.util
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from visiontasks.types import Image

Color = tuple[int, int, int]  # red, green, blue, 0..255
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

DARK: Color = (32, 32, 32)
READABLE_SIDE = 200  # pixels; smaller pictures are enlarged, so that a label can be read and leaves room
LARGEST_SIDE = 4000  # pixels that enlarging may lead to
EAST_ASIAN_FONTS = (  # of Linux, Windows, macOS; without one the letters are drawn as boxes
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
)
SMALLEST_FONT = 12  # pixels
FONT_SHARE = 0.04  # of the picture's shorter side
SHEET_CELL = 256  # largest side of a picture on a sheet, pixels
SHEET_GAP = 4
SHEET_FONT = 14  # of captions, pixels


def color_of(name: str) -> Color:
    """The colour of a class: a function of its name alone, so the same in every picture and run."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    saturation, value = 0.55 + 0.45 * digest[2] / 255, 0.6 + 0.4 * digest[3] / 255
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_color(background: Color) -> Color:
    """Black or white, whichever stands out more.

    Source: W3C, Web Content Accessibility Guidelines 2.1, relative luminance and contrast ratio.
    """
    return (0, 0, 0) if luminance(background) > 0.179 else (255, 255, 255)


def luminance(color: Color) -> float:
    """Relative luminance of an sRGB colour, 0 (black) to 1 (white); source as in `text_color`."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def font_size(height: int, width: int) -> int:
    """Size of letters for a picture, pixels: readable when the picture is shown as a whole."""
    return max(SMALLEST_FONT, round(FONT_SHARE * min(height, width)))


def _font(text: str, size: int) -> Font:
    """The font for a text. East Asian letters need one of the system: what we depend on has none."""
    return _load_font(any(unicodedata.east_asian_width(letter) in "WF" for letter in text), size)


@lru_cache(maxsize=64)
def _load_font(east_asian: bool, size: int) -> Font:
    """DejaVu Sans, which comes with matplotlib and has Latin, Greek, Cyrillic and Arabic letters."""
    spec = importlib.util.find_spec("matplotlib")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    dejavu = [str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf") for folder in folders]
    for name in [*EAST_ASIAN_FONTS * east_asian, *dejavu]:
        try:
            return ImageFont.truetype(name, size)
        except OSError:  # not installed
            continue
    return ImageFont.load_default(size)  # a system's own matplotlib may come without fonts: Latin only


def text_width(text: str, size: int) -> int:
    """Width of a line of text, pixels. size: of the letters, pixels."""
    return math.ceil(_font(text, size).getlength(text))


def shorten(text: str, size: int, width: int) -> str:
    """The text, or as much of its beginning as fits into `width` pixels, with an ellipsis; at least that."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(text[:middle] + "…", size) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…"


def label_height(size: int) -> int:
    """Height of a label with letters of `size` pixels, pixels."""
    return math.ceil(1.17 * size) + 2 * _padding(size)


def label_width(text: str, size: int) -> int:
    """Width of a label with such a text in letters of `size` pixels, pixels."""
    return text_width(text, size) + 2 * _padding(size)


def _padding(size: int) -> int:
    return max(1, size // 5)


def draw_label(
    image: Image, text: str, xy: tuple[float, float], color: Color, *, size: int | None = None
) -> None:
    """Paint a line of text on a plate of its own, in place; moved so that it lies inside the picture.

    Args:
        image: (H, W, 3) uint8, writeable.
        text: shortened where it is wider than the picture.
        xy: left and top of the plate, pixels.
        color: of the plate; the text is black or white.
        size: of the letters, pixels; None = by the picture's size.
    """
    height, width = image.shape[:2]
    size = font_size(height, width) if size is None else size
    padding = _padding(size)
    text = shorten(text, size, width - 2 * padding)
    plate = PIL.Image.new("RGB", (label_width(text, size), label_height(size)), color)
    ImageDraw.Draw(plate).text((padding, padding), text, font=_font(text, size), fill=text_color(color))
    left = max(0, min(round(xy[0]), width - plate.width))
    top = max(0, min(round(xy[1]), height - plate.height))
    visible = np.asarray(plate)[: height - top, : width - left]
    image[top : top + visible.shape[0], left : left + visible.shape[1]] = visible


def draw_box(image: Image, box: Sequence[float], color: Color, *, thickness: int | None = None) -> None:
    """Paint the outline of a box, in place, inside the box; what leaves the picture is cut off.

    Args:
        image: (H, W, 3) uint8, writeable.
        box: xyxy, pixels, x2 >= x1, y2 >= y1.
        color: of the outline.
        thickness: of the outline, pixels; None = by the picture's size.
    """
    height, width = image.shape[:2]
    thickness = max(1, font_size(height, width) // 8) if thickness is None else thickness
    left, right = (round(min(max(x, 0), width)) for x in (box[0], box[2]))
    top, bottom = (round(min(max(y, 0), height)) for y in (box[1], box[3]))
    image[top : min(top + thickness, bottom), left:right] = color
    image[max(bottom - thickness, top) : bottom, left:right] = color
    image[top:bottom, left : min(left + thickness, right)] = color
    image[top:bottom, max(right - thickness, left) : right] = color


def enlarged(image: Image) -> Image:
    """A copy to draw on: pictures whose shorter side is below 200 pixels are enlarged by a whole factor.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (f*H, f*W, 3) uint8, each pixel repeated f times; f is 1 where that would exceed 4000 pixels.
    """
    shorter, longer = sorted(image.shape[:2])
    factor = max(1, min(-(-READABLE_SIDE // shorter), LARGEST_SIDE // longer))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def contact_sheet(
    images: Sequence[Image],
    columns: int | None = None,
    *,
    cell: int = SHEET_CELL,
    captions: Sequence[str] = (),
) -> Image:
    """Pictures side by side in rows, each shrunk to fit into a square cell where it is larger.

    Args:
        images: at least one, (H, W, 3) uint8 of any sizes.
        columns: pictures a row; None = about as wide as high.
        cell: side of a cell, pixels.
        captions: one a picture, written below it; as many lines as it has, each shortened; empty = none.
    """
    assert len(images) > 0 and len(captions) in (0, len(images))
    columns = math.ceil(math.sqrt(len(images))) if columns is None else min(columns, len(images))
    cells = []
    for image in images:
        picture = PIL.Image.fromarray(image)
        picture.thumbnail((cell, cell), PIL.Image.Resampling.LANCZOS)
        cells.append(picture)
    lines = [caption.splitlines() for caption in captions] or [[]] * len(images)
    width = max(SHEET_CELL if captions else 0, *(picture.width for picture in cells))
    height = max(picture.height for picture in cells)
    row_height = height + SHEET_GAP + max(map(len, lines)) * label_height(SHEET_FONT)
    rows = -(-len(cells) // columns)
    size = (rows * row_height + SHEET_GAP, columns * (width + SHEET_GAP) + SHEET_GAP, 3)
    sheet = np.full(size, DARK, dtype=np.uint8)
    for place, picture in enumerate(cells):
        row, column = divmod(place, columns)
        left, top = SHEET_GAP + column * (width + SHEET_GAP), SHEET_GAP + row * row_height
        x, y = left + (width - picture.width) // 2, top + (height - picture.height) // 2
        sheet[y : y + picture.height, x : x + picture.width] = np.asarray(picture)
        for number, line in enumerate(lines[place]):
            below = top + height + number * label_height(SHEET_FONT)
            strip = sheet[below : below + label_height(SHEET_FONT), left : left + width]
            draw_label(strip, line, (0, 0), DARK, size=SHEET_FONT)
    return sheet
