"""COCO's polygons and run lengths, checked, and painted: the objects of a picture to one mask of classes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError, short
from visiontasks.io.listing import PackedPaths
from visiontasks.ledger import Ledger
from visiontasks.segmentation.types import Mask

Size = tuple[int, int]  # (height, width), pixels


@dataclass(frozen=True, slots=True, eq=False)
class Paintings:
    """The masks of N pictures as what is painted on them; a `Truth`.

    file: the JSON file, for messages. numbers: (N,) place of each picture in its list `images`.
    sizes: (N, 2) height and width, px; 0 = not said, and not to be read from the picture.
    objects: of each picture, JSON: a list of [class index, segmentation].
    background: the class index of pixels that nothing is painted on.
    """

    file: str
    numbers: NDArray[np.int64]
    sizes: NDArray[np.int64]
    objects: Sequence[str]
    background: int

    def read(self, index: int, max_pixels: int) -> Mask:
        """The mask of a picture (H, W) uint8. Raises: DataError for more than `max_pixels`, or no size."""
        height, width = self.sizes[index].tolist()
        where = ", ".join(self.place(index))
        if not height * width:
            raise DataError(
                f"{where}: expected height and width, or a picture that says them when the data "
                "is opened, found neither; add them, or start again"
            )
        if height * width > max_pixels:
            raise DataError(
                f"{where}: expected at most {max_pixels:,} pixels, found {height} x {width}; "
                "raise data.max_pixels"
            )
        labels, segmentations = [], []
        for label, segmentation in json.loads(self.objects[index]):
            labels.append(label)
            segmentations.append(segmentation)
        return paint((height, width), labels, segmentations, self.background)

    def place(self, index: int) -> tuple[str, str]:
        return self.file, f"images[{self.numbers[index]}]"

    def chosen(self, places: NDArray[np.int64]) -> Paintings:
        objects = PackedPaths([self.objects[i] for i in places.tolist()])
        return Paintings(self.file, self.numbers[places], self.sizes[places], objects, self.background)

    def joined(self, other: Paintings) -> Paintings:
        return Paintings(
            f"{self.file}+{other.file}",
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.sizes, other.sizes]),
            PackedPaths([*self.objects, *other.objects]),
            self.background,
        )

    def digests(self, ledger: Ledger) -> Iterator[bytes]:
        """The background, and a hash of what is painted on each picture, with its size."""
        yield b"%d" % self.background
        for size, objects in zip(self.sizes.tolist(), self.objects, strict=True):
            yield hashlib.blake2b(f"{size}{objects}".encode(), digest_size=16).digest()


def paint(size: Size, labels: Sequence[int], segmentations: Sequence[Any], background: int) -> Mask:
    """Paint objects, the larger ones first, so that what lies on top of another stays visible.

    Args:
        size: (height, width) of the picture.
        labels: class index of each object.
        segmentations: of each, polygons [[x, y, ...], ...] or a run length {"size", "counts"}, both checked.
        background: class index of the rest.

    Returns:
        (height, width) uint8.
    """
    from pycocotools import mask as codec

    mask = np.full(size, background, dtype=np.uint8)
    if not labels:
        return mask
    lengths = [_run_length(codec, segmentation, size) for segmentation in segmentations]
    areas = codec.area(lengths)
    for place in np.argsort(-areas.astype(np.int64), kind="stable").tolist():
        mask[codec.decode(lengths[place]).astype(np.bool_)] = labels[place]
    return mask


def _run_length(codec: Any, segmentation: Any, size: Size) -> Any:
    """A segmentation as pycocotools wants it; several polygons are one object."""
    if isinstance(segmentation, list):
        return codec.merge(codec.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], str):
        return {"size": list(size), "counts": segmentation["counts"].encode("ascii")}
    return codec.frPyObjects({"size": list(size), "counts": segmentation["counts"]}, *size)


def encode_run_length(shown: NDArray[np.bool_]) -> dict[str, Any]:
    """An object's pixels (H, W) as COCO's compressed run length, JSON-ready."""
    from pycocotools import mask as codec

    encoded = codec.encode(np.asfortranarray(shown, dtype=np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def checked_polygons(
    parts: Sequence[Any], size: Size | None, where: str
) -> tuple[list[list[float]], list[tuple[int, str]]]:
    """The usable parts of an object's outline, and which others are not, and why.

    Args:
        parts: as in the file: [x, y, x, y, ...] each, pixels.
        size: (height, width) of the picture; None = not known, so that nothing is painted on it.
        where: file and record, for messages.

    Raises: DataError for what is no list of numbers, and for numbers far outside the picture, which would
        take any amount of memory to paint.
    """
    kept: list[list[float]] = []
    faults: list[tuple[int, str]] = []
    largest = math.inf if size is None else max(size)
    for place, part in enumerate(parts):
        try:
            low, high, count = min(part, default=0.0), max(part, default=0.0), len(part)
            total = sum(part)
            finite = math.isfinite(total)
            if math.isnan(total):  # NaN hides from min and max
                low = high = total
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"{where}: expected polygons as lists of numbers [[x, y, ...], ...], found {short(parts)}"
            ) from None
        if not finite or low < -largest or high > 2 * largest:
            of = "" if size is None else f" of {size[0]} x {size[1]} (height x width)"
            raise DataError(
                f"{where}: expected polygons on the picture{of}, found "
                f"coordinates from {low:g} to {high:g}; mend or remove the record"
            )
        if count % 2 or count < 6:
            faults.append((place, "an odd count of numbers" if count % 2 else "fewer than three points"))
        else:
            kept.append(list(part))
    return kept, faults
