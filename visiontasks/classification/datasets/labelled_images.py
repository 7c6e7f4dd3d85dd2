"""What every format becomes: a list of pictures with a class each, read one at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.io.images import read_image
from visiontasks.io.listing import OUTSIDE, PackedPaths, fingerprint, sizes_inside
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
    """

    root: Path
    classes: ClassMap
    labels: NDArray[np.int64]
    fingerprint: str
    ledger: Ledger
    max_pixels: int
    files: PackedPaths

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

        Raises: DataError for a path that leads out of root, unless faults are collected.
        """
        sizes = sizes_inside(root, paths, ledger)
        inside = np.flatnonzero(sizes != OUTSIDE).tolist()
        order = np.array(sorted(inside, key=paths.__getitem__), dtype=np.int64)
        paths, labels, sizes = [paths[i] for i in order.tolist()], labels[order], sizes[order]
        facts = zip(paths, labels.tolist(), sizes.tolist(), strict=True)
        return cls(
            root=root,
            classes=classes,
            labels=labels,
            fingerprint=fingerprint(
                classes.names, (b"%b\0%d\0%d" % (os.fsencode(path), *numbers) for path, *numbers in facts)
            ),
            ledger=ledger,
            max_pixels=max_pixels,
            files=PackedPaths(paths),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample[int]:
        """Read a picture. Raises: ImageError when it can't be."""
        image_id = self.files[index]
        image = read_image(self.root / image_id, max_pixels=self.max_pixels, ledger=self.ledger)
        return Sample(image, int(self.labels[index]), image_id)
