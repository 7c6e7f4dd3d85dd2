"""Reads COCO's list of results: `[{"image_id", "category_id", "bbox": [x, y, w, h], "score"}, ...]`."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.packing import pack
from visiontasks.detection.metrics.flat_json import EXACT, parse_flat_records
from visiontasks.detection.metrics.picture_names import PictureNames
from visiontasks.detection.types import Annotations, Floats, Ints
from visiontasks.errors import DataError
from visiontasks.io.files import MAX_BYTES, read_bytes
from visiontasks.io.json_stream import stream_json
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import xywh_to_xyxy

WIDTHS: Final[Mapping[str, int]] = {"image_id": 1, "category_id": 1, "bbox": 4, "score": 1}  # numbers a key
_MOST: Final = 80  # characters of a record that a message shows


@dataclass(slots=True)
class _Ids:
    """A column of ids: each one's place in the list of distinct ones."""

    codes: Ints
    distinct: list[int | str]


@dataclass(slots=True)
class _Codes:
    """Ids met so far -> codes, one after the other."""

    known: dict[int | str, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, ident: int | str) -> None:
        self.codes.append(self.known.setdefault(ident, len(self.known)))

    def packed(self) -> _Ids:
        return _Ids(np.array(self.codes, dtype=np.int64), list(self.known))


@dataclass(slots=True)
class _Columns:
    """The file's D records. boxes: (D, 4) xywh. scores: (D,)."""

    pictures: _Ids
    categories: _Ids
    boxes: Floats
    scores: Floats


def read_coco_results(file: Path, truth: Annotations, classes: ClassMap, ledger: Ledger) -> Annotations:
    """The results on the pictures of the truth.

    Args:
        truth: whose `image_ids`, or paths, the results name. classes: with COCO's category ids.
        ledger: ids that are written as text are repaired, and counted.

    Raises:
        DataError: no JSON list; with file and record: a key is missing, a number is not finite, a picture or
            category that the truth does not have.
    """
    if not classes.file_ids:
        raise DataError(
            f"{file}: expected a truth in COCO's format for category ids, found one without ids; "
            "use predictions.json, which has the names of the classes"
        )
    columns = _read_quickly(file)
    if columns is None:
        columns = _read_slowly(file)
    infinite = ~(np.isfinite(columns.boxes).all(axis=1) & np.isfinite(columns.scores))
    if infinite.any():
        raise DataError(f"{_where(file, int(np.argmax(infinite)))}: expected finite numbers, found infinity")
    names = PictureNames(truth.files)
    places: dict[int | str, int] = {ident: place for place, ident in enumerate(truth.image_ids)}
    pictures = _look_up(
        file, "image_id", columns.pictures, places, ledger, by_name=lambda text: names.find(text)
    )
    indices = {ident: place for place, ident in enumerate(classes.file_ids)}
    labels = _look_up(file, "category_id", columns.categories, indices, ledger, by_name=lambda _: None)
    return pack(
        truth.files,
        truth.sizes,
        pictures,
        xywh_to_xyxy(columns.boxes),
        labels,
        np.arange(len(labels)),
        image_ids=truth.image_ids,
        scores=columns.scores,
    )


def _where(file: Path, record: int) -> str:
    return f"{file}, record [{record}]"


def _read_quickly(file: Path) -> _Columns | None:
    """The records of a file that holds numbers alone, in one layout; None for any other, or a faulty one."""
    columns = parse_flat_records(read_bytes(file, max_bytes=MAX_BYTES[".json"], what="a JSON file"))
    if columns is None or any(
        key not in columns or columns[key].shape[1] != width for key, width in WIDTHS.items()
    ):
        return None
    ids = []
    for key in ("image_id", "category_id"):
        distinct, codes = np.unique(columns[key], return_inverse=True)
        if (distinct != np.floor(distinct)).any() or (np.abs(distinct) >= EXACT).any():
            return None
        ids.append(_Ids(codes.ravel().astype(np.int64), distinct.astype(np.int64).tolist()))
    return _Columns(ids[0], ids[1], columns["bbox"], columns["score"].ravel())


def _read_slowly(file: Path) -> _Columns:
    """The records of any other file, one by one."""
    pictures, categories = _Codes(), _Codes()
    boxes, scores = array("d"), array("d")
    for key, place, record in stream_json(file):
        if key != "" or (place < 0 and record != []):
            raise DataError(
                f"{file}: expected COCO's list of results [{{...}}, ...], found an object with '{key}'; "
                "is this the truth?"
            )
        if place < 0:
            continue
        try:
            box, score = record["bbox"], record["score"]
            if len(box) != 4 or any(isinstance(number, bool) for number in (*box, score)):
                raise ValueError
            numbers = [float(number) for number in (*box, score) if not isinstance(number, str)]
            boxes.extend(numbers[:4])
            scores.append(numbers[4])
            pictures.add(_id(record["image_id"]))
            categories.add(_id(record["category_id"]))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise DataError(
                f"{_where(file, place)}: expected image_id, category_id, score and bbox "
                f"[x, y, width, height], found {_short(record)}"
            ) from None
    table = np.array(boxes, dtype=np.float64).reshape(-1, 4)  # (D, 4)
    return _Columns(pictures.packed(), categories.packed(), table, np.array(scores, dtype=np.float64))


def _id(value: Any) -> int | str:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    raise ValueError


def _look_up(
    file: Path,
    key: str,
    ids: _Ids,
    known: Mapping[int | str, int],
    ledger: Ledger,
    by_name: Callable[[str], int | None],
) -> Ints:
    """The place in the truth of what each record names, (D,). Raises: DataError for what it does not have."""
    table = np.full(len(ids.distinct), -1)
    for code, ident in enumerate(ids.distinct):
        place = known.get(ident)
        if place is None and isinstance(ident, str):
            digits = ident.strip().removeprefix("-")
            is_number = digits.isdecimal() and digits.isascii() and len(digits) < 20
            place = known.get(int(ident)) if is_number else by_name(ident)
            if is_number and place is not None:
                record = int(np.argmax(ids.codes == code))
                ledger.add(
                    "repaired", file, f"{key} written as text: taken as a number", f"record [{record}]"
                )
        table[code] = -1 if place is None else place
    result: Ints = table[ids.codes]
    unknown = np.flatnonzero(result < 0)
    if len(unknown):
        some = ", ".join(map(str, list(known)[:SHOWN])) + (", ..." if len(known) > SHOWN else "")
        found = ids.distinct[ids.codes[unknown[0]]]
        raise DataError(
            f"{_where(file, int(unknown[0]))}: expected one of the truth's {len(known)} as {key} ({some}), "
            f"found {found!r}; {len(unknown)} records have one that it does not have"
        )
    return result


def _short(record: Any) -> str:
    text = json.dumps(record, ensure_ascii=False)
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."
