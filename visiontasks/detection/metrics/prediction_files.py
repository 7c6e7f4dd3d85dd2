"""Reads predictions for the pictures of a truth: our predictions.json, YOLO's text files, VOC's XML files."""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.detection.datasets.packing import pack
from visiontasks.detection.datasets.voc import read_voc_folder
from visiontasks.detection.datasets.yolo import read_yolo_labels
from visiontasks.detection.metrics.coco_results import read_coco_results
from visiontasks.detection.metrics.picture_names import PictureNames
from visiontasks.detection.types import Annotations, Ints
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.files import open_binary
from visiontasks.io.json_stream import stream_json
from visiontasks.io.location import SHOWN, describe_folder
from visiontasks.ledger import Ledger

_log = logging.getLogger(__name__)


def read_predictions(
    path: Path, truth: Annotations, classes: ClassMap, renamed: Mapping[str, str], ledger: Ledger
) -> Annotations:
    """The predictions, with scores, on the pictures of the truth; in its order, and with its class indices.

    Args:
        path: a JSON file, COCO's results or predictions.json; a folder of VOC's XML or YOLO's text files.
        truth: N pictures. classes: K names. renamed: {name in the predictions: name of the truth}.
        ledger: what is filled in is counted.

    Raises: DataError for a fault of a file, an unknown class or picture, a number that is not finite.
    """
    if path.is_dir():
        if any(path.rglob("*.xml")):
            return _read_voc(path, truth, classes, renamed, ledger)
        if any(path.rglob("*.txt")):
            return read_yolo_labels(path, truth.files, truth.sizes, classes, ledger, scores=True)
        raise DataError(
            f"{path}: expected VOC's XML files or YOLO's text files, found {describe_folder(path)}"
        )
    if path.suffix.lower() != ".json":
        raise DataError(
            f"{path}: expected COCO's results or predictions.json, or a folder of YOLO's or VOC's files, "
            f"found '{path.name}'"
        )
    with open_binary(path, max_bytes=1 << 62, what="a JSON file") as file:
        begin = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin.startswith(b"{"):
        return _read_json(path, truth, classes, renamed)
    return read_coco_results(path, truth, classes, ledger)


def _read_voc(
    folder: Path, truth: Annotations, classes: ClassMap, renamed: Mapping[str, str], ledger: Ledger
) -> Annotations:
    """XML files with a score in each object, under the names of the pictures."""
    further = tuple(class_name(old) for old in renamed if class_name(old) not in classes.names)
    labels = np.array([*range(len(classes)), *(classes.index(renamed[old]) for old in further)])
    _, found = read_voc_folder(folder, ledger, ClassMap((*classes.names, *further)))
    if found.scores is None and len(found.labels):
        raise DataError(f"{folder}: expected a score in each object of predictions, found none")
    names = PictureNames(truth.files, suffixes=False)
    places = [names.find(file) for file in found.files]
    _check_known(folder, [file for file, place in zip(found.files, places, strict=True) if place is None])
    _warn_of_missing(folder, truth, {place for place in places if place is not None})
    return pack(
        truth.files,
        truth.sizes,
        np.array(places, dtype=np.int64)[found.picture],
        found.boxes,
        labels[found.labels],
        np.arange(len(found.labels)),
        image_ids=truth.image_ids,
        scores=np.zeros(0) if found.scores is None else found.scores,
    )


def _read_json(file: Path, truth: Annotations, classes: ClassMap, renamed: Mapping[str, str]) -> Annotations:
    """predictions.json as design section 7 of the project's own commands writes it."""
    table = _Table(file, truth, classes, renamed)
    seen: set[int] = set()
    unknown: list[str] = []
    keys = set()
    for key, number, record in stream_json(file):
        keys.add(key)
        if key not in ("images", "skipped") or number < 0:
            continue
        try:
            place = table.names.find(record["file"])
            if place is None:
                unknown.append(record["file"])
            elif place in seen:
                raise DataError(
                    f"{file}, {key}[{number}]: expected each picture once, found {record['file']} twice"
                )
            else:
                seen.add(place)
                if key == "images":
                    table.add(place, record, f"{file}, images[{number}] ({record['file']})")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{file}, {key}[{number}]: expected predictions.json as `visiontasks detect` writes it (file "
                f"and detections with label, score, box), found a record of another form: {error!r}"
            ) from None
    if "images" not in keys:
        raise DataError(
            f"{file}: expected predictions.json with a list 'images', found "
            f"{', '.join(sorted(map(str, keys))[:SHOWN]) or 'nothing'}; name the file that `detect` wrote"
        )
    _check_known(file, unknown)
    missing = [truth.files[place] for place in range(len(truth)) if place not in seen]
    if missing and seen:
        raise DataError(
            f"{file}: expected predictions on each of the {len(truth)} pictures of the truth (or a note "
            f"under 'skipped'), found none on {len(missing)}: {', '.join(missing[:SHOWN])}"
        )
    return table.packed()


class _Table:
    """The detections of predictions.json read so far."""

    def __init__(self, file: Path, truth: Annotations, classes: ClassMap, renamed: Mapping[str, str]) -> None:
        self.file, self.truth, self.classes = file, truth, classes
        self.names = PictureNames(truth.files)
        self.index = {name: place for place, name in enumerate(classes.names)}
        self.index |= {class_name(old): classes.index(new) for old, new in renamed.items()}
        self.pictures, self.labels, self.numbers = array("q"), array("q"), array("d")

    def add(self, place: int, record: Mapping[str, Any], where: str) -> None:
        """One picture. Raises: DataError naming it; TypeError and the like for another form."""
        height, width = self.truth.sizes[place].tolist()
        size = record.get("height", height), record.get("width", width)
        if height and size != (height, width):
            raise DataError(
                f"{where}: expected a picture of height {height} and width {width}, as in the truth, "
                f"found {size[0]} and {size[1]}"
            )
        for detection in record["detections"]:
            name = class_name(detection["label"])
            if name not in self.index:
                raise DataError(
                    f"{where}: {unknown_name('class', name, self.classes.names)}; "
                    "map it with --map-class old=new, or name all classes with --classes"
                )
            left, top, right, bottom = map(float, detection["box"])
            numbers = left, top, right, bottom, float(detection["score"])
            if not all(map(math.isfinite, numbers)):
                raise DataError(f"{where}: expected finite boxes and scores, found {list(numbers)}")
            self.pictures.append(place)
            self.labels.append(self.index[name])
            self.numbers.extend(numbers)

    def packed(self) -> Annotations:
        table = np.array(self.numbers, dtype=np.float64).reshape(-1, 5)  # (M, 5)
        pictures: Ints = np.array(self.pictures, dtype=np.int64)
        return pack(
            self.truth.files,
            self.truth.sizes,
            pictures,
            table[:, :4],
            np.array(self.labels, dtype=np.int64),
            np.arange(len(table)),
            image_ids=self.truth.image_ids,
            scores=table[:, 4],
        )


def _check_known(path: Path, unknown: list[str]) -> None:
    if unknown:
        raise DataError(
            f"{path}: expected pictures of the truth, found {len(unknown)} that it does not have, or has "
            f"several times: {', '.join(unknown[:SHOWN])}; write paths relative to one folder"
        )


def _warn_of_missing(path: Path, truth: Annotations, seen: set[int]) -> None:
    missing = [truth.files[place] for place in range(len(truth)) if place not in seen]
    if missing:
        _log.warning(
            "%s: no file for %d of %d pictures: nothing was found on them (%s)",
            path,
            len(missing),
            len(truth),
            ", ".join(missing[:SHOWN]),
        )
