"""Data sets for segmentation: one file a format, all of which become `LabelledMasks`. Imports no torch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import MAX_CLASSES_IN_MASK, RENAME, ClassMap, difference
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.cityscapes import read_cityscapes
from visiontasks.segmentation.datasets.coco import read_coco
from visiontasks.segmentation.datasets.folders import read_folders
from visiontasks.segmentation.datasets.labelled_masks import LabelledMasks, Listing
from visiontasks.segmentation.datasets.list_file import read_list_file
from visiontasks.segmentation.datasets.voc import read_voc
from visiontasks.splits import (
    find_split,
    listed_places,
    ordered_classes,
    parts_of,
    places_in_part,
    rename_classes,
)

__all__ = ["FORMATS", "LabelledMasks", "open_source"]

Reader = Callable[[Path, str, DataConfig, Ledger], Listing]  # (root, split's name, config, ledger)

FORMATS: Final[dict[str, Reader]] = {
    "masks": read_folders,
    "colour": read_folders,
    "list": read_list_file,
    "voc": read_voc,
    "cityscapes": read_cityscapes,
    "coco": read_coco,
}

_log = logging.getLogger(__name__)


def open_source(
    config: DataConfig, split: str, ledger: Ledger, classes: ClassMap | None = None
) -> LabelledMasks:
    """Open a split of a data set; each mask is hashed, no picture is read yet.

    Args:
        config: the data section.
        split: "train", "val" or "test".
        ledger: receives what is dropped or repaired now, and skipped as pictures are read.
        classes: the indices wanted (a model's, or the training split's); None = the data's own.

    Raises:
        DataError: no such split; a fault of its files (see the adapters); a class that `classes` does not
            have, or (of a split that says which classes there are) one too many there.
    """
    place = find_split(config, split)
    listing = _read(config, place.root, place.location, ledger)
    if place.list is not None:
        listing = listing.chosen(listed_places(listing.images, place.list, ledger))
    if place.part is not None:
        listing = listing.chosen(places_in_part(listing.images, config, place.part))
    defines = split == "train" and classes is None
    found = rename_classes(listing.classes, config, complete=True)
    wanted = classes or ordered_classes(found, config) or found
    index = _join(found, wanted, place.where, complete=defines)
    return LabelledMasks.open(place.root, wanted, listing, index, ledger=ledger, max_pixels=config.max_pixels)


def _read(config: DataConfig, root: Path, location: str, ledger: Ledger) -> Listing:
    """One split, or several joined by `+`, each picture once."""
    reader = FORMATS[config.format]
    first, *others = [reader(root, part, config, ledger) for part in parts_of(root, location)]
    images, truth = list(first.images), first.truth
    for other in others:
        if other.classes != first.classes:
            diff = difference(first.classes, other.classes, ours_name="the first", theirs_name="another")
            raise DataError(
                f"{root}: expected the same classes in the splits '{location}', found "
                f"{diff or 'another order, or other values'}; mend the lists of categories"
            )
        images += other.images
        truth = truth.joined(other.truth)
    if len(set(images)) != len(images):
        twice = min(image for image, count in Counter(images).items() if count > 1)
        raise DataError(f"{root}: expected each picture once in the splits '{location}', found {twice} twice")
    if len(first.classes) > MAX_CLASSES_IN_MASK:
        raise DataError(f"{root}: expected at most {MAX_CLASSES_IN_MASK} classes, found {len(first.classes)}")
    return Listing(first.classes, images, truth)


def _join(found: ClassMap, wanted: ClassMap, where: str, *, complete: bool) -> NDArray[np.int64]:
    """The index in `wanted` of each class that was found: (K,) int64. `complete`: none may be missing.

    A split that only measures need not have each class: the numbers of the others are undefined.
    """
    extra, missing = found.names_beyond(wanted), wanted.names_beyond(found)
    if extra:
        more = f"; {len(extra)} such: {', '.join(extra[:SHOWN])}" if len(extra) > 1 else ""
        unused = f"; without a value: {', '.join(missing[:SHOWN])}" if missing else ""
        raise DataError(
            f"{where}: {unknown_name('class', extra[0], wanted.names)}{more}{unused}"
            f"; {RENAME}, or list it in data.ignore"
        )
    if missing and complete:
        raise DataError(
            f"{where}: expected a value for each class, found none for {len(missing)}: "
            f"{', '.join(missing[:SHOWN])}; name them in data.ids, or take them out of data.classes"
        )
    if missing:
        _log.warning(
            "%s: %d of %d classes are not labelled there: %s",
            where,
            len(missing),
            len(wanted),
            ", ".join(missing[:SHOWN]),
        )
    return np.array([wanted.names.index(name) for name in found.names], dtype=np.int64)
