"""Boundary IoU: only pixels near a contour are compared, so that thin and small things count.

Source: Cheng et al. 2021 (arXiv 2103.16562, section 4 and the authors' `mask_to_boundary`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.segmentation.types import IGNORE, Mask

RATIO = 0.02  # of the picture's diagonal


def boundary_counts(truth: Mask, predicted: Mask, num_classes: int) -> NDArray[np.int64]:
    """Pixels near a contour of their own class: in both masks alike, in the truth, in the prediction.

    Args:
        truth: (H, W) uint8 classes, 255 = ignored. These pixels are cut out of both masks.
        predicted: (H, W) uint8 classes, 255 = none.
        num_classes: K.

    Returns:
        (3, K) int64; boundary IoU of a class is row 0 / (row 1 + row 2 - row 0).
    """
    counted = truth != IGNORE
    if not counted.all():
        predicted = np.where(counted, predicted, np.uint8(IGNORE))
    width = max(1, round(RATIO * float(np.hypot(*truth.shape))))
    near_truth, near_predicted = near_contour(truth, width), near_contour(predicted, width)
    hits = near_truth & near_predicted & (truth == predicted)
    pairs = ((truth, hits), (truth, near_truth), (predicted, near_predicted))
    return np.stack([_count(classes, chosen, num_classes) for classes, chosen in pairs])


def _count(classes: Mask, chosen: NDArray[np.bool_], num_classes: int) -> NDArray[np.int64]:
    """Chosen pixels of each class: (K,)."""
    values = np.where(chosen, classes, np.uint8(IGNORE)).ravel()
    return np.bincount(values, minlength=IGNORE + 1)[:num_classes]


def near_contour(mask: Mask, width: int) -> NDArray[np.bool_]:
    """Where a pixel is at most `width` pixels (along either axis) from another value or the picture's edge.

    This is each class's mask less its erosion, for all classes at once: the erosion keeps a pixel when the
    whole window around it has one value, that is when the window's largest and smallest values are the same.

    Args:
        mask: (H, W) uint8.
        width: >= 1.
    """
    window = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    near = np.asarray(cv2.dilate(mask, window) != cv2.erode(mask, window))
    near[:width], near[-width:], near[:, :width], near[:, -width:] = True, True, True, True
    return near
