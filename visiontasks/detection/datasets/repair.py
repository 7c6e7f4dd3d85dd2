"""Boxes that a picture can't have: mended or dropped for training, counted; seen and said otherwise.

Evaluation keeps boxes as they stand, as pycocotools does.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import numpy as np

from visiontasks.detection.datasets.packing import Found, take_boxes
from visiontasks.detection.types import Annotations, Flags, Floats, Ints
from visiontasks.ledger import Action, Ledger
from visiontasks.ops.boxes import box_area

ROUNDING: Final = 1e-3  # px that a box may leave its picture by, for want of digits in the file
LISTED: Final = 1000  # boxes of one fault that are listed one by one
_SUSPICIOUS_SHARE: Final = 0.2  # of boxes outside
_SUSPICIOUS_COUNT: Final = 4

_log = logging.getLogger(__name__)


def repair_boxes(found: Found, ledger: Ledger) -> Annotations:
    """Training truth: boxes without area or outside their picture are dropped, those partly outside clipped.

    Raises: DataError when the ledger is strict; names file and record.
    """
    annotations = found.annotations
    clipped = clipped_boxes(annotations)
    boxes = annotations.boxes
    empty = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    outside = ~empty & (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    moved = ~empty & ~outside & (np.abs(clipped - boxes) > ROUNDING).any(axis=1)
    _note(found, ledger, "dropped", "box without area", np.flatnonzero(empty))
    _note(found, ledger, "dropped", "box wholly outside its picture", np.flatnonzero(outside))
    _note(found, ledger, "repaired", "box partly outside its picture: clipped", np.flatnonzero(moved))
    ledger.lose(int(np.count_nonzero(empty | outside)), len(boxes), "boxes")
    area = np.where(moved, np.minimum(annotations.area, box_area(clipped)), annotations.area)
    kept: Flags = np.logical_not(empty | outside)
    return take_boxes(replace(annotations, boxes=clipped, area=area), kept)


def clipped_boxes(annotations: Annotations) -> Floats:
    """The boxes inside their pictures; of a picture of unknown size as they are."""
    height, width = annotations.sizes[annotations.picture].T.astype(np.float64)  # (M,) each
    corners = np.where((height > 0) & (width > 0), (width, height), np.inf).T  # (M, 2)
    limits = np.concatenate([corners, corners], axis=1)  # (M, 4)
    low = np.where(np.isinf(limits), -np.inf, 0.0)
    clipped: Floats = annotations.boxes.clip(low, limits)
    return clipped


def _note(found: Found, ledger: Ledger, action: Action, reason: str, boxes: Ints) -> None:
    for box in boxes[:LISTED].tolist():
        file, record = found.place(box)
        ledger.add(action, file, reason, record)
    if len(boxes) > LISTED:
        file, record = found.place(int(boxes[LISTED]))
        ledger.add(action, file, f"{reason}; {len(boxes) - LISTED} more, not listed", record)


def warn_if_outside(annotations: Annotations, where: str) -> None:
    """Say so when many boxes reach beyond their pictures: as when x2, y2 are written for width, height."""
    height, width = annotations.sizes[annotations.picture].T  # (M,) each
    boxes = annotations.boxes
    known = (height > 0) & (width > 0)
    outside = known & ((boxes[:, 2] > width + 1) | (boxes[:, 3] > height + 1))
    count = int(np.count_nonzero(outside))
    if count >= _SUSPICIOUS_COUNT and count > _SUSPICIOUS_SHARE * len(boxes):
        first = annotations.files[int(annotations.picture[np.argmax(outside)])]
        _log.warning(
            "%s: %d of %d boxes reach beyond their pictures (first: %s); "
            "are they written as x1, y1, x2, y2 where x, y, width, height is meant, or for another size?",
            where,
            count,
            len(boxes),
            first,
        )
