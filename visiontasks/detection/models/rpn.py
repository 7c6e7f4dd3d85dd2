"""The region proposal network: says of every anchor whether it holds an object, and of what extent.

Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visiontasks.detection.models.box_deltas import decode_boxes
from visiontasks.detection.models.fpn import convolution
from visiontasks.detection.models.frames import clip_to_frames, pack_by_picture
from visiontasks.detection.models.sampling import take
from visiontasks.ops.nms import nms_by_group

LEAST_SIDE = 1e-3  # of a proposal, px


class RpnHead(nn.Module):
    """The same small network at every position of every level: one score and four deltas an anchor.

    channels: of the levels. anchors: a position. depth: 3x3 convolutions.
    """

    def __init__(self, channels: int, anchors: int, depth: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(convolution(channels, channels, 3, "none", nn.ReLU(inplace=True)) for _ in range(depth))
        )
        self.objectness = nn.Conv2d(channels, anchors, 1)
        self.deltas = nn.Conv2d(channels, 4 * anchors, 1)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.01)
            else:
                nn.init.zeros_(parameter)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level the scores (B, h * w * A), logits, and the deltas (B, h * w * A, 4), in float32."""
        features = [self.convolutions(level) for level in levels]
        scores = [self.objectness(level).permute(0, 2, 3, 1).flatten(1).float() for level in features]
        deltas = [
            self.deltas(level).permute(0, 2, 3, 1).reshape(len(level), -1, 4).float() for level in features
        ]
        return scores, deltas


@torch.no_grad()
def propose(
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    frames: Tensor,
    *,
    before: int,
    after: int,
    iou: float,
    min_score: float,
) -> tuple[Tensor, Tensor]:
    """The best boxes of each picture, without those that repeat another; without gradient (section 3.2).

    Args:
        scores, deltas: of each level, (B, n_i) logits and (B, n_i, 4). anchors: (n_i, 4) xyxy, px.
        frames: (B, 4) xyxy, the part of the network's input that shows the picture, px.
        before: best boxes of each level to begin with. after: best boxes of a picture to keep.
        iou: of two boxes of one level that overlap by more, the better stays.
        min_score: least probability of an object.

    Returns:
        (B, after, 4) xyxy inside the frames, best first, zeros where there are fewer;
        (B, after) whether there is one.
    """
    best = [level.topk(min(before, level.shape[1]), dim=1) for level in scores]
    boxes = torch.cat(
        [
            decode_boxes(take(delta, found.indices), anchor[found.indices])
            for found, delta, anchor in zip(best, deltas, anchors, strict=True)
        ],
        dim=1,
    )  # (B, K, 4)
    probabilities = torch.cat([found.values for found in best], dim=1).sigmoid()  # (B, K)
    boxes = clip_to_frames(boxes, frames[:, None])
    usable = (boxes[..., 2:] - boxes[..., :2] >= LEAST_SIDE).all(dim=-1) & (probabilities >= min_score)
    counts = torch.tensor([found.values.shape[1] for found in best], device=boxes.device)
    level = torch.arange(len(best), device=boxes.device).repeat_interleave(counts)  # (K,)
    picture = torch.arange(len(boxes), device=boxes.device)[:, None]  # (B, 1)
    group = picture * len(best) + level
    kept = nms_by_group(boxes[usable], probabilities[usable], group[usable], iou)
    return pack_by_picture(boxes[usable][kept], picture.expand_as(usable)[usable][kept], len(boxes), after)
