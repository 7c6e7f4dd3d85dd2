"""SegNet: the decoder mirrors the encoder, and enlarges with the positions of the encoder's max pools.

Source: Badrinarayanan, Kendall, Cipolla 2017 (arXiv 1511.00561, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from visiontasks.backbones import build_backbone
from visiontasks.backbones.levels import BackboneModule, CutNetwork
from visiontasks.segmentation.model_config import SegNetConfig
from visiontasks.segmentation.models.layers import conv_norm_relu
from visiontasks.segmentation.models.positions import unpool


class SegNetDecoder(nn.Module):
    """The last level and the positions of all pools -> logits (B, K, H, W). No level is a skip.

    channels: of the backbone's levels. num_convolutions: of each level but the last, which is a pool; as many
    follow its unpooling here. The very last convolution gives the scores.
    """

    def __init__(self, channels: Sequence[int], num_convolutions: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for level in reversed(range(len(channels) - 1)):
            width = channels[level]
            layers: list[nn.Module] = [
                conv_norm_relu(width, width) for _ in range(num_convolutions[level] - 1)
            ]
            if level:
                layers.append(conv_norm_relu(width, channels[level - 1]))
            else:
                layers.append(nn.Conv2d(width, num_classes, 3, padding=1))
            self.stages.append(nn.Sequential(*layers))

    def forward(self, levels: Sequence[Tensor], positions: Sequence[Tensor]) -> Tensor:
        features = levels[-1]
        finer = reversed(levels[:-1])
        for stage, level, chosen in zip(self.stages, finer, reversed(positions), strict=True):
            features = stage(unpool(features, chosen, (level.shape[-2], level.shape[-1])))
        return features


def build_segnet(model: SegNetConfig, num_classes: int) -> tuple[BackboneModule, nn.Module]:
    """SegNet on a VGG; the config has checked that it is one."""
    backbone = cast(CutNetwork, build_backbone(model.backbone, **model.options))
    num_convolutions = [
        sum(isinstance(backbone.get_submodule(name), nn.Conv2d) for name in stage)
        for stage in backbone.stages
    ]
    return backbone, SegNetDecoder(backbone.channels, num_convolutions, num_classes)
