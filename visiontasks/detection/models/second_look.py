"""Regions are named once more on other copies of the picture, when a network predicts."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from visiontasks.detection.models.region_head import NamedRegions
from visiontasks.detection.region_sections import SecondLookConfig

Name = Callable[[Tensor, Tensor], Tensor]


def look_again(
    name: Name, images: Tensor, named: NamedRegions, config: SecondLookConfig, least: int
) -> Tensor:
    """The logits (B, R, K + 1) of regions, averaged with those of the copies that the config asks for.

    A network names things best at the size that its backbone has learned them at; shrunk, large things are of
    it too. Each region takes its names from the copy on which it is of that size, in the spirit of Singh and
    Davis 2018 (SNIP, arXiv 1711.08189).

    Args:
        name: pictures (B, 3, h, w) and regions (B, R, 4) on them -> logits (B, R, K + 1).
        images: (B, 3, H, W), normalised. named: what was said of them at first.
        least: height and width that a copy has at least, px.
    """
    logits, (height, width) = named.logits, images.shape[2:]
    if config.mirror:
        left, top, right, bottom = named.regions.unbind(dim=-1)
        mirrored = torch.stack([width - right, top, width - left, bottom], dim=-1)
        logits = (logits + name(images.flip(3), mirrored)) / 2
    if config.shrink < 1:
        size = [max(least, round(side * config.shrink)) for side in (height, width)]
        small = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        factors = images.new_tensor([size[1] / width, size[0] / height] * 2, dtype=torch.float32)
        sides = (named.regions[..., 2:] - named.regions[..., :2]).clamp(min=0).prod(dim=-1).sqrt()
        first, second = config.sizes
        share = ((sides - first) / (second - first)).clamp(0, 1)[..., None]  # (B, R, 1)
        logits = torch.lerp(logits, name(small.to(images.dtype), named.regions * factors), share)
    return logits
