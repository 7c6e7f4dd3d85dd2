"""A small network of our own for pictures of 32 to 96 pixels; ImageNet's networks shrink those too early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.backbones.heads import ClassifierHead
from visiontasks.backbones.levels import BackboneModule
from visiontasks.backbones.options import SmallOptions

PATCH_CHANNELS: Final = 24  # of the stem `patches`
LEAST_VARIANCE: Final = 5e-4  # added to a patch filter's; a difference that JPEG smoothed away stays small
SHIFT_SCALE: Final = 8.0  # of the shifts of `ShiftNorm`; SGD then moves them 8 * 8 times as fast


class SmallNet(BackboneModule):
    """A stem that keeps the size, then stages of two 3x3 convolutions that each halve it.

    Pooling comes between a stage's first convolution and its batch norm: the rest of the stage then works on
    a quarter of the pixels. No convolution has a bias, since batch norm has one. Level i is the output of
    stage i, of stride 2 ** (i + 1). Without padding a level lacks the positions at the rim (three stages:
    224 -> 108, 51, 22), and what is left depends on nothing but its own part of the picture.

    Args:
        stem: channels of a 3x3 convolution; or `patches`, see `PatchStem` (a pixel less a side, 32 -> 31).
        widths: channels of each stage.
        stages: residual, see `Stage`; or fast, see `FastStage`.
        padded: zeros around each 3x3 convolution.

    Source: the layout of a stage, the fast stages and the idea of `patches` are Jordan's (2024,
    arXiv:2404.00498); the residual connection is He's (2016, arXiv:1512.03385).
    """

    def __init__(
        self,
        name: str,
        stem: int | Literal["patches"],
        widths: Sequence[int],
        *,
        stages: Literal["residual", "fast"] = "residual",
        padded: bool = True,
    ) -> None:
        super().__init__(
            name,
            channels=widths,
            strides=[2 ** (i + 1) for i in range(len(widths))],
            ends=[f"stages.{i}" for i in range(len(widths))],
            minimum_size=_minimum_size(len(widths), 2 if stem == "patches" else 3, padded),
        )
        self.stem = PatchStem() if stem == "patches" else _stem(stem, padded)
        inputs = [PATCH_CHANNELS if stem == "patches" else stem, *widths[:-1]]
        stage = {"residual": Stage, "fast": FastStage}[stages]
        self.stages = nn.ModuleList(
            stage(before, after, padded) for before, after in zip(inputs, widths, strict=True)
        )

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        features, levels = self.stem(images), []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return tuple(levels)


def _minimum_size(stages: int, stem: int, padded: bool) -> int:
    """Pixels a side that give the last level one position.

    Args:
        stages: how many halve the size.
        stem: side of the stem's filters; 2 is never padded.
        padded: zeros around each 3x3 convolution.
    """
    if padded:
        return (1 << stages) + (stem == 2)
    field = 1
    for _ in range(stages):  # from the last stage back: a 3x3 convolution, a pool, a 3x3 convolution
        field = 2 * (field + 2) + 2
    return field + stem - 1


def _conv3x3(inputs: int, outputs: int, padded: bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=int(padded), bias=False)


def _stem(channels: int, padded: bool) -> nn.Sequential:
    return nn.Sequential(_conv3x3(3, channels, padded), nn.BatchNorm2d(channels), nn.GELU())


class PatchStem(nn.Module):
    """(B, 3, H, W) -> (B, 24, H - 1, W - 1): the parts of each 2x2 patch, of one variance, both ways up.

    Twelve filters, see `patch_filters`, that are not trained; batch norm on them; each beside its negative,
    because GELU passes little of what is below 0. Only the 24 shifts before it are trained.

    Source: Jordan 2024, arXiv:2404.00498, section 3.2, whitens with the eigenvectors of the training
    pictures' patches. Those of natural pictures are near the filters here (neighbours have the same variance
    and grey outweighs colour), so that no pictures are needed to build the network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, PATCH_CHANNELS // 2, kernel_size=2, bias=False)
        self.conv.weight = nn.Parameter(patch_filters(), requires_grad=False)
        self.norm = nn.BatchNorm2d(PATCH_CHANNELS // 2, eps=LEAST_VARIANCE, affine=False)
        self.bias = nn.Parameter(torch.zeros(PATCH_CHANNELS))

    def forward(self, images: Tensor) -> Tensor:
        parts = self.norm(self.conv(images))
        return F.gelu(torch.cat([parts, -parts], 1) + self.bias.view(1, -1, 1, 1).to(parts.dtype))


def patch_filters() -> Tensor:
    """Orthonormal filters (12, 3, 2, 2) float32 of 2x2 RGB patches: four patterns in each of three colours.

    Patterns: mean, left less right, upper less lower, diagonals. Colours: grey, red less blue, green less
    both.

    Source: the patterns are Walsh's of order 4; the colours I1, I2, I3 of Ohta, Kanade & Sakai 1980, Color
        information for region segmentation, eq. 7: near the principal components of natural pictures.
    """
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    colors = F.normalize(torch.tensor([[1.0, 1, 1], [1, 0, -1], [-1, 2, -1]]), dim=1)
    return torch.einsum("pyx,kc->pkcyx", signs.view(4, 2, 2) / 2, colors).reshape(12, 3, 2, 2)


class Stage(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H // 2, W // 2): one convolution shrinks, a second adds to it.

    Without padding (B, outputs, H // 2 - 3, W // 2 - 3).
    """

    def __init__(self, inputs: int, outputs: int, padded: bool) -> None:
        super().__init__()
        self.shrink = nn.Sequential(
            _conv3x3(inputs, outputs, padded), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.GELU()
        )
        self.refine = nn.Sequential(_conv3x3(outputs, outputs, padded), nn.BatchNorm2d(outputs), nn.GELU())
        self.margin = 0 if padded else 1

    def forward(self, features: Tensor) -> Tensor:
        features = self.shrink(features)
        refined: Tensor = self.refine(features)
        margin = self.margin
        height, width = features.shape[2:]
        return features[:, :, margin : height - margin, margin : width - margin] + refined


class FastStage(nn.Sequential):
    """`Stage` without the residual connection, for training of some 5 to 20 epochs.

    Its convolutions begin as the identity on as many channels as come in, so that the first steps already
    reach all stages; its norms have a shift alone, which learns fast (`ShiftNorm`).

    Source: Jordan 2024, arXiv:2404.00498, sections 3.1 (layout), 3.3 (identity) and 3.4 (shifts).
    """

    def __init__(self, inputs: int, outputs: int, padded: bool) -> None:
        super().__init__(
            _identity3x3(inputs, outputs, padded),
            nn.MaxPool2d(2),
            ShiftNorm(outputs),
            nn.GELU(),
            _identity3x3(outputs, outputs, padded),
            ShiftNorm(outputs),
            nn.GELU(),
        )


def _identity3x3(inputs: int, outputs: int, padded: bool) -> nn.Conv2d:
    """A convolution whose first `inputs` filters copy a channel each; the others are random."""
    convolution = _conv3x3(inputs, outputs, padded)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:inputs])
    return convolution


class ShiftNorm(nn.BatchNorm2d):
    """Batch norm without a trained scale; its shift is `bias` times 8, so that SGD moves it 64 times as fast.

    Source: Jordan 2024, arXiv:2404.00498, section 3.4, which sets that learning rate in the optimizer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.weight.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        return F.batch_norm(
            features,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias * SHIFT_SCALE,
            self.training,
            self.momentum,  # type: ignore[arg-type]  # None stands for a cumulative mean, which this never has
            self.eps,
        )


class ScaledLinear(nn.Linear):
    """A fully connected layer times a constant: softer logits at the start of training."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) * self.scale


def build(name: str, options: SmallOptions) -> SmallNet:
    """The network of given widths."""
    return SmallNet(name, options.stem, options.widths, stages=options.stages, padded=options.padded)


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global max pooling, then a linear layer scaled by 1/8: a feature counts wherever it is strongest."""
    pool = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(1), nn.Dropout(dropout or 0.0))
    return ClassifierHead(pool, ScaledLinear(channels, num_classes, scale=1 / 8), name="classifier")
