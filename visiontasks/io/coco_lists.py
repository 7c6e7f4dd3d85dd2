"""COCO's lists of pictures, categories and annotations, as far as every task reads them alike.

Records are checked one by one as they come; numbers are kept in arrays, ids as dense codes: memory for the
arrays, not for 200 MB of Python objects.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import class_name
from visiontasks.errors import DataError, short
from visiontasks.io.json_stream import stream_json
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger

Id = int | str


class CocoLists:
    """What is known of a file so far; a task adds what it reads of an annotation.

    number: of the record at hand, in its list. names, sizes: of each picture, as written; height and width in
    px, 0 = not said. listed: id of a picture -> its place in `names`. categories: id -> name, place.
    image_numbers, records: of each picture and annotation that is kept, its place in the file.
    Where the ledger collects faults, a record with one is left out: nothing of it is taken over.
    """

    def __init__(self, file: str, ledger: Ledger) -> None:
        self.file, self.ledger = file, ledger
        self.number = 0
        self.notes: dict[tuple[str, str], list[int]] = {}  # table, what was filled in -> how often, first
        self.names: list[str] = []
        self.sizes, self.image_numbers = array("q"), array("q")
        self.listed: dict[Id, int] = {}
        self.categories: dict[Id, tuple[str, int]] = {}
        self.picture_codes: dict[Id, int] = {}  # id that an annotation names -> code, in order of appearance
        self.category_codes: dict[Id, int] = {}
        self.pictures, self.labels = array("q"), array("q")  # codes
        self.records = array("q")
        self.ids, self.numbers = array("q"), array("q")  # annotation ids that are numbers, and whose they are
        self.text_ids: dict[str, int] = {}

    def fail(self, table: str, what: str) -> NoReturn:
        raise self._error(table, what)

    def fault(self, table: str, what: str) -> None:
        """As `fail`, but where the ledger collects faults: there, reading goes on."""
        self.ledger.fault(self._error(table, what), self.file, f"{table}[{self.number}]")

    def _error(self, table: str, what: str) -> DataError:
        return DataError(f"{self.file}, {table}[{self.number}]: {what}")

    def note(self, table: str, what: str) -> None:
        """Count what is filled in, maybe in every record: one entry of the ledger for all."""
        self.notes.setdefault((table, what), [0, self.number])[0] += 1

    def add_image(self, record: Any) -> None:
        if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
            self.fail("images", f"expected a picture with a file_name, found {short(record)}; add it")
        ident = self._id("images", "id", record.get("id"))
        if ident in self.listed:
            before = self.image_numbers[self.listed[ident]]
            self.fail(
                "images", f"expected each id once, found {short(ident)}, as in images[{before}]; renumber one"
            )
        size = self._side(record, "height"), self._side(record, "width")
        if not all(size):
            self.note("images", "no height and width: the picture's")
        self.listed[ident] = len(self.names)
        self.names.append(record["file_name"])
        self.sizes.extend(size)
        self.image_numbers.append(self.number)

    def _side(self, record: dict[str, Any], side: str) -> int:
        value = 0 if record.get(side) is None else record[side]
        if not _is_whole(value) or not 0 <= value < 1 << 31:
            self.fail("images", f"expected a {side} in pixels, found {short(value)}; correct it")
        return int(value)

    def add_category(self, record: Any) -> None:
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not name.strip():
            self.fail("categories", f"expected a category with a name, found {short(record)}; name it")
        ident = self._id("categories", "id", record.get("id"))
        if ident in self.categories:
            before = f"categories[{self.categories[ident][1]}] ({self.categories[ident][0]})"
            self.fail(
                "categories", f"expected each id once, found {short(ident)}, as in {before}; renumber one"
            )
        self.categories[ident] = class_name(name.strip()), self.number

    def add_ids(self, record: dict[str, Any]) -> None:
        """Of an annotation: its picture, its category, its own id. The last that may fail of a record."""
        picture, category = record.get("image_id"), record.get("category_id")
        if type(picture) is not int:
            picture = self._id("annotations", "image_id", picture)
        if type(category) is not int:
            category = self._id("annotations", "category_id", category)
        self._add_id(record.get("id"))
        self.records.append(self.number)
        self.pictures.append(self.picture_codes.setdefault(picture, len(self.picture_codes)))
        self.labels.append(self.category_codes.setdefault(category, len(self.category_codes)))

    def _add_id(self, ident: Any) -> None:
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
                self._note_twice(ident, before)
            return
        try:
            self.ids.append(ident)
            self.numbers.append(self.number)
        except OverflowError:
            self.fail("annotations", f"expected an id of at most 64 bits, found {short(ident)}; renumber it")

    def crowd(self, record: dict[str, Any]) -> int:
        """Whether an annotation is a crowd, 0 or 1; `ignore` without `iscrowd` is refused."""
        crowd = record.get("iscrowd")
        if crowd is None:
            self.note("annotations", "no iscrowd: 0")
            crowd = 0
        if crowd not in (0, 1):
            self.fail("annotations", f"expected iscrowd 0 or 1, found {short(crowd)}; correct it")
        if record.get("ignore") and not crowd:
            self.fail(
                "annotations",
                "expected no ignore=1 without iscrowd=1 (other programs overwrite it by iscrowd), "
                "found one; set iscrowd=1, or remove ignore",
            )
        return int(crowd)

    def finish(self) -> None:
        """Note in the ledger what was filled in.

        Raises: DataError for an annotation id that comes twice; where faults are collected, both are kept.
        """
        for (table, what), (count, number) in self.notes.items():
            reason, first = what, f"{table}[{number}]"
            if count > 1:
                reason, first = f"{what} (in {count} {table})", f"{first} and {count - 1} more"
            self.ledger.add("repaired", self.file, reason, first)
        ids, numbers = np.array(self.ids, dtype=np.int64), np.array(self.numbers, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
        twice = (ids[order[same]], numbers[order[same]], numbers[order[same + 1]])
        for ident, before, self.number in zip(*(column.tolist() for column in twice), strict=True):
            self._note_twice(ident, before)

    def names_by_id(self) -> dict[Id, str]:
        """The categories, by id: numbers first."""
        order = sorted(self.categories, key=lambda ident: (isinstance(ident, str), ident))
        return {ident: self.categories[ident][0] for ident in order}

    def places_of_pictures(self) -> NDArray[np.int64]:
        """(M,) the place of each annotation's picture.

        Raises: DataError for one that is not in `images`; where faults are collected, it is -1.
        """
        return self._places(self.pictures, self.picture_codes, self.listed, "image_id")

    def places_of_categories(self, places: Mapping[Id, int]) -> NDArray[np.int64]:
        """(M,) what `places` (of each category's id) says of each annotation's; errors as for pictures."""
        return self._places(self.labels, self.category_codes, places, "category_id")

    def _places(
        self, codes: Any, known: Mapping[Id, int], places: Mapping[Id, int], key: str
    ) -> NDArray[np.int64]:
        """Codes of ids that annotations name -> places of what they name."""
        table = np.array([places.get(ident, -1) for ident in known], dtype=np.int64)
        result: NDArray[np.int64] = table[np.array(codes, dtype=np.int64)]
        wrong = np.flatnonzero(result < 0).tolist()
        idents = list(known)
        some = ", ".join(map(short, list(places)[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
        for annotation in wrong:
            self.number = self.records[annotation]
            self.fault(
                "annotations",
                f"expected {key} to be one of the file's {len(places)} ({some}), "
                f"found {short(idents[codes[annotation]])}; "
                f"{len(wrong)} annotations have one that is not there; add it or remove them",
            )
        return result

    def _note_twice(self, ident: Id, before: int) -> None:
        self.fault(
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
        self.fail(table, f"expected a number as {key}, found {short(value)}; fill in the right one")


def read_lists(file: Path, lists: CocoLists, add_annotation: Callable[[Any], None]) -> set[str]:
    """Hand the records of a file to `lists`, those of `annotations` to `add_annotation`.

    Returns: the keys of the document.

    Raises: DataError: no such file or no JSON; a list is missing, or is none; what the records raise, unless
        the ledger collects faults (then NaN and infinity, which JSON does not have, are the records' fault).
    """
    ledger = lists.ledger
    add = {"images": lists.add_image, "annotations": add_annotation, "categories": lists.add_category}
    keys = set()
    for key, number, record in stream_json(file, allow_nan=ledger.collects):
        if key not in keys:
            keys.add(key)
            if key in add and number < 0 and record != []:
                raise DataError(f"{file}: expected a list under '{key}', found {short(record)}")
        if number >= 0 and key in add:
            lists.number = number
            try:
                add[key](record)
            except DataError as error:
                ledger.fault(error, file, f"{key}[{number}]")
    missing = [key for key in add if key not in keys]
    if missing:
        found = "a list (results?)" if keys == {""} else ", ".join(sorted(keys)) or "nothing"
        raise DataError(
            f"{file}: expected COCO's lists {', '.join(add)}, found {found}; add {', '.join(missing)}"
        )
    return keys


def _is_whole(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())
