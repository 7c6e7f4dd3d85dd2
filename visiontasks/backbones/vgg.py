"""VGG-11 to VGG-19, also with batch norm, built by torchvision. Source: Simonyan 2014, arXiv:1409.1556."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import vgg

from visiontasks.backbones.heads import ClassifierHead, linear
from visiontasks.backbones.levels import CutNetwork, numbered_stages
from visiontasks.backbones.options import NoOptions

CONFIGURATIONS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # table 1 of the paper
HIDDEN = 4096
POOLED = 7


def build(name: str, options: NoOptions) -> CutNetwork:
    """Levels: the last activation before each of the five pools, then the fifth pool."""
    depth, _, norm = name.partition("_")
    layers = vgg.make_layers(vgg.cfgs[CONFIGURATIONS[depth]], batch_norm=norm == "bn")
    with torch.device(
        "meta"
    ):  # the 120 million classifier weights are never made; the layers are initialised
        network = vgg.VGG(layers)
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    return CutNetwork(
        name,
        network,
        numbered_stages("features", [*pools, len(layers)]),
        channels=(64, 128, 256, 512, 512, 512),
        strides=(1, 2, 4, 8, 16, 32),
        minimum_size=32,
    )


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Three fully connected layers over 7x7 positions."""
    probability = 0.5 if dropout is None else dropout
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(1))
    classifier = nn.Sequential(
        linear(channels * POOLED**2, HIDDEN, std=0.01),
        nn.ReLU(inplace=True),
        nn.Dropout(probability),
        linear(HIDDEN, HIDDEN, std=0.01),
        nn.ReLU(inplace=True),
        nn.Dropout(probability),
        linear(HIDDEN, num_classes, std=0.01),
    )
    return ClassifierHead(pool, classifier, name="classifier")
