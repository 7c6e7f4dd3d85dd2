"""ResNet-18 to ResNet-152, built by torchvision. Source: He et al. 2015, arXiv:1512.03385."""

from __future__ import annotations

import torchvision
from torch import nn

from visiontasks.backbones.heads import ClassifierHead, average_and_linear
from visiontasks.backbones.levels import CutNetwork
from visiontasks.backbones.options import ResNetOptions


def build(name: str, options: ResNetOptions) -> CutNetwork:
    """Levels: the stem and the outputs of the four groups of blocks.

    With the small stem (section 4.2 of the paper) the first group already works at full size: four levels of
    strides 1, 2, 4 and 8.
    """
    network = torchvision.models.get_model(name, num_classes=1)
    width = network.fc.in_features // 8
    widths = [width, 2 * width, 4 * width, 8 * width]
    groups = [["layer2"], ["layer3"], ["layer4"]]
    if options.stem == "small":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        stages = [["conv1", "bn1", "relu", "layer1"], *groups]
        return CutNetwork(name, network, stages, channels=widths, strides=(1, 2, 4, 8))
    stages = [["conv1", "bn1", "relu"], ["maxpool", "layer1"], *groups]
    return CutNetwork(name, network, stages, channels=[64, *widths], strides=(2, 4, 8, 16, 32))


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling and one linear layer."""
    return average_and_linear(channels, num_classes, dropout or 0.0)
