"""Hard negatives: what a sliding-window detector took for objects, shown to it again as background.

Source: Sung, Poggio 1998, "Example-based learning for view-based human face detection", section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from visiontasks.detection.config import DetectionConfig, SlidingWindowConfig
from visiontasks.detection.types import Boxes, Detections, Flags, Floats
from visiontasks.ops.boxes import crowd_overlap_matrix, iou_matrix
from visiontasks.types import Infer

if TYPE_CHECKING:
    from torch import Tensor

Memory = Mapping[str, "Tensor"]  # image id as text -> (M, 4) float32 xyxy, original pixels, hardest first

SAME_IOU: Final = 0.7  # overlap from which two hard negatives count as one
LARGEST_CROWD_SHARE: Final = 0.5  # of a false detection that may lie in a crowd


def refresh(
    config: DetectionConfig, epoch: int, memory: Memory | None, infer: Infer
) -> dict[str, Tensor] | None:
    """Search the training pictures for false detections, where it is time to; `Task.refresh`.

    The new ones come first, then those that were known already, up to `mine_limit` a picture.

    Args:
        config: the run's.
        epoch: the one that has just ended, from 0.
        memory: what an earlier call returned.
        infer: gives (detections, truth, info) of each training picture.

    Returns:
        The hard negatives of every picture that has some; None where nothing changes.
    """
    model = config.model
    if not isinstance(model, SlidingWindowConfig) or not is_due(model, epoch, config.train.epochs):
        return None
    import torch

    assert config.augment.windows is not None
    found = {key: boxes.numpy().astype(np.float64) for key, boxes in (memory or {}).items()}
    for detections, truth, info in infer():
        key = str(info.image_id)
        fresh = false_detections(detections, truth, config.augment.windows.negative_iou, model.mine_score)
        found[key] = merged(fresh, found.get(key, np.zeros((0, 4))), model.mine_limit)
    return {
        key: torch.from_numpy(boxes.astype(np.float32)) for key, boxes in sorted(found.items()) if len(boxes)
    }


def is_due(model: SlidingWindowConfig, epoch: int, epochs: int) -> bool:
    """Whether hard negatives are searched for after this epoch (from 0); never after the last."""
    done = epoch + 1
    return (
        model.mine_every > 0
        and model.mine_from <= done < epochs
        and (done - model.mine_from) % model.mine_every == 0
    )


def false_detections(detections: Detections, truth: Boxes, iou: float, score: float) -> Floats:
    """The detections that show no object.

    Args:
        detections: of one picture, best first. truth: its boxes.
        iou: the largest overlap with any object that is none. score: the least that counts.

    Returns:
        (M, 4) xyxy, original pixels, highest score first.
    """
    boxes = detections.boxes
    is_false: Flags = detections.scores >= score
    if len(truth):
        is_false &= iou_matrix(boxes, truth.boxes).max(axis=1) <= iou
    if truth.crowd.any():
        is_false &= crowd_overlap_matrix(boxes, truth.boxes[truth.crowd]).max(axis=1) <= LARGEST_CROWD_SHARE
    return boxes[is_false]


def merged(fresh: Floats, known: Floats, limit: int) -> Floats:
    """At most `limit` of both, fresh ones first, without those that nearly repeat an earlier one.

    Args:
        fresh, known: (M, 4) xyxy. limit: of boxes.
    """
    boxes = np.concatenate([fresh, known])
    repeats = np.tril(iou_matrix(boxes, boxes) > SAME_IOU, k=-1).any(axis=1)
    return boxes[~repeats][:limit]
