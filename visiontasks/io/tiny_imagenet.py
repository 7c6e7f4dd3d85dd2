"""The lists of Stanford's Tiny ImageNet (200 classes, 64x64 pixels, a box a picture), for every task.

    wnids.txt  words.txt  val/val_annotations.txt  train/<wnid>/<wnid>_boxes.txt

Class order: by wnid, as ImageNet's. Names are the first synonym in words.txt; file ids are the wnids.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from visiontasks.classes import ClassMap, class_name
from visiontasks.errors import DataError
from visiontasks.io.documents import decode_text
from visiontasks.io.files import is_picture, read_bytes, safe_path
from visiontasks.ledger import Ledger

ANNOTATIONS: Final = "val_annotations.txt"
BOXES: Final = "_boxes.txt"  # lies beside each class's pictures
MAX_BYTES: Final = 64 << 20  # of a list; words.txt has 2.6 MB


class Row(NamedTuple):
    """A line of a list. picture: path below root. label: of its class. line: from 1. box: as written."""

    picture: str
    label: int
    line: int
    box: tuple[str, ...]


def read_classes(root: Path, ledger: Ledger) -> ClassMap:
    """The classes of wnids.txt; a name that words.txt lacks is repaired. Raises: DataError for no file."""
    wnids = sorted(line for line in read_lines(root / "wnids.txt") if line)
    return ClassMap(readable_names(wnids, _words(root / "words.txt", wnids, ledger)), tuple(wnids))


def readable_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """The first synonym of each wnid; where two share it, the wnid is added to both: `crane (n02012849)`.

    Args:
        wnids: K distinct ids.
        words: synonyms of an id, separated by commas.
    """
    first = [class_name(words[wnid].split(",")[0].strip()) for wnid in wnids]
    count = Counter(first)
    return tuple(
        name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True)
    )


def _words(file: Path, wnids: Sequence[str], ledger: Ledger) -> dict[str, str]:
    wanted = set(wnids)
    split = (line.partition("\t") for line in read_lines(file))
    words = {wnid: synonyms for wnid, _, synonyms in split if wnid in wanted and synonyms.strip(" ,")}
    for wnid in wnids:
        if wnid not in words:
            ledger.add("repaired", file, "no name for a class: its wnid is the name", wnid)
            words[wnid] = wnid
    return words


def read_lines(file: Path) -> list[str]:
    """The lines of a list, without spaces around them. Raises: DataError."""
    held = safe_path(file.parent, file.name)
    text = decode_text(
        read_bytes(held, max_bytes=MAX_BYTES, what="a list in Tiny ImageNet's layout"), str(file)
    )
    return [line.strip() for line in text.split("\n")]


def read_annotated(top: Path, location: str, classes: ClassMap, ledger: Ledger) -> list[Row]:
    """Rows of `name <tab> wnid <tab> box`; the pictures lie in `images/`.

    Args:
        top: the split's folder, `location` below the root.
        ledger: repeated rows and pictures without one are dropped; gets faults where it collects them.

    Raises: DataError, with file and line, for a class that `classes` does not have, a path, two classes of a
        picture; for a list without rows.
    """
    file = top / ANNOTATIONS
    index = {wnid: place for place, wnid in enumerate(classes.file_ids)}
    prefix = "".join(f"{part}/" for part in PurePath(location).parts) + "images/"
    rows: dict[str, Row] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        name, wnid, *box = [*line.split("\t"), ""] if "\t" not in line else line.split("\t")
        before = rows.get(name)
        try:
            _check_row(name, wnid, index, None if before is None else classes.file_ids[before.label])
        except DataError as error:
            ledger.fault(DataError(f"{file}, line {number}: {error}"), file, f"line {number}")
            continue
        if before is not None:
            ledger.add("dropped", file, "row that repeats another", f"line {number}")
            continue
        rows[name] = Row(prefix + name, index[wnid], number, tuple(box))
    if not rows:
        raise DataError(f"{file}: expected a row a picture, found none")
    drop_unlisted(top / "images", rows, "pictures without a label", ledger)
    return list(rows.values())


def _check_row(name: str, wnid: str, known: Container[int | str], before: int | str | None) -> None:
    """before: the wnid that an earlier row gives the picture, if one. Raises: DataError without the place."""
    if wnid not in known:
        raise DataError(f"expected one of the ids in wnids.txt, found '{wnid}'")
    check_name(name)
    if before not in (None, wnid):
        raise DataError(f"expected one class for {name}, found {wnid} after {before}")


def check_name(name: str) -> None:
    """Raises: DataError, without the place, where a list names no picture in `images/`."""
    if not name or "/" in name or "\\" in name:
        raise DataError(f"expected the name of a picture in images/, found '{name}'")


def drop_unlisted(folder: Path, listed: Container[str], reason: str, ledger: Ledger) -> None:
    """Count the pictures in a folder that no list names."""
    if not folder.is_dir():
        return  # each picture is then missing, and skipped when it is read
    names = (name for name in os.listdir(folder) if is_picture(name))
    without = [name for name in names if name not in listed and not name.startswith(".")]
    if without:
        ledger.add("dropped", folder, reason, f"{len(without)}, first {min(without)}")
