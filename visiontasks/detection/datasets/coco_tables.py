"""COCO's lists as they are read: records checked one by one, numbers in arrays, ids as dense codes."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.detection.datasets.packing import LARGEST, pack
from visiontasks.detection.types import Annotations, Ints
from visiontasks.errors import DataError
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import xywh_to_xyxy
from visiontasks.ops.run_lengths import check_run_length

Id = int | str

_MOST: Final = 60  # characters of a value that a message shows


class Tables:
    """What is known of a file so far: ids as dense codes, numbers in arrays."""

    def __init__(self, file: str, ledger: Ledger) -> None:
        self.file, self.ledger = file, ledger
        self.number = 0  # of the record at hand, in its list
        self.notes: dict[str, tuple[int, str]] = {}  # what was filled in -> how often, first record
        self.names: list[str] = []
        self.sizes = array("q")
        self.listed: dict[Id, int] = {}  # id of a picture -> its place
        self.categories: dict[Id, tuple[str, int]] = {}  # id -> name, its place
        self.picture_codes: dict[Id, int] = {}  # id that an annotation names -> code, in order of appearance
        self.category_codes: dict[Id, int] = {}
        self.pictures, self.labels = array("q"), array("q")  # codes
        self.ids, self.numbers = array("q"), array("q")  # annotation ids that are numbers, and whose they are
        self.text_ids: dict[str, int] = {}
        self.run_lengths = array("q")  # of each: its record, height, width
        self.boxes, self.areas = array("d"), array("d")
        self.crowds, self.difficult = array("b"), array("b")

    def fail(self, table: str, what: str) -> NoReturn:
        raise DataError(f"{self.file}, {table}[{self.number}]: {what}")

    def note(self, table: str, what: str) -> None:
        """Count what is filled in, maybe in every record: one entry of the ledger for all."""
        count, first = self.notes.get(what, (0, f"{table}[{self.number}]"))
        self.notes[what] = count + 1, first

    def add_image(self, record: Any) -> None:
        if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
            self.fail("images", f"expected a picture with a file_name, found {short(record)}")
        ident = self._id("images", "id", record.get("id"))
        before = self.listed.setdefault(ident, self.number)
        if before != self.number:
            self.fail(
                "images", f"expected each id once, found {short(ident)}, as in images[{before}]; renumber one"
            )
        self.names.append(record["file_name"])
        for side in ("height", "width"):
            value = record.get(side, 0)
            if not _is_whole(value) or not 0 <= value < 1 << 31:
                self.fail("images", f"expected a {side} in pixels, found {short(value)}")
            self.sizes.append(int(value))
        if not self.sizes[-1] or not self.sizes[-2]:
            self.note("images", "no height and width: the picture's")

    def add_category(self, record: Any) -> None:
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not name.strip():
            self.fail("categories", f"expected a category with a name, found {short(record)}")
        ident = self._id("categories", "id", record.get("id"))
        if ident in self.categories:
            before = f"categories[{self.categories[ident][1]}] ({self.categories[ident][0]})"
            self.fail(
                "categories", f"expected each id once, found {short(ident)}, as in {before}; renumber one"
            )
        self.categories[ident] = class_name(name.strip()), self.number

    def add_annotation(self, record: Any) -> None:
        if type(record) is not dict:
            self.fail("annotations", f"expected an object, found {short(record)}")
        segmentation = record.get("segmentation")
        if segmentation:
            self._check_segmentation(segmentation)
        box: Any = record.get("bbox")
        if box is None:
            box = self._box_around(segmentation)
        try:
            x, y, width, height = box
            self.boxes.extend((x, y, width, height))
        except (TypeError, ValueError, OverflowError):
            self.fail(
                "annotations", f"expected a bbox of four numbers [x, y, width, height], found {short(box)}"
            )
        self._add_ids(record)
        self._add_flags(record)

    def _add_ids(self, record: dict[str, Any]) -> None:
        picture, category = record.get("image_id"), record.get("category_id")
        if type(picture) is not int:
            picture = self._id("annotations", "image_id", picture)
        if type(category) is not int:
            category = self._id("annotations", "category_id", category)
        self.pictures.append(self.picture_codes.setdefault(picture, len(self.picture_codes)))
        self.labels.append(self.category_codes.setdefault(category, len(self.category_codes)))
        ident = record.get("id")
        if ident is None:
            self.note("annotations", "no id: numbered")
            return
        if type(ident) is not int:
            ident = self._id("annotations", "id", ident)
        if ident == 0:
            self.note("annotations", "id 0, which means 'unmatched' elsewhere: numbered from 1")
        if isinstance(ident, str):
            before = self.text_ids.setdefault(ident, self.number)
            if before != self.number:
                self._fail_twice(ident, before)
            return
        try:
            self.ids.append(ident)
            self.numbers.append(self.number)
        except OverflowError:
            self.fail("annotations", f"expected an id of at most 64 bits, found {short(ident)}")

    def _add_flags(self, record: dict[str, Any]) -> None:
        area = record.get("area")
        if area is None:
            self.note("annotations", "no area: the box's")
            area = math.nan
        crowd = record.get("iscrowd")
        if crowd is None:
            self.note("annotations", "no iscrowd: 0")
            crowd = 0
        if crowd not in (0, 1):
            self.fail("annotations", f"expected iscrowd 0 or 1, found {short(crowd)}")
        if record.get("ignore") and not crowd:
            self.fail(
                "annotations",
                "expected no ignore=1 without iscrowd=1 (other programs overwrite it by iscrowd), "
                "found one; set iscrowd=1, or remove ignore",
            )
        try:
            self.areas.append(area)
        except (TypeError, OverflowError):
            self.fail("annotations", f"expected an area in square pixels, found {short(area)}")
        self.crowds.append(int(crowd))
        self.difficult.append(1 if record.get("difficult") else 0)

    def _fail_twice(self, ident: Id, before: int) -> NoReturn:
        self.fail(
            "annotations",
            f"expected each id once, found {short(ident)}, as in annotations[{before}]; renumber them",
        )

    def _id(self, table: str, key: str, value: Any) -> Id:
        """An id as a number where it is one, also where it is written as text or float; else a text."""
        if type(value) is int:
            return value
        if isinstance(value, str) and value.strip():
            digits = value.strip().removeprefix("-")
            if not (digits.isdecimal() and digits.isascii() and len(digits) < 20):
                return value
            self.note(table, f"{key} written as text: taken as a number")
            return int(value)
        if isinstance(value, float) and value.is_integer():
            self.note(table, f"{key} written as a fraction: taken as a whole number")
            return int(value)
        self.fail(table, f"expected a number as {key}, found {short(value)}")

    def _check_segmentation(self, segmentation: Any) -> None:
        if isinstance(segmentation, dict):
            where = f"{self.file}, annotations[{self.number}]"
            self.run_lengths.extend((len(self.pictures), *check_run_length(segmentation, None, where)))
            return
        if not isinstance(segmentation, list):
            self.fail("annotations", f"expected polygons or a run length, found {short(segmentation)}")
        for place, part in enumerate(segmentation):
            try:
                finite, count = math.isfinite(sum(part)), len(part)
            except (TypeError, OverflowError):
                self.fail(
                    "annotations",
                    f"expected polygons as lists of numbers [[x, y, ...], ...], found {short(segmentation)}",
                )
            if not finite:
                self.fail("annotations", "expected finite numbers in the segmentation, found infinity")
            if count < 6 or count % 2:
                reason = "an odd count of numbers" if count % 2 else "fewer than three points"
                record = f"annotations[{self.number}].segmentation[{place}]"
                self.ledger.add("dropped", self.file, f"polygon part with {reason}", record)

    def _box_around(self, segmentation: Any) -> list[float] | None:
        """The box (x, y, width, height) of a record that has polygons alone."""
        if not isinstance(segmentation, list):
            return None
        points = [value for part in segmentation if len(part) % 2 == 0 for value in part]
        if not points:
            return None
        self.note("annotations", "no bbox: the polygons'")
        x, y = min(points[::2]), min(points[1::2])
        return [x, y, max(points[::2]) - x, max(points[1::2]) - y]

    def packed(self) -> tuple[ClassMap, Annotations]:
        """Everything as arrays. Raises: DataError for ids that are twice or nowhere, and for infinity."""
        for what, (count, first) in self.notes.items():
            self.ledger.add(
                "repaired", self.file, what, f"{first} and {count - 1} more" if count > 1 else first
            )
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        areas = np.array(self.areas, dtype=np.float64)
        wrong = np.flatnonzero((np.abs(boxes) > LARGEST).any(axis=1) | (np.abs(areas) > LARGEST**2))
        if len(wrong):
            self.number = int(wrong[0])
            found = [*boxes[self.number].tolist(), areas[self.number]]
            largest = max((number for number in found if number == number), key=abs)
            self.fail("annotations", f"expected finite numbers of pixels in bbox and area, found {largest:g}")
        self._check_ids()
        order = sorted(self.categories, key=lambda ident: (isinstance(ident, str), ident))
        try:
            classes = ClassMap(tuple(self.categories[ident][0] for ident in order), tuple(order))
        except DataError as error:
            raise DataError(f"{self.file}, categories: {error}") from None
        labels = self._places(
            self.labels, self.category_codes, {ident: i for i, ident in enumerate(order)}, "category_id"
        )
        pictures = self._places(self.pictures, self.picture_codes, self.listed, "image_id")
        sizes = np.array(self.sizes, dtype=np.int64).reshape(-1, 2)
        self._check_run_lengths(pictures, sizes)
        return classes, pack(
            self.names,
            sizes,
            pictures,
            xywh_to_xyxy(boxes),
            labels,
            np.arange(len(boxes)),
            image_ids=_numbers(self.listed),
            crowd=np.array(self.crowds, dtype=np.bool_),
            difficult=np.array(self.difficult, dtype=np.bool_),
            area=areas,
        )

    def _check_ids(self) -> None:
        ids, numbers = np.array(self.ids, dtype=np.int64), np.array(self.numbers, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
        if len(same):
            before, self.number = numbers[order[same[0]]], int(numbers[order[same[0] + 1]])
            self._fail_twice(int(ids[order[same[0]]]), int(before))

    def _check_run_lengths(self, pictures: Ints, sizes: Ints) -> None:
        runs = np.array(self.run_lengths, dtype=np.int64).reshape(-1, 3)
        expected = sizes[pictures[runs[:, 0]]]  # (R, 2)
        wrong = np.flatnonzero((expected > 0).all(axis=1) & (expected != runs[:, 1:]).any(axis=1))
        if len(wrong):
            self.number = int(runs[wrong[0], 0])
            size, found = expected[wrong[0]].tolist(), runs[wrong[0], 1:].tolist()
            self.fail(
                "annotations",
                f"expected a run length of the picture's size {size}, found {found}; mend or remove it",
            )

    def _places(self, codes: Any, known: dict[Id, int], places: dict[Id, int], key: str) -> Ints:
        """Codes of ids that annotations name -> places of what they name."""
        table = np.array([places.get(ident, -1) for ident in known], dtype=np.int64)
        result: Ints = table[np.array(codes, dtype=np.int64)]
        wrong = np.flatnonzero(result < 0)
        if len(wrong):
            self.number = int(wrong[0])
            ident = list(known)[codes[self.number]]
            some = ", ".join(map(short, list(places)[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
            self.fail(
                "annotations",
                f"expected {key} to be one of the file's {len(places)} ({some}), found {short(ident)}; "
                f"{len(wrong)} annotations have one that is not there; add it or remove them",
            )
        return result


def _numbers(ids: dict[Id, int]) -> Sequence[Id]:
    """Ids packed, where they are numbers."""
    whole = [ident for ident in ids if isinstance(ident, int)]
    if len(whole) < len(ids):
        return list(ids)
    try:
        return array("q", whole)
    except OverflowError:
        return list(ids)


def _is_whole(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def short(value: Any) -> str:
    """A value of a file, for a message."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."
