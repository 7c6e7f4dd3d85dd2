"""What passes through segmentation: a class for each pixel. Its ground truth is a mask (H, W) uint8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]  # (H, W) class indices; 255 = ignore
IGNORE: Final = 255
BAND: Final = 1 << 20  # pixels that are counted at once: bincount takes eight bytes for each


def count_pixels(mask: Mask) -> NDArray[np.int64]:
    """How many pixels have each value: (256,)."""
    counts = np.zeros(256, dtype=np.int64)
    for band in np.array_split(mask, max(1, min(len(mask), mask.size // BAND))):
        counts += np.bincount(band.ravel(), minlength=256)
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationMap:
    """One picture's prediction, in original pixels.

    mask: (H, W) uint8 class indices.
    """

    mask: Mask

    def as_truth(self) -> Mask:
        """(H, W) uint8: the mask, as if it were the true one."""
        return self.mask

    def shares(self, num_classes: int) -> NDArray[np.float64]:
        """The share of the pixels that each class has: (K,), summing to 1."""
        return count_pixels(self.mask)[:num_classes] / self.mask.size
