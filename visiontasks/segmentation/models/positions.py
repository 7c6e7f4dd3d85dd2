"""A backbone's levels together with the positions that its max pools chose."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.backbones.levels import CutNetwork

Levels = Sequence[Tensor]


def levels_with_positions(backbone: CutNetwork, images: Tensor) -> tuple[Levels, Levels]:
    """Run a backbone whose levels lie one max pool apart: the VGGs.

    Args:
        backbone: each stage but the first begins with a 2x2 max pool, and has no other.
        images: (B, 3, H, W) float, sides multiples of the last stride.

    Returns:
        The levels, and for each but the last the positions int64 that the pool after it chose: of the shape
        of the next level, places in the rows of this one laid end to end, as `torch.nn.MaxUnpool2d` wants.
    """
    features, levels, positions = images, [], []
    for stage in backbone.stages:
        for name in stage:
            layer = backbone.get_submodule(name)
            if isinstance(layer, nn.MaxPool2d):
                features, chosen = F.max_pool2d(
                    features, layer.kernel_size, layer.stride, return_indices=True
                )
                positions.append(chosen)
            else:
                features = layer(features)
        levels.append(features)
    assert len(positions) == len(levels) - 1
    return levels, positions


def unpool(features: Tensor, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value back to the position it was pooled from, zeros elsewhere: (B, C, h, w) -> (B, C, *size).

    `ops.unpooling.unpool_positions` is the same, to be read.
    """
    return F.max_unpool2d(features, positions, kernel_size=[2, 2], output_size=list(size))
