"""The number that an explanation of a detection is about: the logit of its class, for its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.classes import ClassMap
from visiontasks.detection.models.box_deltas import decode_boxes
from visiontasks.detection.models.faster_rcnn import Found
from visiontasks.detection.models.frames import clip_to_frames, picture_frames
from visiontasks.detection.models.sliding_window import BOX_WEIGHTS, WindowScores
from visiontasks.detection.types import Floats
from visiontasks.errors import UsageError
from visiontasks.ops.boxes import iou_matrix
from visiontasks.types import Aim, ImageInfo

SAME: Final = 1e-3  # of IoU: candidates that fit the box equally well; the surest of them counts


def settle_aim(
    network: Any,
    raw: Any,
    infos: Sequence[ImageInfo],
    aim: Aim,
    options: Mapping[str, float],
    classes: ClassMap,
) -> Aim:
    """A detection's class and box: the best one, of the class where one is given.

    Args:
        network: of the task. raw: its output.
        infos: the first counts.
        aim: `detection` counts what `decode` gives; with a class, those of the class. With a place, the
            class's candidate there, whether or not it is a detection.
        options: the operating point: what is a detection at all.
        classes: of the network.

    Raises:
        UsageError: a point, or there is no such detection.
    """
    if aim.point is not None:
        raise UsageError(
            "expected a class or a detection (#0 = the best) as the target of a detector, found the point "
            f"{aim.point[0]},{aim.point[1]}; give one of them"
        )
    info, wanted = infos[0], aim.detection or 0
    if aim.place is not None:
        return replace(aim, where=_to_network(aim.place, info))
    found = network.decode(raw, infos, options)[0]
    places = [place for place, label in enumerate(found.labels) if aim.class_index in (None, label)]
    if not 0 <= wanted < len(places):
        of = "" if aim.class_index is None else f" of '{classes.names[aim.class_index]}'"
        raise UsageError(
            f"expected at least {wanted + 1} detections{of} on {info.image_id}, found {len(places)} above a "
            f"confidence of {options['confidence']:g}; choose a lower number (#0 = the best) or confidence"
        )
    place = places[wanted]
    label = int(found.labels[place])
    number = int(np.count_nonzero(found.labels[:place] == label))  # among the detections of its class
    return Aim(label, number, where=_to_network(found.boxes[place], info))


def _to_network(box: Floats, info: ImageInfo) -> Tensor:
    """A box (4,) xyxy in original pixels as float32 in network pixels."""
    factors = torch.tensor([info.resized_width / info.width, info.resized_height / info.height] * 2)
    origin = torch.tensor([info.pad_left, info.pad_top] * 2)
    return (torch.from_numpy(box) * factors + origin).float()


def target_score(network: Any, raw: Any, infos: Sequence[ImageInfo], aim: Aim) -> Tensor:
    """(B,) float32: the logit of the class, of the candidate whose box fits the aim's best.

    On the picture that the aim was settled on this is the detection itself.
    """
    assert aim.where is not None and aim.class_index is not None
    boxes, logits, valid = _candidates(network, raw, infos, aim.class_index)
    fit = iou_matrix(aim.where[None].to(boxes.device), boxes.flatten(0, 1))[0].view(valid.shape)  # (B, N)
    fit = torch.where(valid, fit, -1.0)
    fits = fit >= fit.amax(dim=1, keepdim=True) - SAME
    chosen = torch.where(fits, logits.detach(), -torch.inf).argmax(dim=1)
    return logits.gather(1, chosen[:, None])[:, 0]  # (B,)


def _candidates(
    network: Any, raw: Any, infos: Sequence[ImageInfo], label: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (B, N, 4) xyxy network px (no gradient), the class's logits (B, N), which there are (B, N)."""
    if isinstance(raw, WindowScores):
        assert raw.cores is not None, "only whole pictures are explained"
        boxes = raw.cores.expand(len(raw.logits), -1, -1)  # (B, N, 4)
        if raw.offsets is not None:
            boxes = decode_boxes(raw.offsets.detach(), boxes, BOX_WEIGHTS)
        valid = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
        logits = raw.logits
    else:
        named = raw.named if isinstance(raw, Found) else raw
        deltas = named.deltas[:, :, label].detach()
        boxes = decode_boxes(deltas, named.regions.detach(), network.config.head.box_weights)
        valid, logits = named.valid, named.logits
    frames = picture_frames(infos, boxes.device)[:, None]  # (B, 1, 4)
    return clip_to_frames(boxes, frames), logits[..., label], valid


def anywhere(size: tuple[int, int]) -> Floats:
    """A box in the middle of a picture of (height, width), half as wide and high: (4,) xyxy."""
    height, width = size
    return np.array([0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height])
