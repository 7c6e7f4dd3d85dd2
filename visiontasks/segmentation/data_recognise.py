"""Which of the formats a folder or file of pictures and masks may be in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import BACKGROUND, MAX_CLASSES_IN_MASK
from visiontasks.data_tools import Recognised
from visiontasks.errors import DataError
from visiontasks.io.files import is_picture, safe_path
from visiontasks.io.images import read_colour_mask, read_mask
from visiontasks.io.json_stream import stream_json
from visiontasks.io.listing import evenly_spaced
from visiontasks.segmentation.datasets import cityscapes, voc
from visiontasks.segmentation.datasets.folders import LAYOUTS
from visiontasks.segmentation.datasets.labelled_masks import in_threads
from visiontasks.segmentation.datasets.list_file import fields_of, read_lines
from visiontasks.segmentation.datasets.mask_values import CLASSES_FILE, read_colours
from visiontasks.segmentation.types import IGNORE

NAMES: Final = {  # of splits, as they are met in the wild; the usual one first
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
WHOLE: Final = (  # of a data set without splits: pictures, masks
    ("images", "masks"),
    ("images", "labels"),
    ("images", "annotations"),
    ("imgs", "masks"),
    (voc.IMAGES, voc.MASKS),
)
VOID: Final = ("ignore", "ignored", "unlabeled", "unlabelled", "void")  # names for what is no class
LOOKED_AT: Final = 300  # masks whose values are looked at where nothing names the classes
MOST_COLOURS: Final = 64
RECORDS: Final = 50_000  # of a JSON file that are looked at
LINES: Final = 20  # of a list
MOST_BYTES: Final = 1 << 26  # of a list or table that is looked into


@dataclass(frozen=True, slots=True)
class _Meanings:
    """What the values of some masks may mean. values: of a data section; why: where they come from."""

    values: Mapping[str, Any]
    why: str
    is_exact: bool = True


def recognise(path: Path) -> Sequence[Recognised]:
    """What a folder or file of masks may be, the likelier first; empty for none. Raises nothing."""
    path = Path(os.path.abspath(path))
    try:
        found = list(_in_folder(path) if path.is_dir() else _in_file(path))
    except (DataError, OSError):
        return []
    return sorted(found, key=lambda one: -one.certainty)


def _in_file(path: Path) -> Iterator[Recognised]:
    split = _split_of(path.stem) or "train"
    if path.suffix.lower() == ".json":
        yield from _coco(path.parent, {split: path.name})
    elif path.suffix.lower() == ".txt":
        yield from _lists(path.parent, {split: path.name})


def _in_folder(root: Path) -> Iterator[Recognised]:
    yield from _cityscapes(root)
    yield from _voc(root)
    yield from _folders(root)
    for folder in ("", "annotations/"):
        files = sorted((root / folder).glob("*.json"))
        yield from _coco(root, _splits_of([f"{folder}{file.name}" for file in files]))
    yield from _lists(root, _splits_of([file.name for file in sorted(root.glob("*.txt"))]))


def _split_of(stem: str) -> str | None:
    """The split that a file's name speaks of: instances_val2017, train."""
    words = "".join(letter if letter.isalpha() else " " for letter in stem.lower()).split()
    return next((split for split, names in NAMES.items() if set(names) & set(words)), None)


def _splits_of(files: Sequence[str]) -> dict[str, str]:
    """{split: file}, the first by name of each; a single file of another name is for training."""
    splits: dict[str, str] = {}
    for file in files:
        split = _split_of(PurePosixPath(file).stem)
        if split is not None:
            splits.setdefault(split, file)
    return splits or ({"train": files[0]} if len(files) == 1 else {})


def _cityscapes(root: Path) -> Iterator[Recognised]:
    splits = _folders_of_splits(root, cityscapes.IMAGES + "/{split}", cityscapes.MASKS + "/{split}")
    if splits:
        values = {"format": "cityscapes", "root": str(root), "train": None, "val": None, **splits}
        yield Recognised(values, 3, f"{cityscapes.IMAGES}/ with {cityscapes.MASKS}/")


def _voc(root: Path) -> Iterator[Recognised]:
    """Pascal VOC's lists; other values than its own are named as they are found."""
    lists = sorted((root / voc.SETS).glob("*.txt"))
    if not lists or not all((root / folder).is_dir() for folder in (voc.IMAGES, voc.MASKS)):
        return
    names = {file.stem for file in lists}
    splits = {split: split for split in NAMES if split in names} or {"train": lists[0].stem}
    values: dict[str, Any] = {"format": "voc", "root": str(root), "train": None, "val": None, **splits}
    present, _ = _values_in(root, _pictures_in(root / voc.MASKS))
    why = f"lists in {voc.SETS}/"
    if present and max(present - {IGNORE}, default=0) >= len(voc.CLASSES):
        meanings = _named(present)
        values, why = {**values, **meanings.values}, f"{why}; {meanings.why}"
    yield Recognised(values, 3, why)


