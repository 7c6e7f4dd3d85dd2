"""RegNets, built by torchvision; y has squeeze-excitation. Source: Radosavovic 2020, arXiv:2003.13678."""

from __future__ import annotations

import torch
import torchvision

from visiontasks.backbones.heads import ClassifierHead, average_and_linear
from visiontasks.backbones.levels import CutNetwork
from visiontasks.backbones.options import NoOptions

STAGES = [
    ["stem"],
    ["trunk_output.block1"],
    ["trunk_output.block2"],
    ["trunk_output.block3"],
    ["trunk_output.block4"],
]
CHANNELS = {
    "regnet_x_400mf": (32, 32, 64, 160, 400),
    "regnet_x_800mf": (32, 64, 128, 288, 672),
    "regnet_y_400mf": (32, 48, 104, 208, 440),
    "regnet_y_800mf": (32, 64, 144, 320, 784),
}


def build(name: str, options: NoOptions) -> CutNetwork:
    """Levels: the stem and the four groups of blocks."""
    device = torch.get_default_device()
    with torch.device("cpu"):  # torchvision computes the widths with tensors, which fails on the meta device
        network = torchvision.models.get_model(name, num_classes=1)
    return CutNetwork(name, network.to(device), STAGES, channels=CHANNELS[name], strides=(2, 4, 8, 16, 32))


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling and one linear layer."""
    return average_and_linear(channels, num_classes, dropout or 0.0, std=0.01)
