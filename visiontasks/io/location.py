"""Where a data set lies: the root of a config, and its splits below it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path, PurePath

from visiontasks.errors import DataError
from visiontasks.io.files import safe_path

SHOWN = 8  # names that a message lists


def data_root(root: str) -> Path:
    """The folder that `data.root` means: a relative one lies under $VISIONTASKS_DATA, else here.

    Raises: DataError when there is no such folder; says what is there instead.
    """
    base = os.environ.get("VISIONTASKS_DATA", "")
    given = Path(os.path.expanduser(root))
    path = Path(base) / given  # an absolute path replaces the base
    if path.is_dir():
        return path
    source = f"under VISIONTASKS_DATA={base}" if base else "under the working directory"
    resolved = "" if given.is_absolute() else f" (data.root '{root}' {source})"
    raise DataError(
        f"expected a folder of data at {path}{resolved}, found {_found(path)}; "
        "set data.root, or VISIONTASKS_DATA to the folder that holds it"
    )


def split_path(root: Path, location: str, what: str) -> Path:
    """The folder or file of a split; `location` is its path under root, "." root itself.

    what: what is expected there, for the message: "a folder" (else a file).

    Raises: DataError when it is not there (says what is), or lies outside root.
    """
    path = safe_path(root, location) if PurePath(location).parts else root
    if path.is_dir() if what == "a folder" else path.is_file():
        return path
    raise DataError(f"expected {what} at {path}, found {_found(path)}; set data.train, data.val or data.test")


def _found(path: Path) -> str:
    """What is at a path or, where nothing is, what is in the nearest folder above it."""
    if path.is_file():
        return "a file"
    nearest = next((p for p in (path, *path.parents) if p.is_dir()), Path())
    return f"{'a folder' if nearest == path else 'nothing'} ({describe_folder(nearest)})"


def describe_folder(folder: Path) -> str:
    """What a folder holds, shortened: `DATA holds: test/, train/, labels.csv`."""
    try:
        with os.scandir(folder) as entries:
            some = list(itertools.islice((e for e in entries if not e.name.startswith(".")), 1000))
    except OSError as error:
        return f"{folder} can't be read: {error.strerror}"
    names = sorted((not e.is_dir(), f"{e.name}/" if e.is_dir() else e.name) for e in some)
    shown = ", ".join(name for _, name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{folder} holds: {shown}{more}" if names else f"{folder} is empty"
