"""What `data.yaml`, or `classes.txt`, says of YOLO's data: names of classes, places of pictures."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from visiontasks.classes import ClassMap, class_name
from visiontasks.errors import DataError
from visiontasks.io.documents import decode_text
from visiontasks.io.files import MAX_BYTES, read_bytes, read_document, safe_path
from visiontasks.io.location import describe_folder
from visiontasks.io.pictures import as_prefix, clean_path, pictures_below
from visiontasks.ledger import Ledger

NAME_FILES: Final = ("classes.txt", "labels/classes.txt", "obj.names")  # one name a line


def data_yaml(root: Path) -> Path | None:
    """The file that describes a data set: `data.yaml`, or the only other YAML file with `names`.

    Raises: DataError when there are several.
    """
    for name in ("data.yaml", "data.yml"):
        if (root / name).is_file() and "format" not in _mapping(root / name):  # else it is one of ours
            return safe_path(root, name)
    others = sorted(path for path in root.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    named = [path for path in others if "names" in _mapping(path)]
    if len(named) > 1:
        found = ", ".join(path.name for path in named)
        raise DataError(f"{root}: expected one data.yaml, found {found}; rename the one that counts")
    return safe_path(root, named[0].name) if named else None


def _mapping(path: Path) -> Mapping[str, Any]:
    value = read_document(path)
    return value if isinstance(value, dict) else {}


def read_names(root: Path, otherwise: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes, in the order of their numbers, as written.

    Args:
        root: the data's folder.
        otherwise: where no file has them.

    Raises: DataError when nothing has them, for numbers that are not 0, 1, ..., another count than `nc`, and
        a name that comes twice.
    """
    names, where = _find_names(root, otherwise)
    try:
        return ClassMap(names).names
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _find_names(root: Path, otherwise: Sequence[str]) -> tuple[tuple[str, ...], Path | str]:
    """The names, and what has them."""
    if (file := data_yaml(root)) is not None:
        return _names_in(file, _mapping(file)), file
    for name in NAME_FILES:
        if (path := root / name).is_file():
            data = read_bytes(
                safe_path(root, name), max_bytes=MAX_BYTES[".yaml"], what="a list of class names"
            )
            lines = decode_text(data, str(path)).splitlines()
            return tuple(class_name(line.strip()) for line in lines if line.strip()), path
    if otherwise:
        return tuple(class_name(name) for name in otherwise), "data.classes"
    raise DataError(
        f"{root}: expected data.yaml or classes.txt with the names of the classes, found neither "
        f"({describe_folder(root)}); add one, or list them in data.classes"
    )


def _names_in(file: Path, values: Mapping[str, Any]) -> tuple[str, ...]:
    names = values.get("names")
    if isinstance(names, dict):
        numbers = [int(key) if key.isdecimal() and len(key) < 10 else -1 for key in names]
        if sorted(numbers) != list(range(len(names))):
            raise DataError(
                f"{file}: expected names numbered 0, 1, ..., found {', '.join(names)[:60]}; "
                "number them so, without a gap"
            )
        names = [name for _, name in sorted(zip(numbers, names.values(), strict=True))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{file}: expected names: [name, ...] or numbers with names, found {names!r:.60}; list the names"
        )
    count = values.get("nc", str(len(names)))
    if count != str(len(names)):
        raise DataError(
            f"{file}: expected nc: {len(names)}, the number of names, found {count!r:.20}; mend one"
        )
    return tuple(class_name(name.strip()) for name in names)


def list_pictures(root: Path, location: str, ledger: Ledger) -> list[str]:
    """The pictures of a split as paths below root.

    Args:
        location: a key of data.yaml, else a folder of pictures or a text file of their paths, below root.
        ledger: pictures that a list has twice are dropped and counted.

    Raises: DataError when there is no such thing; for a path that leaves root.
    """
    file = data_yaml(root)
    values = _mapping(file) if file is not None else {}
    if location not in values:
        return _pictures_at(root, location, f"{root}", ledger)
    given = values[location]
    places = given if isinstance(given, list) else [given]
    if not places or not all(isinstance(place, str) and place for place in places):
        raise DataError(
            f"{file}: expected a folder or list of pictures under '{location}', found {given!r:.60}"
        )
    base = str(values.get("path", ""))
    pictures: list[str] = []
    for place in places:
        pictures += _pictures_at(root, _inside(root, base, place), f"{file}, {location}", ledger)
    return pictures


def _inside(root: Path, base: str, place: str) -> str:
    """The path below root that data.yaml means: under its `path`, if that is there, or beside the file.

    `../` in front, which some programs write and mean nothing by, is left out where it would leave root.
    """
    for prefix in (base, "") if "\0" not in base + place else ():
        path = posixpath.normpath(posixpath.join(prefix, place.replace("\\", "/")))
        if os.path.isabs(path):
            path = os.path.relpath(os.path.realpath(path), os.path.realpath(root)).replace(os.sep, "/")
        elif not os.path.exists(root / path):  # of any name, also an impossible one
            while path.startswith("../"):
                path = path[3:]
        if not path.startswith("../") and os.path.exists(root / path):
            return path
    return place


def _pictures_at(root: Path, location: str, where: str, ledger: Ledger) -> list[str]:
    path = safe_path(root, location) if as_prefix(location) else root
    if path.is_dir():
        pictures = pictures_below(root, as_prefix(location), ledger)
        if not pictures:
            raise DataError(f"{where}: expected pictures below {path}, found none ({describe_folder(path)})")
        return pictures
    if path.is_file() and path.suffix.lower() == ".txt":
        return _pictures_in(root, path, ledger)
    raise DataError(
        f"{where}: expected a folder of pictures, or a text file of their paths, at {path}, found neither "
        f"({describe_folder(root)}); set data.train, data.val or data.test, or mend data.yaml"
    )


def _pictures_in(root: Path, file: Path, ledger: Ledger) -> list[str]:
    """The pictures that a text file lists, relative to root (with or without `./`), or absolute below it."""
    data = read_bytes(file, max_bytes=MAX_BYTES[".csv"], what="a list of pictures")
    pictures: dict[str, int] = {}
    for number, line in enumerate(decode_text(data, str(file)).splitlines(), start=1):
        if not (text := line.strip()):
            continue
        if os.path.isabs(text) and Path(text).is_relative_to(root.absolute()):
            text = str(Path(text).relative_to(root.absolute()))
        try:
            picture = clean_path(text, root, f"{file}:{number}")
        except DataError as error:
            ledger.fault(error, file, f"line {number}")
            continue
        if picture in pictures:
            ledger.add("dropped", file, f"picture that repeats line {pictures[picture]}", f"line {number}")
        pictures.setdefault(picture, number)
    return list(pictures)
