"""What can be set on a backbone, family by family. Imports no torch: configs are checked against it."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from visiontasks.config import Positive, Section


class Options(Section):
    """Options of some family."""


class NoOptions(Options):
    """The published network, as it stands."""


class ResNetOptions(Options):
    """Options of the ResNets."""

    stem: Literal["standard", "small"] = Field(
        "standard",
        description="standard (7x7 stride 2, max pool) or small (3x3 stride 1, no pool: 32-64 px pictures)",
    )
    widths: tuple[Positive, ...] = Field(
        (64, 128, 256, 512),
        min_length=1,
        max_length=4,
        description="channels of each group of blocks (a bottleneck ends 4 times as wide); with fewer than "
        "four the network ends earlier",
    )


class SmallOptions(Options):
    """Options of `small`."""

    stem: Positive | Literal["patches"] = Field(
        32,
        description="channels of the first convolution, or patches (24 fixed filters of 2x2, normalised)",
    )
    widths: tuple[Positive, ...] = Field(
        (64, 256, 256), min_length=1, description="channels of each stage; each stage halves the size"
    )
    stages: Literal["residual", "fast"] = Field(
        "residual",
        description="residual, or fast (identity at first, quick shifts: for runs of 5 to 20 epochs of SGD)",
    )
    padded: bool = Field(
        True,
        description="zeros around each convolution; without, a sliding window sees nothing outside itself",
    )


class MobileNetOptions(Options):
    """Options of the MobileNets."""

    split: bool = Field(
        False, description="the last resolution as two levels: after its first block, and at its end"
    )
    dilated: bool = Field(
        False,
        description="the last resolution is the one before it, its convolutions dilated instead; stride 8 as "
        "two levels: after its first block, and at its end",
    )


OPTIONS: Final[dict[str, type[Options]]] = {  # by family
    "mobilenet": MobileNetOptions,
    "resnet": ResNetOptions,
    "small": SmallOptions,
}
