"""Format `yolo`: one text file a picture, with a row a box (class, centre x, centre y, width, height) or a
polygon (class, x, y, x, y, ...), as fractions of the picture's width and height.

The labels of `a/images/b/c.jpg` are in `a/labels/b/c.txt` (the last folder named images counts), else beside
the picture. Class names come from `data.yaml` (`names`: a list, or numbers with names) or `classes.txt`.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.packing import Found, pack, take_pictures
from visiontasks.detection.datasets.usable import each_once, inside_root
from visiontasks.detection.datasets.yolo_yaml import list_pictures, read_names
from visiontasks.detection.types import Annotations, Floats, Ints
from visiontasks.errors import DataError
from visiontasks.io.documents import decode_text
from visiontasks.io.files import read_bytes, safe_path, write_atomic
from visiontasks.io.listing import file_sizes
from visiontasks.io.pictures import check_once, picture_sizes
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

MAX_BYTES: Final = 16 << 20  # of one picture's labels
TOLERANCE: Final = 1e-3  # that a fraction may be above 1 or below 0 by, as rounding leaves it
_DECIMALS: Final = 9  # of a pixel: fractions of whole pixels become whole pixels again

Row = tuple[int, float, float, float, float, float]  # class, centre x, centre y, width, height, score


def read_yolo(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Found:
    """List the boxes of a split.

    Args:
        root: the data's folder, with `data.yaml` or `classes.txt`.
        location: what data.yaml calls the split, else a folder of pictures or a text file of their paths.
        config: `classes`, if a list, names the classes where no file does.
        ledger: fractions above 1 by rounding are clipped, names that repeat dropped, and counted.

    Raises:
        DataError: no such split, no names, no folder of labels; a row that is no box or polygon, with file
            and line; a class that has no name; a fraction that is not in 0..1; a path that leaves root.
    """
    names = read_names(root, config.classes if isinstance(config.classes, tuple) else ())
    files = list_pictures(root, location, ledger)
    listed = str(root / location)
    files = [files[i] for i in each_once(files, lambda i: (listed, ""), ledger).tolist()]
    files = [files[i] for i in inside_root(root, files, lambda i: (listed, files[i]), ledger).tolist()]
    files = _with_label_folder(root, files, ledger)
    sizes = picture_sizes(root, files)
    labels = [label_path(file) for file in files]
    annotations = _read(root, labels, files, sizes, len(names), ledger, scores=False)
    return Found(ClassMap(names), annotations, partial(_where, root))


def _where(root: Path, picture: str, record: int) -> tuple[str, str]:
    return str(root / label_path(picture)), f"line {record}"


def _with_label_folder(root: Path, files: Sequence[str], ledger: Ledger) -> list[str]:
    """The pictures whose labels have a folder. Raises: DataError where there is none, as `Ledger.fault`."""
    by_folder: dict[Path, list[str]] = {}
    for file in files:
        by_folder.setdefault((root / label_path(file)).parent, []).append(file)
    kept: list[str] = []
    for folder, inside in by_folder.items():
        if folder.is_dir():
            kept += inside
            continue
        what = (
            f"{folder}: expected the folder of the labels of {inside[0]}, found none; "
            "a picture without labels counts as one without objects only where this folder is"
        )
        ledger.fault(DataError(what), folder)
    return kept


def label_path(picture: str) -> str:
    """Where the labels of a picture are: `a/images/b/c.jpg` -> `a/labels/b/c.txt`."""
    *folders, name = picture.split("/")
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return "/".join([*folders, os.path.splitext(name)[0] + ".txt"])


def read_yolo_labels(
    folder: Path, files: Sequence[str], sizes: Ints, classes: ClassMap, ledger: Ledger, *, scores: bool
) -> Annotations:
    """Read a folder of text files for pictures that are known: predictions, as other programs write them.

    Args:
        folder: the text files, under the names of the pictures, in the same folders or all in one.
        files, sizes: of N pictures, see `Annotations`; sizes must be known.
        classes: the names of the numbers in the rows.
        scores: a sixth number a row, of predictions; a row without one is an error.

    Raises:
        DataError: no such folder; a file of a picture that is not there; two pictures with one name; faults
            of a row as `read_yolo`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of text files, found none")
    there = {
        os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")[:-4]
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".txt") and name != "classes.txt"
    }
    stems = [os.path.splitext(file)[0] for file in files]
    if not any(stem in there for stem in stems):  # all in one folder
        stems = [stem.rpartition("/")[2] for stem in stems]
    check_once(stems, lambda i: f"{folder}, for {files[i]}")
    if unknown := sorted(there.difference(stems)):
        raise DataError(
            f"{folder}: expected files of the {len(files)} pictures, found {len(unknown)} of others "
            f"(first: {unknown[0]}.txt); remove them, or choose the truth that they belong to"
        )
    unsized = np.flatnonzero((sizes <= 0).any(axis=1))
    if len(unsized):
        raise DataError(
            f"{folder}: expected the size of each picture to be known, found none for {files[unsized[0]]}; "
            "a row's fractions mean nothing without it"
        )
    labels = [f"{stem}.txt" for stem in stems]
    return _read(folder, labels, files, sizes, len(classes), ledger, scores=scores)


