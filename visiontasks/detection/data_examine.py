"""What is suspicious about boxes: of a whole split (written in another form?), then one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from visiontasks.data_tools import Finding, Severity
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.detection.datasets.repair import ROUNDING
from visiontasks.detection.types import Boxes, Flags, Floats, Ints
from visiontasks.io.listing import evenly_spaced
from visiontasks.io.pictures import picture_sizes
from visiontasks.ops.boxes import cxcywh_to_xyxy, xywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh
from visiontasks.types import Source

LISTED: Final = 1000  # findings of a kind that are listed one by one
MOST_HEADERS: Final = 10_000  # that a quick look reads
MOST_BOXES: Final = 100  # a picture: COCO's AR and AP look at no more detections
TINY: Final = 2.0  # px, a side at the network's input
PIXEL: Final = 1.0  # px that conventions (corners from 0 or from 1) differ by
_MANY_TINY: Final = 0.1  # share of boxes from which the input is likely too small
_WRONG_SHARE: Final = 0.2  # of boxes that do not fit, from which all are likely written in another form
_WRONG_COUNT: Final = 4
_RIGHT_SHARE: Final = 0.98  # of boxes that fit when they are read in that other form

_FORMS: Final[Mapping[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]]] = {
    "x1, y1, x2, y2": (np.copy, np.copy),  # from corners, to corners
    "x, y, width, height": (xyxy_to_xywh, xywh_to_xyxy),
    "centre x, centre y, width, height": (xyxy_to_cxcywh, cxcywh_to_xyxy),
}
_FORM_OF: Final[Mapping[str, str]] = {  # format -> how its numbers are read
    "coco": "x, y, width, height",
    "voc": "x1, y1, x2, y2",
    "csv": "x1, y1, x2, y2",
    "yolo": "centre x, centre y, width, height",
}


@dataclass(frozen=True, slots=True)
class _Examined:
    """The boxes of a split, and how a finding about one of them is made.

    resized: pictures of another size than the one that their boxes were drawn on.
    """

    source: LabelledBoxes
    split: str
    resized: Sequence[int] = ()

    @property
    def boxes(self) -> Floats:
        return self.source.annotations.boxes

    @property
    def sizes(self) -> Floats:
        """(M, 2) width and height of each box's picture, px; infinite where they are not known."""
        annotations = self.source.annotations
        sizes = annotations.sizes[:, ::-1].astype(np.float64)  # (N, 2)
        sizes[(sizes <= 0).any(axis=1)] = np.inf
        sizes[list(self.resized)] = np.inf
        return sizes[annotations.picture]

    def finding(self, severity: Severity, kind: str, box: int, message: str, remedy: str = "") -> Finding:
        annotations = self.source.annotations
        picture = annotations.files[int(annotations.picture[box])]
        file, record = picture, ""
        if self.source.where is not None and annotations.records is not None:
            file, record = self.source.where(picture, int(annotations.records[box]))
        return Finding(
            severity=severity,
            kind=kind,
            message=message,
            remedy=remedy,
            split=self.split,
            file=file,
            record=record,
            picture=picture,
        )

    def each(
        self, severity: Severity, kind: str, wrong: Flags, message: Callable[[int], str], remedy: str
    ) -> Iterator[Finding]:
        """A finding for each wrong box (M,), up to `LISTED`; one more says how many there are besides."""
        places = np.flatnonzero(wrong)
        for box in places[:LISTED].tolist():
            yield self.finding(severity, kind, box, message(box), remedy)
        if len(places) > LISTED:
            more = f"{len(places) - LISTED} more like those before, not listed"
            yield self.finding(severity, kind, int(places[LISTED]), more, remedy)


def examine(
    source: Source[Boxes], split: str, size: tuple[int, int] | None, quick: bool
) -> Iterator[Finding]:
    """The findings about the boxes of a split, as they stand in its files; see `DataTools`."""
    assert isinstance(source, LabelledBoxes)  # what every format becomes
    resized = _resized(source, quick)
    for place, fault in list(resized.items())[:LISTED]:
        file = source.files[place]
        yield Finding(
            severity="error", kind="picture-size", message=fault, split=split, file=file, picture=file
        )
    examined = _Examined(source, split, list(resized))
    if not len(examined.boxes):
        return
    whole = list(_written_otherwise(examined))
    yield from whole
    if not whole:  # else each box is wrong, and for one reason
        yield from _places(examined)
        yield from _tiny(examined, size)
    yield from _twice(examined)
    yield from _many(examined)


