"""MobileNetV3, built by torchvision; has squeeze-excitation. Source: Howard et al. 2019, arXiv:1905.02244."""

from __future__ import annotations

import torchvision
from torch import nn

from visiontasks.backbones.heads import ClassifierHead, linear
from visiontasks.backbones.levels import CutNetwork, numbered_stages
from visiontasks.backbones.options import MobileNetOptions

ENDS = {"mobilenet_v3_small": [1, 2, 4, 9, 13], "mobilenet_v3_large": [2, 4, 7, 13, 17]}
CHANNELS = {
    "mobilenet_v3_small": (16, 16, 24, 48, 576),
    "mobilenet_v3_large": (16, 24, 40, 112, 960),
}
HIDDEN = {"mobilenet_v3_small": 1024, "mobilenet_v3_large": 1280}


def build(name: str, options: MobileNetOptions) -> CutNetwork:
    """Levels: the last block of each resolution; the last level includes the widening 1x1 convolution.

    With `split` the first block of the last resolution is a level too, of the same stride: torchvision's
    detectors were trained on it; its LR-ASPP on what `dilated` makes.
    """
    network = torchvision.models.get_model(name, num_classes=1, dilated=options.dilated)
    ends, channels = list(ENDS[name]), list(CHANNELS[name])
    strides = [2, 4, 8, 16, 16 if options.dilated else 32]
    if options.split:
        ends.insert(-1, ends[-2] + 1)
        channels.insert(-1, network.features[ends[-2] - 1].out_channels)
        strides.append(strides[-1])
    if options.dilated:
        ends.insert(2, ends[1] + 1)
        channels.insert(2, channels[2])
        strides.insert(2, strides[2])
    stages = numbered_stages("features", ends)
    return CutNetwork(name, network, stages, channels=channels, strides=strides)


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling and two linear layers."""
    classifier = nn.Sequential(
        linear(channels, HIDDEN[name], std=0.01),
        nn.Hardswish(inplace=True),
        nn.Dropout(0.2 if dropout is None else dropout),
        linear(HIDDEN[name], num_classes, std=0.01),
    )
    return ClassifierHead(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), classifier, name="classifier"
    )
