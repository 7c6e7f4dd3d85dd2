"""Which of the formats a folder or file looks like."""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from visiontasks.classification.datasets.csv_file import COLUMNS
from visiontasks.data_tools import Recognised
from visiontasks.io.files import is_picture

SPLITS: Final[Mapping[str, tuple[str, ...]]] = {  # split -> its usual names, the likelier first
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
NO_CLASS: Final = re.compile(  # folders that other layouts have
    r"(train|training|val|valid|validation|test|testing)\d*|(train|val|test)_?(annot|labels|masks|images)"
    r"|images?|labels?|masks?|annotations?|jpegimages|imagesets|segmentation(class|object)|leftimg8bit|gtfine",
    re.IGNORECASE,
)
LIST_BYTES: Final = 1 << 16  # of a CSV file that are looked at
LOOKED_AT: Final = 32  # folders of classes, rows, and entries of a folder that are looked at


def recognise(path: Path) -> list[Recognised]:
    """What a folder or file may be, the likelier first."""
    try:
        if path.is_dir():
            return [*_tiny_imagenet(path), *_lists([*path.glob("*.csv")]), *_folders(path)]
        return list(_lists([path]))
    except OSError:
        return []


def _tiny_imagenet(folder: Path) -> Iterator[Recognised]:
    if not all((folder / name).is_file() for name in ("wnids.txt", "words.txt")):
        return
    splits: dict[str, str | None] = {
        "train": "train" if (folder / "train").is_dir() else None,
        "val": "val" if (folder / "val" / "val_annotations.txt").is_file() else None,
    }
    if any(splits.values()):
        values = {"format": "tiny-imagenet", "root": os.path.abspath(folder), **splits}
        yield Recognised(values, 3, "wnids.txt and words.txt, as Tiny ImageNet has them")


def _lists(files: Sequence[Path]) -> Iterator[Recognised]:
    """CSV files of one folder that are named like splits, or one of another name.

    The root is the nearest folder above them that has the pictures.
    """
    lists = {file.name: Path(os.path.abspath(file)) for file in sorted(files) if _is_list(file)}
    splits = _by_split({Path(name).stem.lower(): name for name in lists})
    if not splits and len(lists) == 1:
        splits = {"train": next(iter(lists))}
    if not splits:
        return
    first = lists[next(iter(splits.values()))]
    paths = _some_paths(first)
    roots = [root for root in first.parents[:3] if any((root / path).is_file() for path in paths)]
    root = roots[0] if roots else first.parent
    places = {split: lists[name].relative_to(root).as_posix() for split, name in splits.items()}
    why = f"columns path and label in {', '.join(splits.values())}"
    yield Recognised({"format": "csv", "root": str(root), **places}, 3 if roots else 2, why)


def _folders(folder: Path) -> Iterator[Recognised]:
    """A folder a class: in folders named like splits, or right here."""
    names = _subfolders(folder)
    splits = _by_split({name.lower(): name for name in names})
    with_classes = {split: name for split, name in splits.items() if _class_folders(folder / name)}
    if with_classes:
        certainty = 2
        found = [_class_folders(folder / name) for name in with_classes.values()]
        why = f"{len(set(itertools.chain(*found)))} class folders in {', '.join(with_classes.values())}"
    elif classes := _class_folders(folder):
        certainty, with_classes = 2 if len(classes) > 1 else 1, {"train": "."}
        why = f"{len(classes)} folders of pictures"
    else:
        return
    yield Recognised({"format": "folder", "root": os.path.abspath(folder), **with_classes}, certainty, why)


def _by_split(names: Mapping[str, str]) -> dict[str, str]:
    """{name in lower case: name} -> {split: name} of those that are named like splits."""
    found = {
        split: next((names[name] for name in usual if name in names), None) for split, usual in SPLITS.items()
    }
    return {split: name for split, name in found.items() if name is not None}


def _class_folders(folder: Path) -> Sequence[str]:
    """The folders of classes; empty where some look like anything else, or have no pictures."""
    names = _subfolders(folder)
    if any(NO_CLASS.fullmatch(name) for name in names):
        return ()
    looked_at = names[:: max(1, len(names) // LOOKED_AT)]
    have_pictures = sum(_has_pictures(folder / name) for name in looked_at)
    return names if have_pictures > len(looked_at) / 2 else ()


def _has_pictures(folder: Path) -> bool:
    """Whether pictures of a class lie in a folder or below it, as far as a look at its beginnings tells."""
    for _, folders, files in itertools.islice(os.walk(folder), LOOKED_AT):
        folders[:] = sorted(name for name in folders if not name.startswith("."))[:LOOKED_AT]
        if any(NO_CLASS.fullmatch(name) for name in folders if name.lower() != "images"):
            return False
        if any(is_picture(name) for name in files):
            return True
    return False


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _is_list(file: Path) -> bool:
    """Whether a file is a CSV with the columns path and label, and none of a box."""
    if file.suffix.lower() != ".csv" or not file.is_file():
        return False
    header = _header(file)
    return all(column in header for column in COLUMNS) and not {"x1", "xmin", "x", "score"} & set(header)


def _header(file: Path) -> list[str]:
    return [field.strip() for field in next(_table(file), [])]


def _some_paths(file: Path) -> list[str]:
    """The column path of the first rows."""
    place = _header(file).index("path")
    rows = (row for row in itertools.islice(_table(file), 1, LOOKED_AT) if len(row) > place)
    return [row[place] for row in rows if row[place] and "\0" not in row[place]]


def _table(file: Path) -> Iterator[list[str]]:
    with open(file, "rb") as stream:
        text = stream.read(LIST_BYTES).decode("utf-8-sig", errors="replace")
    try:
        yield from csv.reader(text.splitlines(keepends=True))
    except csv.Error:
        return
