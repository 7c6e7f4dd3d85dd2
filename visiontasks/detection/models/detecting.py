"""From a head's numbers to detections in original pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.detection.models.box_deltas import decode_boxes
from visiontasks.detection.models.frames import clip_to_frames, picture_frames
from visiontasks.detection.models.region_head import NamedRegions
from visiontasks.detection.types import Detections
from visiontasks.ops.nms import nms_by_group
from visiontasks.types import ImageInfo

LEAST_SIDE: Final = 1e-2  # of a detection, network px


@torch.no_grad()
def detect_in_regions(
    found: NamedRegions,
    infos: Sequence[ImageInfo],
    box_weights: Sequence[float],
    options: Mapping[str, float],
) -> list[Detections]:
    """Name each region, move its edges, and keep the best of those that overlap.

    Args:
        found: what the head says. infos: the way back to original pixels.
        box_weights: scales of the deltas.
        options: confidence (scores must be above it), iou (of two boxes of one class that overlap by more,
            the better stays), max_detections (a picture).
    """
    scores = found.logits.softmax(dim=-1)[..., :-1]  # (B, R, K): without the background
    likely = (scores > options["confidence"]) & found.valid[..., None]
    picture, region, label = likely.nonzero(as_tuple=True)
    scores = scores[likely]
    boxes = decode_boxes(found.deltas[likely], found.regions[picture, region], box_weights)
    boxes = clip_to_frames(boxes, picture_frames(infos, boxes.device)[picture])
    large = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(dim=1).nonzero()[:, 0]
    group = picture * found.deltas.shape[2] + label
    best = large[nms_by_group(boxes[large], scores[large], group[large], options["iou"])]
    best = best[picture[best].sort(stable=True).indices]
    counts = picture[best].bincount(minlength=len(infos)).tolist()
    parts = [part[: int(options["max_detections"])] for part in torch.split(best, counts)]
    return [
        detections_of(boxes[part], label[part], scores[part], info)
        for part, info in zip(parts, infos, strict=True)
    ]


def detections_of(boxes: Tensor, labels: Tensor, scores: Tensor, info: ImageInfo) -> Detections:
    """One picture's boxes (N, 4), xyxy in network px, in its own pixels, inside of it."""
    origin = np.array([info.pad_left, info.pad_top] * 2)
    factors = np.array([info.width / info.resized_width, info.height / info.resized_height] * 2)
    mapped = (boxes.double().cpu().numpy() - origin) * factors
    return Detections(
        np.clip(mapped, 0, np.array([info.width, info.height] * 2)),
        labels.cpu().numpy(),
        scores.double().cpu().numpy(),
    )
