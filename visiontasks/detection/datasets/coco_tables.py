"""What detection reads of COCO's annotations: boxes, areas and flags into arrays; outlines are checked."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.packing import LARGEST, pack
from visiontasks.detection.types import Annotations, Ints
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
        if segmentation:
            self._check_segmentation(segmentation)
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
            self.boxes.extend((x, y, width, height))
        except (TypeError, ValueError, OverflowError):
            self.fail(
                "annotations",
                f"expected a bbox of four numbers [x, y, width, height], found {short(box)}; "
                "correct it, or remove the annotation",
            )
        self.add_ids(record)
        self._add_flags(record)

    def _add_flags(self, record: dict[str, Any]) -> None:
        area = record.get("area")
        if area is None:
            self.note("annotations", "no area: the box's")
            area = math.nan
        try:
            if area < 0 or isinstance(area, bool):
                raise TypeError
            self.areas.append(area)
        except (TypeError, OverflowError):
            self.fail(
                "annotations", f"expected an area in square pixels, found {short(area)}; correct or remove it"
            )
        self.crowds.append(self.crowd(record))
        difficult = record.get("difficult")
        if difficult is not None and difficult not in (0, 1):
            self.fail("annotations", f"expected difficult 0 or 1, found {short(difficult)}; correct it")
        self.difficult.append(1 if difficult else 0)

    def _check_segmentation(self, segmentation: Any) -> None:
        if isinstance(segmentation, dict):
            where = f"{self.file}, annotations[{self.number}]"
            self.run_lengths.extend((len(self.pictures), *check_run_length(segmentation, None, where)))
            return
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
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        areas = np.array(self.areas, dtype=np.float64)
        wrong = np.flatnonzero((np.abs(boxes) > LARGEST).any(axis=1) | (np.abs(areas) > LARGEST**2))
        if len(wrong):
            self.number = self.records[wrong[0]]
            found = [*boxes[wrong[0]].tolist(), areas[wrong[0]]]
            largest = max((number for number in found if number == number), key=abs)
            self.fail(
                "annotations",
                f"expected finite numbers of pixels in bbox and area, found {largest:g}; correct the record",
            )
        names = self.names_by_id()
        try:
            classes = ClassMap(tuple(names.values()), tuple(names))
        except DataError as error:
            raise DataError(f"{self.file}, categories: {error}") from None
        labels = self.places_of_categories({ident: i for i, ident in enumerate(names)})
        pictures = self.places_of_pictures()
        sizes = np.array(self.sizes, dtype=np.int64).reshape(-1, 2)
        self._check_run_lengths(pictures, sizes)
        return classes, pack(
            self.names,
            sizes,
            pictures,
            xywh_to_xyxy(boxes),
            labels,
            np.array(self.records, dtype=np.int64),
            image_ids=_numbers(self.listed),
            crowd=np.array(self.crowds, dtype=np.bool_),
            difficult=np.array(self.difficult, dtype=np.bool_),
            area=areas,
        )

    def _check_run_lengths(self, pictures: Ints, sizes: Ints) -> None:
        runs = np.array(self.run_lengths, dtype=np.int64).reshape(-1, 3)
        expected = sizes[pictures[runs[:, 0]]]  # (R, 2)
        wrong = np.flatnonzero((expected > 0).all(axis=1) & (expected != runs[:, 1:]).any(axis=1))
        if len(wrong):
            self.number = self.records[runs[wrong[0], 0]]
            size, found = expected[wrong[0]].tolist(), runs[wrong[0], 1:].tolist()
            self.fail(
                "annotations",
                f"expected a run length of the picture's size {size}, found {found}; mend or remove it",
            )


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
