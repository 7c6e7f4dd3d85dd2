"""Format `csv`: rows of a picture's path, a box and its label: `path,x1,y1,x2,y2,label`, in px.

A picture without boxes has one row with the other fields empty. Columns go by name, in any order, among
others that are left alone; see ALIASES. With `x,y,width,height` in place of corners, these are the box;
beside corners, `width` and `height` are the picture's (TensorFlow's files). Class order: sorted by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.packing import LARGEST, Found, fill_sizes, pack, take_pictures
from visiontasks.detection.datasets.usable import inside_root
from visiontasks.detection.types import Annotations
from visiontasks.errors import DataError
from visiontasks.io.files import read_document, write_csv
from visiontasks.io.location import split_path
from visiontasks.io.pictures import as_prefix, clean_path, pictures_folder
from visiontasks.ledger import Ledger

CORNERS: Final = ("x1", "y1", "x2", "y2")
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {  # our name -> others, in lower case
    "path": ("file", "filename", "file_name", "image", "image_path", "img_path"),
    "x1": ("xmin", "x_min", "left"),
    "y1": ("ymin", "y_min", "top"),
    "x2": ("xmax", "x_max", "right"),
    "y2": ("ymax", "y_max", "bottom"),
    "label": ("class", "class_name", "category", "name"),
    "x": (),
    "y": (),
    "width": ("w",),
    "height": ("h",),
    "crowd": ("iscrowd",),
    "difficult": (),
    "area": (),
}
_FLAGS: Final = {"": False, "0": False, "1": True, "false": False, "true": True}


def read_csv_boxes(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Found:
    """List the boxes of a split.

    Args:
        root: the data's folder; `location`: the split's CSV file below it.
        config: `images` is the folder that paths are relative to; else root, or where the file lies.
        ledger: where it collects faults, gets those of rows.

    Raises:
        DataError: no such file, no rows; a column is missing; with file and row: a field that is no finite
            number, or is empty beside others that are not; a path that leaves root; two sizes of a picture.
    """
    file = split_path(root, location, "a CSV file")
    rows = read_document(file)
    if not rows:
        raise DataError(f"{file}: expected rows under the header, found none; list the pictures")
    table = _Table(str(file), root, columns_of(file, rows[0]))
    for number, row in enumerate(rows, start=1):
        try:
            table.add(row, number)
        except DataError as error:
            ledger.fault(error, file, f"row {number}")
    classes, annotations = table.packed()
    folders = ("", as_prefix(str(Path(location).parent)), "images/")
    folder = pictures_folder(root, config.images, annotations.files, folders, file)
    files = [folder + name for name in annotations.files]
    inside = inside_root(root, files, lambda i: (str(file), files[i]), ledger)
    annotations = take_pictures(replace(annotations, files=files, image_ids=files), inside)
    return Found(classes, fill_sizes(root, annotations), partial(_where, str(file)))


def _where(file: str, picture: str, record: int) -> tuple[str, str]:
    return file, f"row {record}"


def columns_of(file: Path, row: Mapping[str, str]) -> dict[str, str]:
    """Our name of each column -> the file's. Raises: DataError when one that is needed is missing."""
    by_name = {name.lower(): name for name in reversed(list(row))}
    columns = {
        ours: by_name[name]
        for ours, others in ALIASES.items()
        for name in (*reversed(others), ours)
        if name in by_name
    }
    boxes = ("x", "y", "width", "height") if "x" in columns and "x2" not in columns else CORNERS
    missing = [name for name in ("path", *boxes, "label") if name not in columns]
    if missing:
        raise DataError(
            f"{file}: expected the columns path, {', '.join(CORNERS)}, label, found {', '.join(row)}; "
            f"add or rename {', '.join(missing)} (the first line must name the columns)"
        )
    return columns


