"""What every format becomes: a list of pictures with a mask each, read one at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.errors import DataError, ImageError
from visiontasks.io.files import read_bytes
from visiontasks.io.images import MAX_FILE_BYTES, read_image, read_size
from visiontasks.io.listing import OUTSIDE, PackedPaths, fingerprint, sizes_inside
from visiontasks.io.location import SHOWN
from visiontasks.ledger import Ledger
from visiontasks.segmentation.datasets.mask_values import ColourMasks, IndexMasks
from visiontasks.segmentation.types import IGNORE, Mask, count_pixels
from visiontasks.types import Sample

R = TypeVar("R")

THREADS = 8  # that read masks; decoding leaves Python's lock alone


class Truth(Protocol):
    """The masks of N pictures, wherever they come from; travels to other processes."""

    def read(self, index: int, max_pixels: int) -> Mask:
        """The mask of a picture (H, W), in the data's own class indices. Raises: DataError."""
        ...

    def place(self, index: int) -> tuple[str, str]:
        """Where it is written: a file, and a place in that file (empty where it is all of it)."""
        ...

    def chosen(self, places: NDArray[np.int64]) -> Truth:
        """Only some of the pictures, in another order."""
        ...

    def joined(self, other: Any) -> Truth:
        """These and those of another split of the same data set."""
        ...

    def digests(self, ledger: Ledger) -> Iterator[bytes]:
        """Something of all masks, then of each, that changes where the mask does.

        Raises: DataError for masks that are not there; a ledger that collects faults gets them, and b"" is
            what they give.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """What an adapter finds in a split.

    classes: as the data set names them, in its order.
    images: N paths relative to the data's root, with forward slashes, each once.
    truth: the mask of each.
    """

    classes: ClassMap
    images: Sequence[str]
    truth: Truth

    def chosen(self, places: NDArray[np.int64]) -> Listing:
        """The same with only some of the pictures, in the order of `places`."""
        return Listing(self.classes, [self.images[i] for i in places.tolist()], self.truth.chosen(places))


@dataclass(frozen=True, slots=True, eq=False)
class MaskFiles:
    """Masks in files, one a picture; a `Truth`.

    paths: N paths relative to root, with forward slashes. codec: how they are read.
    """

    root: Path
    paths: Sequence[str]
    codec: IndexMasks | ColourMasks

    def read(self, index: int, max_pixels: int) -> Mask:
        """The mask of a picture (H, W) uint8. Raises: DataError."""
        return self.codec.read(self.root / self.paths[index], max_pixels)

    def place(self, index: int) -> tuple[str, str]:
        return str(self.root / self.paths[index]), ""

    def chosen(self, places: NDArray[np.int64]) -> MaskFiles:
        return MaskFiles(self.root, PackedPaths([self.paths[i] for i in places.tolist()]), self.codec)

    def joined(self, other: MaskFiles) -> MaskFiles:
        return MaskFiles(self.root, [*self.paths, *other.paths], self.codec)

    def digests(self, ledger: Ledger) -> Iterator[bytes]:
        """A hash of how files are read and, for each, of its content.

        Raises: DataError for masks that do not exist, lead out of root or cannot be read, unless collected.
        """
        sizes = sizes_inside(self.root, self.paths, ledger)
        missing = np.flatnonzero((sizes < 0) & (sizes != OUTSIDE))
        if len(missing) and not ledger.collects:
            shown = ", ".join(self.paths[int(i)] for i in missing[:SHOWN])
            raise DataError(
                f"{self.root}: expected a mask for each picture, found none for {len(missing)} of "
                f"{len(self.paths)}: {shown}; add them, or take their pictures out"
            )
        yield hashlib.blake2b(self.codec.signature(), digest_size=16).digest()
        inside = np.flatnonzero(sizes != OUTSIDE)
        digests = dict(zip(inside.tolist(), in_threads(self._digest, inside.tolist()), strict=True))
        for index in range(len(self.paths)):
            digest = digests.get(index, b"")
            if isinstance(digest, DataError):
                ledger.fault(digest, self.root / self.paths[index])
            yield b"" if isinstance(digest, DataError) else digest

    def _digest(self, index: int) -> bytes | DataError:
        path = self.root / self.paths[index]
        try:
            data = read_bytes(path, max_bytes=MAX_FILE_BYTES, what="the mask of a picture")
        except DataError as error:
            return error
        return hashlib.blake2b(data, digest_size=16).digest()


def in_threads(work: Callable[[int], R], places: Iterable[int]) -> Iterator[R]:
    """work(i) of each place, in order, on some threads."""
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(work, places)


class Tally(NamedTuple):
    """What a mask holds. size: (height, width), px. labels: (M,) uint8, ascending, 255 = ignored pixels.
    pixels: (M,) int64 > 0, how many of each.
    """

    size: tuple[int, int]
    labels: NDArray[np.uint8]
    pixels: NDArray[np.int64]


@dataclass(slots=True, eq=False)
class LabelledMasks:
    """A data set of pictures with a mask each, sorted by path; a `Source[Mask]`.

    root: the data's folder, which image ids are relative to.
    order: (256,) uint8, the index in `classes` of each of the data's own indices; 255 = ignore.
    fingerprint: hash of the class names, of each picture's path and size in bytes, and of each mask.
    ledger: what was dropped when the data was opened, and what is skipped or repaired as pictures are read.
    counted, tallied: what `class_pixels` and `tallies` found so far.
    """

    root: Path
    classes: ClassMap
    files: PackedPaths
    truth: Truth
    order: Mask
    fingerprint: str
    ledger: Ledger
    max_pixels: int
    counted: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    tallied: dict[int, Tally] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        root: Path,
        classes: ClassMap,
        listing: Listing,
        index: NDArray[np.int64],
        *,
        ledger: Ledger,
        max_pixels: int,
    ) -> Self:
        """Look at every file; a missing picture is skipped when it is read, a missing mask is an error.

        Args:
            root: folder that the paths are relative to.
            classes: K classes.
            listing: what the adapter found.
            index: the place in `classes` of each of the listing's classes.
            ledger: receives what is met while reading.
            max_pixels: pictures with more are skipped.

        Raises: DataError for a mask that does not exist, or a path that leads out of root; where faults are
            collected, their pictures are left out.
        """
        places = np.array(sorted(range(len(listing.images)), key=listing.images.__getitem__), dtype=np.int64)
        listing = listing.chosen(places)
        order = np.full(256, IGNORE, dtype=np.uint8)
        order[: len(index)] = index
        sizes = sizes_inside(root, listing.images, ledger)
        head, *digests = listing.truth.digests(ledger)
        usable = np.flatnonzero((sizes != OUTSIDE) & np.array(list(map(bool, digests)), dtype=np.bool_))
        if len(usable) < len(places):
            listing = listing.chosen(usable)
        facts = ((sizes[i], digests[i]) for i in usable.tolist())
        rows = [
            b"%b\0%d\0%b" % (os.fsencode(path), size, digest)
            for path, (size, digest) in zip(listing.images, facts, strict=True)
        ]
        return cls(
            root=root,
            classes=classes,
            files=PackedPaths(listing.images),
            truth=listing.truth,
            order=order,
            fingerprint=fingerprint(classes.names, [head, order.tobytes(), *rows]),
            ledger=ledger,
            max_pixels=max_pixels,
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample[Mask]:
        """Read a picture and its mask.

        Raises: ImageError for a picture that can't be read; DataError for its mask, or another size of it.
        """
        image_id = self.files[index]
        image = read_image(self.root / image_id, max_pixels=self.max_pixels, ledger=self.ledger)
        mask = self.read_mask(index)
        self.check_size(index, image.shape[:2], mask.shape)
        return Sample(image, mask, image_id)

    def check_size(self, index: int, picture: tuple[int, ...], mask: tuple[int, ...]) -> None:
        """Raises: DataError where the mask of a picture has another (height, width) than the picture."""
        if mask != picture:
            (height, width), (mask_height, mask_width) = picture, mask
            where = ", ".join(filter(None, self.truth.place(index)))
            raise DataError(
                f"{where}: expected the size of its picture {self.files[index]}, {height} x {width} "
                f"(height x width), found {mask_height} x {mask_width}; mend or remove one of them"
            )

    def read_mask(self, index: int) -> Mask:
        """The mask of a picture (H, W): indices of `classes`, 255 = ignore. Raises: DataError."""
        mask = self.truth.read(index, self.max_pixels)
        return np.asarray(cv2.LUT(mask, self.order), dtype=np.uint8)

    def tallies(self, places: Iterable[int]) -> Iterator[Tally | DataError]:
        """What the masks of these pictures hold, in order, or why one cannot be had; each is read once."""
        yield from in_threads(self._tally, places)

    def _tally(self, index: int) -> Tally | DataError:
        if index not in self.tallied:
            try:
                mask = self.read_mask(index)
            except DataError as error:
                return error
            counts = count_pixels(mask)
            labels = np.flatnonzero(counts)
            size = (mask.shape[0], mask.shape[1])
            self.tallied[index] = Tally(size, labels.astype(np.uint8), counts[labels])
        return self.tallied[index]

    def class_pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How often each class occurs; all masks are read, once, but those of pictures that are skipped.

        Returns:
            (K,) pixels of each class, and (K,) the pixels (of any class, not ignored) of the pictures that
            have it: the parts of a class's frequency as SegNet counts it (Badrinarayanan 2017, section 4).

        Raises: DataError for a mask that is wrong.
        """
        if self.counted is None:
            pixels, around = (np.zeros(len(self.classes), dtype=np.int64) for _ in range(2))
            for counts in in_threads(self._count, range(len(self))):
                if isinstance(counts, ImageError):
                    self.ledger.add("skipped", *counts.file_and_reason)
                    continue
                pixels += counts
                around += (counts > 0) * counts.sum()
            self.counted = pixels, around
        return self.counted

    def _count(self, index: int) -> NDArray[np.int64] | ImageError:
        """Pixels of each class in one mask: (K,); or why its picture will be skipped, by the header."""
        try:
            read_size(self.root / self.files[index], max_pixels=self.max_pixels)
        except ImageError as error:
            return error
        return count_pixels(self.read_mask(index))[: len(self.classes)]
