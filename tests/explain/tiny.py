"""Small networks and pictures for the tests of explanations."""

import torch
from torch import nn

from visiontasks.backbones import build_backbone
from visiontasks.classes import ClassMap
from visiontasks.classification import TASK
from visiontasks.classification.models.classifier import Classifier
from visiontasks.explain.target import Subject, ask
from visiontasks.types import Aim, Batch, ImageInfo

CLASSES = ClassMap(("cat", "dog", "rocket"))


class Levels(nn.Sequential):
    """A backbone of one level, its last layer's output."""

    strides = (4,)

    @property
    def ends(self):
        return (str(len(self) - 1),)

    def forward(self, images):
        return (super().forward(images),)


class Head(nn.Module):
    """The mean over the positions, and a linear layer."""

    def __init__(self, channels, classes):
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, levels):
        return self.fc(levels[-1].mean(dim=(2, 3)))


def tiny_classifier(**options):
    backbone = Levels(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
    )
    return Classifier(backbone, Head(6, len(CLASSES)), None, 0.0, **options).eval()


def info_of(images, **changes):
    height, width = images.shape[-2:]
    values = {"height": height, "width": width, "resized_height": height, "resized_width": width}
    return ImageInfo("a.png", **{**values, **changes})


def asked(network, images, aim=Aim(1), info=None) -> Subject:  # noqa: B008
    batch = Batch(images, [info or info_of(images)])
    return ask(TASK, network, batch, aim, {"temperature": 1.0}, CLASSES)


class TwoLevels(nn.Module):
    """Our smallest backbone with two levels, `stages.0` and `stages.1`, and a classifier on the second."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build_backbone("small", stem=4, widths=[4, 6], **options)
        self.head = nn.Linear(6, 3)

    def forward(self, batch):
        return self.head(self.backbone(batch.images)[-1].mean((2, 3)))


def noise(size, seed=0, low=0.0, high=1.0):
    """(1, 3, *size) float32, uniform in [low, high)."""
    return low + (high - low) * torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(seed))


def same(pixels):
    return pixels
