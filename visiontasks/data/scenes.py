"""Pictures of shapes on textured grounds, with the exact truth: pure functions of a random generator.

Coordinates are (x, y) in pixels, the corner of the picture at (0, 0) and pixel centres at +0.5. Shapes are
rasterised on a grid `FINE` times finer than the picture: edges are anti-aliased, boxes exact to 1 / FINE px.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.types import Image

FINE: Final = 4  # fine cells a pixel, in each direction
MIN_VISIBLE: Final = 0.6  # an object keeps at least this share of its area in sight
MIN_PART: Final = 2.0  # px²; a smaller visible part of an object does not count
MIN_RADIUS: Final = 6.0  # px
MIN_CONTRAST: Final = 42.0  # CIELAB distance between a shape and both colours of its ground

Points = NDArray[np.floating]  # (N, 2) xy
Plane = NDArray[np.floating]  # (H, W)
Colour = NDArray[np.floating]  # (3,) RGB, 0..255


# --- outlines: unit radius around (0, 0); a second loop is a hole ------------------------------------------


def _regular(corners: int, radius: float = 1.0) -> Points:
    angles = np.arange(corners) * (2 * np.pi / corners)
    return (radius * np.stack([np.sin(angles), -np.cos(angles)], axis=1)).astype(np.float32)


def _star() -> Points:
    points = _regular(10)
    points[1::2] *= 0.45
    return points


def _cross() -> Points:
    a, b = 0.3, 0.94
    corners = [(a, b), (a, a), (b, a), (b, -a), (a, -a), (a, -b)]
    return np.array(corners + [(-x, -y) for x, y in corners], dtype=np.float32)


OUTLINES: Final[dict[str, tuple[Points, ...]]] = {
    "circle": (_regular(96, 0.92),),
    "cross": (_cross(),),
    "ring": (_regular(96, 0.96), _regular(96, 0.56)),
    "square": (_regular(4),),
    "star": (_star(),),
    "triangle": (_regular(3),),
}
CLASSES: Final = tuple(OUTLINES)


# --- grounds -----------------------------------------------------------------------------------------------


def _cloud(rng: np.random.Generator, height: int, width: int, coarsest: float = 0.5) -> Plane:
    """Noise summed over octaves, (H, W), mean 0, standard deviation 1.

    coarsest: size of the largest cell, as a fraction of the shorter side.
    """
    total: Plane = np.zeros((height, width), np.float32)
    cell = coarsest * min(height, width)
    while cell >= 2:
        grid = rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32)
        total += cell * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cell /= 2
    return np.asarray((total - total.mean()) / (total.std() + 1e-6))


def _along(height: int, width: int, angle: float) -> Plane:
    """Distance in pixels along a direction, (H, W)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.asarray(np.cos(angle) * x + np.sin(angle) * y, dtype=np.float32)


def _blotches(rng: np.random.Generator, height: int, width: int) -> Plane:
    return 0.5 + 0.3 * _cloud(rng, height, width)


def _gradient(rng: np.random.Generator, height: int, width: int) -> Plane:
    ramp = _along(height, width, rng.uniform(0, 2 * np.pi))
    ramp = (ramp - np.min(ramp)) / np.ptp(ramp)
    return np.asarray(ramp + 0.06 * _cloud(rng, height, width, 0.25))


def _stripes(rng: np.random.Generator, height: int, width: int) -> Plane:
    period = rng.uniform(0.06, 0.3) * min(height, width)
    warp = rng.uniform(0, 0.12) * period * _cloud(rng, height, width)
    wave = np.sin((_along(height, width, rng.uniform(0, np.pi)) + warp) * (2 * np.pi / period))
    return np.asarray(0.5 + 0.5 * np.tanh(rng.uniform(0.8, 3.0) * wave))