def _resized(source: LabelledBoxes, quick: bool) -> dict[int, str]:
    """{picture of another size than the one that its boxes were drawn on: what is wrong}."""
    places = evenly_spaced(len(source), MOST_HEADERS if quick else None)
    sizes = picture_sizes(source.root, [source.files[place] for place in places])
    wrong = (sizes != source.annotations.sizes[places]).any(axis=1) & (sizes > 0).all(axis=1)
    faults = {places[i]: source.size_fault(places[i], *sizes[i].tolist()) for i in np.flatnonzero(wrong)}
    return {place: fault for place, fault in faults.items() if fault}


def _written_otherwise(examined: _Examined) -> Iterator[Finding]:
    """Fractions where pixels are meant, or another order of numbers."""
    boxes, sizes = examined.boxes, examined.sizes
    if (boxes[:, 2:] <= 1 + ROUNDING).all() and (boxes[:, :2] >= -1 - ROUNDING).all():
        message = f"expected boxes in pixels, found none of {len(boxes)} that reaches beyond 1: fractions?"
        remedy = "multiply them by the picture's width and height"
        yield examined.finding("warning", "boxes-normalised", 0, message, remedy)
        return
    read = _FORM_OF.get(examined.source.format)
    fits = _fits(boxes, sizes)
    wrong = len(boxes) - int(np.count_nonzero(fits))
    if read is None or wrong < _WRONG_COUNT or wrong <= _WRONG_SHARE * len(boxes):
        return
    numbers = _FORMS[read][0](boxes)  # (M, 4) as written
    shares = {
        form: float(_fits(to_corners(numbers), sizes).mean()) for form, (_, to_corners) in _FORMS.items()
    }
    better = [form for form, share in shares.items() if share >= _RIGHT_SHARE]
    if not better:
        return
    message = (
        f"{wrong} of {len(boxes)} boxes have no area or leave their picture where they are read as {read}; "
        f"read as {' or as '.join(better)}, {max(shares.values()):.1%} of all fit"
    )
    remedy = f"write them as {read}"
    yield examined.finding("warning", "boxes-swapped-format", int(np.argmin(fits)), message, remedy)


def _fits(boxes: Floats, sizes: Floats) -> Flags:
    """(M,) whether a box has an area and lies in its picture, give or take a pixel."""
    inside: Flags = np.all((boxes >= -PIXEL) & (boxes <= np.tile(sizes, 2) + PIXEL), axis=1)
    return np.logical_and(inside, np.logical_not(without_area(boxes)))


def without_area(boxes: Floats) -> Flags:
    """(M,) whether a box (M, 4) has no area."""
    result: Flags = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
    return result


def _places(examined: _Examined) -> Iterator[Finding]:
    """Boxes without area, and those that are not in their picture, as training drops and clips them."""
    boxes, sizes = examined.boxes, examined.sizes
    beyond = np.maximum(-boxes[:, :2], boxes[:, 2:] - sizes).max(axis=1)  # px, (M,)
    flat = without_area(boxes)
    solid: Flags = np.logical_not(flat)
    is_off: Flags = np.any((boxes[:, 2:] <= 0) | (boxes[:, :2] >= sizes), axis=1)
    outside: Flags = solid & is_off
    if examined.split == "train":  # the others keep them
        examined.source.ledger.lose(int(np.count_nonzero(flat | outside)), len(boxes), "boxes")
    far: Flags = solid & ~is_off & (beyond > PIXEL)
    near: Flags = solid & ~is_off & (beyond > ROUNDING) & (beyond <= PIXEL)

    def described(box: int) -> str:
        x1, y1, x2, y2 = boxes[box].tolist()
        return f"x1 {x1:g}, y1 {y1:g}, x2 {x2:g}, y2 {y2:g}"

    def expected_inside(box: int) -> str:
        width, height = sizes[box].tolist()
        return f"expected a box inside {width:g} x {height:g} pixels (width x height), found {described(box)}"

    yield from examined.each(
        "warning",
        "box-without-area",
        flat,
        lambda box: f"expected x2 > x1 and y2 > y1, found {described(box)}",
        "redraw or remove it; training drops it",
    )
    remedy = "correct or remove it; training drops it"
    yield from examined.each("warning", "box-outside", outside, expected_inside, remedy)
    remedy = "correct it; training clips it"
    yield from examined.each("warning", "box-partly-outside", far, expected_inside, remedy)
    yield from examined.each("note", "box-partly-outside", near, expected_inside, remedy)


