"""Opened data sets in another format: the labels of all splits, and where their pictures are to lie."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from visiontasks.classes import ClassMap
from visiontasks.data_tools import Writer, Written
from visiontasks.detection.datasets.coco import write_coco
from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.detection.datasets.packing import take_boxes
from visiontasks.detection.datasets.repair import clipped_boxes
from visiontasks.detection.datasets.voc import PICTURE_FOLDER, write_voc, write_voc_list
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.detection.types import Annotations, Boxes, Flags, Ints
from visiontasks.io.files import is_picture, write_atomic
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import box_area, xyxy_to_cxcywh
from visiontasks.types import Source

IMAGES: Final = "images/"
_ROUNDING: Final = 1e-9  # of a fraction

Splits = Mapping[str, Source[Boxes]]


def write_coco_splits(folder: Path, sources: Splits, ledger: Ledger) -> Written:
    """`annotations/<split>.json`, the pictures in `images/`."""
    pictures = _places(sources, lambda split, file: IMAGES + _below_images(file))
    classes = _classes(sources)
    if not _are_ascending(classes.file_ids):  # the order of classes is that of their ids
        ledger.add("repaired", folder, "ids of classes that are not in their order: renumbered")
        classes = ClassMap(classes.names)
    values: dict[str, Any] = {"format": "coco", "images": IMAGES.rstrip("/")}
    for split, truth in _placed(sources, pictures, IMAGES).items():
        if _is_numbered(truth):
            ledger.add("dropped", folder, "outlines (segmentation), which detection does not read", split)
        values[split] = f"annotations/{split}.json"
        write_coco(folder / values[split], classes, truth)
    return Written(values, pictures)


def write_voc_splits(folder: Path, sources: Splits, ledger: Ledger) -> Written:
    """`Annotations/`, `ImageSets/Main/<split>.txt`, the pictures in `JPEGImages/`, all in one folder."""
    pictures = _places(sources, lambda split, file: PICTURE_FOLDER + _plain_name(file), by_stem=True)
    values: dict[str, Any] = {"format": "voc", **_order(folder, sources, ledger)}
    for split, truth in _placed(sources, pictures).items():
        _note_ids(folder, split, truth, ledger)
        _note_areas(folder, split, truth, ledger)
        write_voc(folder / "Annotations", _classes(sources), truth, ledger)
        write_voc_list(folder, split, truth)
        values[split] = split
    return Written(values, pictures)


def write_yolo_splits(folder: Path, sources: Splits, ledger: Ledger) -> Written:
    """`data.yaml`, `labels/<split>/`, the pictures in `images/<split>/`."""
    pictures = _places(sources, lambda split, file: f"{IMAGES}{split}/{_plain_name(file)}", by_stem=True)
    classes = _classes(sources)
    for split, truth in _placed(sources, pictures).items():
        _note_ids(folder, split, truth, ledger)
        _note_areas(folder, split, truth, ledger)
        if count := int(np.count_nonzero(truth.difficult)):
            ledger.add("dropped", folder, "flags 'difficult', which YOLO can't say", f"{count} of {split}")
        write_yolo(folder, classes, _as_fractions(folder, split, truth, ledger), ledger)
    folders = {split: f"{IMAGES}{split}" for split in sources}
    described = {"names": dict(enumerate(classes.names)), **folders}
    write_atomic(folder / "data.yaml", yaml.safe_dump(described, allow_unicode=True, sort_keys=False))
    return Written({"format": "yolo", **{split: split for split in sources}}, pictures)


def write_csv_splits(folder: Path, sources: Splits, ledger: Ledger) -> Written:
    """`<split>.csv`, the pictures in `images/`."""
    pictures = _places(sources, lambda split, file: IMAGES + _below_images(file))
    order = _order(folder, sources, ledger)
    values: dict[str, Any] = {"format": "csv", "images": IMAGES.rstrip("/"), **order}
    for split, truth in _placed(sources, pictures, IMAGES).items():
        _note_ids(folder, split, truth, ledger)
        values[split] = f"{split}.csv"
        write_csv_boxes(folder / values[split], _classes(sources), truth)
    return Written(values, pictures)


WRITERS: Final[Mapping[str, Writer[Boxes]]] = {
    "coco": write_coco_splits,
    "voc": write_voc_splits,
    "yolo": write_yolo_splits,
    "csv": write_csv_splits,
}


def _places(
    sources: Splits, name: Callable[[str, str], str], *, by_stem: bool = False
) -> dict[str, list[str]]:
    """Where each picture is to lie: as `name(split, file)` says, with a number where another is there.

    by_stem: names that differ by their suffix alone, or by case, are the same.
    """
    taken: set[str] = set()
    places: dict[str, list[str]] = {}
    for split, source in sources.items():
        places[split] = []
        for file in source.files:
            wanted = name(split, file)
            stem, suffix = os.path.splitext(wanted)
            tries = (f"{stem}-{number}{suffix}" for number in itertools.count(2))
            place = next(
                path for path in itertools.chain([wanted], tries) if _key(path, by_stem) not in taken
            )
            taken.add(_key(place, by_stem))
            places[split].append(place)
    return places


def _key(path: str, by_stem: bool) -> str:
    return (os.path.splitext(path)[0] if by_stem else path).casefold()


def _below_images(file: str) -> str:
    return file.removeprefix(IMAGES).removeprefix(PICTURE_FOLDER)


def _plain_name(file: str) -> str:
    """A picture's own name as lists of names can hold it, with a picture's suffix."""
    stem, suffix = os.path.splitext(posixpath.basename(file))
    printable = "".join(character if character.isprintable() else "_" for character in stem)
    name = (" ".join(printable.lstrip(".").split()) or "picture") + suffix
    return name if is_picture(name) else f"{name}.jpg"


def _placed(sources: Splits, places: Mapping[str, Sequence[str]], below: str = "") -> dict[str, Annotations]:
    """The boxes of each split with its pictures' new paths, relative to the folder `below`."""
    placed = {}
    for split, source in sources.items():
        assert isinstance(source, LabelledBoxes)  # what every format becomes
        files = [place.removeprefix(below) for place in places[split]]
        placed[split] = replace(source.annotations, files=files)
    return placed


