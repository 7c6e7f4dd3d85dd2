"""Format `tiny-imagenet`: the layout of Stanford's Tiny ImageNet (200 classes, 64x64 pixels).

    wnids.txt  words.txt  train/<wnid>/images/*.JPEG  val/val_annotations.txt  val/images/*.JPEG

Class order: by wnid, as ImageNet's. Names are the first synonym in words.txt; file ids are the wnids.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap, class_name
from visiontasks.classification.datasets.folder import read_folder
from visiontasks.classification.datasets.labelled_images import Listing
from visiontasks.errors import DataError
from visiontasks.io.documents import decode_text
from visiontasks.io.files import IMAGE_SUFFIXES, read_bytes
from visiontasks.io.location import SHOWN, split_path
from visiontasks.ledger import Ledger

ANNOTATIONS = "val_annotations.txt"
BOXES = "_boxes.txt"  # lies beside each class's pictures
MAX_BYTES = 64 << 20  # of a list; words.txt has 2.6 MB


def read_tiny_imagenet(root: Path, location: str, ledger: Ledger) -> Listing:
    """List the pictures of a split: from its annotations where it has some, else from a folder a class.

    Args:
        root: the folder with wnids.txt and words.txt; `location`: the split's folder below it.
        ledger: repeated rows and pictures without a label are dropped; missing names are repaired.

    Raises: DataError for a missing file, a wnid that wnids.txt does not have, or a class without pictures.
    """
    wnids = sorted(line for line in _lines(root / "wnids.txt") if line)
    classes = ClassMap(readable_names(wnids, _words(root / "words.txt", wnids, ledger)), tuple(wnids))
    top = split_path(root, location, "a folder")
    if (top / ANNOTATIONS).exists():
        return _read_annotated(top, location, classes, ledger)
    listing = read_folder(root, location, ledger, companions=(BOXES,))
    folders = listing.classes.names
    if set(folders) != set(wnids):
        extra, missing = sorted(set(folders) - set(wnids)), sorted(set(wnids) - set(folders))
        error = DataError(
            f"{top}: expected a folder for each line of wnids.txt; without a folder: "
            f"{', '.join(missing[:SHOWN]) or 'none'}; not in wnids.txt: {', '.join(extra[:SHOWN]) or 'none'}"
        )
        ledger.fault(error, top)
        known = np.array([folder in wnids for folder in folders], dtype=np.bool_)
        listing = listing.chosen(np.flatnonzero(known[listing.labels]))
    index = np.array([wnids.index(name) if name in wnids else -1 for name in folders], dtype=np.int64)
    return Listing(classes, listing.paths, index[listing.labels])


def readable_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """The first synonym of each wnid; where two share it, the wnid is added to both: `crane (n02012849)`.

    Args:
        wnids: K distinct ids.
        words: synonyms of an id, separated by commas.
    """
    first = [class_name(words[wnid].split(",")[0].strip()) for wnid in wnids]
    count = Counter(first)
    return tuple(
        name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True)
    )


def _words(file: Path, wnids: Sequence[str], ledger: Ledger) -> dict[str, str]:
    wanted = set(wnids)
    split = (line.partition("\t") for line in _lines(file))
    words = {wnid: synonyms for wnid, _, synonyms in split if wnid in wanted and synonyms.strip(" ,")}
    for wnid in wnids:
        if wnid not in words:
            ledger.add("repaired", file, "no name for a class: its wnid is the name", wnid)
            words[wnid] = wnid
    return words


def _lines(file: Path) -> list[str]:
    text = decode_text(
        read_bytes(file, max_bytes=MAX_BYTES, what="a list in Tiny ImageNet's layout"), str(file)
    )
    return [line.strip() for line in text.split("\n")]


def _read_annotated(top: Path, location: str, classes: ClassMap, ledger: Ledger) -> Listing:
    """Rows of `name <tab> wnid <tab> box`; the pictures lie in `images/`."""
    file = top / ANNOTATIONS
    index = {wnid: place for place, wnid in enumerate(classes.file_ids)}
    labels: dict[str, int] = {}
    rows: list[int] = []
    for number, line in enumerate(_lines(file), start=1):
        if not line:
            continue
        name, wnid = [*line.split("\t"), ""][:2]
        before = labels.get(name)
        try:
            _check_row(name, wnid, index, None if before is None else classes.file_ids[before])
        except DataError as error:
            ledger.fault(DataError(f"{file}, line {number}: {error}"), file, f"line {number}")
            continue
        if before is not None:
            ledger.add("dropped", file, "row that repeats another", f"line {number}")
            continue
        labels[name] = index[wnid]
        rows.append(number)
    if not labels:
        raise DataError(f"{file}: expected a row a picture, found none")
    _drop_unlabelled(top / "images", labels, ledger)
    prefix = "".join(f"{part}/" for part in PurePath(location).parts) + "images/"
    values: NDArray[np.int64] = np.fromiter(labels.values(), np.int64, len(labels))
    return Listing(classes, [prefix + name for name in labels], values, np.array(rows, dtype=np.int64))


def _check_row(name: str, wnid: str, known: Container[int | str], before: int | str | None) -> None:
    """before: the wnid that an earlier row gives the picture, if one. Raises: DataError without the place."""
    if wnid not in known:
        raise DataError(f"expected one of the ids in wnids.txt, found '{wnid}'")
    if not name or "/" in name or "\\" in name:
        raise DataError(f"expected the name of a picture in images/, found '{name}'")
    if before not in (None, wnid):
        raise DataError(f"expected one class for {name}, found {wnid} after {before}")


def _drop_unlabelled(folder: Path, labels: Mapping[str, int], ledger: Ledger) -> None:
    if not folder.is_dir():
        return  # each picture is then missing, and skipped when it is read
    names = (name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES)
    without = [name for name in names if name not in labels and not name.startswith(".")]
    if without:
        ledger.add("dropped", folder, "pictures without a label", f"{len(without)}, first {min(without)}")
