"""Boxes relative to other boxes: what the networks' box outputs mean.

Source: Girshick et al. 2014 (arXiv 1311.2524, appendix C, eq. 1 to 4 and 6 to 9). A box of centre (x, y) and
size (w, h) is told relative to one of (X, Y) and (W, H) as
((x - X) / W, (y - Y) / H, log(w / W), log(h / H)), times four weights that give the numbers about unit
variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from visiontasks.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

LARGEST_LOG: Final = math.log(1000 / 16)  # of a side's growth; an untrained network's exp() stays finite


def encode_boxes(boxes: Tensor, references: Tensor, weights: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """The outputs that would turn references into boxes.

    Args:
        boxes, references: (..., 4) float32 xyxy, px, with sides above 0.
        weights: of x, y, width and height.

    Returns:
        (..., 4) deltas.
    """
    box, reference = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(references)
    shift = (box[..., :2] - reference[..., :2]) / reference[..., 2:]
    growth = torch.log(box[..., 2:] / reference[..., 2:])
    return torch.cat([shift, growth], dim=-1) * torch.tensor(weights, device=boxes.device)


def decode_boxes(deltas: Tensor, references: Tensor, weights: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """The boxes that deltas mean: `encode_boxes` turned round.

    Args:
        deltas: (..., 4). references: (..., 4) xyxy, px. weights: as there.

    Returns:
        (..., 4) xyxy, px; their sides are above 0 and at most 62.5 times the reference's.
    """
    deltas, reference = deltas / torch.tensor(weights, device=deltas.device), xyxy_to_cxcywh(references)
    centre = deltas[..., :2] * reference[..., 2:] + reference[..., :2]
    sides = deltas[..., 2:].clamp(max=LARGEST_LOG).exp() * reference[..., 2:]
    return cxcywh_to_xyxy(torch.cat([centre, sides], dim=-1))
