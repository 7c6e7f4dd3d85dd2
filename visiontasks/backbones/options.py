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


class SmallOptions(Options):
    """Options of `small`."""

    stem: Positive = Field(32, description="channels of the first convolution")
    widths: tuple[Positive, ...] = Field(
        (64, 256, 256), min_length=1, description="channels of each stage; each stage halves the size"
    )


OPTIONS: Final[dict[str, type[Options]]] = {"resnet": ResNetOptions, "small": SmallOptions}  # by family
