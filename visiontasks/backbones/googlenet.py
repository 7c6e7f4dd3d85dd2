"""GoogLeNet (Inception v1 with batch norm), built by torchvision.

Without the two auxiliary classifiers of the paper: batch norm made them needless. torchvision's blocks have a
3x3 convolution where the paper has 5x5; its official weights need that, and they expect pixels
normalised with mean 0.5 and deviation 0.5 (`official.normalisation`).
Source: Szegedy et al. 2014, arXiv:1409.4842.
"""

from __future__ import annotations

import torchvision

from visiontasks.backbones.heads import ClassifierHead, average_and_linear
from visiontasks.backbones.levels import CutNetwork
from visiontasks.backbones.options import NoOptions

STAGES = [
    ["conv1"],
    ["maxpool1", "conv2", "conv3"],
    ["maxpool2", "inception3a", "inception3b"],
    ["maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"],
    ["maxpool4", "inception5a", "inception5b"],
]


def build(name: str, options: NoOptions) -> CutNetwork:
    """Levels: what stands before each of the four pools, and the last block."""
    network = torchvision.models.googlenet(num_classes=1, aux_logits=False, init_weights=True)
    return CutNetwork(
        name,
        network,
        STAGES,
        channels=(64, 192, 480, 832, 1024),
        strides=(2, 4, 8, 16, 32),
        minimum_size=15,
    )


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling, dropout and one linear layer."""
    return average_and_linear(channels, num_classes, 0.2 if dropout is None else dropout)
