"""What every format becomes: a list of pictures with a class each, read one at a time."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.io.files import safe_path
from visiontasks.io.images import read_image
from visiontasks.ledger import Ledger
from visiontasks.types import Sample


@dataclass(frozen=True, slots=True)
class Listing:
    """What an adapter finds in a split.

    classes: as the data set's files name them, sorted, or in an order that these files give.
    paths: N paths relative to the data's root, with forward slashes, each once.
    labels: (N,) int64 indices into `classes`.
    rows: (N,) the row of the file that lists each picture, from 1; None where folders do.
    """

    classes: ClassMap
    paths: Sequence[str]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None

    def chosen(self, places: NDArray[np.int64]) -> Listing:
        """The same with only some of the pictures."""
        rows = None if self.rows is None else self.rows[places]
        return Listing(self.classes, [self.paths[i] for i in places.tolist()], self.labels[places], rows)


@dataclass(slots=True)
class LabelledImages:
    """A data set of pictures with one class each, sorted by path; a `Source[int]`.

    root: the data's folder, which image ids are relative to.
    labels: (N,) int64 class indices.
    fingerprint: hash of the class names and of each picture's path, class and size in bytes.
    ledger: what was dropped when the data was opened, and what is skipped or repaired as pictures are read.

    Paths are packed into one string of bytes: worker processes share it; Python objects would be copied.
    """

    root: Path
    classes: ClassMap
    labels: NDArray[np.int64]
    fingerprint: str
    ledger: Ledger
    max_pixels: int
    _paths: bytes = field(repr=False)
    _ends: NDArray[np.int64] = field(repr=False)

    @classmethod
    def open(
        cls,
        root: Path,
        classes: ClassMap,
        paths: Sequence[str],
        labels: NDArray[np.int64],
        *,
        ledger: Ledger,
        max_pixels: int,
    ) -> Self:
        """Look at every file, without reading it; a missing one is skipped when it is read.

        Args:
            root: folder that the paths are relative to.
            classes: K classes.
            paths: N paths with forward slashes.
            labels: (N,) class indices.
            ledger: receives what is met while reading.
            max_pixels: pictures with more are skipped.

        Raises: DataError for a path that leads out of root.
        """
        order = sorted(range(len(paths)), key=paths.__getitem__)
        paths, labels = [paths[i] for i in order], np.asarray(labels, dtype=np.int64)[order]
        encoded = [os.fsencode(path) for path in paths]
        return cls(
            root=root,
            classes=classes,
            labels=labels,
            fingerprint=_fingerprint(classes, encoded, labels, file_sizes(root, paths)),
            ledger=ledger,
            max_pixels=max_pixels,
            _paths=b"".join(encoded),
            _ends=np.fromiter(itertools.accumulate(map(len, encoded)), np.int64, len(encoded)),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def image_id(self, index: int) -> str:
        """The picture's path relative to root, with forward slashes."""
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._paths[start : int(self._ends[index])])

    def __getitem__(self, index: int) -> Sample[int]:
        """Read a picture. Raises: ImageError when it can't be."""
        image_id = self.image_id(index)
        image = read_image(self.root / image_id, max_pixels=self.max_pixels, ledger=self.ledger)
        return Sample(image, int(self.labels[index]), image_id)


def class_name(text: str) -> str:
    """A name as classes are compared by: macOS writes é as two characters in file names, others as one."""
    return unicodedata.normalize("NFC", text)


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


def _fingerprint(
    classes: ClassMap, paths: Sequence[bytes], labels: NDArray[np.int64], sizes: NDArray[np.int64]
) -> str:
    digest = hashlib.sha256(repr(classes.names).encode("utf-8", "surrogatepass"))
    for path, label, size in zip(paths, labels.tolist(), sizes.tolist(), strict=True):
        digest.update(b"\0%b\0%d\0%d" % (path, label, size))
    return digest.hexdigest()
