"""Format `tiny-imagenet`: the layout of Stanford's Tiny ImageNet (200 classes, 64x64 pixels).

    wnids.txt  words.txt  train/<wnid>/images/*.JPEG  val/val_annotations.txt  val/images/*.JPEG

Classes: see `io/tiny_imagenet.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from visiontasks.classification.datasets.folder import read_folder
from visiontasks.classification.datasets.labelled_images import Listing
from visiontasks.errors import DataError
from visiontasks.io.location import SHOWN, split_path
from visiontasks.io.tiny_imagenet import ANNOTATIONS, BOXES, read_annotated, read_classes
from visiontasks.ledger import Ledger


def read_tiny_imagenet(root: Path, location: str, ledger: Ledger) -> Listing:
    """List the pictures of a split: from its annotations where it has some, else from a folder a class.

    Args:
        root: the folder with wnids.txt and words.txt; `location`: the split's folder below it.
        ledger: repeated rows and pictures without a label are dropped; missing names are repaired.

    Raises: DataError for a missing file, a wnid that wnids.txt does not have, or a class without pictures.
    """
    classes = read_classes(root, ledger)
    wnids = list(classes.file_ids)
    top = split_path(root, location, "a folder")
    if (top / ANNOTATIONS).exists():
        rows = read_annotated(top, location, classes, ledger)
        labels, lines = (np.array([row[i] for row in rows], dtype=np.int64) for i in (1, 2))
        return Listing(classes, [row.picture for row in rows], labels, lines)
    listing = read_folder(root, location, ledger, companions=(BOXES,))
    folders = listing.classes.names
    if set(folders) != set(wnids):
        extra, missing = sorted(set(folders) - set(wnids)), sorted({*map(str, wnids)} - set(folders))
        error = DataError(
            f"{top}: expected a folder for each line of wnids.txt; without a folder: "
            f"{', '.join(missing[:SHOWN]) or 'none'}; not in wnids.txt: {', '.join(extra[:SHOWN]) or 'none'}"
        )
        ledger.fault(error, top)
        known = np.array([folder in wnids for folder in folders], dtype=np.bool_)
        listing = listing.chosen(np.flatnonzero(known[listing.labels]))
    index = np.array([wnids.index(name) if name in wnids else -1 for name in folders], dtype=np.int64)
    return Listing(classes, listing.paths, index[listing.labels])
