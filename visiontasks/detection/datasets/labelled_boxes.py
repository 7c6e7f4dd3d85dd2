"""What every format becomes: a list of pictures with their boxes, read one at a time."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.packing import Where, take_pictures
from visiontasks.detection.types import Annotations, Boxes
from visiontasks.errors import DataError
from visiontasks.io.images import read_image
from visiontasks.io.listing import PackedPaths, file_sizes, fingerprint
from visiontasks.ledger import Ledger
from visiontasks.types import Sample


@dataclass(slots=True)
class LabelledBoxes:
    """A data set of pictures with boxes, sorted by path; a `Source[Boxes]`.

    root: the data's folder.
    annotations: the boxes, packed; `files` are relative to root.
    fingerprint: hash of the class names and of each picture's path, size in bytes, id and boxes.
    ledger: what was dropped or repaired when the data was opened, and what is skipped as pictures are read.
    format: of its files, a key of `FORMATS`; empty where there are none.
    where: see `packing.Found`; kept where faults are collected, as it may hold a path for each picture.
    """

    root: Path
    classes: ClassMap
    annotations: Annotations
    fingerprint: str
    ledger: Ledger
    max_pixels: int
    format: str = ""
    where: Where | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        classes: ClassMap,
        annotations: Annotations,
        *,
        ledger: Ledger,
        max_pixels: int,
        format: str = "",
        where: Where | None = None,
    ) -> Self:
        """Look at every file, without reading it; a missing one is skipped when it is read.

        Args:
            root: folder that the paths are relative to.
            annotations: labels are indices into `classes`; each picture once.
            ledger: receives what is met while reading.
            max_pixels: pictures with more are skipped.
            format: of the files that the boxes are from.
            where: file and record of a box.

        Raises: DataError for a path that leads out of root.
        """
        files = annotations.files
        order = np.array(sorted(range(len(files)), key=files.__getitem__), dtype=np.int64)
        annotations = take_pictures(annotations, order)
        packed = replace(
            annotations, files=PackedPaths(annotations.files), image_ids=_packed_ids(annotations)
        )
        return cls(
            root=root,
            classes=classes,
            annotations=packed,
            fingerprint=fingerprint(classes.names, _facts(root, annotations)),
            ledger=ledger,
            max_pixels=max_pixels,
            format=format,
            where=where if ledger.collects else None,
        )

    @property
    def files(self) -> Sequence[str]:
        return self.annotations.files

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Sample[Boxes]:
        """Read a picture.

        Raises:
            ImageError: it can't be read.
            DataError: it has another size than the boxes were drawn for.
        """
        path = self.root / self.annotations.files[index]
        image = read_image(path, max_pixels=self.max_pixels, ledger=self.ledger)
        if fault := self.size_fault(index, image.shape[0], image.shape[1]):
            raise DataError(f"{path}: {fault}")
        return Sample(image, self.annotations.truth(index), self.annotations.image_ids[index])

    def size_fault(self, index: int, height: int, width: int) -> str:
        """Why a picture that is so large is not the one its boxes were drawn on; "" where it may be."""
        annotated = tuple(self.annotations.sizes[index].tolist())
        if not annotated[0] or annotated == (height, width):
            return ""
        remedy = "mend the annotation, or bring back the picture it was made for"
        if annotated == (width, height):
            remedy = (
                "swap them; or, if the picture's EXIF orientation turns it, save it turned and annotate that"
            )
        return (
            f"expected {annotated[0]} x {annotated[1]} pixels (height x width, as annotated), "
            f"found {height} x {width}; {remedy}"
        )


def _packed_ids(annotations: Annotations) -> Sequence[int | str]:
    """Image ids in one piece of memory, where they are all texts or all numbers."""
    texts = [ident for ident in annotations.image_ids if isinstance(ident, str)]
    if texts:
        return PackedPaths(texts) if len(texts) == len(annotations) else annotations.image_ids
    numbers = [ident for ident in annotations.image_ids if isinstance(ident, int)]
    return array("q", numbers) if all(abs(number) < 1 << 63 for number in numbers) else numbers


def _facts(root: Path, annotations: Annotations) -> Iterator[bytes]:
    """What is known of each picture."""
    flags = annotations.crowd + 2 * annotations.difficult  # (M,)
    numbers = np.column_stack([annotations.boxes, annotations.labels, flags]).astype("<f8")  # (M, 6)
    ends = annotations.starts.tolist()
    sizes = file_sizes(root, annotations.files).tolist()
    for i, path in enumerate(annotations.files):
        head = b"%b\0%d\0%b\0" % (os.fsencode(path), sizes[i], repr(annotations.image_ids[i]).encode())
        yield head + numbers[ends[i] : ends[i + 1]].tobytes()
