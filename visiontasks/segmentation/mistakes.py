"""What a segmentation gets wrong: connected regions of one class that are taken for another."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.segmentation.metrics.confusion import confusion_counts
from visiontasks.segmentation.types import Mask, SegmentationMap
from visiontasks.types import ImageInfo, Mistake, Window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEIGHBOURS: Final = 4  # of a pixel of the same region: diagonals would chain contours together


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """Connected pixels of one confusion. window: around them. packed: its bits, row by row, compressed."""

    image_id: int | str
    size: tuple[int, int]  # (height, width) of the picture
    window: Window
    packed: bytes

    def mask(self) -> NDArray[np.bool_]:
        """(H, W) the region in its picture."""
        left, top, right, bottom = self.window
        height, width = bottom - top, right - left
        bits = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[top:bottom, left:right] = np.unpackbits(bits, count=height * width).reshape(height, width)
        return mask


class SegmentationMistakes:
    """Keeps the n largest regions of each pair of classes, compressed: what each costs is known at the end.

    Regions of one pair cost the more the larger they are, so the n worst of all are among them.
    """

    unit = "mIoU"
    meaning = (
        "connected regions of one true class that are predicted as another, by what the data set's mIoU "
        "would gain if the region alone were right, over the same classes as before"
    )

    def __init__(self, classes: ClassMap, n: int) -> None:
        self.n = n
        self._count = 0
        self._table = np.zeros((len(classes), len(classes) + 1), dtype=np.int64)  # truth, prediction or none
        self._heaps: dict[tuple[int, int], list[tuple[int, int, _Region]]] = {}  # the smallest on top

    def update(
        self, predictions: Sequence[SegmentationMap], truths: Sequence[Mask], infos: Sequence[ImageInfo]
    ) -> None:
        """Take in a batch; entry i of each argument belongs to one picture.

        Raises: DataError for a mask of another size, or unknown values.
        """
        for prediction, truth, info in zip(predictions, truths, infos, strict=True):
            table = confusion_counts(truth, prediction.mask, len(self._table), str(info.image_id))
            self._table += table
            wrong = table[:, :-1].copy()
            np.fill_diagonal(wrong, 0)
            for true, predicted in np.argwhere(wrong).tolist():
                heap = self._heaps.setdefault((true, predicted), [])
                least = heap[0][0] if len(heap) == self.n else 0
                if wrong[true, predicted] > least:
                    self._add(heap, (truth == true) & (prediction.mask == predicted), info, least)

    def _add(
        self,
        heap: list[tuple[int, int, _Region]],
        confused: NDArray[np.bool_],
        info: ImageInfo,
        least: int,
    ) -> None:
        """Put the regions of a picture's confused pixels (H, W) into a heap, if above `least` pixels."""
        shifted, corner = _around(confused)
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(
            shifted.astype(np.uint8), connectivity=NEIGHBOURS
        )
        areas = stats[1:, cv2.CC_STAT_AREA]
        largest = np.argsort(-areas, kind="stable")[: self.n]
        for number in (largest[areas[largest] > least] + 1).tolist():
            left, top, width, height, pixels = stats[number].tolist()
            inside = numbers[top : top + height, left : left + width] == number
            left, top = left + corner[0], top + corner[1]
            window = (left, top, left + width, top + height)
            packed = zlib.compress(np.packbits(inside).tobytes(), 1)
            self._count += 1
            entry = (pixels, -self._count, _Region(info.image_id, confused.shape, window, packed))
            if len(heap) < self.n:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)

    def worst(self) -> list[Mistake]:
        """Largest gain of mIoU first; of equal ones the larger region, then the one that came first."""
        found = []
        for (true, predicted), heap in self._heaps.items():
            pixels = np.array([entry[0] for entry in heap], dtype=np.int64)
            gains = gain_of_mean_iou(self._table, true, predicted, pixels).tolist()
            found += [
                (gain, *entry, true, predicted) for gain, entry in zip(gains, heap, strict=True) if gain > 0
            ]
        found.sort(key=lambda entry: entry[:3], reverse=True)
        return [
            Mistake(
                image_id=region.image_id,
                kind="wrong class",
                cost=gain,
                predicted=predicted,
                truth=true,
                box=region.window,
                place=region.mask(),
            )
            for gain, _, _, region, true, predicted in found[: self.n]
        ]


def _around(pixels: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """The part of a mask (H, W) that holds all its pixels, at least one; its left and top."""
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return pixels[top : rows[-1] + 1, left : columns[-1] + 1], (left, top)


def gain_of_mean_iou(table: Ints, true: int, predicted: int, pixels: Ints) -> Floats:
    """By how much mIoU rises if so many pixels become right, of one pair of classes: (R,).

    The true class gains n hits in the same union, of the other one the union loses n pixels.

    Args:
        table: (K, K + 1) pixels; rows truth, columns prediction, the last one for pixels without any.
        true, predicted: two classes. pixels: (R,) how many of theirs, at most `table[true, predicted]`.
    """
    hits = table.diagonal().astype(np.float64)
    unions = table.sum(axis=1) + table[:, :-1].sum(axis=0) - hits
    smaller = unions[predicted] - pixels
    lost = np.divide(hits[predicted], smaller, out=np.zeros(len(pixels)), where=smaller > 0)
    gains = pixels / unions[true] + lost - hits[predicted] / unions[predicted]
    result: Floats = gains / np.count_nonzero(unions)
    return result


def cut(labels: Mask | SegmentationMap, window: Window) -> Mask | SegmentationMap:
    """The part of a mask in a window."""
    left, top, right, bottom = window
    if isinstance(labels, SegmentationMap):
        return SegmentationMap(labels.mask[top:bottom, left:right])
    return labels[top:bottom, left:right]
