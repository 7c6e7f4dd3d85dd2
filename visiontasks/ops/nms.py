"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays."""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from visiontasks.ops.boxes import iou_matrix

CALL_COST = 8_000  # calling the kernel takes about as long as comparing this many pairs of boxes on a CPU


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """The boxes that stay, best first; of equal scores the earlier goes first.

    Args:
        boxes: (N, 4) float xyxy. scores: (N,) float.
        iou: a box that overlaps a better one that stays by more than this is dropped; in [0, 1].

    Returns:
        (K,) int64 indices.
    """
    precision = torch.promote_types(boxes.dtype, torch.float32)
    kept: Tensor = torchvision.ops.nms(boxes.to(precision), scores.to(precision), iou)
    return kept


def nms_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """`nms` within each group: a class, a level of a pyramid, a picture of a batch, or their product.

    On a CPU the kernel compares all pairs that it is handed: it is called once a group where that saves time,
    else once for all, each group moved to a place of its own.

    Args:
        boxes: (N, 4) float xyxy. scores: (N,) float. groups: (N,) int64, any values.
        iou: see `nms`.

    Returns:
        (K,) int64 indices, best first over all groups; of equal scores the earlier goes first.
    """
    if not len(boxes):
        return groups.new_zeros(0)
    _, compact, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    apart = boxes.device.type == "cpu" and _pays_off(counts)
    if apart:
        kept = _one_by_one(boxes, scores, compact, counts, iou)
    else:
        kept = _all_at_once(boxes, scores, compact, iou)
    kept = kept.sort().values
    return kept[scores[kept].sort(descending=True, stable=True).indices]


def _pays_off(counts: Tensor) -> bool:
    pairs = counts.double().square().sum() / 2
    return bool(pairs + CALL_COST * len(counts) < counts.sum().double().square() / 2)


def _one_by_one(boxes: Tensor, scores: Tensor, groups: Tensor, counts: Tensor, iou: float) -> Tensor:
    parts = torch.split(groups.sort(stable=True).indices, counts.tolist())
    return torch.cat([part[nms(boxes[part], scores[part], iou)] for part in parts])


def _all_at_once(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Shifts each group by more than the extent of all boxes: no two groups overlap."""
    # in float32 the shift would cost digits: 1/128 px at 90 classes of 1333 px
    wide = boxes.float() if boxes.device.type == "mps" else boxes.double()
    step = wide.max() - wide.min() + 1
    shifted = wide + (groups * step)[:, None]  # (N, 4)
    return nms(shifted, scores, iou)


def greedy_nms(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], *, threshold: float, iou: float
) -> list[int]:
    """The lecture's five steps for one class, to be read; `nms` does steps 3 to 5 quickly.

    Source: slides 2, "Non-max suppression".

    Args:
        boxes: (N, 4) xyxy, the windows. scores: (N,) probability of the class in each (step 1).
        threshold: least probability, in [0, 1]. iou: largest overlap of two detections, in [0, 1].

    Returns:
        Indices of the successful detections, best first.
    """
    # step 2: eliminate the boxes whose probability is below the threshold
    remaining = [index for index in range(len(boxes)) if scores[index] >= threshold]
    detections: list[int] = []
    while remaining:
        # step 3: the box with the highest probability is a successful detection
        best = max(remaining, key=lambda index: scores[index])
        detections.append(best)
        # step 4: discard any other box that overlaps it too much
        overlaps = iou_matrix(boxes[[best]], boxes[remaining])[0]
        remaining = [
            index
            for index, overlap in zip(remaining, overlaps, strict=True)
            if overlap <= iou and index != best
        ]
        # step 5: go to step 3 until all are discarded or detections
    return detections
