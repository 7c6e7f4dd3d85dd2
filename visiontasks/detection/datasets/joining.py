"""Several lists read as one (`train: train+val`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.packing import Found, pack, take_pictures
from visiontasks.detection.types import Ints
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger


def join_lists(lists: Sequence[Found], ledger: Ledger) -> Found:
    """The pictures of all lists, each once, with the classes of all.

    Args:
        lists: two or more, of one format.
        ledger: pictures that an earlier list has with the same boxes are dropped and counted.

    Raises: DataError for a picture that two lists have with other boxes.
    """
    classes = _union([found.classes for found in lists])
    lists = [_relabelled(found, classes) for found in lists]
    origin: dict[str, tuple[int, int]] = {}  # path -> its list, its place there
    kept: list[Found] = []
    for number, found in enumerate(lists):
        places = []
        for place, path in enumerate(found.annotations.files):
            if path not in origin:
                origin[path] = number, place
                places.append(place)
                continue
            before, there = origin[path]
            if not _same_boxes(found, place, lists[before], there):
                file = _describe(found, place)
                what = (
                    f"{file}: expected the same boxes wherever {path} is, found others "
                    f"than in {_describe(lists[before], there)}; leave it in one list"
                )
                ledger.fault(DataError(what), file, path)
                continue
            ledger.add("dropped", path, "picture that another list has, too")
        annotations = take_pictures(found.annotations, np.array(places, dtype=np.int64))
        kept.append(replace(found, annotations=annotations))
    return _concatenated(kept, classes, origin)


def _union(maps: Sequence[ClassMap]) -> ClassMap:
    """All classes: in the order of the first list; sorted, where files have names and no ids."""
    names = list(dict.fromkeys(name for classes in maps for name in classes.names))
    if all(list(classes.names) == sorted(classes.names) and not classes.file_ids for classes in maps):
        names.sort()
    ids = {
        name: ident for classes in maps for name, ident in zip(classes.names, classes.file_ids, strict=False)
    }
    agree = all(
        ids[name] == ident
        for classes in maps
        for name, ident in zip(classes.names, classes.file_ids, strict=False)
    )
    usable = agree and len(ids) == len(names) and len(set(ids.values())) == len(ids)
    return ClassMap(tuple(names), tuple(ids[name] for name in names) if usable else ())


def _relabelled(found: Found, classes: ClassMap) -> Found:
    index = np.array([classes.names.index(name) for name in found.classes.names], dtype=np.int64)
    return replace(
        found, annotations=replace(found.annotations, labels=index[found.annotations.labels]), classes=classes
    )


def _same_boxes(found: Found, place: int, other: Found, there: int) -> bool:
    one, two = found.annotations.truth(place), other.annotations.truth(there)
    columns = ("boxes", "labels", "crowd", "difficult")
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in columns)


def _describe(found: Found, place: int) -> str:
    """The file of a picture's boxes, as far as it has any."""
    starts = found.annotations.starts
    return found.place(int(starts[place]))[0] if starts[place] < starts[place + 1] else "a list without any"


def _concatenated(lists: Sequence[Found], classes: ClassMap, origin: dict[str, tuple[int, int]]) -> Found:
    parts = [found.annotations for found in lists]
    offsets: Ints = np.cumsum([0, *(len(part) for part in parts[:-1])])
    files = [path for part in parts for path in part.files]
    ids = [ident for part in parts for ident in part.image_ids]
    annotations = pack(
        files,
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.picture + offset for part, offset in zip(parts, offsets, strict=True)]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.records for part in parts if part.records is not None]),
        image_ids=ids if len(set(ids)) == len(ids) else files,  # two files may number their pictures alike
        crowd=np.concatenate([part.crowd for part in parts]),
        difficult=np.concatenate([part.difficult for part in parts]),
        area=np.concatenate([part.area for part in parts]),
    )
    return Found(classes, annotations, lambda file, record: lists[origin[file][0]].where(file, record))
