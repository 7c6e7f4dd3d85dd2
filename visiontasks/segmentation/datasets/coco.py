"""Format `coco`: one JSON file a split; its polygons and run lengths are painted, the larger objects first.

Class order: background, then the categories by id; the ids are kept as `file_ids`. What is not painted is
background; a category of that name is it, `data.ignore: [background]` ignores it (pictures that are labelled
in part), other names or ids there are painted as ignored. Crowds are painted like any object. Annotations
without a segmentation are dropped. The pictures' folder is `data.images`, else it is looked for.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from visiontasks.classes import MAX_CLASSES_IN_MASK, ClassMap, class_name
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.files import safe_path
from visiontasks.io.images import read_size
from visiontasks.io.json_stream import stream_json
from visiontasks.io.listing import PackedPaths
from visiontasks.io.location import SHOWN, split_path
from visiontasks.ledger import Ledger
from visiontasks.ops.run_lengths import check_run_length
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.labelled_masks import Listing
from visiontasks.segmentation.datasets.painting import Paintings, checked_polygons, short
from visiontasks.segmentation.types import IGNORE

BACKGROUND: Final = "background"
TABLES: Final = ("images", "annotations", "categories")


def read_coco(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Listing:
    """List the pictures of a split with what is painted on them.

    Args:
        root: the data's folder; `location`: the split's JSON file below it.
        config: the data section.
        ledger: bad polygon parts and annotations without a segmentation are dropped and counted.

    Raises:
        DataError: no such file or no COCO; an unknown picture or category; a run length of another size; a
            path that leaves root; no picture where they are looked for.
    """
    file = split_path(root, location, "a JSON file")
    tables = _Tables(str(file))
    keys = set()
    for key, number, record in stream_json(file):
        keys.add(key)
        if key in TABLES and number >= 0:
            tables.add(key, number, record)
    missing = [key for key in TABLES if key not in keys]
    if missing or not tables.names:
        raise DataError(
            f"{file}: expected COCO's lists {', '.join(TABLES)} with a picture at least, found "
            f"{', '.join(sorted(keys)) or 'nothing'}; add {', '.join(missing) or 'images'}"
        )
    folder = _pictures_folder(root, location, config, tables.names)
    paths = [_clean(folder + name, root, f"{file}, images[{i}]") for i, name in enumerate(tables.names)]
    sizes = [
        size if all(size) else read_size(safe_path(root, path))
        for path, size in zip(paths, tables.sizes, strict=True)
    ]
    classes, indices = _classes(tables.categories, config, str(file))
    background = indices.pop(None)
    objects = tables.painted(indices, sizes, ledger)
    truth = Paintings(
        str(file),
        np.arange(len(paths), dtype=np.int64),
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        PackedPaths(objects),
        background,
    )
    return Listing(classes, paths, truth)


class _Tables:
    """The records of a file as they come, checked one by one."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.names: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.places: dict[Any, int] = {}  # id of a picture -> its place
        self.categories: dict[Any, str] = {}
        self.annotations: list[tuple[Any, Any, str]] = []  # picture's id, category's id, segmentation as JSON

    def add(self, table: str, number: int, record: Any) -> None:
        where = f"{self.file}, {table}[{number}]"
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected an object, found {short(record)}")
        if table == "annotations":
            segmentation = json.dumps(record.get("segmentation"))
            self.annotations.append((record.get("image_id"), record.get("category_id"), segmentation))
            return
        ident = record.get("id")
        name = record.get("file_name" if table == "images" else "name")
        if not isinstance(name, str) or not name.strip() or not isinstance(ident, int | str):
            wanted = "file_name" if table == "images" else "name"
            raise DataError(f"{where}: expected an id and a {wanted}, found {short(record)}")
        known: dict[Any, Any] = self.places if table == "images" else self.categories
        if ident in known:
            raise DataError(f"{where}: expected each id once, found {ident!r} again; renumber one")
        if table == "categories":
            self.categories[ident] = class_name(name.strip())
            return
        height, width = record.get("height") or 0, record.get("width") or 0
        if not all(isinstance(side, int) and 0 <= side < 1 << 31 for side in (height, width)):
            raise DataError(f"{where}: expected height and width in pixels, found {short([height, width])}")
        self.places[ident] = len(self.names)
        self.names.append(name)
        self.sizes.append((height, width))

    def painted(self, indices: dict[Any, int], sizes: Sequence[tuple[int, int]], ledger: Ledger) -> list[str]:
        """Of each picture, JSON: a list of [class index, segmentation]."""
        objects: list[list[str]] = [[] for _ in self.names]
        empty = []
        for number, (picture, category, text) in enumerate(self.annotations):
            where = f"{self.file}, annotations[{number}]"
            place = _known(self.places, picture, where, "image_id")
            index = _known(indices, category, where, "category_id")
            segmentation = json.loads(text)
            if isinstance(segmentation, dict):
                check_run_length(segmentation, sizes[place], where)
            elif segmentation is not None and not isinstance(segmentation, list):
                raise DataError(f"{where}: expected polygons or a run length, found {short(segmentation)}")
            elif segmentation:
                kept, faults = checked_polygons(segmentation, sizes[place], where)
                for fault in faults:
                    ledger.add("dropped", self.file, f"polygon part with {fault}", f"annotations[{number}]")
                segmentation, text = kept, json.dumps(kept)
            if segmentation:
                objects[place].append(f"[{index},{text}]")
            else:
                empty.append(number)
        if empty:
            record = f"{len(empty)}, first annotations[{empty[0]}]"
            ledger.add("dropped", self.file, "annotations without a segmentation", record)
        return [f"[{','.join(parts)}]" for parts in objects]


