"""Data sets for classification: one file a format, all of which become `LabelledImages`. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import RENAME, ClassMap
from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets.balance import class_weights, sample_weights
from visiontasks.classification.datasets.csv_file import read_csv_file
from visiontasks.classification.datasets.folder import read_folder
from visiontasks.classification.datasets.joining import join_listings
from visiontasks.classification.datasets.labelled_images import LabelledImages, Listing
from visiontasks.classification.datasets.selection import select
from visiontasks.classification.datasets.tiny_imagenet import read_tiny_imagenet
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.splits import (
    defines_classes,
    find_split,
    listed_places,
    ordered_classes,
    parts_of,
    rename_classes,
)

__all__ = ["FORMATS", "LabelledImages", "class_weights", "open_source", "sample_weights"]

FORMATS: Final[dict[str, Callable[[Path, str, Ledger], Listing]]] = {  # (root, split's path below it, ledger)
    "folder": read_folder,
    "csv": read_csv_file,
    "tiny-imagenet": read_tiny_imagenet,
}

_log = logging.getLogger(__name__)


def open_source(
    config: DataConfig, split: str, ledger: Ledger, classes: ClassMap | None = None
) -> LabelledImages:
    """Open a split of a data set; no picture is read yet.

    Args:
        config: the data section.
        split: "train", "val" or "test".
        ledger: receives what is dropped or repaired now, and skipped as pictures are read.
        classes: the indices wanted (a model's, or the training split's); None = the training split's.

    Raises:
        DataError: no such split; a fault of its files (see the adapters); a class that `classes` does not
            have; a training split without pictures of a class.
    """
    place = find_split(config, split)
    listing = _read(config, place.root, place.location, ledger)
    if place.list is not None:
        listing = listing.chosen(listed_places(listing.paths, place.list, ledger))
    if place.part is not None or split == "train":
        listing = select(listing, config, split)
    defines = split == "train" and classes is None  # the split that says which classes there are
    found = rename_classes(listing.classes, config, complete=defines)
    wanted = classes or _training_classes(config, place.root, split, found)
    index = _join(found, wanted, listing, place.where, ledger, complete=defines)
    labels = index[listing.labels]
    if ledger.num_faults:  # pictures of classes that are not wanted
        listing, labels = listing.chosen(np.flatnonzero(labels >= 0)), labels[labels >= 0]
    return LabelledImages.open(
        place.root, wanted, listing.paths, labels, ledger=ledger, max_pixels=config.max_pixels
    )


def _read(config: DataConfig, root: Path, location: str, ledger: Ledger) -> Listing:
    """Read a split: one place, or several with + between their names."""
    reader = FORMATS[config.format]
    listings = [reader(root, part, ledger) for part in parts_of(root, location)]
    return listings[0] if len(listings) == 1 else join_listings(listings, f"{root / location}", ledger)


def _training_classes(config: DataConfig, root: Path, split: str, found: ClassMap) -> ClassMap:
    """The classes in the order that indices mean: the config's, else the training split's."""
    ordered = ordered_classes(found, config)
    if ordered is not None or defines_classes(config, split):
        return ordered or found
    assert config.train is not None
    return rename_classes(_read(config, root, config.train, Ledger()).classes, config, complete=True)


def _join(
    found: ClassMap, wanted: ClassMap, listing: Listing, where: str, ledger: Ledger, *, complete: bool
) -> NDArray[np.int64]:
    """The index in `wanted` of each class that was found: (K,) int64; -1 for a fault that is collected.

    A split that only measures need not have pictures of every class: the numbers of the others are undefined.
    """
    extra, missing = found.names_beyond(wanted), wanted.names_beyond(found)
    if extra:
        place = _first_picture(listing, found.names.index(extra[0]))
        more = f"; {len(extra)} such: {', '.join(extra[:SHOWN])}" if len(extra) > 1 else ""
        unused = f"; without pictures: {', '.join(missing[:SHOWN])}" if missing else ""
        fault = f"{where}{place}: {unknown_name('class', extra[0], wanted.names)}{more}{unused}"
        ledger.fault(DataError(f"{fault}; {RENAME}"), where, extra[0])
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
    index = {name: place for place, name in enumerate(wanted.names)}
    return np.array([index.get(name, -1) for name in found.names], dtype=np.int64)


def _first_picture(listing: Listing, label: int) -> str:
    """Where a class occurs first, for a message: `, row 3 (pics/002.png)`; empty where it has no pictures."""
    places = np.flatnonzero(listing.labels == label)
    if not len(places):
        return ""
    row = "" if listing.rows is None else f", row {listing.rows[places[0]]}"
    return f"{row} ({listing.paths[places[0]]})"
