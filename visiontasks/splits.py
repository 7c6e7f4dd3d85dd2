"""Which part of a data set a split is, and how its classes are called: alike for every task's data section.

The adapters of a task read the files; this says where they lie, what is held out, and the config's names.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap, class_name
from visiontasks.config import DataSection
from visiontasks.errors import DataError
from visiontasks.io.documents import decode_text
from visiontasks.io.files import read_bytes
from visiontasks.io.listing import ranks
from visiontasks.io.location import SHOWN, data_root, describe_folder
from visiontasks.ledger import Ledger

C = TypeVar("C", bound=DataSection)

MAX_LIST_BYTES: Final = 1 << 30

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """Where a split lies: `location` is its name as the format writes it, below `root`.

    part: "train" or "val", which of the training pictures it has, where some are held out; None = all.
    list: the file that names the pictures it has; None = all that lie there.
    """

    root: Path
    location: str
    part: str | None
    list: Path | None

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.root / self.location}"


def find_split(config: DataSection, split: str) -> Split:
    """The split "train", "val" or "test" of a data section.

    Raises: DataError when the section has none, or its root does not exist.
    """
    root = data_root(config.root)
    is_held_out = split == "val" and config.val is None and config.holdout > 0
    location = config.train if is_held_out else getattr(config, split)
    if location is None:
        others = [name for name in ("val", "test", "train") if name != split and _has(config, name)]
        other = f"take --split {' or '.join(others)}, or " if others and split != "train" else ""
        keep = ", or data.holdout" if split == "val" else ""
        raise DataError(
            f"expected a {split} split, found data.{split}: null; {other}set data.{split}{keep} "
            f"({describe_folder(root)})"
        )
    part = split if config.holdout > 0 and split != "test" else None
    return Split(root, location, part, _list_file(config, "train" if is_held_out else split))


def _has(config: DataSection, split: str) -> bool:
    return getattr(config, split) is not None or (split == "val" and config.holdout > 0)


def parts_of(root: Path, location: str) -> list[str]:
    """What a split's location joins by `+`; one whole where such a file or folder exists."""
    whole = "+" not in location or (root / location).exists()
    return [location] if whole else [part.strip() for part in location.split("+")]


def _list_file(config: DataSection, split: str) -> Path | None:
    if config.lists is None:
        return None
    given = Path(config.lists.replace("{split}", split)).expanduser()
    return Path(os.environ.get("VISIONTASKS_DATA", "")) / given


def sole_split(config: C, split: str) -> C:
    """The section of a data set that has nothing but one split, to be opened as "test": as it stands."""
    lists = None if config.lists is None else config.lists.replace("{split}", split)
    alone = {"train": None, "val": None, "test": getattr(config, split), "holdout": 0.0, "lists": lists}
    return config.model_copy(update=alone)


def listed_places(paths: Sequence[str], file: Path, ledger: Ledger) -> NDArray[np.int64]:
    """The places of the pictures that a list names, a line each; ascending, whatever the order of lines.

    Args:
        paths: N distinct paths of pictures.
        ledger: lines that repeat another are dropped and counted.

    Raises: DataError for a list that can't be read or is empty, or (a fault) names another picture.
    """
    text = decode_text(read_bytes(file, max_bytes=MAX_LIST_BYTES, what="a list of pictures"), str(file))
    place_of = {path: place for place, path in enumerate(paths)}
    listed = np.zeros(len(paths), dtype=np.bool_)
    for number, line in enumerate(text.split("\n"), start=1):
        path = line.rstrip("\r")
        if not path:
            continue
        place = place_of.get(path)
        if place is None:
            fault = f"{file}, line {number}: expected a picture of the data set, found '{path}'"
            ledger.fault(
                DataError(f"{fault}; remove the line, or make the list anew"), file, f"line {number}"
            )
        elif listed[place]:
            ledger.add("dropped", file, "line that repeats another", f"line {number}")
        else:
            listed[place] = True
    if not listed.any():
        raise DataError(f"{file}: expected a picture in each line, found none of the data set's")
    return np.flatnonzero(listed)


def held_out(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """How many of each group of pictures validate: the nearest number to the share, at least 1, never all.

    Args:
        counts: (K,) pictures a group.
        share: in (0, 1).
    """
    nearest = np.floor(share * counts + 0.5).astype(np.int64)
    kept: NDArray[np.int64] = np.minimum(np.maximum(nearest, 1), np.maximum(counts - 1, 0))
    return kept


def places_in_part(paths: Sequence[str], config: DataSection, part: str) -> NDArray[np.int64]:
    """The places of the pictures that belong to "train" or "val"; by their paths and the seed alone."""
    validate = held_out(np.array([len(paths)]), config.holdout)[0]
    return np.flatnonzero((ranks(paths, f"holdout {config.seed}") < validate) == (part == "val"))


def rename_classes(found: ClassMap, config: DataSection, *, complete: bool) -> ClassMap:
    """The classes of a data set under the config's names for them.

    complete: each class that the config renames must be there. Raises: DataError.
    """
    if not isinstance(config.classes, dict):
        return found
    mapping = {class_name(old): class_name(new) for old, new in config.classes.items()}
    if absent := [old for old in mapping if not complete and old not in found.names]:
        _log.warning("renamed classes that this split does not have: %s", ", ".join(absent[:SHOWN]))
    return found.renamed({old: new for old, new in mapping.items() if complete or old in found.names})


def ordered_classes(found: ClassMap, config: DataSection) -> ClassMap | None:
    """The classes in the config's order, with their files' ids where all are known; None: it has no order."""
    if not isinstance(config.classes, tuple):
        return None
    names = tuple(class_name(name) for name in config.classes)
    file_ids = dict(zip(found.names, found.file_ids, strict=False))
    is_known = all(name in file_ids for name in names)
    return ClassMap(names, tuple(file_ids[name] for name in names) if is_known else ())


def defines_classes(config: DataSection, split: str) -> bool:
    """Whether the pictures of a split are those whose classes the indices mean, or there are no others."""
    return split == "train" or config.train is None or (split == "val" and config.val is None)
