"""Which of the formats a folder or file of pictures and boxes may be in: by names, and by how files begin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from visiontasks.data_tools import Recognised
from visiontasks.detection.datasets.csv_file import columns_of
from visiontasks.detection.datasets.voc import LISTS, XML_FOLDER
from visiontasks.detection.datasets.yolo import label_path
from visiontasks.detection.datasets.yolo_yaml import NAME_FILES, data_yaml
from visiontasks.errors import DataError
from visiontasks.io.documents import parse_csv
from visiontasks.io.files import is_picture, read_document
from visiontasks.io.tiny_imagenet import ANNOTATIONS, BOXES

NAMES: Final[Mapping[str, tuple[str, ...]]] = {  # of splits, as they are met; the usual one first
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
COCO_KEYS: Final = (b'"images"', b'"annotations"', b'"categories"')
PEEKED: Final = 1 << 20  # bytes of a file that are looked at, at its beginning and at its end
LOOKED_AT: Final = 100  # files of a folder that are looked at


def recognise(path: Path) -> Sequence[Recognised]:
    """What a folder or file of boxes may be, the likelier first; empty for none. Raises nothing."""
    path = Path(os.path.abspath(path))
    try:
        found = list(_in_folder(path) if path.is_dir() else _in_file(path))
    except (DataError, OSError, UnicodeError):
        return []
    return sorted(found, key=lambda one: -one.certainty)


def _in_file(path: Path) -> Iterator[Recognised]:
    suffix = path.suffix.lower()
    above = path.parent.parent if path.parent.name.lower() in ("annotations", "labels") else path.parent
    if suffix in (".json", ".csv"):
        yield from (_coco if suffix == ".json" else _csv)(above, [path])
    elif suffix in (".yaml", ".yml"):
        yield from _yolo(path.parent)
    elif suffix == ".xml":
        yield from _voc_folders(path.parent)


def _in_folder(root: Path) -> Iterator[Recognised]:
    folders = [root, root / "annotations", *_folders_of_splits(root).values()]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())[:LOOKED_AT]]
    yield from _coco(root, [file for file in files if file.suffix.lower() == ".json"])
    yield from _csv(root, [file for file in files if file.suffix.lower() == ".csv"])
    yield from _voc(root)
    yield from _yolo(root)
    yield from _tiny_imagenet(root)


def _tiny_imagenet(root: Path) -> Iterator[Recognised]:
    """As sure as a second choice: the pictures show a class each, and are a classifier's first."""
    if not all((root / name).is_file() for name in ("wnids.txt", "words.txt")):
        return
    splits = {"train": next((root / "train").glob(f"*/*{BOXES}"), None), "val": root / "val" / ANNOTATIONS}
    found = {split: split for split, file in splits.items() if file is not None and file.is_file()}
    if found:
        why = f"wnids.txt, words.txt and lists of boxes in {', '.join(found)}, as Tiny ImageNet has them"
        yield Recognised({"format": "tiny-imagenet", "root": str(root), **found}, 2, why)


