"""How a scene is composed: which part of which picture lies where, and which boxes stay in sight.

Pure functions of a random generator; no picture is read. A scene is square. Its kinds are meant to be what
photographs are: one thing that fills it, several beside each other, small ones before a ground, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.detection.types import Annotations, Flags, Floats, Ints
from visiontasks.ops.boxes import box_area

LEAST_SHARE: Final = 0.15  # of its picture's side, the side of a box that scenes are made around
IN_SIGHT: Final = 0.4  # of a box's area; with less of it in sight it is none
COVERED: Final = 0.6  # of a box's area, that a part of a picture made around it shows
LEAST_SIDE: Final = 10.0  # px, of a box on a scene
SIDES: Final = (0.12, 0.6)  # of pasted objects, as shares of a scene's
MOST_HIDDEN: Final = 0.3  # of any box, by a patch that is pasted over it
TRIES: Final = 6  # at a picture for a place, and at a place for a patch
GROUNDS: Final = 4  # pictures that a ground is chosen from
TILE: Final = 0.2  # least side of a tile, as a share of the scene's
STRETCH: Final = 0.2  # largest log of a change of a part's width / height
ZOOM: Final = 0.65  # least share of the largest part of a picture that fits

Rect = tuple[int, int, int, int]  # left, top, right, bottom, px


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a picture that lies on a scene.

    picture: its index. window: the part, px of the picture. place: where, px of the scene; may reach beyond.
    fades: px of the scene over which it appears, from its left, top, right, bottom edge inwards.
    is_object: made around a box; else a ground without objects.
    """

    picture: int
    window: Rect
    place: Rect
    fades: Rect = (0, 0, 0, 0)
    is_object: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """patches: from back to front. boxes: (N, 4) float64 xyxy on the scene. labels: (N,)."""

    patches: tuple[Patch, ...]
    boxes: Floats
    labels: Ints


