"""Format `folder`: one folder a class, its pictures in it or in folders below it.

Hidden files and folders (`.git`, `.DS_Store`) are no part of the data. Class order: sorted by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.classification.datasets.labelled_images import Listing
from visiontasks.errors import DataError
from visiontasks.io.files import IMAGE_SUFFIXES, is_picture
from visiontasks.io.location import SHOWN, describe_folder, split_path
from visiontasks.ledger import Ledger

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@dataclass(slots=True)
class _Found:
    """What lies in one class folder: pictures, and what is left out, as paths relative to it."""

    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def read_folder(root: Path, location: str, ledger: Ledger, *, companions: Sequence[str] = ()) -> Listing:
    """List the pictures of a split.

    Args:
        root: the data's folder.
        location: the split's folder below it.
        ledger: files that are no pictures, and pictures outside the class folders, are dropped and counted.
        companions: ends of further file names that belong to the data set.

    Raises:
        DataError: no such folder; no class folders; one without pictures; folders that are named like splits.
    """
    top = split_path(root, location, "a folder")
    folders, loose = _classes_in(top)
    _check_folders(top, location, folders)
    pictures = [name for name in loose if is_picture(name)]
    _drop(ledger, location, "pictures outside the class folders", pictures)

    prefix = "".join(f"{part}/" for part in PurePath(location).parts)
    paths: list[str] = []
    counts, empty = [], []
    for folder in folders:
        found = _Found()
        _walk(os.path.join(top, folder), "", found)
        others = [name for name in found.others if not name.endswith(tuple(companions))]
        _drop(ledger, f"{prefix}{folder}", "files that are no pictures", others)
        _drop(ledger, f"{prefix}{folder}", "links to folders", found.links)
        paths += [f"{prefix}{folder}/{name}" for name in sorted(found.pictures)]
        counts.append(len(found.pictures))
        if not found.pictures:
            empty.append(folder)
    if empty:
        _report_empty(top, empty, len(folders), ledger)
        folders = [folder for folder in folders if folder not in empty]
    classes = ClassMap(tuple(class_name(folder) for folder in folders))
    sizes = [count for count in counts if count]
    return Listing(classes, paths, np.repeat(np.arange(len(folders), dtype=np.int64), sizes))


def _classes_in(top: Path) -> tuple[list[str], list[str]]:
    """Names of the folders in a split, sorted as classes are, and of the files beside them."""
    with os.scandir(top) as entries:
        visible = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    folders = [name for name, is_folder in visible if is_folder]
    return sorted(folders, key=class_name), sorted(name for name, is_folder in visible if not is_folder)


def _check_folders(top: Path, location: str, folders: Sequence[str]) -> None:
    if not folders:
        raise DataError(
            f"{top}: expected one folder a class, found no folder ({describe_folder(top)}); "
            "put the pictures of each class into a folder with its name"
        )
    if all(folder.lower() in SPLIT_NAMES for folder in folders):
        first = "".join(f"{part}/" for part in PurePath(location).parts) + folders[0]
        raise DataError(
            f"{top}: expected one folder a class, found splits ({', '.join(folders)}); "
            f"name them in the config, for instance data.train: {first}"
        )


def _report_empty(top: Path, empty: Sequence[str], num_folders: int, ledger: Ledger) -> None:
    """Raises: DataError, unless faults are collected and some folder has pictures."""
    shown = ", ".join(empty[:SHOWN])
    error = DataError(
        f"{top}: expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in each class folder, "
        f"found none in {len(empty)} of {num_folders}: {shown}; add some or remove the folder"
    )
    if len(empty) == num_folders:
        raise error
    ledger.fault(error, top, shown)


def _walk(folder: str, prefix: str, found: _Found) -> None:
    """Sort the files below a folder into pictures and others; links to folders are not followed (cycles)."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                _walk(entry.path, f"{name}/", found)
            elif entry.is_symlink() and entry.is_dir():
                found.links.append(name)
            else:
                (found.pictures if is_picture(name) else found.others).append(name)


def _drop(ledger: Ledger, folder: str, reason: str, names: Sequence[str]) -> None:
    """One entry a folder, however many files."""
    if names:
        ledger.add("dropped", folder, reason, f"{len(names)}, first {min(names)}")