def _weave(rng: np.random.Generator, height: int, width: int) -> Plane:
    period, angle = rng.uniform(0.06, 0.2) * min(height, width), rng.uniform(0, np.pi)
    wave = [np.sin(_along(height, width, a) * (2 * np.pi / period)) for a in (angle, angle + np.pi / 2)]
    knots = 0.5 + 0.5 * np.tanh(rng.uniform(1.0, 4.0) * wave[0] * wave[1])
    return np.asarray(knots + 0.05 * _cloud(rng, height, width))


GROUNDS: Final[dict[str, Callable[[np.random.Generator, int, int], Plane]]] = {
    "blotches": _blotches,
    "gradient": _gradient,
    "stripes": _stripes,
    "weave": _weave,
}


# --- colours -----------------------------------------------------------------------------------------------


def _random_lab(rng: np.random.Generator, chroma: tuple[float, float]) -> Colour:
    """A CIELAB colour that a screen can show: lightness 22..88, chroma in the given range."""
    while True:
        hue, c = rng.uniform(0, 2 * np.pi), rng.uniform(*chroma)
        lab = np.array([rng.uniform(22, 88), c * np.cos(hue), c * np.sin(hue)], dtype=np.float32)
        shown = cv2.cvtColor(_to_rgb(lab).reshape(1, 1, 3) / 255, cv2.COLOR_RGB2Lab)
        if np.abs(shown.reshape(3) - lab).max() < 2:
            return lab


def _to_rgb(lab: Colour) -> Colour:
    rgb = cv2.cvtColor(lab.reshape(1, 1, 3), cv2.COLOR_Lab2RGB).reshape(3)
    return np.asarray(255 * np.clip(rgb, 0, 1), dtype=np.float32)


def _contrasting_lab(rng: np.random.Generator, grounds: tuple[Colour, Colour]) -> Colour:
    while True:
        lab = _random_lab(rng, (35, 75))
        if min(float(np.linalg.norm(lab - ground)) for ground in grounds) >= MIN_CONTRAST:
            return lab


