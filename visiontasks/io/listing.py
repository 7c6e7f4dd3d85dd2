"""Lists of files: packed so that worker processes share them, measured, and divided into parts."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError
from visiontasks.io.files import safe_path
from visiontasks.ledger import Ledger

OUTSIDE = -2  # in place of the size of a file that lies outside the data's folder


class PackedPaths(Sequence[str]):
    """A read-only list of paths in one string of bytes.

    Worker processes share its memory; Python objects would be copied into each, as their counts change.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._bytes = b"".join(encoded)
        self._ends = np.fromiter(itertools.accumulate(map(len, encoded)), np.int64, len(encoded))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"path {index} of {len(self)}")
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._bytes[start : int(self._ends[index])])


def file_sizes(root: Path, paths: Sequence[str]) -> NDArray[np.int64]:
    """Bytes of each file (N,); -1 where there is none.

    Raises: DataError for a path that leads out of root, also by a link.
    """
    base, checked = str(root), {""}
    sizes = np.full(len(paths), -1, dtype=np.int64)
    for place, path in enumerate(paths):
        folder = path.rpartition("/")[0]
        if folder not in checked:  # a few folders hold all the files: links in them are followed once
            safe_path(root, folder)
            checked.add(folder)
        try:
            status = os.lstat(f"{base}/{path}")
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(safe_path(root, path))
            sizes[place] = status.st_size
        except (OSError, ValueError):  # not there, or a name that no file can have
            continue
    return sizes


def sizes_inside(root: Path, paths: Sequence[str], ledger: Ledger) -> NDArray[np.int64]:
    """As `file_sizes`; a path that leads out is a fault and, where faults are collected, `OUTSIDE`."""
    try:
        return file_sizes(root, paths)
    except DataError:
        if not ledger.collects:
            raise
    sizes = np.full(len(paths), OUTSIDE, dtype=np.int64)
    for place, path in enumerate(paths):
        try:
            sizes[place] = file_sizes(root, [path])[0]
        except DataError as error:
            ledger.fault(error, root / path)
    return sizes


def fingerprint(names: Sequence[str], rows: Iterable[bytes]) -> str:
    """SHA-256, as hex digits, of a data set.

    Args:
        names: its classes, in the order that indices mean.
        rows: what is known of each picture: path, labels, size of the file.
    """
    digest = hashlib.sha256(repr(tuple(names)).encode("utf-8", "surrogatepass"))
    for row in rows:
        digest.update(b"\0" + row)
    return digest.hexdigest()


def ranks(paths: Sequence[str], salt: str) -> NDArray[np.int64]:
    """The place (N,) of each path in the order of a hash of it: a choice that no listing order changes.

    Args:
        paths: N distinct paths.
        salt: another one gives another order.
    """
    order = np.argsort(hashes(paths, salt), kind="stable")
    places = np.empty(len(paths), dtype=np.int64)
    places[order] = np.arange(len(paths))
    return places


def hashes(paths: Sequence[str], salt: str) -> NDArray[np.uint64]:
    """A number (N,) for each path that depends on the path and the salt alone."""
    key = hashlib.sha256(salt.encode()).digest()
    digests = [hashlib.blake2b(os.fsencode(path), key=key, digest_size=8).digest() for path in paths]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def evenly_spaced(num: int, most: int | None) -> list[int]:
    """At most `most` places of 0 .. num - 1, both ends among them; None = all."""
    if most is None or num <= most:
        return list(range(num))
    return [int(place) for place in np.linspace(0, num - 1, most)]