class _Table:
    """The rows read so far."""

    def __init__(self, file: str, root: Path, columns: Mapping[str, str]) -> None:
        self.file, self.root, self.columns = file, root, columns
        self.has_corners = "x2" in columns
        self.pictures: dict[str, int] = {}  # path -> its place
        self.sizes: list[tuple[int, int]] = []
        self.labels: list[str] = []
        self.numbers: list[tuple[int, int, float, float, float, float, float, bool, bool]] = []

    def add(self, row: Mapping[str, str], number: int) -> None:
        """Read a row: a box, or a picture that has none."""
        fields = {ours: row[name].strip() for ours, name in self.columns.items()}
        path = clean_path(row[self.columns["path"]], self.root, f"{self.file}, row {number}")
        size = self._size(fields, path, number)
        names = CORNERS if self.has_corners else ("x", "y", "width", "height")
        if not fields["label"] and not any(fields[name] for name in names):
            self._place(path, size)
            return
        if not fields["label"]:
            self._fail(number, "expected a label, found none; fill it in")
        x1, y1, x2, y2 = (self._number(fields, name, number) for name in names)
        if not self.has_corners:
            x2, y2 = x1 + x2, y1 + y2
        area = self._number(fields, "area", number) if fields.get("area") else math.nan
        crowd, difficult = (self._flag(fields, name, number) for name in ("crowd", "difficult"))
        self.labels.append(class_name(fields["label"]))
        place = self._place(path, size)
        self.numbers.append((place, number, x1, y1, x2, y2, area, crowd, difficult))

    def _fail(self, number: int, what: str) -> NoReturn:
        raise DataError(f"{self.file}, row {number}: {what}")

    def _number(self, fields: Mapping[str, str], name: str, number: int) -> float:
        try:
            value = float(fields[name])
        except ValueError:
            found = f"'{fields[name][:40]}'"
            self._fail(number, f"expected a number as {self.columns[name]}, found {found}; fill it in")
        if not abs(value) <= (LARGEST**2 if name == "area" else LARGEST):
            found = f"{self.columns[name]} {fields[name][:40]}"
            self._fail(number, f"expected finite numbers, found {found}; correct it")
        return value

    def _flag(self, fields: Mapping[str, str], name: str, number: int) -> bool:
        text = fields.get(name, "").lower()
        if text not in _FLAGS:
            self._fail(number, f"expected {name} 0 or 1, found '{text[:40]}'; correct it")
        return _FLAGS[text]

    def _place(self, path: str, size: tuple[int, int]) -> int:
        """The place of a picture, which may be new."""
        place = self.pictures.setdefault(path, len(self.pictures))
        if place == len(self.sizes):
            self.sizes.append(size)
        return place

    def _size(self, fields: Mapping[str, str], path: str, number: int) -> tuple[int, int]:
        """The picture's size, where the columns are there and are not the box's; else 0."""
        given = [fields.get(name, "") for name in ("height", "width")] if self.has_corners else ["", ""]
        size = (0, 0)
        if all(given):
            if not all(text.isdecimal() and len(text) < 10 for text in given):
                found = f"'{given[0][:40]}', '{given[1][:40]}'"
                self._fail(number, f"expected height and width in pixels, found {found}; correct them")
            size = (int(given[0]), int(given[1]))
        known = self.sizes[self.pictures[path]] if path in self.pictures else size
        if known != size:
            before = "{} x {}".format(*known)
            self._fail(
                number,
                f"expected one size of a picture, found {size[0]} x {size[1]} after {before}; mend one",
            )
        return size

    def packed(self) -> tuple[ClassMap, Annotations]:
        """Everything as arrays."""
        if not self.labels:
            raise DataError(f"{self.file}: expected boxes, found {len(self.pictures)} pictures without any")
        names = sorted(set(self.labels))
        index = {name: place for place, name in enumerate(names)}
        table = np.array(self.numbers, dtype=np.float64)  # (M, 9)
        return ClassMap(tuple(names)), pack(
            list(self.pictures),
            np.array(self.sizes, dtype=np.int64),
            table[:, 0].astype(np.int64),
            table[:, 2:6],
            np.array([index[label] for label in self.labels], dtype=np.int64),
            table[:, 1].astype(np.int64),
            area=table[:, 6],
            crowd=table[:, 7] > 0,
            difficult=table[:, 8] > 0,
        )


def write_csv_boxes(file: Path, classes: ClassMap, annotations: Annotations) -> None:
    """Write one row a box, and one with empty fields for a picture without boxes.

    Columns: path, x1, y1, x2, y2, label; of predictions score; of truth, where any box needs them, crowd,
    difficult and area.

    Raises: RunError when it can't be written.
    """
    more: dict[str, list[object]] = {}
    if annotations.scores is not None:
        more["score"] = annotations.scores.tolist()
    else:
        more |= {
            name: flags.astype(int).tolist()
            for name, flags in (("crowd", annotations.crowd), ("difficult", annotations.difficult))
            if flags.any()
        }
        sides = annotations.boxes[:, 2:] - annotations.boxes[:, :2]
        if not np.array_equal(annotations.area, sides[:, 0] * sides[:, 1]):
            more["area"] = annotations.area.tolist()
    boxes, labels, starts = (
        annotations.boxes.tolist(),
        annotations.labels.tolist(),
        annotations.starts.tolist(),
    )
    rows: list[list[object]] = []
    for place, path in enumerate(annotations.files):
        if starts[place] == starts[place + 1]:
            rows.append([path, *[""] * (5 + len(more))])
        for box in range(starts[place], starts[place + 1]):
            extra = (column[box] for column in more.values())
            rows.append([path, *boxes[box], classes.names[labels[box]], *extra])
    write_csv(file, ["path", *CORNERS, "label", *more], rows)
