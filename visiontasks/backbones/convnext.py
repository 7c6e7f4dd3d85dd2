"""ConvNeXt tiny and small, built by torchvision. Source: Liu et al. 2022, arXiv:2201.03545."""

from __future__ import annotations

from functools import partial

import torchvision
from torch import nn
from torchvision.models.convnext import LayerNorm2d

from visiontasks.backbones.heads import ClassifierHead, linear
from visiontasks.backbones.levels import CutNetwork, numbered_stages
from visiontasks.backbones.options import NoOptions


def build(name: str, options: NoOptions) -> CutNetwork:
    """Levels: the four groups of blocks; the stem already takes 4x4 patches."""
    network = torchvision.models.get_model(name, num_classes=1)
    return CutNetwork(
        name,
        network,
        numbered_stages("features", [2, 4, 6, 8]),
        channels=(96, 192, 384, 768),
        strides=(4, 8, 16, 32),
        minimum_size=32,
    )


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling, layer norm and one linear layer."""
    norm = partial(LayerNorm2d, eps=1e-6)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout or 0.0))
    classifier = nn.Sequential(norm(channels), nn.Flatten(1), linear(channels, num_classes, std=0.02))
    return ClassifierHead(pool, classifier, name="classifier")