def _read(
    folder: Path,
    labels: Sequence[str],
    files: Sequence[str],
    sizes: Ints,
    num_classes: int,
    ledger: Ledger,
    *,
    scores: bool,
) -> Annotations:
    """The boxes in the label files, in a folder, of some pictures; a picture without a file has none."""
    values, pictures, records = array("d"), array("q"), array("q")
    usable = np.ones(len(files), dtype=np.bool_)
    for place in np.flatnonzero(file_sizes(folder, labels) > 0).tolist():
        path = folder / labels[place]
        try:
            text = decode_text(read_bytes(path, max_bytes=MAX_BYTES, what="a file of labels"), str(path))
        except DataError as error:
            ledger.fault(error, path)
            usable[place] = False
            continue
        for record, row in _parse(text, path, num_classes, ledger, scores=scores):
            values.extend(row)
            pictures.append(place)
            records.append(record)
    table = np.array(values, dtype=np.float64).reshape(-1, 6)  # (M, 6)
    picture = np.array(pictures, dtype=np.int64)
    height, width = sizes[picture].T  # (M,) each
    boxes = cxcywh_to_xyxy(table[:, 1:5]) * np.column_stack([width, height, width, height])
    kept = (height > 0) & (width > 0)  # a picture that can't be read is skipped with its reason later
    annotations = pack(
        files,
        sizes,
        picture[kept],
        boxes[kept].round(_DECIMALS),
        table[kept, 0].astype(np.int64),
        np.array(records, dtype=np.int64)[kept],
        scores=table[kept, 5] if scores else None,
    )
    return take_pictures(annotations, np.flatnonzero(usable))


def _parse(
    text: str, path: Path, num_classes: int, ledger: Ledger, *, scores: bool
) -> Iterator[tuple[int, Row]]:
    """The rows of a file with their line numbers."""
    for line, content in enumerate(text.splitlines(), start=1):
        if fields := content.split():
            try:
                yield line, _parse_row(fields, path, line, num_classes, ledger, scores=scores)
            except DataError as error:
                ledger.fault(error, path, f"line {line}")


def _parse_row(
    fields: list[str], path: Path, line: int, num_classes: int, ledger: Ledger, *, scores: bool
) -> Row:
    def fail(what: str) -> NoReturn:
        raise DataError(f"{path}:{line}: {what}")

    try:
        label, *numbers = map(float, fields)
    except ValueError:
        fail(f"expected numbers separated by spaces, found '{' '.join(fields)[:60]}'; mend the row")
    if not all(map(math.isfinite, numbers)):
        fail(f"expected finite numbers, found '{' '.join(fields)[:60]}'; mend or remove the row")
    if label not in range(num_classes):
        fail(
            f"expected a class of 0 to {num_classes - 1}, found {fields[0]}; the first name is 0: "
            "add the name that is missing, or mend the row"
        )
    score = numbers.pop() if scores and numbers else 1.0
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        form = "class, x, y, width, height" + (", score" if scores else "")
        fail(
            f"expected {form}, or a polygon of three points or more, found {len(fields)} numbers; "
            "mend or remove the row"
        )
    positions = numbers[:2] if len(numbers) == 4 else numbers
    low, high = min(positions), max(numbers)
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        wrong = low if low < -TOLERANCE else high
        fail(
            f"expected fractions of the picture in 0 to 1, found {wrong:g}; divide pixels by width and height"
        )
    if low < 0 or high > 1:
        ledger.add("repaired", path, "fraction outside 0 to 1 by rounding: clipped", f"line {line}")
        numbers = [min(max(number, 0.0), 1.0) for number in positions] + [
            min(number, 1.0) for number in numbers[len(positions) :]
        ]
    if len(numbers) == 4:
        return (int(label), *numbers, score)  # type: ignore[return-value]
    left, top, right, bottom = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    return int(label), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, score


def write_yolo(folder: Path, classes: ClassMap, annotations: Annotations, ledger: Ledger) -> list[Path]:
    """Write one text file a picture, an empty one for a picture without boxes, and `classes.txt`.

    Args:
        folder: becomes the data's root; for `label_path` of each picture.
        annotations: sizes known; of truth, or of predictions, whose score is a sixth number.
        ledger: crowds, which the format has no flag for, are dropped and counted.

    Returns: the files.

    Raises: DataError for a picture of unknown size, or two with one name; RunError when a file can't be
        written.
    """
    unsized = np.flatnonzero((annotations.sizes <= 0).any(axis=1))
    if len(unsized):
        raise DataError(f"expected the size of each picture, found none for {annotations.files[unsized[0]]}")
    names = [label_path(file) for file in annotations.files]
    check_once(names, lambda i: annotations.files[i])
    written = [safe_path(folder, name) for name in names]
    crowds = int(np.count_nonzero(annotations.crowd))
    if crowds:
        ledger.add("dropped", folder, "crowds, which YOLO's format can't say", f"{crowds} boxes")
    rows = _rows(annotations)
    for place, path in enumerate(written):
        boxes = range(int(annotations.starts[place]), int(annotations.starts[place + 1]))
        write_atomic(path, "".join(rows[box] for box in boxes if not annotations.crowd[box]))
    names_file = folder / "classes.txt"
    write_atomic(names_file, "".join(f"{name}\n" for name in classes.names))
    return [names_file, *written]


def _rows(annotations: Annotations) -> list[str]:
    height, width = annotations.sizes[annotations.picture].T  # (M,) each
    fractions: Floats = xyxy_to_cxcywh(annotations.boxes) / np.column_stack([width, height, width, height])
    if annotations.scores is not None:
        fractions = np.column_stack([fractions, annotations.scores])
    labels = annotations.labels.tolist()
    return [
        f"{label} {' '.join(map(repr, numbers))}\n"
        for label, numbers in zip(labels, fractions.tolist(), strict=True)
    ]
