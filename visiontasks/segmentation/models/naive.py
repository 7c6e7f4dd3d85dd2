"""A network without pooling: every layer works at the picture's size: slow and short-sighted."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from visiontasks.backbones.levels import BackboneModule
from visiontasks.segmentation.model_config import NaiveConfig
from visiontasks.segmentation.models.layers import conv_norm_relu


class FullSizeLayers(BackboneModule):
    """3x3 convolutions of stride 1; one level, (B, width, H, W)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__("naive", channels=[width], strides=[1], ends=["layers"])
        layers = [conv_norm_relu(inputs, width) for inputs in [3, *[width] * (depth - 1)]]
        self.layers = nn.Sequential(*layers)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.layers(images),)


class PixelScores(nn.Module):
    """One linear layer over each position of the last level: logits (B, K, h, w)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.scores = nn.Conv2d(channels, num_classes, 1)

    def forward(self, levels: Sequence[Tensor], positions: Sequence[Tensor] = ()) -> Tensor:
        logits: Tensor = self.scores(levels[-1])
        return logits


def build_naive(model: NaiveConfig, num_classes: int) -> tuple[BackboneModule, nn.Module]:
    """Source: 002_c9420f5f504d7522 (stride 1 at each layer, same padding, no pooling)."""
    backbone = FullSizeLayers(model.width, model.depth)
    return backbone, PixelScores(model.width, num_classes)
