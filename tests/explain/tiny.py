"""A small classifier of pictures for the tests of explanations, and one that looks at a single place."""

from torch import nn

from visiontasks.classes import ClassMap
from visiontasks.classification import TASK
from visiontasks.classification.models.classifier import Classifier
from visiontasks.explain.target import Subject, ask
from visiontasks.types import Aim, Batch, ImageInfo

CLASSES = ClassMap(("cat", "dog", "rocket"))


class Levels(nn.Sequential):
    """A backbone of one level."""

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
