"""A small network of our own for pictures of 32 to 96 pixels; ImageNet's networks shrink those too early."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from visiontasks.backbones.heads import ClassifierHead
from visiontasks.backbones.levels import BackboneModule
from visiontasks.backbones.options import SmallOptions


class SmallNet(BackboneModule):
    """A 3x3 stem, then stages of two 3x3 convolutions that each halve the size.

    Pooling comes between a stage's first convolution and its batch norm: the rest of the stage then works on
    a quarter of the pixels. No convolution has a bias, since batch norm has one. Level i is the output of
    stage i, of stride 2 ** (i + 1).

    Source: the layout of a stage follows Jordan 2024, arXiv:2404.00498, with a residual connection
    (He et al. 2016, arXiv:1512.03385) around its second convolution; the stem is ours.
    """

    def __init__(self, name: str, stem: int, widths: Sequence[int]) -> None:
        super().__init__(
            name,
            channels=widths,
            strides=[2 ** (i + 1) for i in range(len(widths))],
            minimum_size=2 ** len(widths),
        )
        self.stem = nn.Sequential(_conv3x3(3, stem), nn.BatchNorm2d(stem), nn.GELU())
        self.stages = nn.ModuleList(
            Stage(inputs, outputs) for inputs, outputs in zip([stem, *widths[:-1]], widths, strict=True)
        )

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        features, levels = self.stem(images), []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return tuple(levels)


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)


class Stage(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H // 2, W // 2): one convolution shrinks, a second adds to it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shrink = nn.Sequential(
            _conv3x3(inputs, outputs), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.GELU()
        )
        self.refine = nn.Sequential(_conv3x3(outputs, outputs), nn.BatchNorm2d(outputs), nn.GELU())

    def forward(self, features: Tensor) -> Tensor:
        features = self.shrink(features)
        return features + self.refine(features)  # type: ignore[no-any-return]


class ScaledLinear(nn.Linear):
    """A fully connected layer times a constant: softer logits at the start of training."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) * self.scale


def build(name: str, options: SmallOptions) -> SmallNet:
    """The network of given widths."""
    return SmallNet(name, options.stem, options.widths)


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global max pooling, then a linear layer scaled by 1/8: a feature counts wherever it is strongest."""
    pool = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(1), nn.Dropout(dropout or 0.0))
    return ClassifierHead(pool, ScaledLinear(channels, num_classes, scale=1 / 8), name="classifier")
