"""U-Net: back up level by level, the encoder's level of the same size beside each step.

Source: Ronneberger, Fischer, Brox 2015 (arXiv 1505.04597, section 2), with padded convolutions, batch norm,
and any backbone as the encoder; 002_c9420f5f504d7522 (the U-net architecture).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from visiontasks.backbones import build_backbone
from visiontasks.backbones.levels import BackboneModule
from visiontasks.segmentation.model_config import UNetConfig
from visiontasks.segmentation.models.layers import conv_norm_relu, enlarge
from visiontasks.segmentation.models.positions import unpool

Up = Literal["transpose", "bilinear", "unpool"]


class Stage(nn.Module):
    """One step up: features (B, inputs, h, w) and a skip (B, skip, H, W) -> (B, width, H, W).

    transpose: a 2x2 convolution, transposed, of stride 2 gives `width` channels.
    bilinear: a 1x1 convolution gives `width` channels, then interpolation: fewer of them are interpolated.
    unpool: a 1x1 convolution gives as many channels as the pool had, `skip`, then unpooling.
    """

    def __init__(self, up: Up, inputs: int, skip: int, width: int, convolutions: int) -> None:
        super().__init__()
        self.up = up
        enlarged = skip if up == "unpool" else width
        if up == "transpose":
            self.change: nn.Module = nn.ConvTranspose2d(inputs, enlarged, 2, stride=2)
        else:
            self.change = nn.Conv2d(inputs, enlarged, 1)
        layers = [conv_norm_relu(enlarged + skip, width)]
        layers += [conv_norm_relu(width, width) for _ in range(convolutions - 1)]
        self.mix = nn.Sequential(*layers)

    def forward(self, features: Tensor, skip: Tensor, positions: Tensor | None) -> Tensor:
        size = (skip.shape[-2], skip.shape[-1])
        features = self.change(features)
        if self.up == "unpool":
            assert positions is not None
            features = unpool(features, positions, size)
        features = self.mix(torch.cat([enlarge(features, size), skip], dim=1))
        return features


class UNetDecoder(nn.Module):
    """Levels -> logits (B, K, h, w), of the size of the finest level."""

    def __init__(
        self, channels: Sequence[int], up: Up, widths: Sequence[int], convolutions: int, num_classes: int
    ) -> None:
        super().__init__()
        skips = list(reversed(channels[:-1]))
        widths = [*widths, *[widths[-1]] * len(skips)][: len(skips)]
        inputs = [channels[-1], *widths]
        self.stages = nn.ModuleList(
            Stage(up, before, skip, width, convolutions)
            for before, skip, width in zip(inputs, skips, widths, strict=False)
        )
        self.scores = nn.Conv2d(inputs[-1], num_classes, 1)

    def forward(self, levels: Sequence[Tensor], positions: Sequence[Tensor] = ()) -> Tensor:
        features = levels[-1]
        chosen: Sequence[Tensor | None] = positions[::-1] or [None] * len(self.stages)
        for stage, skip, places in zip(self.stages, reversed(levels[:-1]), chosen, strict=True):
            features = stage(features, skip, places)
        logits: Tensor = self.scores(features)
        return logits


def build_unet(model: UNetConfig, num_classes: int) -> tuple[BackboneModule, nn.Module]:
    """U-Net on any backbone; the config has checked that it has positions where `up` wants them."""
    backbone = build_backbone(model.backbone, **model.options)
    decoder = UNetDecoder(backbone.channels, model.up, model.widths, model.convolutions, num_classes)
    return backbone, decoder
