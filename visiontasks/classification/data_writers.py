"""Labels of an opened data set, written in another format."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from visiontasks.classification.datasets import LabelledImages
from visiontasks.data_tools import Writer, Written
from visiontasks.errors import DataError
from visiontasks.io.files import is_picture, write_csv
from visiontasks.ledger import Ledger
from visiontasks.types import Source

NOT_IN_NAMES: Final = frozenset('/\\\0:*?"<>|')  # of folders, on one system or another


def write_csv_files(folder: Path, sources: Mapping[str, Source[int]], ledger: Ledger) -> Written:
    """A file a split with the columns path and label; the pictures' paths stay as they are.

    ledger: classes without pictures are dropped.

    Raises: RunError when it can't be written.
    """
    for split, source in sources.items():
        assert isinstance(source, LabelledImages)
        names = [source.classes.names[label] for label in source.labels.tolist()]
        write_csv(folder / f"{split}.csv", ["path", "label"], list(zip(source.files, names, strict=True)))
    places = {split: f"{split}.csv" for split in sources}
    pictures = {split: list(source.files) for split, source in sources.items()}
    return Written({"format": "csv", **places, **_class_order(sources, ledger)}, pictures)


def write_folders(folder: Path, sources: Mapping[str, Source[int]], ledger: Ledger) -> Written:
    """A folder a split, in it one a class: nothing but where pictures lie.

    folder: not used, there is nothing to write.
    ledger: classes without pictures, pictures whose suffix the format does not read, and folders below a
        class are dropped.

    Raises: DataError for a class whose name no folder can have.
    """
    pictures: dict[str, list[str]] = {}
    for split, source in sources.items():
        assert isinstance(source, LabelledImages)
        _check_names(source)
        taken: set[str] = set()
        pictures[split] = []
        for file, label in zip(source.files, source.labels.tolist(), strict=True):
            if not is_picture(file):
                ledger.add("dropped", file, "picture whose suffix the format folder does not read")
            inside = f"{split}/{source.classes.names[label]}"
            pictures[split].append(_free_name(inside, posixpath.basename(file), taken))
    values = {"format": "folder", **{split: split for split in sources}, **_class_order(sources, ledger)}
    return Written(values, pictures)


def _check_names(source: LabelledImages) -> None:
    for name in source.classes.names:
        if NOT_IN_NAMES & set(name) or name.startswith(".") or name.endswith("."):
            raise DataError(
                f"{source.root}: expected class names that a folder can have, found '{name}'; rename it with "
                "data.classes: {old: new}, or convert to csv"
            )


def _free_name(folder: str, name: str, taken: set[str]) -> str:
    """A path in the folder that no picture has, nor differs from in case alone; `taken` gets it."""
    stem, suffix = posixpath.splitext(name.lstrip(".") or name)
    path, number = f"{folder}/{stem}{suffix}", 1
    while path.lower() in taken:
        number += 1
        path = f"{folder}/{stem}-{number}{suffix}"
    taken.add(path.lower())
    return path


def _class_order(sources: Mapping[str, Source[int]], ledger: Ledger) -> dict[str, Any]:
    """The part of the section that keeps the order of classes, where it is not that of their names."""
    first = next(iter(sources))
    source = sources[first]
    used = np.zeros(len(source.classes), dtype=np.bool_)
    for each in sources.values():
        assert isinstance(each, LabelledImages)
        used[each.labels] = True
    names = [name for name, is_used in zip(source.classes.names, used.tolist(), strict=True) if is_used]
    for name in source.classes.names:
        if name not in names:
            ledger.add("dropped", source.root, "class without pictures", name)
    return {} if names == sorted(names) else {"classes": names}


WRITERS: Final[Mapping[str, Writer[int]]] = {"folder": write_folders, "csv": write_csv_files}
