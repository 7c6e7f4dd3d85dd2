"""LR-ASPP: the last level, weighted channel by channel, and a finer one are scored and summed.

Source: Howard et al. 2019 (arXiv 1905.02244, section 6.4); the weights of a channel come from its mean over
the whole picture, as in torchvision's network, whose tensors fit (segmentation/official.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from visiontasks.backbones import build_backbone
from visiontasks.backbones.levels import BackboneModule
from visiontasks.segmentation.model_config import LRASPPConfig
from visiontasks.segmentation.models.layers import conv_norm_relu, enlarge

FINE_STRIDE = 8


class LRASPPDecoder(nn.Module):
    """Levels -> logits (B, K, h, w), of the size of the first level of stride 8, else of the last one."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int, num_classes: int) -> None:
        super().__init__()
        self.fine = next((i for i, s in enumerate(strides) if s >= FINE_STRIDE), len(strides) - 1)
        self.project = conv_norm_relu(channels[-1], width, kernel=1)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels[-1], width, 1, bias=False), nn.Sigmoid()
        )
        self.fine_scores = nn.Conv2d(channels[self.fine], num_classes, 1)
        self.coarse_scores = nn.Conv2d(width, num_classes, 1)

    def forward(self, levels: Sequence[Tensor], positions: Sequence[Tensor] = ()) -> Tensor:
        fine, last = levels[self.fine], levels[-1]
        coarse = enlarge(self.project(last) * self.weigh(last), (fine.shape[-2], fine.shape[-1]))
        logits: Tensor = self.fine_scores(fine) + self.coarse_scores(coarse)
        return logits


def build_lraspp(model: LRASPPConfig, num_classes: int) -> tuple[BackboneModule, nn.Module]:
    """The quick decoder, on any backbone."""
    backbone = build_backbone(model.backbone, **model.options)
    return backbone, LRASPPDecoder(backbone.channels, backbone.strides, model.width, num_classes)
