"""Counts of pixels by true and predicted class, in one pass over a pair of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError
from visiontasks.segmentation.types import IGNORE, Mask

CHUNK = 1 << 18  # pixels at a time: their cell numbers stay in the processor's cache
TRUTHS = 256  # values that a truth mask can hold

Ints = NDArray[np.int64]


def confusion_counts(truth: Mask, predicted: Mask, num_classes: int, name: str) -> Ints:
    """Count the pixels of a pair of masks by class.

    Args:
        truth: (H, W) uint8, classes 0..K-1, or 255 for pixels that count nowhere.
        predicted: (H, W) uint8, classes 0..K-1, or 255 where nothing is predicted, which is wrong.
        num_classes: K, at most 255.
        name: the picture's, for messages.

    Returns:
        (K, K + 1) int64: rows truth, columns prediction, the last one for pixels without a prediction.

    Raises: DataError when the sizes differ, or a mask holds other values.
    """
    if truth.shape != predicted.shape:
        raise DataError(
            f"{name}: expected a prediction of the truth's size {truth.shape[0]}x{truth.shape[1]}, "
            f"found {'x'.join(map(str, predicted.shape))}; predict on the original pictures"
        )
    if predicted.size and int(np.max(predicted)) >= num_classes:
        predicted = _without_none(predicted, num_classes, name)
    columns = num_classes + 1
    table = np.zeros(TRUTHS * columns, dtype=np.int64)
    factor = np.uint16(columns)  # 255 * 256 + 255 is the largest cell there can be
    truths, predictions = truth.ravel(), predicted.ravel()
    for start in range(0, truths.size, CHUNK):
        cells = np.multiply(truths[start : start + CHUNK], factor, dtype=np.uint16)
        cells += predictions[start : start + CHUNK]
        table += np.bincount(cells, minlength=len(table))
    counts = table.reshape(TRUTHS, columns)  # (256, K + 1)
    unknown = counts[num_classes:IGNORE].sum(axis=1)
    if unknown.any():
        found = {num_classes + int(i): int(unknown[i]) for i in np.flatnonzero(unknown)}
        raise DataError(unknown_values(f"{name}: truth", found, num_classes))
    return counts[:num_classes]


def _without_none(predicted: Mask, num_classes: int, name: str) -> Mask:
    """The mask with K instead of 255. Raises: DataError for values between."""
    values = np.bincount(predicted.ravel(), minlength=TRUTHS)
    if values[num_classes:IGNORE].any():
        found = {i: int(values[i]) for i in range(num_classes, IGNORE) if values[i]}
        raise DataError(unknown_values(f"{name}: prediction", found, num_classes))
    return np.where(predicted == IGNORE, np.uint8(num_classes), predicted)


def unknown_values(where: str, found: dict[int, int], num_classes: int) -> str:
    """The message for values in a mask that are no class.

    found: {value: pixels}.
    """
    listed = ", ".join(f"{value} ({pixels} pixels)" for value, pixels in list(found.items())[:8])
    return (
        f"{where}: expected classes 0 to {num_classes - 1}, or 255 to ignore, found {listed}"
        f"{' and more' if len(found) > 8 else ''}; name all classes, or ignore these values"
    )
