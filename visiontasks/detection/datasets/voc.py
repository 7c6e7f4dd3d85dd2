"""Format `voc`: one XML file a picture, in `Annotations/`; lists of names in `ImageSets/Main/`.

Corners are 1-based and inclusive: 1 is subtracted from xmin and ymin only, so that a box's width is
xmax - xmin + 1 (detectron2's convention), and added again by the writer. Class order: sorted by name.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Final, NoReturn

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.packing import LARGEST, Found, fill_sizes, pack, take_pictures
from visiontasks.detection.datasets.usable import each_once, inside_root
from visiontasks.detection.types import Annotations
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.documents import decode_text
from visiontasks.io.files import MAX_BYTES, is_picture, read_bytes, read_document, safe_path, write_atomic
from visiontasks.io.location import describe_folder
from visiontasks.io.pictures import as_prefix, check_once, clean_path, pictures_folder
from visiontasks.ledger import Ledger

LISTS: Final = "ImageSets/Main"
XML_FOLDER: Final = "Annotations/"
PICTURE_FOLDER: Final = "JPEGImages/"
BESIDE: Final = (PICTURE_FOLDER, "images/", "")  # where pictures are, seen from a folder of XML files
_WHOLE: Final = re.compile(r"[0-9]{1,9}(\.0*)?")  # some programs write 64.0
_FLAG: Final = re.compile(r"\s+(-1|0|1)$")  # lists of one class say which pictures show it


def read_voc(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Found:
    """List the boxes of a split.

    Args:
        root: the data's folder.
        location: the name of a list in ImageSets/Main, else a folder of XML files below root.
        config: `images` is the folder of the pictures; by default JPEGImages, or where the XML files are.
        ledger: missing sizes and flags are filled in and counted.

    Raises:
        DataError: neither a list nor a folder; a name without its XML file; faults of these, see
            `read_voc_folder`; no pictures; a path that leaves root.
    """
    prefix, names, where = _names(root, location, ledger)
    tables = _Tables(ledger)
    names = [name for name in names if tables.add(root, f"{prefix}{name}.xml")]
    stems = _Stems(root)
    parent = as_prefix(str(PurePath(prefix).parent))
    usual = [f"{above}{below}" for above in (prefix, parent, "") for below in BESIDE]
    folders = (PICTURE_FOLDER, prefix, *usual)
    folder = pictures_folder(root, config.images, names, folders, where, has=stems.has)
    files = [stems.find(folder, name, filename) for name, filename in zip(names, tables.files, strict=True)]
    xml = [f"{root / prefix}{os.sep}{name}.xml" for name in names]
    once = each_once(files, lambda i: (xml[i], ""), ledger)
    classes, annotations = tables.packed(files, files, str(where))
    annotations.scores = None
    inside = inside_root(root, [files[i] for i in once.tolist()], lambda i: (xml[once[i]], ""), ledger)
    annotations = take_pictures(annotations, once[inside])
    xml_of = {files[i]: xml[i] for i in once[inside].tolist()}
    return Found(classes, fill_sizes(root, annotations), partial(_where, xml_of))


def _where(xml: dict[str, str], picture: str, record: int) -> tuple[str, str]:
    return xml[picture], f"object {record}"


def read_voc_folder(
    folder: Path, ledger: Ledger, classes: ClassMap | None = None
) -> tuple[ClassMap, Annotations]:
    """Read all XML files in a folder and below: truth, or predictions, whose objects have a `score` each.

    `image_ids` are the files' paths in the folder without .xml; sizes 0 where the files do not say.

    Args:
        ledger: missing sizes and flags are filled in and counted.
        classes: the indices wanted; None = the names in the files, sorted.

    Raises:
        DataError: no such folder, no XML files; without `classes`, no objects at all; a fault of a file,
            with file and object: no name, one that `classes` does not have, no box, numbers that are not
            finite, scores for some objects only.
    """
    names = _xml_below(folder)
    if not names:
        raise DataError(f"{folder}: expected a folder of VOC's XML files, found {describe_folder(folder)}")
    tables = _Tables(ledger)
    for name in names:
        tables.add(folder, f"{name}.xml")
    suffixes = (os.path.splitext(filename)[1] or ".jpg" for filename in tables.files)
    files = [name + suffix for name, suffix in zip(names, suffixes, strict=True)]
    return tables.packed(files, names, str(folder), classes)


def _xml_below(folder: Path) -> list[str]:
    """The XML files in a folder and below, as sorted names without .xml; hidden ones left out."""
    names: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = as_prefix(os.path.relpath(parent, folder))
        names += [
            f"{inside}{name[:-4]}"
            for name in files
            if name.lower().endswith(".xml") and not name.startswith(".")
        ]
    return sorted(names)


def _names(root: Path, location: str, ledger: Ledger) -> tuple[str, list[str], Path]:
    """The folder of the XML files as a prefix, the names in a split, and what lists them."""
    listing = safe_path(root, f"{LISTS}/{location}.txt")
    if listing.is_file():
        return XML_FOLDER, _names_in(root, listing, ledger), listing
    prefix = as_prefix(location)
    folder = safe_path(root, location) if prefix else root
    if folder.is_dir() and (names := _xml_below(folder)):
        return prefix, names, folder
    lists = sorted(path.stem for path in (root / LISTS).glob("*.txt"))
    there = f"the lists {', '.join(lists)}" if lists else describe_folder(root)
    raise DataError(
        f"{root}: expected a list {LISTS}/{location}.txt or a folder '{location}' of XML files, "
        f"found {there}; set data.train, data.val or data.test"
    )


def _names_in(root: Path, listing: Path, ledger: Ledger) -> list[str]:
    data = read_bytes(listing, max_bytes=MAX_BYTES[".csv"], what="a list of names")
    names: dict[str, int] = {}
    for number, line in enumerate(decode_text(data, str(listing)).splitlines(), start=1):
        if not (text := line.strip()):
            continue
        try:
            name = _listed_name(root, text, f"{listing}:{number}")
        except DataError as error:
            ledger.fault(error, listing, f"line {number}")
            continue
        if name in names:
            ledger.add("dropped", listing, f"name that repeats line {names[name]}", f"line {number}")
        names.setdefault(name, number)
    return list(names)


def _listed_name(root: Path, text: str, where: str) -> str:
    """The name that a line of a list gives, with or without a flag behind it."""
    name = clean_path(text, root, where)
    if not (root / f"{XML_FOLDER}{name}.xml").is_file():
        name = _FLAG.sub("", name)
        if not (root / f"{XML_FOLDER}{name}.xml").is_file():
            raise DataError(
                f"{where}: expected {XML_FOLDER}{name}.xml, found no such file; "
                "add it (without objects, if the picture shows none), or take the name out"
            )
    return name


@dataclass(slots=True)
class _Stems:
    """The pictures in some folders by their names without suffix: VOC's lists have no suffixes."""

    root: Path
    folders: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def _in(self, folder: str) -> dict[str, list[str]]:
        if folder not in self.folders:
            path = safe_path(self.root, folder) if folder else self.root
            stems: dict[str, list[str]] = {}
            for name in sorted(os.listdir(path)) if path.is_dir() else []:
                if is_picture(name):
                    stems.setdefault(os.path.splitext(name)[0], []).append(name)
            self.folders[folder] = stems
        return self.folders[folder]

    def has(self, folder: str, name: str) -> bool:
        inside, _, stem = f"{folder}{name}".rpartition("/")
        return stem in self._in(as_prefix(inside))

    def find(self, folder: str, name: str, filename: str) -> str:
        """The picture of a name: the one that the XML file names, where there are several."""
        inside, _, stem = f"{folder}{name}".rpartition("/")
        prefix = as_prefix(inside)
        choices = self._in(prefix).get(stem, [])
        if choices:
            return prefix + (filename if filename in choices else choices[0])
        named = PurePath(filename.replace("\\", "/")).name  # never its folders: they are of another machine
        by_name = self._in(prefix).get(os.path.splitext(named)[0], [])
        return prefix + (named if named in by_name else f"{stem}.jpg")


