"""Fully convolutional networks: the last levels are scored, enlarged and summed.

Source: Long, Shelhamer, Darrell 2015 (arXiv 1411.4038, section 4), on any backbone: 32, 16 and 8 in the
names are strides of VGG's; elsewhere they say how many levels are scored (1, 2, 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visiontasks.backbones import build_backbone
from visiontasks.backbones.levels import BackboneModule
from visiontasks.errors import ConfigError
from visiontasks.ops.unpooling import bilinear_kernel
from visiontasks.segmentation.model_config import FCNConfig
from visiontasks.segmentation.models.layers import conv_norm_relu, enlarge

SCORED = {32: 1, 16: 2, 8: 3}  # levels that are scored


class FCNDecoder(nn.Module):
    """Levels -> logits (B, K, h, w), of the size of the finest level that is scored.

    Where the paper has VGG's fully connected layers as convolutions (7x7 and 1x1, 4096 channels, from
    ImageNet), this has a 3x3 and a 1x1 convolution with batch norm. Finer levels start with scores of 0;
    the doubling is learned and starts as bilinear interpolation; the last enlargement stays bilinear
    (section 4.2).
    """

    def __init__(
        self, channels: Sequence[int], num_scored: int, width: int, dropout: float, num_classes: int
    ) -> None:
        super().__init__()
        self.head = nn.Sequential(
            conv_norm_relu(channels[-1], width),
            nn.Dropout2d(dropout),
            conv_norm_relu(width, width, kernel=1),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, num_classes, 1),
        )
        finer = list(reversed(channels[-num_scored:-1]))
        self.scores = nn.ModuleList(_zero_scores(inputs, num_classes) for inputs in finer)
        self.doublings = nn.ModuleList(_doubling(num_classes) for _ in finer)

    def forward(self, levels: Sequence[Tensor], positions: Sequence[Tensor] = ()) -> Tensor:
        logits: Tensor = self.head(levels[-1])
        finer = reversed(levels[-len(self.scores) - 1 : -1])
        for level, score, double in zip(finer, self.scores, self.doublings, strict=True):
            size = (level.shape[-2], level.shape[-1])
            logits = score(level) + enlarge(double(logits), size)
        return logits


def _zero_scores(inputs: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, num_classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _doubling(num_classes: int) -> nn.ConvTranspose2d:
    """Twice the size; at first bilinear interpolation, each class by itself."""
    layer = nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, padding=1, bias=False)
    kernel = torch.from_numpy(bilinear_kernel(2)).to(layer.weight)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(num_classes), range(num_classes)] = kernel
    return layer


def build_fcn(model: FCNConfig, num_classes: int) -> tuple[BackboneModule, nn.Module]:
    """Raises: ConfigError when the backbone has too few levels."""
    backbone = build_backbone(model.backbone, **model.options)
    num_scored = SCORED[model.stride]
    if len(backbone.channels) < num_scored:
        raise ConfigError(
            [
                f"model.stride: expected a backbone of at least {num_scored} levels for FCN-{model.stride}s, "
                f"found '{model.backbone}' with {len(backbone.channels)}; take stride 32, or another backbone"
            ]
        )
    return backbone, FCNDecoder(backbone.channels, num_scored, model.width, model.dropout, num_classes)
