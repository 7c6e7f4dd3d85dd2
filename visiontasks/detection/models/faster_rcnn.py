"""Faster R-CNN: a network that proposes regions, and a head that names them, on one backbone.

    pictures -> backbone -> pyramid -> proposals: every anchor gets a score and four deltas; the best
                               |       ones, without repetitions, are regions
                               +-----> head: the features under each region -> classes, corrected box

Source: Ren et al. 2015, arXiv:1506.01497, with the pyramid of Lin et al. 2017, arXiv:1612.03144.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from visiontasks.backbones.levels import BackboneModule
from visiontasks.detection.config import FasterRcnnConfig, LossConfig
from visiontasks.detection.models.anchors import anchor_sides, centred_anchors, cornered_anchors
from visiontasks.detection.models.detecting import detect_in_regions
from visiontasks.detection.models.fpn import FeaturePyramid
from visiontasks.detection.models.frames import centres_inside, picture_frames
from visiontasks.detection.models.losses import proposal_losses, region_losses
from visiontasks.detection.models.region_head import NamedRegions, RegionHead
from visiontasks.detection.models.rpn import RpnHead, propose
from visiontasks.detection.models.sampling import fixed_draw, match, pack_truth, sample
from visiontasks.detection.models.second_look import look_again
from visiontasks.detection.types import Detections
from visiontasks.errors import ConfigError
from visiontasks.types import Batch, ImageInfo


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the network says of B pictures with N anchors each.

    scores: (B, N) float32 logits of an object. deltas: (B, N, 4) float32. anchors: (N, 4) xyxy, network px.
    named: what the head says of the best proposals.
    """

    scores: Tensor
    deltas: Tensor
    anchors: Tensor
    named: NamedRegions


class FasterRcnn(nn.Module):
    """Pictures (B, 3, H, W) -> `Found`."""

    def __init__(
        self, backbone: BackboneModule, num_classes: int, config: FasterRcnnConfig, loss: LossConfig
    ) -> None:
        super().__init__()
        self.config, self.loss_config = config, loss
        self.backbone = backbone
        self.pyramid = FeaturePyramid(backbone.channels, backbone.strides, config.pyramid)
        self.anchor_sizes = level_sizes(config, self.pyramid.all_strides)
        anchors = len(self.anchor_sizes[0]) * len(config.anchors.ratios)
        self.rpn = RpnHead(self.pyramid.channels, anchors, config.proposals.depth)
        deepest = backbone.channels[-1], backbone.strides[-1]
        self.head = RegionHead(self.pyramid.channels, self.pyramid.strides, num_classes, config.head, deepest)

    def forward(self, batch: Batch) -> Found:
        """With targets also draws what the loss is of."""
        truth = pack_truth(batch.targets) if len(batch.targets) else None
        features = self.backbone(batch.images)
        levels = self.pyramid(features)
        scores, deltas = self.rpn(levels)
        anchors = self.place_anchors(levels, batch.images)
        regions, valid = self.propose(scores, deltas, anchors, batch.infos)
        named = self.head(levels, regions, valid, truth, features[-1])
        if not self.training:
            name, least = partial(self.name_regions, valid=valid), self.backbone.minimum_size
            logits = look_again(name, batch.images, named, self.config.second_look, least)
            named = replace(named, logits=logits)
        return Found(torch.cat(scores, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors), named)

    def name_regions(self, images: Tensor, regions: Tensor, *, valid: Tensor) -> Tensor:
        """What the head says of regions (B, R, 4) of pictures: logits (B, R, K + 1)."""
        features = self.backbone(images)
        named: NamedRegions = self.head(self.pyramid(features), regions, valid, None, features[-1])
        return named.logits

    def place_anchors(self, levels: Sequence[Tensor], images: Tensor) -> list[Tensor]:
        """Anchors (n_i, 4) of each level, xyxy, network px."""
        config, canvas = self.config.anchors, (images.shape[2], images.shape[3])
        placed = []
        for level, sizes, stride in zip(levels, self.anchor_sizes, self.pyramid.all_strides, strict=True):
            grid = (level.shape[2], level.shape[3])
            sides = anchor_sides(sizes, config.ratios).to(images.device)
            if config.placement == "corners":
                placed.append(cornered_anchors(sides, grid, canvas))
            else:
                placed.append(centred_anchors(sides, grid, stride))
        return placed

    def propose(
        self,
        scores: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Sequence[Tensor],
        infos: Sequence[ImageInfo],
    ) -> tuple[Tensor, Tensor]:
        """The regions that the head looks at; more of them in training."""
        config, training = self.config.proposals, self.training
        return propose(
            scores,
            deltas,
            anchors,
            picture_frames(infos, scores[0].device),
            before=config.before_nms_train if training else config.before_nms,
            after=config.after_nms_train if training else config.after_nms,
            iou=config.nms_iou,
            min_score=config.min_score,
        )

    def loss(self, raw: Found, batch: Batch) -> dict[str, Tensor]:
        """Four terms: objectness and edges of proposals, names and edges of regions."""
        truth = pack_truth(batch.targets)
        inside = centres_inside(raw.anchors, picture_frames(batch.infos, raw.anchors.device))
        sampling = self.config.proposals.sampling
        matches = match(raw.anchors, truth, sampling, inside, keep_best=True)
        drawn = sample(matches.kind, sampling, None if self.training else fixed_draw())
        return {
            **proposal_losses(raw.scores, raw.deltas, raw.anchors, matches, drawn, truth, self.loss_config),
            **region_losses(raw.named, self.config.head.box_weights, self.loss_config),
        }

    def decode(
        self, raw: Found, infos: Sequence[ImageInfo], options: Mapping[str, float]
    ) -> list[Detections]:
        """Detections in original pixels; options: confidence, iou, max_detections."""
        return detect_in_regions(raw.named, infos, self.config.head.box_weights, options)


def level_sizes(config: FasterRcnnConfig, strides: Sequence[int]) -> Sequence[Sequence[float]]:
    """The sizes of the anchors of each level, px.

    Raises: ConfigError when the config has sizes for another number of levels.
    """
    sizes = config.anchors.sizes or [(8.0 * stride,) for stride in strides]
    if len(sizes) != len(strides):
        raise ConfigError(
            [
                f"model.anchors.sizes: expected a list for each of the {len(strides)} levels (strides "
                f"{', '.join(map(str, strides))}) of backbone '{config.backbone}', found {len(sizes)}; "
                "change it, or model.pyramid.finest and extra"
            ]
        )
    return sizes
