"""Masks written in another format: `visiontasks data convert`. Each keeps every pixel, the ignored ones too.

Pictures go to images/<split>/, masks to masks/<split>/ or, for COCO, annotations/<split>.json.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from visiontasks.classes import BACKGROUND, ClassMap
from visiontasks.data_tools import Writer, Written
from visiontasks.errors import DataError
from visiontasks.io.files import is_picture, write_atomic, write_csv
from visiontasks.io.images import encode, encode_mask, voc_palette
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import parse_colour
from visiontasks.segmentation.datasets import LabelledMasks
from visiontasks.segmentation.datasets.labelled_masks import in_threads
from visiontasks.segmentation.datasets.mask_values import CLASSES_FILE
from visiontasks.segmentation.outputs import CocoMasks
from visiontasks.segmentation.types import IGNORE, Mask, SegmentationMap
from visiontasks.types import Source

IMAGES, MASKS = "images/{split}", "masks/{split}"
COLOURS_FILE: Final = "colours.csv"
IGNORED: Final = "ignored"  # in a table of colours, and a COCO category


def write_masks(folder: Path, sources: Mapping[str, Source[Mask]], ledger: Ledger) -> Written:
    """Index PNGs with VOC's palette, values 0 to K - 1 and 255 for what is ignored; names in classes.txt."""
    classes = _classes(sources)
    broken = next((name for name in classes.names if len(name.splitlines()) > 1), None)
    if broken is not None:
        raise DataError(f"expected class names of one line for {CLASSES_FILE}, found {broken!r}; rename it")
    if _has_own_ids(classes):
        ledger.add("dropped", folder, "the classes' own values or colours in masks: numbered from 0")
    write_atomic(folder / CLASSES_FILE, "".join(f"{name}\n" for name in classes.names))
    pictures = _write_files(folder, sources, encode_mask)
    values = {"format": "masks", **{split: split for split in sources}, "ignore": [IGNORE]}
    return Written({**values, "images": IMAGES, "masks": MASKS}, pictures)


def write_colours(folder: Path, sources: Mapping[str, Source[Mask]], ledger: Ledger) -> Written:
    """RGB PNGs in the data's own colours where it has some, else VOC's; their table is colours.csv."""
    classes = _classes(sources)
    own = [parse_colour(ident) for ident in classes.file_ids]
    if own and all(isinstance(colour, list) for colour in own):
        colours = np.array(own, dtype=np.uint8)
    else:
        colours = voc_palette()[: len(classes)]
        if _has_own_ids(classes):
            ledger.add("dropped", folder, "the classes' own values in masks: colours of Pascal VOC's palette")
    taken = {tuple(colour) for colour in colours.tolist()}
    free = next(colour for colour in voc_palette()[::-1].tolist() if tuple(colour) not in taken)
    palette = np.full((256, 3), free, dtype=np.uint8)
    palette[: len(classes)] = colours
    ignored = _ignored_name(classes)
    table = zip((*classes.names, ignored), (*colours.tolist(), free), strict=True)
    write_csv(folder / COLOURS_FILE, ("name", "r", "g", "b"), [(name, *colour) for name, colour in table])
    pictures = _write_files(folder, sources, lambda mask: encode(palette[mask], ".png"))
    values = {"format": "colour", **{split: split for split in sources}, "colours": COLOURS_FILE}
    return Written({**values, "ignore": [ignored], "images": IMAGES, "masks": MASKS}, pictures)


def write_coco(folder: Path, sources: Mapping[str, Source[Mask]], ledger: Ledger) -> Written:
    """A JSON file a split: one run length a class and picture, so that masks come back as they were.

    What nothing is painted on is background, where there is such a class, and ignored pixels are a category
    of their own; else it is what is ignored.
    """
    classes = _classes(sources)
    ids = classes.file_ids
    if ids and not all(isinstance(ident, int) for ident in ids):
        ledger.add("dropped", folder, "the classes' own colours: categories numbered from 1")
        classes = ClassMap(classes.names)
    painted, ignored, table = classes, BACKGROUND, np.arange(256, dtype=np.uint8)
    if BACKGROUND in classes.names:
        ignored = _ignored_name(classes)
        numbers = [ident for ident in classes.file_ids if isinstance(ident, int)]
        painted = ClassMap((*classes.names, ignored), (*numbers, max(numbers) + 1) if numbers else ())
        table[IGNORE] = len(classes)
    pictures = _pictures(sources)
    for split, source in sources.items():
        assert isinstance(source, LabelledMasks)
        document = CocoMasks(folder, painted, f"annotations/{split}.json")
        for place, picture in enumerate(pictures[split]):
            mask = np.asarray(cv2.LUT(source.read_mask(place), table), dtype=np.uint8)
            name = picture.removeprefix(f"images/{split}/")
            document.add(name, (mask.shape[0], mask.shape[1]), SegmentationMap(mask))
        document.close()
    values = {split: f"annotations/{split}.json" for split in sources}
    names = {"classes": list(classes.names), "ignore": [ignored]}
    return Written({"format": "coco", **values, **names, "images": IMAGES}, pictures)


def _has_own_ids(classes: ClassMap) -> bool:
    """Whether files call the classes by more than their names and places."""
    return classes.file_ids not in ((), tuple(range(len(classes))))


def _ignored_name(classes: ClassMap) -> str:
    return next(name for name in _free_names(IGNORED) if name not in classes.names)


def _classes(sources: Mapping[str, Source[Mask]]) -> ClassMap:
    return next(iter(sources.values())).classes


def _write_files(
    folder: Path, sources: Mapping[str, Source[Mask]], encoded: Callable[[Mask], bytes]
) -> dict[str, list[str]]:
    """A PNG a mask, named as its picture. Returns: where each picture goes."""
    pictures = _pictures(sources)
    for split, source in sources.items():
        names = [posixpath.splitext(path.removeprefix("images/"))[0] for path in pictures[split]]
        list(in_threads(partial(_write_file, folder, source, names, encoded), range(len(names))))
    return pictures


def _write_file(
    folder: Path, source: Source[Mask], names: Sequence[str], encoded: Callable[[Mask], bytes], place: int
) -> None:
    assert isinstance(source, LabelledMasks)
    write_atomic(folder / f"masks/{names[place]}.png", encoded(source.read_mask(place)))


def _pictures(sources: Mapping[str, Source[Mask]]) -> dict[str, list[str]]:
    """images/<split>/ with each picture below the folder that all of the split have in common.

    Their names differ by more than the suffix and the case of letters, and hide nothing: a number is added.
    """
    return {split: _names(f"images/{split}/", source.files) for split, source in sources.items()}


def _names(folder: str, files: Sequence[str]) -> list[str]:
    shared = posixpath.commonpath([posixpath.dirname(file) for file in files]) if files else ""
    taken: set[str] = set()
    names = []
    for file in files:
        path = re.sub(r"(^|/)\.", r"\1_.", file.removeprefix(f"{shared}/" if shared else ""))
        stem, suffix = posixpath.splitext(path) if is_picture(path) else (path, ".png")
        free = next(name for name in _free_names(stem) if name.casefold() not in taken)
        taken.add(free.casefold())
        names.append(f"{folder}{free}{suffix}")
    return names


def _free_names(name: str) -> Iterator[str]:
    """name, name-2, name-3, ..."""
    return itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))


WRITERS: Final[dict[str, Writer[Mask]]] = {
    "masks": write_masks,
    "colour": write_colours,
    "coco": write_coco,
}