def _known(table: dict[Any, int], ident: Any, where: str, key: str) -> int:
    try:
        return table[ident]
    except (KeyError, TypeError):
        some = ", ".join(map(str, list(table)[:SHOWN])) + (", ..." if len(table) > SHOWN else "")
        raise DataError(
            f"{where}: expected a {key} of the file ({some}), found {short(ident)}; add it or "
            "remove the record"
        ) from None


def _classes(categories: dict[Any, str], config: DataConfig, file: str) -> tuple[ClassMap, dict[Any, int]]:
    """The classes, and the index of each category's id; None stands for what is not painted."""
    order = sorted(categories, key=lambda ident: (isinstance(ident, str), ident))
    named: dict[Any, str] = {ident: categories[ident] for ident in order}
    background = next((ident for ident, name in named.items() if name == BACKGROUND), None)
    if background is None:
        named = {None: BACKGROUND, **named}
    ignored = {_ignored_id(item, named, file) for item in config.ignore if item != IGNORE}
    kept = [ident for ident in named if ident not in ignored]
    if len(kept) > MAX_CLASSES_IN_MASK:
        raise DataError(f"{file}: expected at most {MAX_CLASSES_IN_MASK} classes in masks, found {len(kept)}")
    unused = 0 if 0 not in categories else 1 + max(i for i in categories if isinstance(i, int))
    try:
        classes = ClassMap(
            tuple(named[ident] for ident in kept), tuple(unused if ident is None else ident for ident in kept)
        )
    except DataError as error:
        raise DataError(f"{file}, categories: {error}") from None
    indices = {ident: kept.index(ident) if ident not in ignored else IGNORE for ident in named}
    indices.setdefault(None, indices[background])
    return classes, indices


def _ignored_id(item: int | str, named: dict[Any, str], file: str) -> Any:
    """The category that an entry of data.ignore means, by its id or name."""
    if item in named:
        return item
    try:
        return next(ident for ident, name in named.items() if name == class_name(str(item)))
    except StopIteration:
        fault = unknown_name("category", str(item), named.values())
        raise DataError(f"{file}: data.ignore: {fault}") from None


def _pictures_folder(root: Path, location: str, config: DataConfig, names: Sequence[str]) -> str:
    """The folder of the pictures as a prefix below root. Raises: DataError where none has the first ones."""
    stem = PurePath(location).stem.removeprefix("instances_")
    beside = "".join(f"{part}/" for part in PurePath(location).parent.parts)
    folders = ["", beside, "images/", f"{stem}/", f"images/{stem}/", f"{beside}{stem}/", f"{beside}images/"]
    if config.images is not None:
        folders = [posixpath.normpath(config.images.replace("{split}", stem)) + "/"]
    some = names[:SHOWN]
    for folder in dict.fromkeys(folders):
        if any(os.path.isfile(root / (folder + name)) for name in some):
            return folder
    looked = ", ".join(folder or "./" for folder in dict.fromkeys(folders))
    raise DataError(
        f"{root / location}: expected its pictures ('{names[0]}', ...) in a folder below {root}, found none "
        f"in {looked}; set data.images"
    )


def _clean(path: str, root: Path, where: str) -> str:
    """A path as image ids are written. Raises: DataError for one that leaves root."""
    path = path.replace(os.sep, "/")
    if ".." in path.split("/") or posixpath.isabs(path) or os.path.isabs(path):
        try:
            safe_path(root, path)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return posixpath.normpath(path)