def _folders(root: Path) -> Iterator[Recognised]:
    """Folders of pictures with folders of masks."""
    has_splits = False
    for images, masks in LAYOUTS:
        if splits := _folders_of_splits(root, images, masks):
            has_splits = True
            places = [(images.format(split=name), masks.format(split=name)) for name in splits.values()]
            yield from _pairs(root, places, {**splits, "images": images, "masks": masks})
    for images, masks in WHOLE:
        if not has_splits and _has_pictures(root / images) and _has_pictures(root / masks):
            yield from _pairs(root, [(images, masks)], {"train": ".", "images": images, "masks": masks})


def _pairs(root: Path, places: Sequence[tuple[str, str]], values: dict[str, Any]) -> Iterator[Recognised]:
    """At each of these places, pictures and masks; values: of the data section that says where they are."""
    pictures = [path for images, _ in places for path in _pictures_in(root / images)]
    masks = [path for _, folder in places for path in _pictures_in(root / folder)]
    key = _key({path.stem for path in pictures}, [path.stem for path in masks])
    meanings = _meanings(root, masks)
    if key is None or meanings is None:
        return
    values = {"format": "masks", "root": str(root), **values, **key, **meanings.values}
    why = f"pictures in {places[0][0]}/, masks in {places[0][1]}/; {meanings.why}"
    yield Recognised(values, 3 if meanings.is_exact else 2, why)


def _key(pictures: set[str], masks: Sequence[str]) -> dict[str, str] | None:
    """How names are joined: nothing to say where they are the same; None where they have nothing in common.

    Masks may be called as their pictures, with an ending: 0001.jpg, 0001_mask.png.
    """
    if any(stem in pictures for stem in masks):
        return {}
    for stem in masks[:LINES]:
        for end in range(len(stem) - 1, 0, -1):
            ending = stem[end:]
            if stem[:end] in pictures and all(name.endswith(ending) for name in masks):
                return {"key": f"^(.+?)(?:{re.escape(ending)})?$"}
    return None


def _folders_of_splits(root: Path, images: str, masks: str) -> dict[str, str]:
    """{split: its name} of those with a folder of pictures and one of masks."""
    return {
        split: name
        for split, names in NAMES.items()
        for name in names[::-1]  # of several the usual one
        if all(_has_pictures(root / template.format(split=name)) for template in (images, masks))
    }


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and next(_walk(folder), None) is not None


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    """The pictures below a folder, hidden ones left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and is_picture(name):
                yield Path(parent, name)


def _lists(root: Path, splits: Mapping[str, str]) -> Iterator[Recognised]:
    """Text files with a picture and its mask a line."""
    lines = {split: [fields_of(line) for line in _lines(root / file)] for split, file in splits.items()}
    lines = {split: rows for split, rows in lines.items() if rows and all(map(_is_pair, rows[:LINES]))}
    if not lines:
        return
    rows = [row for rows in lines.values() for row in rows if len(row) == 2]
    prefix = _prefix(root, rows[0][0])
    masks = [root / mask.removeprefix(prefix) for _, mask in rows]
    meanings = _meanings(root, masks)
    if meanings is None:
        return
    values = {"format": "list", "root": str(root), **{split: splits[split] for split in lines}}
    values |= {"strip_prefix": prefix} if prefix else {}
    if meanings.values.get("format") == "colour":
        meanings = replace(meanings, values={**meanings.values, "format": "list"})
    why = f"lines 'picture mask' in {', '.join(splits[split] for split in lines)}; {meanings.why}"
    yield Recognised({**values, **meanings.values}, 3, why)


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in read_lines(file) if line] if file.stat().st_size <= MOST_BYTES else []
    except DataError:  # no text
        return []


def _is_pair(fields: Sequence[str]) -> bool:
    return len(fields) == 2 and all(map(is_picture, fields))


def _prefix(root: Path, path: str) -> str:
    """The beginning of a path that was written elsewhere; without it, the file is below root."""
    parts = PurePosixPath(path).parts
    for place in range(len(parts)):
        rest = "/".join(parts[place:])
        if (root / rest).is_file() and path.endswith(rest):
            return path.removesuffix(rest)
    return ""


def _coco(root: Path, splits: Mapping[str, str]) -> Iterator[Recognised]:
    """COCO's JSON files, where annotations have a segmentation; boxes are another task's too."""
    kinds = {split: _coco_kind(root / file) for split, file in splits.items()}
    found = {split: splits[split] for split, kind in kinds.items() if kind}
    if found:
        values = {"format": "coco", "root": str(root), **found}
        certainty = 3 if any(kind == "masks" for kind in kinds.values()) else 2
        yield Recognised(values, certainty, f"segmentations in {', '.join(found.values())}")


def _coco_kind(file: Path) -> str:
    """What a JSON file's first annotations have: "masks", "masks and boxes", or nothing of use."""
    boxes = masks = 0
    try:
        for number, (key, place, record) in enumerate(stream_json(file)):
            if number > RECORDS or masks > LINES:
                break
            if key == "annotations" and place >= 0 and isinstance(record, dict):
                masks += bool(record.get("segmentation"))
                boxes += bool(record.get("segmentation")) and "bbox" in record
    except DataError:
        return ""
    return "" if not masks else "masks" if boxes < masks else "masks and boxes"


