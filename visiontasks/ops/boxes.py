"""Boxes as arrays: formats, clipping, overlap. NumPy arrays and torch tensors alike; imports no torch.

Box formats: xyxy (left, top, right, bottom), xywh (left, top, width, height), cxcywh (centre, width, height);
continuous coordinates in px, so a box from 0 to 10 is 10 px wide.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[Any], "Tensor")


def xywh_to_xyxy(boxes: Array) -> Array:
    """(..., 4) xywh -> (..., 4) xyxy."""
    corner, size = boxes[..., :2], boxes[..., 2:]
    result: Array = _library(boxes).concatenate([corner, corner + size], -1)
    return result


def xyxy_to_xywh(boxes: Array) -> Array:
    """(..., 4) xyxy -> (..., 4) xywh."""
    corner = boxes[..., :2]
    result: Array = _library(boxes).concatenate([corner, boxes[..., 2:] - corner], -1)
    return result


def cxcywh_to_xyxy(boxes: Array) -> Array:
    """(..., 4) cxcywh -> (..., 4) xyxy."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    result: Array = _library(boxes).concatenate([centre - half, centre + half], -1)
    return result


def xyxy_to_cxcywh(boxes: Array) -> Array:
    """(..., 4) xyxy -> (..., 4) cxcywh."""
    low, high = boxes[..., :2], boxes[..., 2:]
    result: Array = _library(boxes).concatenate([(low + high) / 2, high - low], -1)
    return result


def clip_boxes(boxes: Array, size: tuple[float, float]) -> Array:
    """The part of each box inside a picture; a box wholly outside becomes empty, on the border.

    Args:
        boxes: (..., 4) xyxy, px. size: (height, width) of the picture, px.
    """
    height, width = size
    x, y = boxes[..., 0::2].clip(0, width), boxes[..., 1::2].clip(0, height)  # (..., 2) each
    result: Array = _library(boxes).stack([x, y], -1).reshape(boxes.shape)  # (..., 4)
    return result


def scale_boxes(boxes: Array, factors: tuple[float, float]) -> Array:
    """Boxes of a picture that is stretched.

    Args:
        boxes: (..., 4) xyxy or xywh. factors: (vertical, horizontal), new size / old size.
    """
    vertical, horizontal = factors
    x, y = boxes[..., 0::2] * horizontal, boxes[..., 1::2] * vertical  # (..., 2) each
    result: Array = _library(boxes).stack([x, y], -1).reshape(boxes.shape)  # (..., 4)
    return result


def box_area(boxes: Array) -> Array:
    """(..., 4) xyxy -> (...) areas, px^2."""
    sides = boxes[..., 2:] - boxes[..., :2]
    result: Array = sides[..., 0] * sides[..., 1]
    return result


def iou_matrix(boxes: Array, others: Array) -> Array:
    """Intersection over union of each box with each other one; 0 for two boxes without area.

    Args:
        boxes: (..., N, 4) xyxy. others: (..., M, 4) xyxy. Half precision is computed, and returned, in
            float32.

    Returns:
        (..., N, M) in [0, 1].
    """
    boxes, others = _full_precision(boxes), _full_precision(others)
    shared = _intersection_matrix(boxes, others)
    return _ratio(shared, box_area(boxes)[..., :, None] + box_area(others)[..., None, :] - shared)


def crowd_overlap_matrix(detections: Array, crowds: Array) -> Array:
    """Intersection over the detection's own area: what COCO measures against a group in one box.

    Source: pycocotools, `bbIou` with iscrowd.

    Args:
        detections: (..., N, 4) xyxy. crowds: (..., M, 4) xyxy.

    Returns:
        (..., N, M) in [0, 1]; 0 for a detection without area.
    """
    detections, crowds = _full_precision(detections), _full_precision(crowds)
    shared = _intersection_matrix(detections, crowds)
    return _ratio(shared, box_area(detections)[..., :, None])


def _intersection_matrix(boxes: Array, others: Array) -> Array:
    """(..., N, 4), (..., M, 4) -> (..., N, M) shared areas."""
    library = _library(boxes)
    low = library.maximum(boxes[..., :, None, :2], others[..., None, :, :2])  # (..., N, M, 2)
    high = library.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    sides = (high - low).clip(0)
    result: Array = sides[..., 0] * sides[..., 1]
    return result


def _ratio(part: Array, whole: Array) -> Array:
    """The share part / whole, 0 where the whole is not positive."""
    positive = whole > 0
    result: Array = part * positive / _library(whole).where(positive, whole, 1)
    return result


def _full_precision(boxes: Array) -> Array:
    """At least float32: in half precision a 300 px square's area is infinite, or off by hundreds of px."""
    if isinstance(boxes, np.ndarray):
        return boxes.astype(np.promote_types(boxes.dtype, np.float32), copy=False)
    return boxes if boxes.dtype.itemsize >= 4 and boxes.is_floating_point() else boxes.float()


def _library(boxes: Any) -> Any:
    """NumPy or torch: the names used here mean the same in both."""
    return np if isinstance(boxes, np.ndarray) else sys.modules["torch"]
