"""What detection reads of COCO's annotations: boxes, areas and flags into arrays; outlines are checked."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.packing import LARGEST, pack
from visiontasks.detection.types import Annotations, Flags, Floats, Ints
from visiontasks.errors import DataError, short
from visiontasks.io.coco_lists import CocoLists, Id
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import xywh_to_xyxy
from visiontasks.ops.run_lengths import check_run_length


class Tables(CocoLists):
    """The boxes of a file so far, beside its lists."""

    def __init__(self, file: str, ledger: Ledger) -> None:
        super().__init__(file, ledger)
        self.run_lengths = array("q")  # of each: its record, height, width
        self.boxes, self.areas = array("d"), array("d")
        self.crowds, self.difficult = array("b"), array("b")

    def add_annotation(self, record: Any) -> None:
        if type(record) is not dict:
            self.fail("annotations", f"expected an object, found {short(record)}; remove it")
        segmentation = record.get("segmentation")
        run_length = self._check_segmentation(segmentation) if segmentation else None
        box: Any = record.get("bbox")
        if box is None:
            box = self._box_around(segmentation)
            if box is None and segmentation and isinstance(segmentation, list):
                reason = "no bbox, and no polygon to take one from"
                self.ledger.add("dropped", self.file, reason, f"annotations[{self.number}]")
                return
        try:
            x, y, width, height = box
            if bool in map(type, box):
                raise TypeError
            corners = array("d", (x, y, width, height))
        except (TypeError, ValueError, OverflowError):
            self.fail(
                "annotations",
                f"expected a bbox of four numbers [x, y, width, height], found {short(box)}; "
                "correct it, or remove the annotation",
            )
        area, crowd, difficult = self._area(record), self.crowd(record), self._difficult(record)
        self.add_ids(record)
        self.boxes.extend(corners)
        self.areas.append(area)
        self.crowds.append(crowd)
        self.difficult.append(difficult)
        if run_length:
            self.run_lengths.extend((len(self.areas) - 1, *run_length))

    def _area(self, record: dict[str, Any]) -> float:
        area = record.get("area")
        if area is None:
            self.note("annotations", "no area: the box's")
            return math.nan
        try:
            if not area >= 0 or isinstance(area, bool):
                raise TypeError
            return float(area)
        except (TypeError, OverflowError):
            self.fail(
                "annotations", f"expected an area in square pixels, found {short(area)}; correct or remove it"
            )

    def _difficult(self, record: dict[str, Any]) -> int:
        difficult = record.get("difficult")
        if difficult is not None and difficult not in (0, 1):
            self.fail("annotations", f"expected difficult 0 or 1, found {short(difficult)}; correct it")
        return 1 if difficult else 0

    def _check_segmentation(self, segmentation: Any) -> Sequence[int] | None:
        """The height and width of a run length, which are checked last; None for polygons."""
        if isinstance(segmentation, dict):
            return check_run_length(segmentation, None, f"{self.file}, annotations[{self.number}]")
        if not isinstance(segmentation, list):
            self.fail(
                "annotations", f"expected polygons or a run length, found {short(segmentation)}; mend it"
            )
        for place, part in enumerate(segmentation):
            try:
                finite, count = math.isfinite(sum(part)), len(part)
            except (TypeError, OverflowError):
                self.fail(
                    "annotations",
                    f"expected polygons as lists of numbers [[x, y, ...], ...], found {short(segmentation)}",
                )
            if not finite:
                self.fail(
                    "annotations", "expected finite numbers in the segmentation, found infinity; mend it"
                )
            if not _is_polygon(part):
                reason = "an odd count of numbers" if count % 2 else "fewer than three points"
                record = f"annotations[{self.number}].segmentation[{place}]"
                self.ledger.add("dropped", self.file, f"polygon part with {reason}", record)
        return None

    def _box_around(self, segmentation: Any) -> list[float] | None:
        """The box (x, y, width, height) around the polygons of a record; parts that are none are left out."""
        if not isinstance(segmentation, list):
            return None
        points = [value for part in segmentation if _is_polygon(part) for value in part]
        if not points:
            return None
        self.note("annotations", "no bbox: the polygons'")
        x, y = min(points[::2]), min(points[1::2])
        return [x, y, max(points[::2]) - x, max(points[1::2]) - y]

    def packed(self) -> tuple[ClassMap, Annotations]:
        """Everything as arrays. Raises: DataError for ids that are twice or nowhere, and for infinity."""
        self.finish()
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)  # (M, 4)
        areas = np.array(self.areas, dtype=np.float64)
        are_finite = self._check_numbers(boxes, areas)
        names = self.names_by_id()
        try:
            classes = ClassMap(tuple(names.values()), tuple(names))
        except DataError as error:
            raise DataError(f"{self.file}, categories: {error}") from None
        labels = self.places_of_categories({ident: i for i, ident in enumerate(names)})
        pictures = self.places_of_pictures()
        sizes = np.array(self.sizes, dtype=np.int64).reshape(-1, 2)  # (N, 2)
        kept = np.flatnonzero(
            are_finite & (labels >= 0) & (pictures >= 0) & self._check_run_lengths(pictures, sizes)
        )
        return classes, pack(
            self.names,
            sizes,
            pictures[kept],
            xywh_to_xyxy(boxes[kept]),
            labels[kept],
            np.array(self.records, dtype=np.int64)[kept],
            image_ids=_numbers(self.listed),
            crowd=np.array(self.crowds, dtype=np.bool_)[kept],
            difficult=np.array(self.difficult, dtype=np.bool_)[kept],
            area=areas[kept],
        )

    def _check_numbers(self, boxes: Floats, areas: Floats) -> Flags:
        """(M,) whether a record's numbers are finite and of pixels; areas may be NaN, which is not said."""
        sound: Flags = (np.abs(boxes) <= LARGEST).all(axis=1) & ~(np.abs(areas) > LARGEST**2)
        for place in np.flatnonzero(~sound).tolist():
            self.number = self.records[place]
            found = [*boxes[place].tolist(), areas[place]]
            known = [number for number in found[:4] if number != number] or [n for n in found if n == n]
            self.fault(
                "annotations",
                f"expected finite numbers of pixels in bbox and area, found {max(known, key=abs):g}; "
                "correct the record",
            )
        return sound

    def _check_run_lengths(self, pictures: Ints, sizes: Ints) -> Flags:
        """(M,) whether a record's run length, if it has one, is of its picture's size."""
        runs = np.array(self.run_lengths, dtype=np.int64).reshape(-1, 3)  # (L, 3)
        runs = runs[pictures[runs[:, 0]] >= 0]
        expected = sizes[pictures[runs[:, 0]]]  # (R, 2)
        wrong = (expected > 0).all(axis=1) & (expected != runs[:, 1:]).any(axis=1)
        for place in np.flatnonzero(wrong).tolist():
            self.number = self.records[runs[place, 0]]
            size, found = expected[place].tolist(), runs[place, 1:].tolist()
            self.fault(
                "annotations",
                f"expected a run length of the picture's size {size}, found {found}; mend or remove it",
            )
        sound = np.ones(len(pictures), dtype=np.bool_)
        sound[runs[wrong, 0]] = False
        return sound


def _is_polygon(part: Sequence[float]) -> bool:
    return len(part) >= 6 and len(part) % 2 == 0


def _numbers(ids: dict[Id, int]) -> Sequence[Id]:
    """Ids packed, where they are numbers."""
    whole = [ident for ident in ids if isinstance(ident, int)]
    if len(whole) < len(ids):
        return list(ids)
    try:
        return array("q", whole)
    except OverflowError:
        return list(ids)
