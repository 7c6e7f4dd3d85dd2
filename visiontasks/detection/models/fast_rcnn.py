"""Fast R-CNN: regions from a cheaper method, or a file, and a head that names them, on one backbone.

Source: Girshick 2015, arXiv:1504.08083, with RoIAlign on a pyramid; on one level (`pyramid.finest: 16`) it is
the paper's network but for the alignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from visiontasks.backbones.levels import BackboneModule
from visiontasks.detection.config import FastRcnnConfig, LossConfig
from visiontasks.detection.models.detecting import detect_in_regions
from visiontasks.detection.models.fpn import FeaturePyramid
from visiontasks.detection.models.frames import clip_to_frames, picture_frames
from visiontasks.detection.models.losses import region_losses
from visiontasks.detection.models.region_head import NamedRegions, RegionHead
from visiontasks.detection.models.sampling import pack_truth
from visiontasks.detection.types import Detections
from visiontasks.errors import UsageError
from visiontasks.types import Batch, ImageInfo


class FastRcnn(nn.Module):
    """Pictures (B, 3, H, W) and their proposals -> `NamedRegions`."""

    def __init__(
        self, backbone: BackboneModule, num_classes: int, config: FastRcnnConfig, loss: LossConfig
    ) -> None:
        super().__init__()
        self.config, self.loss_config = config, loss
        self.backbone = backbone
        self.pyramid = FeaturePyramid(backbone.channels, backbone.strides, config.pyramid)
        deepest = backbone.channels[-1], backbone.strides[-1]
        self.head = RegionHead(self.pyramid.channels, self.pyramid.strides, num_classes, config.head, deepest)

    def forward(self, batch: Batch) -> NamedRegions:
        """With targets also draws what the loss is of. Raises: UsageError for a batch without proposals."""
        truth = pack_truth(batch.targets) if len(batch.targets) else None
        regions, valid = pack_proposals(batch)
        features = self.backbone(batch.images)
        levels = self.pyramid(features)
        named: NamedRegions = self.head(levels, regions, valid, truth, features[-1])
        return named

    def loss(self, raw: NamedRegions, batch: Batch) -> dict[str, Tensor]:
        """Two terms: names and edges of regions."""
        return region_losses(raw, self.config.head.box_weights, self.loss_config)

    def decode(
        self, raw: NamedRegions, infos: Sequence[ImageInfo], options: Mapping[str, float]
    ) -> list[Detections]:
        """Detections in original pixels; options: confidence, iou, max_detections."""
        return detect_in_regions(raw, infos, self.config.head.box_weights, options)


def pack_proposals(batch: Batch) -> tuple[Tensor, Tensor]:
    """The proposals of a batch as one tensor, cut at the pictures' edges.

    Returns:
        (B, R, 4) float32 xyxy, network px, R the most of one picture and at least 1, zeros where there are
        fewer; (B, R) whether there is one.

    Raises: UsageError when there are none.
    """
    if batch.proposals is None:
        raise UsageError(
            "expected proposals with the pictures, found none: Fast R-CNN names regions that another method "
            "found; say which in the config, or train faster_rcnn"
        )
    device = batch.images.device
    regions = pad_sequence([proposals.float() for proposals in batch.proposals], batch_first=True)
    if regions.shape[1] == 0:
        regions = regions.new_zeros(len(regions), 1, 4)
    counts = torch.tensor([len(proposals) for proposals in batch.proposals], device=device)
    there = torch.arange(regions.shape[1], device=device) < counts[:, None]  # (B, R)
    regions = clip_to_frames(regions, picture_frames(batch.infos, device)[:, None])  # (B, R, 4)
    return regions, there & (regions[..., 2:] > regions[..., :2]).all(dim=-1)