class Composer:
    """Draws layouts.

    annotations: of the pictures; sizes known of those that are used. size: side of a scene, px.
    """

    def __init__(self, annotations: Annotations, size: int) -> None:
        self.annotations, self.size = annotations, size
        self.usable = usable_pictures(annotations)

    def __call__(self, rng: np.random.Generator) -> Layout:
        """One scene; the same state of `rng` gives the same."""
        kind = KINDS[int(np.searchsorted(np.cumsum(CHANCES), rng.random()))]
        patches = kind(self, rng)
        seen = self._seen(patches)
        return Layout(tuple(patches), seen.boxes[seen.kept], seen.labels[seen.kept])

    def whole(self, rng: np.random.Generator) -> list[Patch]:
        """One picture fills the scene."""
        return [self.cover(rng, (0, 0, self.size, self.size))]

    def tiles(self, rng: np.random.Generator) -> list[Patch]:
        """Pictures beside each other, with hard or soft seams, or the ground between them."""
        look = rng.random()
        gap = int(rng.integers(1, 1 + max(1, self.size // 32))) if look < 0.2 else 0
        seam = int(rng.integers(2, 2 + max(1, self.size // 16))) if look > 0.55 else 0
        ground = [self.ground(rng)] if gap else []
        tiles = [self._tile(rng, tile, gap, seam) for tile in split_square(rng, self.size)]
        return [*ground, *tiles]

    def pasted(self, rng: np.random.Generator) -> list[Patch]:
        """Objects before another one's picture or before a ground, each with something around it."""
        behind = self.cover(rng, (0, 0, self.size, self.size)) if rng.random() < 0.5 else self.ground(rng)
        patches = [behind]
        for _ in range(int(rng.integers(1, 7))):
            patch = self._object(rng)
            for _ in range(TRIES):
                placed = [*patches, self._moved(rng, patch)]
                seen = self._seen(placed)
                if (seen.hidden <= MOST_HIDDEN * seen.whole).all():
                    patches = placed
                    break
        return patches

    def empty(self, rng: np.random.Generator) -> list[Patch]:
        """No object."""
        return [self.ground(rng)]

    def cover(self, rng: np.random.Generator, place: Rect, fades: Rect = (0, 0, 0, 0)) -> Patch:
        """A part of a picture that keeps one of its boxes in sight; of some pictures the first that can.

        A place of another shape than theirs gets a ground.
        """
        for _ in range(TRIES):
            picture = self._draw(rng)
            box = self._focus(rng, picture)
            window = self._part_around(rng, picture, box, (place[2] - place[0]) / (place[3] - place[1]))
            shown = _shared(box[None], np.array(window, dtype=np.float64))[0]
            if shown >= COVERED * box_area(box):
                return Patch(picture, window, place, fades)
        return replace(self.ground(rng, place), fades=fades)

    def _part_around(self, rng: np.random.Generator, picture: int, box: Floats, ratio: float) -> Rect:
        """A random part of a picture, of about width / height `ratio`, that holds much of a box."""
        height, width = self.annotations.sizes[picture].tolist()
        ratio *= np.exp(rng.uniform(-STRETCH, STRETCH))
        largest = np.array([min(width, height * ratio), min(height, width / ratio)])
        needed = np.max((box[2:] - box[:2]) / largest)  # the share of it that holds the box
        sides = largest * rng.uniform(min(1.0, max(ZOOM, needed)), 1.0)
        left, right = _window(rng, sides[0], box[0], box[2], width)
        top, bottom = _window(rng, sides[1], box[1], box[3], height)
        return left, top, right, bottom

    def ground(self, rng: np.random.Generator, place: Rect | None = None) -> Patch:
        """A square part of a picture beside its boxes, the largest that a few pictures have."""
        grounds = [self._ground(rng, self._draw(rng), place) for _ in range(GROUNDS)]
        return max(grounds, key=lambda patch: patch.window[2] - patch.window[0])

    def _ground(self, rng: np.random.Generator, picture: int, place: Rect | None) -> Patch:
        height, width = self.annotations.sizes[picture].tolist()
        boxes = self._boxes(picture)[0].clip(0, (width, height, width, height))
        left, top = np.floor(boxes[:, :2].min(axis=0)).astype(int).tolist()
        right, bottom = np.ceil(boxes[:, 2:].max(axis=0)).astype(int).tolist()
        sides = (
            (0, 0, left, height),
            (right, 0, width, height),
            (0, 0, width, top),
            (0, bottom, width, height),
        )
        x1, y1, x2, y2 = max(sides, key=lambda side: min(side[2] - side[0], side[3] - side[1]))
        side = min(max(2, min(x2 - x1, y2 - y1)), height, width)
        x = min(int(rng.integers(x1, max(x1, x2 - side) + 1)), width - side)
        y = min(int(rng.integers(y1, max(y1, y2 - side) + 1)), height - side)
        whole = (0, 0, self.size, self.size)
        return Patch(picture, (x, y, x + side, y + side), place or whole, is_object=False)

    def _tile(self, rng: np.random.Generator, tile: Rect, gap: int, seam: int) -> Patch:
        """A part of a picture for a tile: smaller by a gap, or reaching into its neighbours by a seam."""
        left, top, right, bottom = tile
        if rng.random() < 0.08:
            return self.ground(rng, tile)
        if gap:
            return self.cover(rng, (left + gap, top + gap, right - gap, bottom - gap))
        place = (
            max(left - seam, 0),
            max(top - seam, 0),
            min(right + seam, self.size),
            min(bottom + seam, self.size),
        )
        inner = [abs(a - b) for a, b in zip(place, tile, strict=True)]
        return self.cover(rng, place, (2 * inner[0], 2 * inner[1], 0, 0))

    def _object(self, rng: np.random.Generator) -> Patch:
        """An object of random size with something around it, in the upper left corner."""
        picture = self._draw(rng)
        height, width = self.annotations.sizes[picture].tolist()
        box = self._focus(rng, picture)
        sides = box[2:] - box[:2]
        margins = rng.uniform(0.05, 0.5, 4) * np.tile(sides, 2)
        low = np.maximum(np.floor(box[:2] - margins[:2]), 0)
        high = np.minimum(np.ceil(box[2:] + margins[2:]), (width, height))
        stretch = np.exp(rng.uniform(-STRETCH, STRETCH) * np.array([0.5, -0.5]))
        factors = self.size * np.exp(rng.uniform(*np.log(SIDES))) / np.sqrt(sides.prod()) * stretch
        factors *= min(1.0, 0.9 * self.size / np.max((high - low) * factors))
        shape = np.maximum(2, np.round((high - low) * factors)).astype(int)
        fades = np.zeros(4)
        if rng.random() < 0.75:  # until the box, or a little into it where it touches the picture's edge
            fades = np.concatenate([box[:2] - low, high - box[2:]]) * np.tile(factors, 2)
            fades = np.maximum(fades, min(4.0, np.min(shape) / 4))
        window = np.concatenate([low, high]).astype(int)
        return Patch(picture, _rect(window), _rect(np.concatenate([[0, 0], shape])), _rect(fades))

    def _moved(self, rng: np.random.Generator, patch: Patch) -> Patch:
        """A patch at a random place, a little of it beyond the scene."""
        width, height = patch.place[2:]
        x = int(rng.integers(-width // 8, self.size - width + width // 8 + 1))
        y = int(rng.integers(-height // 8, self.size - height + height // 8 + 1))
        return replace(patch, place=(x, y, x + width, y + height))

    def _draw(self, rng: np.random.Generator) -> int:
        return int(self.usable[rng.integers(len(self.usable))])

    def _boxes(self, picture: int) -> tuple[Floats, Ints]:
        """Boxes and labels of a picture, without crowds."""
        truth = self.annotations.truth(picture)
        return truth.boxes[~truth.crowd], truth.labels[~truth.crowd]

    def _focus(self, rng: np.random.Generator, picture: int) -> Floats:
        """A box that a patch is made around: (4,), inside its picture."""
        boxes = self._boxes(picture)[0]
        height, width = self.annotations.sizes[picture].tolist()
        large = np.flatnonzero(_are_large(boxes, np.array([height, width])))
        box: Floats = boxes[large[rng.integers(len(large))]].clip(0, (width, height, width, height))
        return box

    def _seen(self, patches: Sequence[Patch]) -> _Seen:
        """The boxes on patches that lie on each other."""
        boxes, labels = np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
        whole, hidden = np.zeros(0), np.zeros(0)
        for patch in patches:
            fades = np.array(patch.fades) / 2 * np.array([1, 1, -1, -1])
            place = np.array(patch.place, dtype=np.float64)
            shown = (place + fades).clip(0, self.size)  # where one sees more of it than of what is behind
            hidden = hidden + _shared(boxes, shown)
            boxes = _uncovered(boxes, shown)
            if patch.is_object:
                own, names = self._boxes(patch.picture)
                window = np.array(patch.window, dtype=np.float64)
                factors = np.tile((place[2:] - place[:2]) / (window[2:] - window[:2]), 2)
                own = (own - np.tile(window[:2], 2)) * factors + np.tile(place[:2], 2)
                boxes = np.concatenate([boxes, own.clip(np.tile(shown[:2], 2), np.tile(shown[2:], 2))])
                labels = np.concatenate([labels, names])
                whole, hidden = np.concatenate([whole, box_area(own)]), np.append(hidden, np.zeros(len(own)))
        return _Seen(boxes, labels, whole, hidden)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """boxes: (N, 4), what is in sight of them. labels: (N,). whole, hidden: (N,) areas of each, px²."""

    boxes: Floats
    labels: Ints
    whole: Floats
    hidden: Floats

    @property
    def kept(self) -> Flags:
        """(N,) of which enough is in sight."""
        is_large: Flags = np.all(self.boxes[:, 2:] - self.boxes[:, :2] >= LEAST_SIDE, axis=1)
        kept: Flags = np.logical_and(is_large, box_area(self.boxes) >= IN_SIGHT * self.whole)
        return kept


def usable_pictures(annotations: Annotations) -> Ints:
    """(n,) the pictures that scenes are made of: of known size, with a box that is large enough on them."""
    sizes = annotations.sizes[annotations.picture]  # (M, 2)
    is_large = _are_large(annotations.boxes, sizes) & ~annotations.crowd & (sizes > 0).all(axis=1)
    return np.unique(annotations.picture[is_large])


def _are_large(boxes: Floats, sizes: Ints) -> Flags:
    """(N,) whether boxes (N, 4) are large enough on pictures of height and width `sizes` (N, 2) or (2,)."""
    limit = np.concatenate([sizes, sizes], axis=-1)[..., ::-1]
    sides = boxes.clip(0, limit)[:, 2:] - boxes.clip(0, limit)[:, :2]
    least = LEAST_SHARE * np.sqrt(sizes.prod(axis=-1))
    large: Flags = (np.sqrt(sides.prod(axis=1)) >= least) & (sides.min(axis=1) >= least / 2)
    return large


def split_square(rng: np.random.Generator, size: int) -> list[Rect]:
    """A square of `size` px in 2 to 6 tiles, by cuts at random places.

    A tile comes before those right of it and below it.
    """
    tiles: list[Rect] = [(0, 0, size, size)]
    least = int(TILE * size)
    for _ in range(int(rng.integers(1, 6))):
        areas = np.array([(r - x) * (b - t) for x, t, r, b in tiles], dtype=np.float64)
        i = int(rng.choice(len(tiles), p=areas / areas.sum()))
        left, top, right, bottom = tiles[i]
        width, height = right - left, bottom - top
        if max(width, height) < 2 * least:
            continue
        if height < 2 * least or (width >= 2 * least and width * rng.uniform(0.6, 1.6) > height):
            cut = left + int(rng.integers(least, width - least + 1))
            tiles[i : i + 1] = [(left, top, cut, bottom), (cut, top, right, bottom)]
        else:
            cut = top + int(rng.integers(least, height - least + 1))
            tiles[i : i + 1] = [(left, top, right, cut), (left, cut, right, bottom)]
    return tiles


def _window(rng: np.random.Generator, side: float, low: float, high: float, limit: int) -> tuple[int, int]:
    """About `side` px of 0 to `limit` that hold low to high, or lie within, where that is possible."""
    length = min(max(1, round(side)), limit)
    first, last = sorted((high - length, low))
    start = round(rng.uniform(max(first, 0), min(last, limit - length)))
    return start, start + length


def _shared(boxes: Floats, rect: Floats) -> Floats:
    """(N,) the area that boxes (N, 4) have in common with a rectangle (4,)."""
    sides = np.minimum(boxes[:, 2:], rect[2:]) - np.maximum(boxes[:, :2], rect[:2])
    area: Floats = sides.clip(0).prod(axis=1)
    return area


def _uncovered(boxes: Floats, rect: Floats) -> Floats:
    """What is left of boxes (N, 4) under a rectangle (4,), where a box is left of them; else all of them."""
    left = boxes.copy()
    for i, j in ((0, 1), (1, 0)):  # cut along axis i where the rectangle spans the box along axis j
        spans = (rect[j] <= boxes[:, j]) & (rect[j + 2] >= boxes[:, j + 2])
        after = spans & (rect[i] <= boxes[:, i]) & (rect[i + 2] > boxes[:, i])
        before = spans & (rect[i + 2] >= boxes[:, i + 2]) & (rect[i] < boxes[:, i + 2])
        left[after, i] = np.minimum(rect[i + 2], boxes[after, i + 2])
        left[before & ~after, i + 2] = rect[i]
    return left


def _rect(numbers: NDArray[Any]) -> Rect:
    left, top, right, bottom = np.asarray(numbers).astype(int).tolist()
    return left, top, right, bottom


KINDS: Final[Sequence[Callable[[Composer, np.random.Generator], list[Patch]]]] = (
    Composer.whole,
    Composer.tiles,
    Composer.pasted,
    Composer.empty,
)
CHANCES: Final = (0.22, 0.36, 0.34, 0.08)
