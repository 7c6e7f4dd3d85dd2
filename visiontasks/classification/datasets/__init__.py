"""Data sets for classification: one file a format, all of which become `LabelledImages`. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap, class_name
from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets.balance import class_weights, sample_weights
from visiontasks.classification.datasets.csv_file import read_csv_file
from visiontasks.classification.datasets.folder import read_folder
from visiontasks.classification.datasets.labelled_images import LabelledImages, Listing
from visiontasks.classification.datasets.selection import select
from visiontasks.classification.datasets.tiny_imagenet import read_tiny_imagenet
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.location import SHOWN, data_root, describe_folder
from visiontasks.ledger import Ledger

__all__ = ["FORMATS", "LabelledImages", "class_weights", "data_root", "open_source", "sample_weights"]

FORMATS: Final[dict[str, Callable[[Path, str, Ledger], Listing]]] = {  # (root, split's path below it, ledger)
    "folder": read_folder,
    "csv": read_csv_file,
    "tiny-imagenet": read_tiny_imagenet,
}

_log = logging.getLogger(__name__)


def open_source(
    config: DataConfig, split: str, strict: bool, classes: ClassMap | None = None
) -> LabelledImages:
    """Open a split of a data set; no picture is read yet.

    Args:
        config: the data section.
        split: "train", "val" or "test".
        strict: stop at what would be dropped, skipped or repaired.
        classes: the indices wanted (a model's, or the training split's); None = the training split's.

    Raises:
        DataError: no such split; a fault of its files (see the adapters); a class that `classes` does not
            have; a training split without pictures of a class.
    """
    root, ledger = data_root(config.root), Ledger(strict)
    held_out = split == "val" and config.val is None and config.holdout > 0
    location = config.train if held_out else getattr(config, split)
    if location is None:
        keep = ", or data.holdout" if split == "val" else ""
        raise DataError(
            f"expected a {split} split, found data.{split}: null; set data.{split}{keep} "
            f"({describe_folder(root)})"
        )
    listing = FORMATS[config.format](root, location, ledger)
    if held_out or split == "train":
        listing = select(listing, config, split)
    defines = split == "train" and classes is None  # the split that says which classes there are
    found = _named(listing.classes, config, complete=defines)
    wanted = classes or _training_classes(config, root, split, found)
    index = _join(found, wanted, listing, f"{root / location}", complete=defines)
    return LabelledImages.open(
        root, wanted, listing.paths, index[listing.labels], ledger=ledger, max_pixels=config.max_pixels
    )


def _named(found: ClassMap, config: DataConfig, *, complete: bool) -> ClassMap:
    """The classes of a data set under the config's names for them; `complete`: each must be there."""
    if not isinstance(config.classes, dict):
        return found
    mapping = {class_name(old): class_name(new) for old, new in config.classes.items()}
    if absent := [old for old in mapping if not complete and old not in found.names]:
        _log.warning("renamed classes that this split does not have: %s", ", ".join(absent[:SHOWN]))
    return found.renamed({old: new for old, new in mapping.items() if complete or old in found.names})


def _training_classes(config: DataConfig, root: Path, split: str, found: ClassMap) -> ClassMap:
    """The classes in the order that indices mean: the config's, else the training split's."""
    if isinstance(config.classes, tuple):
        names = tuple(class_name(name) for name in config.classes)
        file_ids = dict(zip(found.names, found.file_ids, strict=False))
        is_known = all(name in file_ids for name in names)
        return ClassMap(names, tuple(file_ids[name] for name in names) if is_known else ())
    if split == "train" or config.train is None or (split == "val" and config.val is None):
        return found
    return _named(FORMATS[config.format](root, config.train, Ledger()).classes, config, complete=True)


def _join(
    found: ClassMap, wanted: ClassMap, listing: Listing, where: str, *, complete: bool
) -> NDArray[np.int64]:
    """The index in `wanted` of each class that was found: (K,) int64.

    A split that only measures need not have pictures of every class: the numbers of the others are undefined.
    """
    extra = [name for name in found.names if name not in wanted.names]
    missing = [name for name in wanted.names if name not in found.names]
    if extra:
        where += _first_picture(listing, found.names.index(extra[0]))
        more = f"; {len(extra)} such: {', '.join(extra[:SHOWN])}" if len(extra) > 1 else ""
        unused = f"; without pictures: {', '.join(missing[:SHOWN])}" if missing else ""
        raise DataError(
            f"{where}: {unknown_name('class', extra[0], wanted.names)}{more}{unused}"
            "; rename it with data.classes: {old: new}"
        )
    if missing and complete:
        raise DataError(
            f"{where}: expected pictures of each class, found none of {len(missing)}: "
            f"{', '.join(missing[:SHOWN])}; add some, or take them out of data.classes"
        )
    if missing:
        _log.warning(
            "%s: no pictures of %d of %d classes: %s",
            where,
            len(missing),
            len(wanted),
            ", ".join(missing[:SHOWN]),
        )
    return np.array([wanted.names.index(name) for name in found.names], dtype=np.int64)


def _first_picture(listing: Listing, label: int) -> str:
    """Where a class occurs first, for a message: `, row 3 (pics/002.png)`; empty where it has no pictures."""
    places = np.flatnonzero(listing.labels == label)
    if not len(places):
        return ""
    row = "" if listing.rows is None else f", row {listing.rows[places[0]]}"
    return f"{row} ({listing.paths[places[0]]})"
