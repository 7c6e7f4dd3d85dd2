"""AlexNet: torchvision's variant, and the published one with local response normalisation.

`alexnet` is torchvision's (Krizhevsky 2014, arXiv:1404.5997: one tower, fewer channels, no normalisation).
`alexnet_lrn` is the network of Krizhevsky, Sutskever, Hinton 2012, sections 3.3 to 3.5: two towers that meet
in the third convolution, overlapping pools, response normalisation after layers 1 and 2.
"""

from __future__ import annotations

import torch
import torchvision
from torch import nn

from visiontasks.backbones.heads import ClassifierHead, linear
from visiontasks.backbones.levels import CutNetwork, numbered_stages
from visiontasks.backbones.options import NoOptions

HIDDEN = 4096
POOLED = 6  # the classifier sees 6x6 positions, at any picture size


def build(name: str, options: NoOptions) -> CutNetwork:
    """Levels: the first, second and fifth layer before their pools, then the last pool: 55, 27, 13, 6."""
    if name == "alexnet_lrn":
        network = nn.Module()
        network.features = _published_features()
        ends, channels = [3, 7, 14, 15], [96, 256, 256, 256]
    else:
        network = _torchvision_features()
        ends, channels = [2, 5, 12, 13], [64, 192, 256, 256]
    stages = numbered_stages("features", ends)
    return CutNetwork(name, network, stages, channels=channels, strides=(4, 8, 16, 32), minimum_size=63)


def _torchvision_features() -> nn.Module:
    """The layers, weights at PyTorch's defaults as there, without making 58 million classifier weights."""
    with torch.device("meta"):
        network: nn.Module = torchvision.models.alexnet()
    features = network.get_submodule("features").to_empty(device=torch.get_default_device())
    for layer in features.children():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return network


def _published_features() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 96, kernel_size=11, stride=4, padding=2),  # the paper's 224 -> 55 takes this padding
        nn.ReLU(inplace=True),
        _response_norm(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2),
        nn.ReLU(inplace=True),
        _response_norm(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(256, 384, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
    )


def _response_norm() -> nn.LocalResponseNorm:
    """Section 3.3: a / (2 + 1e-4 * sum of squares over 5 channels) ** 0.75; PyTorch divides alpha by 5."""
    return nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Three fully connected layers over 6x6 positions."""
    probability = 0.5 if dropout is None else dropout
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(1))
    classifier = nn.Sequential(
        nn.Dropout(probability),
        linear(channels * POOLED**2, HIDDEN),
        nn.ReLU(inplace=True),
        nn.Dropout(probability),
        linear(HIDDEN, HIDDEN),
        nn.ReLU(inplace=True),
        linear(HIDDEN, num_classes),
    )
    return ClassifierHead(pool, classifier, name="classifier")
