"""Which part of a data set a split is, and how its classes are called: alike for every task's data section.

The adapters of a task read the files; this says where they lie, what is held out, and the config's names.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap, class_name
from visiontasks.config import DataSection
from visiontasks.errors import DataError
from visiontasks.io.listing import ranks
from visiontasks.io.location import SHOWN, data_root, describe_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """Where a split lies: `location` is its name as the format writes it, below `root`.

    part: "train" or "val", which of the training pictures it has, where some are held out; None = all.
    """

    root: Path
    location: str
    part: str | None

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
        keep = ", or data.holdout" if split == "val" else ""
        raise DataError(
            f"expected a {split} split, found data.{split}: null; set data.{split}{keep} "
            f"({describe_folder(root)})"
        )
    return Split(root, location, split if config.holdout > 0 and split != "test" else None)


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
