"""A feature pyramid on any backbone. Source: Lin et al. 2017, arXiv:1612.03144, section 3."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.detection.region_sections import Norm, PyramidConfig

GROUPS = 16  # of group norm, where they divide the channels


class FeaturePyramid(nn.Module):
    """A backbone's levels -> levels of equal width, to which coarser ones have handed down what they know.

    The coarsest level is projected by a 1x1 convolution; each finer one is its own projection plus the
    coarser result, enlarged. A 3x3 convolution finishes each.

    strides: of the levels that come from the backbone, finest first, px.
    all_strides: with those of the `extra` levels.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], config: PyramidConfig) -> None:
        super().__init__()
        used = [i for i, stride in enumerate(strides) if stride >= config.finest] or [len(strides) - 1]
        self.used, self.extra, self.channels = used, config.extra, config.channels
        self.strides = tuple(strides[i] for i in used)
        self.all_strides = (*self.strides, *(self.strides[-1] << n for n in range(1, config.extra + 1)))
        width, norm = config.channels, config.norm
        self.project = nn.ModuleList(convolution(channels[i], width, 1, norm) for i in used)
        self.finish = nn.ModuleList(convolution(width, width, 3, norm) for _ in used)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """(B, channels_i, h_i, w_i) of a backbone, finest first -> (B, channels, h_i, w_i), extra last."""
        projected = [project(levels[i]) for i, project in zip(self.used, self.project, strict=True)]
        for i in range(len(projected) - 1, 0, -1):
            finer = projected[i - 1]
            projected[i - 1] = finer + F.interpolate(projected[i], size=finer.shape[-2:], mode="nearest")
        pyramid = [finish(level) for finish, level in zip(self.finish, projected, strict=True)]
        for _ in range(self.extra):
            pyramid.append(F.max_pool2d(pyramid[-1], kernel_size=1, stride=2))
        return pyramid


def convolution(inputs: int, outputs: int, size: int, norm: Norm, *activation: nn.Module) -> nn.Sequential:
    """A convolution that keeps height and width, a norm if wanted, an activation if any.

    Args:
        inputs, outputs: channels. size: of the kernel, odd. norm: none, batch or group.
    """
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=norm == "none")
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, *norm_layer(norm, outputs), *activation)


def norm_layer(norm: Norm, channels: int) -> list[nn.Module]:
    """No layer, or one."""
    if norm == "none":
        return []
    groups = GROUPS if channels % GROUPS == 0 else 1
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(groups, channels)]