def _split_of(name: str) -> str | None:
    """The split that a name speaks of: `instances_val2017` -> val."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    return next((split for split, names in NAMES.items() if any(name in words for name in names)), None)


def _folders_of_splits(folder: Path) -> dict[str, Path]:
    """The folders in a folder that are named after splits."""
    paths = {split: [folder / name for name in names] for split, names in NAMES.items()}
    return {split: path for split, some in paths.items() for path in reversed(some) if path.is_dir()}


def _by_split(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """The file of each split as a path below root; a file that is alone is the training split."""
    files = sorted(files, key=lambda file: ("instances" not in file.name, file))  # not COCO's keypoints
    splits: dict[str, str] = {}
    for file in files:
        split = _split_of(file.stem) or (_split_of(file.parent.name) if file.parent != root else None)
        if split is not None:
            splits.setdefault(split, file.relative_to(root).as_posix())
    if not splits and files:
        splits["train"] = files[0].relative_to(root).as_posix()
    return {split: splits[split] for split in NAMES if split in splits}


def _coco(root: Path, files: Sequence[Path]) -> Iterator[Recognised]:
    texts = {file: _ends(file) for file in files}
    has_boxes = {file: b'"bbox"' in text for file, text in texts.items() if all(k in text for k in COCO_KEYS)}
    if has_boxes:
        splits = _by_split(root, has_boxes)
        why = f"COCO's lists in {', '.join(splits.values())}"
        certainty = 3 if any(has_boxes[root / name] for name in splits.values()) else 2
        yield Recognised({"format": "coco", "root": str(root), **splits}, certainty, why)


def _ends(file: Path) -> bytes:
    """The first and the last bytes of a file."""
    with open(file, "rb") as opened:
        start = opened.read(PEEKED)
        opened.seek(max(len(start), file.stat().st_size - PEEKED))
        return start + opened.read(PEEKED)


def _csv(root: Path, files: Sequence[Path]) -> Iterator[Recognised]:
    tables = [file for file in files if _has_box_columns(file)]
    if tables:
        splits = _by_split(root, tables)
        why = f"columns of a path, a box and a label in {', '.join(splits.values())}"
        yield Recognised({"format": "csv", "root": str(root), **splits}, 3, why)


def _has_box_columns(file: Path) -> bool:
    with open(file, encoding="utf-8-sig") as opened:
        lines = opened.readline(PEEKED) + opened.readline(PEEKED)
    try:
        rows = parse_csv(lines, str(file))
        return bool(rows) and bool(columns_of(file, rows[0]))
    except DataError:
        return False


def _voc(root: Path) -> Iterator[Recognised]:
    lists = {path.stem for path in (root / LISTS).glob("*.txt")}
    if not (root / XML_FOLDER).is_dir():
        yield from _voc_folders(root)
        return
    splits = {split: split for split in NAMES if split in lists}
    if "train" not in splits and "trainval" in lists:
        splits = {"train": "trainval", **splits}
    how = f"lists {', '.join(splits.values())} in {LISTS}"
    if not splits:
        splits, how = {"train": XML_FOLDER.rstrip("/")}, "no lists"
    if number := _num_annotations(root / XML_FOLDER):
        why = f"{number} XML files in {XML_FOLDER}, {how}"
        yield Recognised({"format": "voc", "root": str(root), **splits}, 3, why)


def _voc_folders(root: Path) -> Iterator[Recognised]:
    """XML files in folders of splits, beside the pictures or not; or all in one."""
    folders = {split: path for split, path in _folders_of_splits(root).items() if _num_annotations(path)}
    if not folders and _num_annotations(root):
        folders = {"train": root}
    if folders:
        splits = {split: path.relative_to(root).as_posix() for split, path in folders.items()}
        why = f"VOC's XML files in {', '.join(splits.values())}"
        yield Recognised({"format": "voc", "root": str(root), **splits}, 3, why)


def _num_annotations(folder: Path) -> int:
    """How many XML files a folder has, if the first one is VOC's."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(".xml"))
    if not names or b"<annotation" not in _ends(folder / names[0]):
        return 0
    return len(names)


def _yolo(root: Path) -> Iterator[Recognised]:
    file = data_yaml(root)
    values: Any = read_document(file) if file is not None else None
    if file is not None and isinstance(values, dict):
        keys = {split: [name for name in names if name in values] for split, names in NAMES.items()}
        splits = {split: found[0] for split, found in keys.items() if found and values[found[0]]}
        why = f"{file.name} names classes and the splits {', '.join(splits.values())}"
        if splits:
            yield Recognised({"format": "yolo", "root": str(root), **splits}, 3, why)
            return
    names = file.name if file is not None else next((n for n in NAME_FILES if (root / n).is_file()), "")
    folders = _folders_of_splits(root / "images") or _folders_of_splits(root)
    if not folders:
        folders = {"train": next((p for p in (root / "images", root) if p.is_dir()), root)}
    found = {split: path.relative_to(root).as_posix() for split, path in folders.items()}
    splits = {split: folder for split, folder in found.items() if _has_labels(root, folder)}
    if names and splits:
        why = f"pictures with text files of labels in {', '.join(splits.values())}, classes in {names}"
        yield Recognised({"format": "yolo", "root": str(root), **splits}, 2, why)


def _has_labels(root: Path, folder: str) -> bool:
    """Whether a picture of a folder, or of the folder `images` in it, has a text file as YOLO's."""
    for inside in (folder, f"{folder}/images"):
        if (root / inside).is_dir():
            pictures = filter(is_picture, sorted(os.listdir(root / inside))[:LOOKED_AT])
            if any((root / label_path(f"{inside}/{name}")).is_file() for name in pictures):
                return True
    return False
