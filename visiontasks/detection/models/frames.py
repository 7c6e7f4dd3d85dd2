"""Where the pictures of a batch lie in the network's input, and boxes sorted by picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visiontasks.types import ImageInfo


def picture_frames(infos: Sequence[ImageInfo], device: torch.device) -> Tensor:
    """(B, 4) float32 xyxy: the part of the network's input that shows each picture, px."""
    frames = [
        (i.pad_left, i.pad_top, i.pad_left + i.resized_width, i.pad_top + i.resized_height) for i in infos
    ]
    return torch.tensor(frames, dtype=torch.float32, device=device)


def clip_to_frames(boxes: Tensor, frames: Tensor) -> Tensor:
    """Boxes cut at the edges of their frames.

    Args:
        boxes: (..., 4) xyxy. frames: (..., 4) xyxy, of a shape that broadcasts.
    """
    low, high = frames[..., [0, 1, 0, 1]], frames[..., [2, 3, 2, 3]]
    return boxes.maximum(low).minimum(high)


def centres_inside(boxes: Tensor, frames: Tensor) -> Tensor:
    """Whether the centres of boxes (N, 4) lie on pictures, not on the padding beside them.

    frames: (4,) -> (N,), or (B, 4) -> (B, N); xyxy.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    low, high = frames[..., None, :2], frames[..., None, 2:]  # (..., 1, 2) each
    return ((centres >= low) & (centres <= high)).all(dim=-1)


def pack_by_picture(boxes: Tensor, picture: Tensor, pictures: int, most: int) -> tuple[Tensor, Tensor]:
    """The first `most` boxes of each picture, in the order given.

    Args:
        boxes: (N, 4). picture: (N,) int64 in [0, pictures).

    Returns:
        (pictures, most, 4), zeros where there are fewer; (pictures, most) whether there is one.
    """
    order = picture.sort(stable=True).indices
    counts = picture.bincount(minlength=pictures)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=boxes.device) - starts[picture[order]]  # within its picture
    fits = place < most
    packed, filled = boxes.new_zeros(pictures, most, 4), counts.new_zeros(pictures, most, dtype=torch.bool)
    at = picture[order][fits], place[fits]
    packed[at], filled[at] = boxes[order][fits], True
    return packed, filled
