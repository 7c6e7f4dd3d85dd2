"""Format `coco`: one JSON file a split; its polygons and run lengths are painted, the larger objects first.

Class order: background, then the categories by id; the ids are kept as `file_ids`. What is not painted is
background; a category of that name is it, `data.ignore: [background]` ignores it (pictures that are labelled
in part), other names or ids there are painted as ignored. Crowds are painted like any object. Annotations
without a segmentation are dropped. The pictures' folder is `data.images`, else it is looked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import BACKGROUND, MAX_CLASSES_IN_MASK, ClassMap, class_name
from visiontasks.errors import DataError, short, unknown_name
from visiontasks.io.coco_lists import CocoLists, Id, read_lists
from visiontasks.io.listing import PackedPaths
from visiontasks.io.location import split_path
from visiontasks.io.pictures import as_prefix, clean_path, picture_sizes, pictures_folder
from visiontasks.ledger import Ledger
from visiontasks.ops.run_lengths import check_run_length
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.labelled_masks import Listing
from visiontasks.segmentation.datasets.painting import Paintings, Size, checked_polygons
from visiontasks.segmentation.types import IGNORE


def read_coco(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Listing:
    """List the pictures of a split with what is painted on them.

    Args:
        root: the data's folder; `location`: the split's JSON file below it.
        config: the data section.
        ledger: missing sizes and `iscrowd`, ids that are missing, 0 or text are repaired, bad polygon parts
            and annotations without a segmentation dropped, all counted. `info` and `area` are not read.

    Raises:
        DataError: no such file or no COCO; an id twice; an unknown picture or category; `ignore` without
            `iscrowd`; a run length of another size; a path that leaves root; no picture where they are
            looked for.
    """
    file = split_path(root, location, "a JSON file")
    lists = _Objects(str(file), ledger)
    read_lists(file, lists, lists.add_annotation)
    lists.finish()
    names = _clean_names(lists, root)
    if not names:
        raise DataError(f"{file}: expected a picture at least under 'images', found none")
    kept = np.array(list(names), dtype=np.int64)
    folder = _pictures_folder(root, location, config, list(names.values()))
    paths = [folder + name for name in names.values()]
    sizes = np.array(lists.sizes, dtype=np.int64).reshape(-1, 2)  # (N, 2)
    unknown = (sizes[kept] <= 0).any(axis=1)
    sizes[kept[unknown]] = picture_sizes(root, [paths[i] for i in np.flatnonzero(unknown).tolist()])
    classes, indices = _classes(lists.names_by_id(), config, str(file))
    background = indices.pop(None)
    painted = lists.painted(indices, sizes)
    objects = PackedPaths([painted[place] for place in names])
    numbers = np.array(lists.image_numbers, dtype=np.int64)[kept]
    return Listing(classes, paths, Paintings(str(file), numbers, sizes[kept], objects, background))


def _clean_names(lists: CocoLists, root: Path) -> dict[int, str]:
    """The path of each picture, by its place in `lists.names`.

    Raises: DataError for one that leaves root or comes twice; it is left out where faults are collected.
    """
    names: dict[int, str] = {}
    first: dict[str, int] = {}
    for place, (number, name) in enumerate(zip(lists.image_numbers, lists.names, strict=True)):
        where = f"{lists.file}, images[{number}]"
        try:
            path = clean_path(name, root, where)
            before = first.setdefault(path, number)
            if before != number:
                raise DataError(
                    f"{where}: expected each picture once, found '{path}' again, as in {lists.file}, "
                    f"images[{before}]; join the records"
                )
        except DataError as error:
            lists.ledger.fault(error, lists.file, f"images[{number}]")
            continue
        names[place] = path
    return names


class _Objects(CocoLists):
    """The segmentations of a file as they come, beside its lists."""

    def __init__(self, file: str, ledger: Ledger) -> None:
        super().__init__(file, ledger)
        self.segmentations: list[str] = []  # JSON: the sizes that they are checked by may come later

    def add_annotation(self, record: Any) -> None:
        if type(record) is not dict:
            self.fail("annotations", f"expected an object, found {short(record)}")
        self.crowd(record)
        self.add_ids(record)
        self.segmentations.append(json.dumps(record.get("segmentation")))

    def painted(self, indices: dict[Id, int], sizes: NDArray[np.int64]) -> list[str]:
        """Of each picture, JSON: a list of [class index, segmentation].

        Args:
            indices: the class index of each category's id.
            sizes: (N, 2) height and width of each picture, px; 0 where they are not known.
        """
        objects: list[list[str]] = [[] for _ in self.names]
        empty = []
        labels, places = self.places_of_categories(indices).tolist(), self.places_of_pictures().tolist()
        known: list[Size | None] = [(h, w) if h and w else None for h, w in sizes.tolist()]
        rows = zip(self.records, places, labels, self.segmentations, strict=True)
        for self.number, place, label, text in rows:
            if place < 0 or label < 0:  # a fault of its own
                continue
            try:
                usable = self._usable(text, known[place])
            except DataError as error:
                self.ledger.fault(error, self.file, f"annotations[{self.number}]")
                continue
            if usable:
                objects[place].append(f"[{label},{usable}]")
            else:
                empty.append(self.number)
        if empty:
            record = f"{len(empty)}, first annotations[{empty[0]}]"
            self.ledger.add("dropped", self.file, "annotations without a segmentation", record)
            self.ledger.lose(len(empty), len(empty) + sum(map(len, objects)), "annotations")
        return [f"[{','.join(parts)}]" for parts in objects]

    def _usable(self, text: str, size: Size | None) -> str:
        """What is usable of a segmentation; both are JSON, empty for nothing. size: None = not known."""
        segmentation, where = json.loads(text), f"{self.file}, annotations[{self.number}]"
        if segmentation is None:
            return ""
        if isinstance(segmentation, dict):
            check_run_length(segmentation, size, where)
            return text
        if not isinstance(segmentation, list):
            self.fail("annotations", f"expected polygons or a run length, found {short(segmentation)}")
        kept, faults = checked_polygons(segmentation, size, where)
        for part, fault in faults:
            record = f"annotations[{self.number}].segmentation[{part}]"
            self.ledger.add("dropped", self.file, f"polygon part with {fault}", record)
        return json.dumps(kept) if kept else ""


def _classes(categories: dict[Id, str], config: DataConfig, file: str) -> tuple[ClassMap, dict[Any, int]]:
    """The classes, and the index of each category's id; None stands for what is not painted."""
    named: dict[Any, str] = dict(categories)
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
    beside = as_prefix(str(PurePath(location).parent))
    folders = ("", beside, "images/", f"{stem}/", f"images/{stem}/", f"{beside}{stem}/", f"{beside}images/")
    given = None if config.images is None else config.images.replace("{split}", stem)
    return pictures_folder(root, given, names, folders, root / location)
