"""Where the pictures of a list lie, and how large they are."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError, ImageError
from visiontasks.io.files import is_picture, safe_path
from visiontasks.io.images import read_size
from visiontasks.io.listing import file_sizes
from visiontasks.io.location import split_path
from visiontasks.ledger import Ledger

LOOKED_AT: Final = 32  # pictures by which their folder is chosen
LONG: Final = 255  # bytes of a path; the limit for one name in it


def clean_path(path: str, root: Path, where: str) -> str:
    """A path as image ids are written: forward slashes, no `./`, no `//`.

    Raises: DataError for one that leaves root, with `where` it is written.
    """
    path = path.replace(os.sep, "/")
    if not path.strip():
        raise DataError(f"{where}: expected the path of a picture, found none; fill it in")
    parts = path.split("/")
    is_odd = not path.isprintable() or len(os.fsencode(path)) > LONG  # a name that no file can have?
    if is_odd or not parts[0] or ".." in parts or os.path.isabs(path):
        try:
            safe_path(root, path)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return posixpath.normpath(path)


def check_once(files: Sequence[str], where: Callable[[int], str]) -> None:
    """Raises: DataError for a picture that a list has twice, `where` both times."""
    if len(set(files)) == len(files):
        return
    first: dict[str, int] = {}
    for place, file in enumerate(files):
        before = first.setdefault(file, place)
        if before != place:
            raise DataError(
                f"{where(place)}: expected each picture once, found '{file}' again, as in {where(before)}; "
                "join the records"
            )


def as_prefix(folder: str) -> str:
    """A folder as it stands before a name: with forward slashes and one behind it; "" for "."."""
    return "".join(f"{part}/" for part in PurePath(folder).parts)


def pictures_folder(
    root: Path,
    given: str | None,
    names: Sequence[str],
    folders: Sequence[str],
    file: object,
    *,
    has: Callable[[str, str], bool] | None = None,
) -> str:
    """The folder that the pictures of a list lie in, as a prefix below root.

    Args:
        given: the config's `images`; None = look for it.
        names: the pictures, as the list names them.
        folders: prefixes where they may be, the likelier first.
        file: the list, for the message.
        has: whether a folder (prefix) has a picture of that name; by default such a file.

    Raises: DataError when there is no such folder, or none of some pictures is in one of them.
    """
    if given is not None:
        split_path(root, given, "a folder")
        folders = [as_prefix(given)]
    folders = list(dict.fromkeys(folders))
    some = names[:: max(1, len(names) // LOOKED_AT)]
    is_there = has or (lambda folder, name: os.path.isfile(root / (folder + name)))
    counts = [sum(is_there(folder, name) for name in some) for folder in folders]
    if some and not any(counts):
        looked = ", ".join(folder or "./" for folder in folders)
        raise DataError(
            f"{file}: expected its pictures ('{some[0]}', ...) in a folder below {root}, found none in "
            f"{looked}; set data.images"
        )
    return folders[int(np.argmax(counts))]


def pictures_below(root: Path, folder: str, ledger: Ledger) -> list[str]:
    """The pictures in a folder and the folders below it, as paths below root, sorted; hidden ones left out.

    folder: a prefix. ledger: links to folders, which are not followed (cycles), are dropped and counted.
    """
    found: list[str] = []
    base = str(root / folder)
    for parent, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = as_prefix(os.path.relpath(parent, base))
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                ledger.add("dropped", f"{folder}{inside}{name}", "link to a folder")
        found += [
            f"{folder}{inside}{name}" for name in names if not name.startswith(".") and is_picture(name)
        ]
    return sorted(found)


def picture_sizes(root: Path, files: Sequence[str]) -> NDArray[np.int64]:
    """(N, 2) int64 height and width from the pictures' headers; 0 where they can't be read.

    Raises: DataError for a path that leaves root.
    """
    sizes = np.zeros((len(files), 2), dtype=np.int64)
    for place in np.flatnonzero(file_sizes(root, files) >= 0).tolist():
        try:
            sizes[place] = read_size(root / files[place])
        except ImageError:  # skipped, with its reason, when it is read
            continue
    return sizes
