"""Format `tiny-imagenet`: Stanford's Tiny ImageNet, whose pictures have one box each.

    wnids.txt  words.txt  train/<wnid>/<wnid>_boxes.txt  train/<wnid>/images/
    val/val_annotations.txt  val/images/

Boxes are written as x1, y1, x2, y2 in px, from 0, the last ones inside the box. Classes: see
`io/tiny_imagenet.py`; their names are those of the classifier's data.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.packing import LARGEST, Found, fill_sizes, pack, take_pictures
from visiontasks.detection.datasets.usable import inside_root
from visiontasks.errors import DataError
from visiontasks.io.location import SHOWN, split_path
from visiontasks.io.pictures import as_prefix
from visiontasks.io.tiny_imagenet import (
    ANNOTATIONS,
    BOXES,
    Row,
    check_name,
    drop_unlisted,
    read_annotated,
    read_classes,
    read_lines,
)
from visiontasks.ledger import Ledger


def read_tiny_imagenet(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Found:
    """List the boxes of a split: from its annotations where it has some, else from a folder a class.

    Args:
        root: the folder with wnids.txt and words.txt; `location`: the split's folder below it.
        config: not used by this format.
        ledger: repeated rows, and pictures without one, are dropped; missing names are repaired.

    Raises: DataError for a missing file or folder; with file and line, for a row without a picture or four
        numbers; for a wnid that wnids.txt does not have.
    """
    classes = read_classes(root, ledger)
    top = split_path(root, location, "a folder")
    is_annotated = (top / ANNOTATIONS).exists()
    read = read_annotated if is_annotated else _read_folders
    rows, boxes = [], []
    for row in read(top, location, classes, ledger):
        file = top / ANNOTATIONS if is_annotated else _boxes_file(top, str(classes.file_ids[row.label]))
        try:
            boxes.append(_parse_box(row.box))
            rows.append(row)
        except DataError as error:
            ledger.fault(DataError(f"{file}, line {row.line}: {error}"), file, f"line {row.line}")
    if not rows:
        raise DataError(f"{top}: expected pictures with boxes, found none")
    files = [row.picture for row in rows]
    labels, lines = (np.array([row[i] for row in rows], dtype=np.int64) for i in (1, 2))
    sizes = np.zeros((len(files), 2), dtype=np.int64)
    annotations = pack(files, sizes, np.arange(len(files)), np.array(boxes), labels, lines)
    where = partial(_where, top if is_annotated else None, root)
    inside = inside_root(root, files, lambda place: where(files[place], int(lines[place])), ledger)
    return Found(classes, fill_sizes(root, take_pictures(annotations, inside)), where)


def _where(top: Path | None, root: Path, picture: str, record: int) -> tuple[str, str]:
    """top: of a split with annotations; else the list lies beside the folder of the picture."""
    folder = (root / picture).parent.parent
    return str(top / ANNOTATIONS if top else _boxes_file(folder.parent, folder.name)), f"line {record}"


def _boxes_file(top: Path, wnid: str) -> Path:
    return top / wnid / f"{wnid}{BOXES}"


def _read_folders(top: Path, location: str, classes: ClassMap, ledger: Ledger) -> list[Row]:
    """Rows of `name <tab> box` in a list a class; the pictures lie in the class's `images/`."""
    wnids = [str(ident) for ident in classes.file_ids]
    folders = {entry.name for entry in os.scandir(top) if entry.is_dir() and not entry.name.startswith(".")}
    if folders != set(wnids):
        extra, missing = sorted(folders - set(wnids)), sorted(set(wnids) - folders)
        what = (
            f"{top}: expected a folder for each line of wnids.txt; without a folder: "
            f"{', '.join(missing[:SHOWN]) or 'none'}; not in wnids.txt: {', '.join(extra[:SHOWN]) or 'none'}"
        )
        ledger.fault(DataError(what), top)
    rows: list[Row] = []
    for label, wnid in enumerate(wnids):
        if wnid in folders:
            rows += _read_class(top, f"{as_prefix(location)}{wnid}/images/", label, wnid, ledger)
    return rows


def _read_class(top: Path, prefix: str, label: int, wnid: str, ledger: Ledger) -> list[Row]:
    """The rows of one class."""
    file = _boxes_file(top, wnid)
    rows: dict[str, Row] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        name, *box = line.split("\t")
        try:
            check_name(name)
        except DataError as error:
            ledger.fault(DataError(f"{file}, line {number}: {error}"), file, f"line {number}")
            continue
        if name in rows:
            ledger.add("dropped", file, "row that repeats another", f"line {number}")
            continue
        rows[name] = Row(prefix + name, label, number, tuple(box))
    drop_unlisted(top / wnid / "images", rows, "pictures without a box", ledger)
    return list(rows.values())


def _parse_box(fields: tuple[str, ...]) -> tuple[float, float, float, float]:
    """Four numbers as written -> xyxy, half open. Raises: DataError without the place."""
    try:
        x1, y1, x2, y2 = map(float, fields)
    except ValueError:
        x1 = y1 = x2 = y2 = np.inf
    if not all(abs(value) <= LARGEST for value in (x1, y1, x2, y2)):
        raise DataError(
            f"expected x1, y1, x2, y2 in px, found '{' '.join(fields)[:40]}'; mend the row, or remove it"
        )
    return x1, y1, x2 + 1, y2 + 1