def _tiny(examined: _Examined, size: tuple[int, int] | None) -> Iterator[Finding]:
    """Boxes of a pixel at most, and those that hardly one is left of at the network's size: one for all."""
    widths = examined.boxes[:, 2:] - examined.boxes[:, :2]  # (M, 2) width, height
    solid = np.logical_not(without_area(examined.boxes))
    point: Flags = solid & (np.min(widths, axis=1) <= PIXEL)
    yield from examined.each(
        "warning",
        "box-tiny",
        point,
        lambda box: "expected an object, found a box of {:g} x {:g} px (width x height)".format(*widths[box]),
        "redraw or remove it: it is a slip of the hand, as a rule",
    )
    if size is None:
        return
    sides = np.min(sides_at(examined.source, size), axis=1)  # (M,)
    tiny: Flags = solid & ~point & (sides < TINY)
    count = int(np.count_nonzero(tiny))
    if not count:
        return
    smallest = int(np.argmin(np.where(tiny, sides, np.inf)))
    share = count / len(sides)
    message = (
        f"{count} of {len(sides)} boxes ({share:.1%}) have a side below {TINY:g} px at the input size of "
        f"{size[0]} x {size[1]} (height x width); the smallest has {sides[smallest]:.2g} px"
    )
    remedy = "raise input.size, cut tiles, or leave them out"
    yield examined.finding(
        "warning" if share >= _MANY_TINY else "note", "box-tiny", smallest, message, remedy
    )


def sides_at(source: LabelledBoxes, size: tuple[int, int]) -> Floats:
    """(M, 2) width and height of each box, px, in its picture fitted into `size` (height, width).

    Where the picture's size is not known: as in the file.
    """
    annotations = source.annotations
    sides: Floats = annotations.boxes[:, 2:] - annotations.boxes[:, :2]
    sizes = annotations.sizes[annotations.picture]  # (M, 2)
    known = (sizes > 0).all(axis=1)
    factors = np.where(known, np.min(np.array(size) / np.maximum(sizes, 1), axis=1), 1.0)
    result: Floats = sides * factors[:, None]  # (M, 2)
    return result


def _twice(examined: _Examined) -> Iterator[Finding]:
    """Boxes that are on a picture twice, with one class or with two."""
    annotations = examined.source.annotations
    boxes, labels, names = annotations.boxes, annotations.labels, examined.source.classes.names
    keys = (labels, *np.rint(boxes.T / ROUNDING), annotations.picture)
    order: Ints = np.lexsort(keys)
    place = np.array(keys[1:])[:, order]  # (5, M)
    again = np.concatenate([[False], (place[:, 1:] == place[:, :-1]).all(axis=0)])
    second = order[again & ~without_area(boxes)[order]]
    before = np.zeros(len(boxes), dtype=np.int64)
    before[order] = np.roll(order, 1)
    is_copy, has_two = np.zeros((2, len(boxes)), dtype=np.bool_)
    is_copy[second] = labels[second] == labels[before[second]]
    has_two[second] = labels[second] != labels[before[second]]
    yield from examined.each(
        "warning",
        "box-twice",
        is_copy,
        lambda box: f"expected each object once, found a box of '{names[labels[box]]}' twice in one place",
        "remove one",
    )
    yield from examined.each(
        "warning",
        "box-two-classes",
        has_two,
        lambda box: (
            f"expected one class of a box, found '{names[labels[before[box]]]}' and "
            f"'{names[labels[box]]}' in one place"
        ),
        "remove the wrong one",
    )


def _many(examined: _Examined) -> Iterator[Finding]:
    """Pictures with more boxes than the usual metrics look at."""
    annotations = examined.source.annotations
    counts = np.diff(annotations.starts)
    first = np.zeros(len(examined.boxes), dtype=np.bool_)
    first[annotations.starts[:-1][counts > MOST_BOXES]] = True
    yield from examined.each(
        "note",
        "many-boxes",
        first,
        lambda box: (
            f"{counts[annotations.picture[box]]} boxes on one picture; COCO's metrics, and prediction by "
            f"default, keep {MOST_BOXES} detections"
        ),
        "raise --max-det to predict",
    )
