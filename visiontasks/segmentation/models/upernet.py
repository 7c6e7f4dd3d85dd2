"""Pyramid pooling and a feature pyramid: context from the whole picture, detail from the finer levels.

Source: UPerNet, Xiao et al. 2018 (arXiv 1807.10221, section 3.1), lean: the pyramid's levels are summed, as
in Kirillov et al. 2019 (arXiv 1901.02446, section 3), not concatenated; levels finer than stride 4 are left
out, as there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.backbones import build_backbone
from visiontasks.backbones.levels import BackboneModule
from visiontasks.segmentation.model_config import UPerNetConfig
from visiontasks.segmentation.models.layers import conv_norm_relu, enlarge

BINS = (1, 2, 3, 6)  # cells along each axis. Source: Zhao et al. 2017 (arXiv 1612.01105, section 3.2)
FINEST_STRIDE = 4


class PyramidPooling(nn.Module):
    """(B, inputs, h, w) -> (B, width, h, w): each position beside the means of ever larger parts."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        # no batch norm: one picture has one mean, and no statistics
        self.means = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width // 4 or 1, 1), nn.ReLU(inplace=True)) for _ in BINS
        )
        self.mix = conv_norm_relu(inputs + len(BINS) * (width // 4 or 1), width)

    def forward(self, features: Tensor) -> Tensor:
        size = (features.shape[-2], features.shape[-1])
        means = [
            enlarge(layer(F.adaptive_avg_pool2d(features, cells)), size)
            for cells, layer in zip(BINS, self.means, strict=True)
        ]
        mixed: Tensor = self.mix(torch.cat([features, *means], dim=1))
        return mixed


class UPerNetDecoder(nn.Module):
    """Levels -> logits (B, K, h, w), of the size of the finest level that is used."""

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], width: int, dropout: float, num_classes: int
    ) -> None:
        super().__init__()
        self.first = next((i for i, s in enumerate(strides) if s >= FINEST_STRIDE), len(strides) - 1)
        self.pooling = PyramidPooling(channels[-1], width)
        finer = channels[self.first : -1]
        self.lateral = nn.ModuleList(conv_norm_relu(inputs, width, kernel=1) for inputs in finer)
        self.smooth = nn.ModuleList(conv_norm_relu(width, width) for _ in finer)
        self.mix = conv_norm_relu(width, width)
        self.dropout = nn.Dropout2d(dropout)
        self.scores = nn.Conv2d(width, num_classes, 1)

    def forward(self, levels: Sequence[Tensor], positions: Sequence[Tensor] = ()) -> Tensor:
        coarse = self.pooling(levels[-1])
        used = levels[self.first :]
        size = (used[0].shape[-2], used[0].shape[-1])
        total = enlarge(coarse, size)
        for level, lateral, smooth in reversed(list(zip(used, self.lateral, self.smooth, strict=False))):
            coarse = lateral(level) + enlarge(coarse, (level.shape[-2], level.shape[-1]))
            total = total + enlarge(smooth(coarse), size)
        logits: Tensor = self.scores(self.dropout(self.mix(total)))
        return logits


def build_upernet(model: UPerNetConfig, num_classes: int) -> tuple[BackboneModule, nn.Module]:
    """The strong decoder, on any backbone."""
    backbone = build_backbone(model.backbone, **model.options)
    decoder = UPerNetDecoder(backbone.channels, backbone.strides, model.width, model.dropout, num_classes)
    return backbone, decoder
