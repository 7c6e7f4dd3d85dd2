"""EfficientNet-B0 to B3, built by torchvision; squeeze-excitation. Source: Tan, Le 2019, arXiv:1905.11946."""

from __future__ import annotations

import torchvision
from torch import nn

from visiontasks.backbones.heads import ClassifierHead
from visiontasks.backbones.levels import CutNetwork, numbered_stages
from visiontasks.backbones.options import NoOptions

ENDS = [2, 3, 4, 6, 9]
CHANNELS = {
    "efficientnet_b0": (16, 24, 40, 112, 1280),
    "efficientnet_b1": (16, 24, 40, 112, 1280),
    "efficientnet_b2": (16, 24, 48, 120, 1408),
    "efficientnet_b3": (24, 32, 48, 136, 1536),
}
DROPOUT = {"efficientnet_b0": 0.2, "efficientnet_b1": 0.2, "efficientnet_b2": 0.3, "efficientnet_b3": 0.3}


def build(name: str, options: NoOptions) -> CutNetwork:
    """Levels: the last block of each resolution; the last level includes the widening 1x1 convolution."""
    network = torchvision.models.get_model(name, num_classes=1)
    stages = numbered_stages("features", ENDS)
    return CutNetwork(name, network, stages, channels=CHANNELS[name], strides=(2, 4, 8, 16, 32))


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling, dropout and one linear layer."""
    last = nn.Linear(channels, num_classes)
    nn.init.uniform_(last.weight, -(num_classes**-0.5), num_classes**-0.5)  # as torchvision draws it
    nn.init.zeros_(last.bias)
    classifier = nn.Sequential(nn.Dropout(DROPOUT[name] if dropout is None else dropout), last)
    return ClassifierHead(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), classifier, name="classifier"
    )