def _meanings(root: Path, masks: Sequence[Path]) -> _Meanings | None:
    """What the values or colours of masks may mean; None where they are no masks."""
    present, colours = _values_in(root, masks)
    if (root / CLASSES_FILE).is_file() and not colours:
        ignore = {"ignore": [IGNORE]} if present - {0, IGNORE} else {}
        return _Meanings(ignore, f"classes in {CLASSES_FILE}")
    if present:
        return _named(present) if len(present) <= MAX_CLASSES_IN_MASK else None
    if colours and (named := _colour_table(root)) is not None:
        return named
    if colours:
        table = {f"colour_{code:06x}": f"#{code:06x}" for code in sorted(colours)}
        why = f"{len(table)} colours, with names that are made up: name them in data.colours"
        return _Meanings({"format": "colour", "colours": table}, why)
    if any(path.suffix.lower() in (".jpg", ".jpeg") for path in masks[:1]):
        ids = {BACKGROUND: 0, "object": 255}
        return _Meanings({"ids": ids}, "masks in a lossy format, whose values are not known", is_exact=False)
    return None


def _colour_table(root: Path) -> _Meanings | None:
    """A CSV file with a colour a name, as Kaggle's CamVid and our own writer have it."""
    for file in sorted(root.glob("*.csv")):
        try:
            names = read_colours(file) if file.stat().st_size <= MOST_BYTES else {}
        except DataError:
            names = {}
        if not names:  # a table of something else
            continue
        ignore = [name for name in names if name.casefold() in VOID]
        why = f"colours in {file.name}" + (f"; ignored: {', '.join(ignore)}" if ignore else "")
        return _Meanings({"format": "colour", "colours": file.name, "ignore": ignore}, why)
    return None


def _named(present: set[int]) -> _Meanings:
    """Names that are made up for the values in some masks."""
    if present <= {0, IGNORE}:
        why = "masks of 0 and 255, taken as background and object: say in data.ids what they mean"
        return _Meanings({"ids": {BACKGROUND: 0, "object": IGNORE}}, why)
    ids = {f"class_{value}": value for value in sorted(present - {IGNORE})}
    why = f"{len(ids)} values in masks, with names that are made up: name them in data.ids"
    return _Meanings({"ids": ids, "ignore": [IGNORE]}, why)


def _values_in(root: Path, masks: Sequence[Path]) -> tuple[set[int], set[int]]:
    """The values of some index masks; or, where some have colours, the colours, if these are few."""
    some = (masks[place] for place in evenly_spaced(len(masks), LOOKED_AT))
    looked_at = [path for path in some if _is_inside(root, path)]
    values: set[int] = set()
    for found in in_threads(lambda place: _unique(looked_at[place]), range(len(looked_at))):
        if found is None:
            return set(), _colours_in(looked_at)
        values.update(found.tolist())
    return values, set()


def _is_inside(root: Path, path: Path) -> bool:
    try:
        safe_path(root, os.path.relpath(path, root))
    except DataError:
        return False
    return True


def _unique(path: Path) -> NDArray[np.int64] | None:
    """The values of an index mask, none of one that can't be read; None for a colour-coded one."""
    try:
        return np.flatnonzero(np.bincount(read_mask(path).ravel()))
    except DataError:
        return np.empty(0, dtype=np.int64) if _colours(path) is None else None


def _colours(path: Path) -> NDArray[np.int32] | None:
    """Red << 16 | green << 8 | blue of each colour of a mask; None where it can't be read."""
    try:
        shown = read_colour_mask(path)
    except DataError:
        return None
    return np.unique(shown.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32))


def _colours_in(masks: Sequence[Path]) -> set[int]:
    """The colours of some masks; empty for more than a table may have."""
    colours: set[int] = set()
    for path in masks:
        found = _colours(path)
        colours.update([] if found is None else found.tolist())
        if len(colours) > MOST_COLOURS:
            return set()
    return colours