# --- a picture ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """One object as it can be seen.

    label: index into CLASSES.
    box: (x, y, width, height) of what is visible, px. area: inside the polygons, px².
    polygons: outlines of the visible parts, each (N, 2) xy in px; a hole is joined to its outline by a slit.
    """

    label: int
    box: tuple[float, float, float, float]
    area: float
    polygons: tuple[Points, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """image: (H, W, 3) uint8 RGB. mask: (H, W) uint8, 0 background, else label + 1. shapes: back to front."""

    image: Image
    mask: NDArray[np.uint8]
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class _Stencil:
    """A shape at its place.

    left, top: of its patch, whole px.
    fine: (h * FINE, w * FINE), the cells of the patch: 0, or 255 in the shape.
    """

    label: int
    left: int
    top: int
    fine: NDArray[np.uint8]

    @property
    def pixels(self) -> tuple[slice, slice]:
        height, width = self.fine.shape[0] // FINE, self.fine.shape[1] // FINE
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def cells(self) -> tuple[slice, slice]:
        rows, columns = self.pixels
        return (
            slice(rows.start * FINE, rows.stop * FINE),
            slice(columns.start * FINE, columns.stop * FINE),
        )


def _coverage(fine: NDArray[Any]) -> Plane:
    """Share of each pixel that cells cover, (h, w) in [0, 1]; fine: (h * FINE, w * FINE), 0 or 255."""
    size = (fine.shape[1] // FINE, fine.shape[0] // FINE)
    return cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _cut_stencil(rng: np.random.Generator, label: int, radius: float, height: int, width: int) -> _Stencil:
    """A shape of random rotation, stretch and place, wholly inside the picture."""
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=np.float32)
    loops = [radius * (loop * (1, stretch)) @ turn.T for loop in OUTLINES[CLASSES[label]]]
    low, high = loops[0].min(axis=0), loops[0].max(axis=0)
    place = rng.uniform(1 - low, (width - 1, height - 1) - high)
    left, top = np.floor(place + low).astype(int) - 1
    right, bottom = np.ceil(place + high).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    fine = np.zeros(((bottom - top) * FINE, (right - left) * FINE), np.uint8)
    # cv2 has pixel centres at whole numbers; 4 fractional bits
    corners = [((loop + place - (left, top)) * FINE - 0.5) * 16 for loop in loops]
    cv2.fillPoly(fine, [np.rint(points).astype(np.int32) for points in corners], 255, shift=4)
    return _Stencil(label, int(left), int(top), fine)


def _paint(rng: np.random.Generator, canvas: NDArray[np.floating], stencil: _Stencil, lab: Colour) -> None:
    """Paint a shape with its shadow, a soft gradient and a darker rim. canvas: (H, W, 3) 0..255."""
    rows, columns = stencil.pixels
    coverage = _coverage(stencil.fine)
    height, width = coverage.shape
    reach = max(1, round(0.04 * max(height, width)))
    shadow = np.zeros(canvas.shape[:2], np.float32)
    shadow[rows, columns] = coverage
    around = (
        slice(max(rows.start - reach, 0), rows.stop + 3 * reach),
        slice(max(columns.start - reach, 0), columns.stop + 3 * reach),
    )
    soft = cv2.GaussianBlur(np.roll(shadow[around], (reach, reach), (0, 1)), (0, 0), reach)
    canvas[around] *= 1 - 0.45 * soft[..., None]

    light = _along(height, width, rng.uniform(0, 2 * np.pi))
    light = (light - light.mean()) / (np.ptp(light) + 1e-6)  # -0.5..0.5
    inner = cv2.erode(stencil.fine, np.ones((3, 3), np.uint8), iterations=reach * FINE // 2, borderValue=0)
    shade = 1 + rng.uniform(0.1, 0.35) * light - rng.uniform(0.1, 0.4) * (coverage - _coverage(inner))
    colour = _to_rgb(lab) * shade[..., None]  # (h, w, 3)
    canvas[rows, columns] += (colour - canvas[rows, columns]) * coverage[..., None]


def draw_picture(
    rng: np.random.Generator, size: tuple[int, int], labels: list[int], radii: tuple[float, float]
) -> Picture:
    """Draw shapes on a textured ground.

    Args:
        rng: the picture is a function of its state.
        size: (height, width) in px.
        labels: a class index for each shape, back to front; the first is always drawn, a later one is left
            out where it finds no place without hiding too much of the others.
        radii: smallest and largest radius as a fraction of the shorter side, at most 0.45; none is below
            MIN_RADIUS.
    """
    height, width = size
    colours = (_random_lab(rng, (4, 30)), _random_lab(rng, (4, 30)))
    mix = np.clip(GROUNDS[str(rng.choice(list(GROUNDS)))](rng, height, width), 0, 1)[..., None]  # (H, W, 1)
    canvas = _to_rgb(colours[0]) * (1 - mix) + _to_rgb(colours[1]) * mix
    canvas *= 1 + 0.04 * _cloud(rng, height, width)[..., None]

    pixels = (max(MIN_RADIUS, radii[0] * min(size)), radii[1] * min(size))
    pile = _Pile(np.zeros((height * FINE, width * FINE), np.uint8))
    for label in labels:
        stencil = _find_place(rng, label, size, pixels, pile)
        if stencil is not None:
            pile.add(stencil)
            _paint(rng, canvas, stencil, _contrasting_lab(rng, colours))

    canvas += rng.normal(0, rng.uniform(1, 5), size).astype(np.float32)[..., None]
    mask = np.zeros(size, np.uint8)
    shapes = []
    for k, stencil in enumerate(pile.stencils):
        visible = pile.in_sight(k)
        mask[stencil.pixels][_coverage(visible) >= 0.5] = stencil.label + 1
        shapes.append(_outline(stencil, visible))
    return Picture(np.clip(canvas, 0, 255).astype(np.uint8), mask, tuple(shapes))


@dataclass(slots=True)
class _Pile:
    """Stencils that lie on each other. owner: (H * FINE, W * FINE), 0 = ground, k + 1 = stencil k on top."""

    owner: NDArray[np.uint8]
    stencils: list[_Stencil] = field(default_factory=list)
    visible: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # fine cells
    whole: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def hidden_by(self, stencil: _Stencil) -> NDArray[np.int64]:
        """How many cells of each stencil another one would hide."""
        under = self.owner[stencil.cells][stencil.fine > 0]
        return np.asarray(np.bincount(under, minlength=len(self.stencils) + 1)[1:])

    def add(self, stencil: _Stencil) -> None:
        area = np.count_nonzero(stencil.fine)
        self.visible = np.append(self.visible - self.hidden_by(stencil), area)
        self.whole = np.append(self.whole, area)
        self.stencils.append(stencil)
        self.owner[stencil.cells][stencil.fine > 0] = len(self.stencils)

    def in_sight(self, k: int) -> NDArray[np.uint8]:
        """Which cells of stencil k are seen, (h * FINE, w * FINE), 0 or 255; nothing thinner than a pixel."""
        stencil = self.stencils[k]
        cells = (self.owner[stencil.cells] == k + 1).astype(np.uint8)
        cells = cv2.morphologyEx(cells, cv2.MORPH_OPEN, np.ones((FINE, FINE), np.uint8), borderValue=0)
        _, parts, facts, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
        large = facts[:, cv2.CC_STAT_AREA] >= MIN_PART * FINE**2
        large[0] = False  # what is not seen
        return np.asarray(255 * large[parts], dtype=np.uint8)


def _find_place(
    rng: np.random.Generator, label: int, size: tuple[int, int], radii: tuple[float, float], pile: _Pile
) -> _Stencil | None:
    """A place at which every other shape stays visible enough, or None after some attempts."""
    for _ in range(20):
        radius = np.exp(rng.uniform(*np.log(radii)))  # small ones as often as large ones
        stencil = _cut_stencil(rng, label, radius, *size)
        if np.all(pile.visible - pile.hidden_by(stencil) >= MIN_VISIBLE * pile.whole):
            return stencil
    return None


def _outline(stencil: _Stencil, visible: NDArray[np.uint8]) -> Shape:
    """Outline what is visible of a stencil; visible: (h * FINE, w * FINE), 0 or 255."""
    loops, tree = cv2.findContours(visible, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0, :, 3]  # -1 for an outline, else the outline that a hole lies in
    polygons = []
    for i in np.flatnonzero(parents < 0).tolist():
        polygon = _simplified(loops[i])
        for hole in np.flatnonzero(parents == i).tolist():
            polygon = _join_hole(polygon, _simplified(loops[hole]))
        # a contour runs through the centres of the outermost cells
        polygons.append((polygon + 0.5) / FINE + np.array([stencil.left, stencil.top], np.float32))
    points = np.concatenate(polygons)
    low, high = points.min(axis=0) - 0.5 / FINE, points.max(axis=0) + 0.5 / FINE
    box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return Shape(stencil.label, box, sum(_area(polygon) for polygon in polygons), tuple(polygons))


def _simplified(loop: NDArray[Any]) -> Points:
    """A contour of cells without the corners that matter less than a cell, (N, 2)."""
    return cv2.approxPolyDP(loop, 0.75, True).reshape(-1, 2).astype(np.float32)


def _area(polygon: Points) -> float:
    """Area inside a polygon, by the shoelace formula; a hole that is joined by a slit counts as outside."""
    x, y = polygon.astype(np.float64).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _join_hole(outer: Points, hole: Points) -> Points:
    """One polygon out of an outline and a hole, through a slit where they are nearest."""
    gaps = np.square(outer[:, None] - hole[None]).sum(axis=-1)  # (N, M)
    i, j = np.unravel_index(int(np.argmin(gaps)), gaps.shape)
    around = np.roll(hole, -int(j), axis=0)
    return np.concatenate([outer[: i + 1], around, around[:1], outer[i:]])