class _Tables:
    """The objects of the files read so far, in arrays."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.files: list[str] = []  # what each XML file calls its picture
        self.sizes, self.pictures, self.records = array("q"), array("q"), array("q")
        self.boxes, self.scores = array("d"), array("d")
        self.difficult = array("b")
        self.names: list[str] = []
        self.known: dict[str, str] = {}  # a name as written -> as compared, one object for all

    def add(self, folder: Path, path: str) -> bool:
        """Read one XML file, `path` below a folder; whether it can be used.

        Raises: DataError naming file and object; where faults are collected, the object, or the picture, is
            left out.
        """
        file = folder / path
        try:
            root = read_document(safe_path(folder, path))
            if root.tag != "annotation":
                raise DataError(f"{file}: expected VOC's <annotation>, found <{root.tag}>; take it out")
            self.sizes.extend(self._size(root, file))
        except DataError as error:
            self.ledger.fault(error, file)
            return False
        objects = root.findall("object")
        for record, element in enumerate(objects, start=1):
            try:
                self._add_object(element, file, record)
            except DataError as error:
                self.ledger.fault(error, file, f"object {record}")
        unflagged = sum(element.find("difficult") is None for element in objects)
        if unflagged:
            self.ledger.add("repaired", file, "no flag 'difficult': 0", f"{unflagged} objects")
        self.files.append((root.findtext("filename") or "").strip())
        return True

    def _size(self, root: ElementTree.Element, file: Path) -> tuple[int, int]:
        sides = []
        for side in ("height", "width"):
            text = (root.findtext(f"size/{side}") or "").strip()
            if text and not _WHOLE.fullmatch(text):
                raise DataError(f"{file}, size: expected a {side} in pixels, found '{text[:40]}'; correct it")
            sides.append(int(text.partition(".")[0] or 0))
        if not all(sides):
            self.ledger.add("repaired", file, "no size: the picture's")
            return 0, 0
        return sides[0], sides[1]

    def _add_object(self, element: ElementTree.Element, file: Path, record: int) -> None:
        def fail(what: str) -> NoReturn:
            raise DataError(f"{file}, object {record}: {what}")

        def number(parent: ElementTree.Element, tag: str) -> float:
            text = (parent.findtext(tag) or "").strip()
            try:
                value = float(text)
            except ValueError:
                fail(f"expected a number as {tag}, found {repr(text[:40]) if text else 'none'}; fill it in")
            if not abs(value) <= LARGEST:
                fail(f"expected finite numbers, found {tag} {text[:40]}; correct it")
            return value

        name = (element.findtext("name") or "").strip()
        if not name:
            fail("expected the name of a class, found none; fill it in")
        if name not in self.known:
            self.known[name] = class_name(name)
        box = element.find("bndbox")
        if box is None:
            fail("expected a bndbox, found none; add it, or remove the object")
        left, top, right, bottom = (number(box, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
        difficult = (element.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1", ""):
            fail(f"expected difficult 0 or 1, found '{difficult[:40]}'; correct it")
        tag = next((tag for tag in ("score", "confidence") if element.find(tag) is not None), None)
        if self.names and bool(self.scores) != (tag is not None):
            fail("expected scores for all objects or for none, found them for some; add or remove them")
        if tag is not None:
            self.scores.append(number(element, tag))
        self.boxes.extend((left - 1, top - 1, right, bottom))
        self.difficult.append(difficult == "1")
        self.names.append(self.known[name])
        self.records.append(record)
        self.pictures.append(len(self.files))

    def packed(
        self, files: Sequence[str], image_ids: Sequence[str], where: str, classes: ClassMap | None = None
    ) -> tuple[ClassMap, Annotations]:
        """Everything as arrays, the pictures named as given."""
        if classes is None and not self.names:
            raise DataError(f"{where}: expected objects in the XML files, found none in {len(files)} files")
        classes = classes or ClassMap(tuple(sorted(set(self.names))))
        index = {name: place for place, name in enumerate(classes.names)}
        for box, name in enumerate(self.names):
            if name not in index:
                place = f"{where}, {image_ids[self.pictures[box]]}, object {self.records[box]}"
                raise DataError(
                    f"{place}: {unknown_name('class', name, classes.names)}; "
                    "map it with --map-class old=new, or name all classes with --classes"
                )
        return classes, pack(
            files,
            np.array(self.sizes, dtype=np.int64).reshape(-1, 2),  # (N, 2)
            np.array(self.pictures, dtype=np.int64),
            np.array(self.boxes, dtype=np.float64).reshape(-1, 4),  # (M, 4)
            np.array([index[name] for name in self.names], dtype=np.int64),
            np.array(self.records, dtype=np.int64),
            image_ids=image_ids,
            difficult=np.array(self.difficult, dtype=np.bool_),
            scores=np.array(self.scores, dtype=np.float64) if self.scores else None,
        )


def write_voc(folder: Path, classes: ClassMap, annotations: Annotations, ledger: Ledger) -> list[Path]:
    """Write one XML file a picture: truth, or predictions with a `score` each.

    Args:
        folder: becomes `Annotations/`; files keep the pictures' folders, but for a leading JPEGImages.
        annotations: sizes known; of truth or predictions.
        ledger: crowds, which VOC has no flag for, are dropped and counted.

    Returns: the files.

    Raises: DataError for two pictures with one name; RunError when a file can't be written.
    """
    names = [_name(file) for file in annotations.files]
    check_once(names, lambda i: annotations.files[i])
    written = [safe_path(folder, f"{name}.xml") for name in names]
    crowds = int(np.count_nonzero(annotations.crowd))
    if crowds:
        ledger.add("dropped", folder, "crowds, which VOC can't say", f"{crowds} boxes")
    for place, path in enumerate(written):
        text = ElementTree.tostring(_element(classes, annotations, place), encoding="unicode")
        write_atomic(path, f"{text}\n")
    return written


def write_voc_list(root: Path, split: str, annotations: Annotations) -> Path:
    """Write ImageSets/Main/<split>.txt, the names of a split. Returns: the file."""
    path = safe_path(root, f"{LISTS}/{split}.txt")
    write_atomic(path, "".join(f"{_name(file)}\n" for file in annotations.files))
    return path


def _name(file: str) -> str:
    """What VOC calls a picture."""
    return os.path.splitext(file.removeprefix(PICTURE_FOLDER))[0]


def _element(classes: ClassMap, annotations: Annotations, place: int) -> ElementTree.Element:
    """The XML of a picture."""
    height, width = annotations.sizes[place].tolist()
    root = ElementTree.Element("annotation")
    folder, _, filename = annotations.files[place].rpartition("/")
    _children(root, {"folder": folder, "filename": filename})
    _children(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    for box in range(int(annotations.starts[place]), int(annotations.starts[place + 1])):
        if annotations.crowd[box]:
            continue
        element = ElementTree.SubElement(root, "object")
        values = {
            "name": classes.names[annotations.labels[box]],
            "difficult": int(annotations.difficult[box]),
        }
        _children(element, values)
        if annotations.scores is not None:
            _children(element, {"score": float(annotations.scores[box])})
        left, top, right, bottom = annotations.boxes[box].tolist()
        corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        _children(ElementTree.SubElement(element, "bndbox"), {tag: _plain(v) for tag, v in corners.items()})
    ElementTree.indent(root)
    return root


def _children(parent: ElementTree.Element, values: dict[str, object]) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)


def _plain(value: float) -> float | int:
    """Whole numbers without a fraction: other readers take no others."""
    return int(value) if value.is_integer() else value
