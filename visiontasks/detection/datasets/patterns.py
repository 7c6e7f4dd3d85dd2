"""Grounds that are drawn: writing, stripes, strokes, spots and clouds, which no class is.

Pictures of things show little of what photographs are full of. A detector that never saw a page of text or a
painted line as background takes them for something that it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.types import Image

Size = tuple[int, int]  # height, width, px
Amounts = NDArray[np.float32]

LETTERS: Final = 24  # of the alphabet that a page is written in
FRACTION_BITS: Final = 4  # of the coordinates that strokes and spots are drawn at


def drawn_ground(part: Image, size: Size, rng: np.random.Generator) -> Image:
    """A pattern (height, width, 3) uint8 in colours of a part of a picture, often shaded."""
    pixels = part.reshape(-1, 3)
    back, front = pixels[rng.integers(len(pixels), size=2)].astype(np.float32)
    if abs(back - front).max() < 60:  # on a part of one colour the pattern is black or white
        front = np.full(3, 0 if back.mean() > 127 else 255, dtype=np.float32)
    amounts = PATTERNS[int(rng.integers(len(PATTERNS)))](size, rng)[..., None]
    shade = 1 - rng.uniform(0, 0.5) * clouds(size, rng)[..., None]
    return np.asarray(((back + amounts * (front - back)) * shade).round(), dtype=np.uint8)


def writing(size: Size, rng: np.random.Generator) -> Amounts:
    """Lines of letters, which no alphabet has: strokes between nine points."""
    height = round(max(6.0, size[0] * np.exp(rng.uniform(np.log(0.02), np.log(0.25)))))  # of a letter, px
    width = max(3, round(height * rng.uniform(0.4, 0.7)))
    thickness = max(1, round(height * rng.uniform(0.05, 0.15)))
    points = (0.15 + 0.35 * rng.integers(0, 3, (LETTERS, 4, 2))) * (width, height) * 2**FRACTION_BITS
    letters = np.zeros((LETTERS + 1, height, width), dtype=np.uint8)  # the last one is the space
    for letter, line in zip(letters, points.astype(np.int32), strict=False):
        cv2.polylines(letter, [line], False, 255, thickness, cv2.LINE_AA, FRACTION_BITS)
    line_height = int(height * rng.uniform(1.0, 1.8))
    rows, columns = -(-size[0] // line_height), -(-size[1] // width)
    chosen = np.minimum(rng.integers(0, LETTERS + LETTERS // 4, (rows, columns)), LETTERS)
    text = np.zeros((rows, line_height, columns, width), dtype=np.uint8)
    text[:, :height] = letters[chosen].transpose(0, 2, 1, 3)
    page = text.reshape(rows * line_height, columns * width)[: size[0], : size[1]]
    return _amounts(np.roll(page, rng.integers(0, (line_height, width)), axis=(0, 1)))


def stripes(size: Size, rng: np.random.Generator) -> Amounts:
    """Parallel lines, or two sets of them that make squares; soft or sharp."""
    rows, columns = np.indices(size, dtype=np.float32)
    angle = rng.choice((0, np.pi / 2, rng.uniform(0, np.pi)))
    length = max(3.0, size[0] * np.exp(rng.uniform(np.log(0.02), np.log(0.5))))  # of a wave, px
    sharpness = np.exp(rng.uniform(0, 4))
    waves = np.zeros(size, dtype=np.float32)
    for turn in (0, np.pi / 2)[: 1 + int(rng.random() < 0.4)]:
        along = np.cos(angle + turn) * columns + np.sin(angle + turn) * rows
        wave = np.sin(2 * np.pi * along / length + rng.uniform(0, 2 * np.pi)) - rng.uniform(-0.5, 0.9)
        waves = np.maximum(waves, 1 / (1 + np.exp(-sharpness * wave)))
    return waves.astype(np.float32)


def strokes(size: Size, rng: np.random.Generator) -> Amounts:
    """Straight lines, here and there."""
    canvas = np.zeros(size, dtype=np.uint8)
    thickness = max(1, round(size[0] * np.exp(rng.uniform(np.log(0.004), np.log(0.06)))))
    for _ in range(int(rng.integers(1, 12))):
        ends = rng.uniform(-0.3, 1.3, (2, 2)) * size[::-1] * 2**FRACTION_BITS
        first, last = (tuple(end) for end in ends.astype(int).tolist())
        cv2.line(canvas, first, last, int(rng.integers(80, 256)), thickness, cv2.LINE_AA, FRACTION_BITS)
    return _amounts(canvas)


def spots(size: Size, rng: np.random.Generator) -> Amounts:
    """Few large or many small discs, sharp or out of focus."""
    canvas = np.zeros(size, dtype=np.uint8)
    radius = max(0.7, size[0] * np.exp(rng.uniform(np.log(0.003), np.log(0.06))))
    count = int(rng.uniform(0.02, 0.3) * size[0] * size[1] / (np.pi * radius**2))
    for x, y, grow in rng.uniform((0, 0, 0.3), (*size[::-1], 1.5), (min(count, 400), 3)):
        centre = int(x * 2**FRACTION_BITS), int(y * 2**FRACTION_BITS)
        brightness = int(rng.integers(60, 256))
        ring = int(grow * radius * 2**FRACTION_BITS)
        cv2.circle(canvas, centre, ring, brightness, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)
    if rng.random() < 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.0) * radius), dtype=np.uint8)
    return _amounts(canvas)


def clouds(size: Size, rng: np.random.Generator) -> Amounts:
    """Noise of several scales, the coarser the stronger; at their coarsest a slope from side to side."""
    amounts = np.zeros(size, dtype=np.float32)
    roughness = rng.uniform(0.2, 0.8)
    for octave in range(int(rng.integers(1, 7))):
        cells = rng.random((2**octave + 1, 2**octave + 1), dtype=np.float32)
        amounts += roughness**octave * cv2.resize(cells, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((amounts - amounts.min()) / max(float(np.ptp(amounts)), 1e-6), dtype=np.float32)


def _amounts(canvas: NDArray[np.uint8]) -> Amounts:
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)


PATTERNS: Final[Sequence[Callable[[Size, np.random.Generator], Amounts]]] = (
    writing,
    stripes,
    strokes,
    spots,
    clouds,
)
