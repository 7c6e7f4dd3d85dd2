"""Data sets for detection: one file a format, all of which become `LabelledBoxes`. Imports no torch.

Of these, `ComposedScenes` are made where the config wants them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from visiontasks.classes import BACKGROUND, RENAME, ClassMap
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.coco import read_coco
from visiontasks.detection.datasets.crops import read_crops
from visiontasks.detection.datasets.csv_file import read_csv_boxes
from visiontasks.detection.datasets.joining import join_lists
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.detection.datasets.packing import Found, take_boxes, take_pictures
from visiontasks.detection.datasets.repair import repair_boxes, warn_if_outside
from visiontasks.detection.datasets.scenes import ComposedScenes
from visiontasks.detection.datasets.tiny_imagenet import read_tiny_imagenet
from visiontasks.detection.datasets.voc import read_voc
from visiontasks.detection.datasets.yolo import read_yolo
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.splits import (
    defines_classes,
    find_split,
    listed_places,
    ordered_classes,
    parts_of,
    places_in_part,
    rename_classes,
)

__all__ = ["FORMATS", "ComposedScenes", "LabelledBoxes", "open_source"]

Reader = Callable[[Path, str, DataConfig, Ledger], Found]

FORMATS: Final[dict[str, Reader]] = {  # (root, the split as the format names it, config, ledger)
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    "csv": read_csv_boxes,
    "crops": read_crops,
    "tiny-imagenet": read_tiny_imagenet,
}

_log = logging.getLogger(__name__)


def open_source(
    config: DataConfig, split: str, ledger: Ledger, classes: ClassMap | None = None
) -> LabelledBoxes | ComposedScenes:
    """Open a split of a data set; no picture is decoded yet.

    Training boxes without area or outside their picture are dropped, those partly outside are clipped, all
    counted; to validate and test, boxes stay as they stand.

    Args:
        config: the data section.
        split: "train", "val" or "test".
        ledger: receives what is dropped or repaired now, and skipped as pictures are read.
        classes: the indices wanted (a model's, or the training split's); None = the training split's.

    Raises:
        DataError: no such split; a fault of its files (see the adapters); a class that `classes` does not
            have; a class of the config without boxes to train on.
    """
    place = find_split(config, split)
    root, where = place.root, place.where
    found = _read(config, root, place.location, ledger)
    if place.list is not None:
        kept = listed_places(found.annotations.files, place.list, ledger)
        found = replace(found, annotations=take_pictures(found.annotations, kept))
    if place.part is not None:
        kept = places_in_part(found.annotations.files, config, place.part)
        found = replace(found, annotations=take_pictures(found.annotations, kept))
    defines = split == "train" and classes is None  # the split that says which classes there are
    found = _named(found, config, where, ledger, complete=defines)
    wanted = classes or _training_classes(config, root, split, found)
    found = _joined(found, wanted, where, ledger, complete=defines)
    warn_if_outside(found.annotations, where)
    annotations = repair_boxes(found, ledger) if split == "train" else found.annotations
    pictures = LabelledBoxes.open(
        root,
        wanted,
        annotations,
        ledger=ledger,
        max_pixels=config.max_pixels,
        format=config.format,
        where=found.where,
    )
    if config.scenes is None or split == "test":
        return pictures
    return ComposedScenes.open(pictures, config.scenes, split, config.seed)


def _read(config: DataConfig, root: Path, location: str, ledger: Ledger) -> Found:
    """Read a split: one list, or several with + between their names."""
    reader = FORMATS[config.format]
    lists = [reader(root, part, config, ledger) for part in parts_of(root, location)]
    return lists[0] if len(lists) == 1 else join_lists(lists, ledger)


def _named(found: Found, config: DataConfig, where: str, ledger: Ledger, *, complete: bool) -> Found:
    """The data under the config's names for its classes; `complete`: each of these must be there.

    The name of the background is reserved: without boxes it is left out, as some programs list it.
    """
    classes = rename_classes(found.classes, config, complete=complete)
    if BACKGROUND not in classes.names:
        return replace(found, classes=classes)
    index = classes.index(BACKGROUND)
    is_background = found.annotations.labels == index
    if is_background.any():
        what = (
            f"{where}{_first_box(found, index)}: expected no class '{BACKGROUND}', the name of what shows no "
            f"object, found boxes of it; rename it with data.classes: {{{BACKGROUND}: NEW}}"
        )
        ledger.fault(DataError(what), *found.place(int(np.argmax(is_background))))
    annotations = take_boxes(found.annotations, ~is_background)
    labels = annotations.labels
    kept = [i for i in range(len(classes)) if i != index]
    ids = tuple(classes.file_ids[i] for i in kept) if classes.file_ids else ()
    annotations = replace(annotations, labels=labels - (labels > index))
    return replace(
        found, annotations=annotations, classes=ClassMap(tuple(classes.names[i] for i in kept), ids)
    )


def _training_classes(config: DataConfig, root: Path, split: str, found: Found) -> ClassMap:
    """The classes in the order that indices mean: the config's, else the training split's."""
    ordered = ordered_classes(found.classes, config)
    if ordered is not None or defines_classes(config, split):
        return ordered or found.classes
    assert config.train is not None
    training = _read(config, root, config.train, Ledger())
    return _named(training, config, f"{root / config.train}", Ledger(), complete=True).classes


def _joined(found: Found, wanted: ClassMap, where: str, ledger: Ledger, *, complete: bool) -> Found:
    """The data with indices of `wanted`.

    A split that only measures need not show each class: the numbers of the others are undefined.
    """
    counts = np.bincount(found.annotations.labels, minlength=len(found.classes))
    used = [name for name, count in zip(found.classes.names, counts.tolist(), strict=True) if count]
    known, seen, named = set(wanted.names), set(used), set(found.classes.names)
    extra = [name for name in used if name not in known]
    unused = [name for name in wanted.names if name not in seen]
    more = f"; {len(extra)} such: {', '.join(extra[:SHOWN])}" if len(extra) > 1 else ""
    without = f"; without boxes: {', '.join(unused[:SHOWN])}" if unused else ""
    for name in extra:
        label = found.classes.index(name)
        what = (
            f"{where}{_first_box(found, label)}: {unknown_name('class', name, wanted.names)}{more}{without}"
            f"; {RENAME}"
        )
        ledger.fault(DataError(what), *found.place(int(np.argmax(found.annotations.labels == label))))
    missing = [name for name in unused if name not in named]
    if missing and complete:
        raise DataError(
            f"{where}: expected boxes of each class, found none of {len(missing)}: "
            f"{', '.join(missing[:SHOWN])}; add some, or take them out of data.classes"
        )
    if unused:
        shown = ", ".join(unused[:SHOWN])
        _log.warning("%s: no boxes of %d of %d classes: %s", where, len(unused), len(wanted), shown)
    place = {name: place for place, name in enumerate(wanted.names)}
    index = np.array([place.get(name, -1) for name in found.classes.names], dtype=np.int64)
    annotations = replace(found.annotations, labels=index[found.annotations.labels])
    return replace(found, annotations=take_boxes(annotations, annotations.labels >= 0))


def _first_box(found: Found, label: int) -> str:
    """Where a class occurs first, for a message: `, Annotations/a.xml, object 3 (a.jpg)`."""
    box = int(np.argmax(found.annotations.labels == label))
    file, record = found.place(box)
    picture = found.annotations.files[int(found.annotations.picture[box])]
    return f", {file}, {record} ({picture})" if record else f" ({picture})"