def _classes(sources: Splits) -> ClassMap:
    return next(iter(sources.values())).classes


def _are_ascending(ids: Sequence[int | str]) -> bool:
    numbers = [ident for ident in ids if isinstance(ident, int)]
    return not ids or numbers == sorted(ids, key=lambda ident: (isinstance(ident, str), ident))


def _order(folder: Path, sources: Splits, ledger: Ledger) -> dict[str, Any]:
    """`classes` of a data section, where files name the classes and theirs is not the sorted order."""
    names = _classes(sources).names
    boxes = {split: np.unique(_labels(source)).tolist() for split, source in sources.items()}
    shown = set().union(*boxes.values())
    unused = [name for label, name in enumerate(names) if label not in shown]
    if unused:
        ledger.add("dropped", folder, "classes without boxes, which have no place", ", ".join(unused[:SHOWN]))
    trained = [name for label, name in enumerate(names) if label in boxes.get("train", shown)]
    return {} if trained == sorted(trained) else {"classes": trained}


def _labels(source: Source[Boxes]) -> Ints:
    assert isinstance(source, LabelledBoxes)  # what every format becomes
    return source.annotations.labels


def _is_numbered(annotations: Annotations) -> bool:
    """Whether the pictures have COCO's numbers."""
    return any(isinstance(ident, int) for ident in annotations.image_ids)


def _note_ids(folder: Path, split: str, annotations: Annotations, ledger: Ledger) -> None:
    if _is_numbered(annotations):
        ledger.add("dropped", folder, "COCO's numbers of pictures and classes, and outlines", split)


def _note_areas(folder: Path, split: str, annotations: Annotations, ledger: Ledger) -> None:
    count = int(np.count_nonzero(annotations.area != box_area(annotations.boxes)))
    if count:
        ledger.add(
            "dropped", folder, "areas of outlines; those of the boxes count instead", f"{count} of {split}"
        )


def _as_fractions(folder: Path, split: str, annotations: Annotations, ledger: Ledger) -> Annotations:
    """The boxes as YOLO's rows can say them: of pictures of known size, with centres and sides inside."""
    sizes = annotations.sizes
    known: Flags = np.logical_and(sizes[:, 0] > 0, sizes[:, 1] > 0)
    annotations = replace(annotations, sizes=np.where(known[:, None], sizes, 1))  # sizes (N, 2)
    has_size = known[annotations.picture]
    if count := int(np.count_nonzero(~has_size)):
        ledger.add("dropped", folder, "boxes on pictures that can't be read", f"{count} of {split}")
    annotations = take_boxes(annotations, has_size)
    fractions = xyxy_to_cxcywh(annotations.boxes) / annotations.sizes[annotations.picture][:, [1, 0, 1, 0]]
    low, high = np.min(fractions[:, :2], axis=1), np.max(fractions, axis=1)
    wrong: Flags = np.logical_or(low < -_ROUNDING, high > 1 + _ROUNDING)
    boxes = np.where(wrong[:, None], clipped_boxes(annotations), annotations.boxes)  # (M, 4)
    lost: Flags = np.logical_and(wrong, (boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if count := int(np.count_nonzero(lost)):
        reason = "boxes wholly outside their pictures, which YOLO can't say"
        ledger.add("dropped", folder, reason, f"{count} of {split}")
    if count := int(np.count_nonzero(wrong)) - count:
        reason = "boxes that leave their pictures by more than YOLO can say: clipped"
        ledger.add("repaired", folder, reason, f"{count} of {split}")
    return take_boxes(replace(annotations, boxes=boxes), np.logical_not(lost))
