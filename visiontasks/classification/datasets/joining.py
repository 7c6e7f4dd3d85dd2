"""Several listings read as one (`train: train+val`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.classification.datasets.labelled_images import Listing
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger


def join_listings(listings: Sequence[Listing], where: str, ledger: Ledger) -> Listing:
    """The pictures of all listings, each once, with the classes of all.

    Args:
        listings: two or more, of one format.
        where: what they are, for messages.
        ledger: pictures that an earlier listing has with the same class are dropped and counted.

    Raises: DataError for a picture that two listings have with different classes (a fault).
    """
    classes = _union([listing.classes for listing in listings])
    index = {name: place for place, name in enumerate(classes.names)}
    labels: dict[str, int] = {}
    for listing in listings:
        ours = np.array([index[name] for name in listing.classes.names], dtype=np.int64)
        for path, label in zip(listing.paths, ours[listing.labels].tolist(), strict=True):
            before = labels.setdefault(path, label)
            if before != label:
                found = f"'{classes.names[before]}' and '{classes.names[label]}'"
                error = DataError(f"{where}: expected one class for {path}, found {found}; leave one")
                ledger.fault(error, where, path)
    num_repeated = sum(len(listing.paths) for listing in listings) - len(labels)
    if num_repeated:
        ledger.add("dropped", where, "pictures that another listing has, too", str(num_repeated))
    return Listing(classes, list(labels), np.fromiter(labels.values(), np.int64, len(labels)))


def _union(maps: Sequence[ClassMap]) -> ClassMap:
    """All classes: as they are, where the listings agree; else sorted by name."""
    if all(classes == maps[0] for classes in maps):
        return maps[0]
    return ClassMap(tuple(sorted({name for classes in maps for name in classes.names})))
