"""The sections of a config that describe networks with region proposals, part by part."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from visiontasks.config import Depth, Fraction, Positive, Section

Norm = Literal["none", "batch", "group"]
Length = Annotated[float, Field(gt=0)]


class BatchNormConfig(Section):
    """What becomes of the backbone's batch norm."""

    frozen: bool = Field(
        False, description="keep its statistics and scales as they are (wants weights that were trained)"
    )
    eps: float | None = Field(
        None, ge=0, description="number added to the variance; null = as published for the backbone"
    )


class PyramidConfig(Section):
    """A feature pyramid on the backbone: every level with the same channels, all of them rich in meaning."""

    finest: Positive = Field(
        4, description="smallest stride of a level that is used, pixels; coarser ones follow"
    )
    channels: Positive = Field(256, description="of each level")
    norm: Norm = Field("none", description="after each of its convolutions: none, batch or group")
    extra: int = Field(
        1, ge=0, le=3, description="levels beyond the backbone's, each half as fine; for proposals only"
    )


class AnchorConfig(Section):
    """The boxes that proposals are told relative to."""

    sizes: tuple[tuple[Length, ...], ...] | None = Field(
        None,
        description="square roots of the anchors' areas, pixels: a list for each level, finest first; "
        "null = 8 times the level's stride",
    )
    ratios: tuple[Length, ...] = Field((0.5, 1.0, 2.0), min_length=1, description="height / width")
    placement: Literal["centres", "corners"] = Field(
        "centres",
        description="centres of the level's cells; or corners, spacings rounded down, as torchvision has it",
    )

    @field_validator("sizes")
    @classmethod
    def _check_sizes(
        cls, value: tuple[tuple[float, ...], ...] | None
    ) -> tuple[tuple[float, ...], ...] | None:
        if value is not None and (not value or len({len(sizes) for sizes in value}) != 1 or not value[0]):
            raise ValueError("a list for each level, as many sizes in each")
        return value


class SamplingConfig(Section):
    """Which boxes are learnt from: those that overlap the truth much, and some of those that do not."""

    positive_iou: Fraction = Field(0.5, description="least overlap (IoU) with a true box of a positive one")
    negative_iou: tuple[Fraction, Fraction] = Field(
        (0.0, 0.5),
        description="[least, most) overlap of a negative one; what is neither is ignored",
    )
    samples: Positive = Field(128, description="boxes a picture that are learnt from")
    positive_share: Fraction = Field(0.25, description="of them, at most so many are positive")

    @field_validator("negative_iou")
    @classmethod
    def _check_order(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        if not value[0] < value[1] <= info.data.get("positive_iou", 1):
            raise ValueError("[least, most) with least < most, and most at most positive_iou")
        return value


class ProposalConfig(Section):
    """The region proposal network, and which of its boxes go on to the head."""

    depth: Depth = Field(1, description="3x3 convolutions before the two outputs")
    sampling: SamplingConfig = SamplingConfig(
        positive_iou=0.7, negative_iou=(0.0, 0.3), samples=256, positive_share=0.5
    )
    before_nms: Positive = Field(1000, description="best boxes of each level that suppression begins with")
    before_nms_train: Positive = Field(1000, description="the same, in training")
    nms_iou: Fraction = Field(0.7, description="of two boxes that overlap by more, the better one stays")
    after_nms: Positive = Field(300, description="best boxes a picture that go on to the head")
    after_nms_train: Positive = Field(500, description="the same, in training, from which samples are drawn")
    min_score: Fraction = Field(0.0, description="least objectness of a proposal")


class HeadConfig(Section):
    """The second stage: looks at each region by itself, names it and moves its edges."""

    pooled: Positive = Field(7, description="height and width of a region's features, cells")
    points: Positive = Field(2, description="each cell averages points x points samples of the level")
    aligned: bool = Field(
        True,
        description="feature i is at pixel (i + 0.5) * stride; false: at i * stride, as torchvision has it",
    )
    canonical: Length = Field(
        224.0,
        description="side of a square region that is read at stride 16; of one half as large, at stride 8",
    )
    convolutions: int = Field(0, ge=0, description="3x3 convolutions on a region's features")
    norm: Norm = Field("none", description="after each of them: none, batch or group")
    widths: tuple[Positive, ...] = Field(
        (1024, 1024), min_length=1, description="of the fully connected layers that follow"
    )
    dropout: Fraction = Field(0.0, description="chance that an output of those layers is dropped")
    shortcut: bool = Field(
        False,
        description="add to the scores those of a linear layer on the backbone's last level, averaged over a "
        "region; it begins as the last layer of the classifier in model.weights, where the classes are its",
    )
    class_agnostic: bool = Field(
        False, description="move a region's edges in one way, whatever it shows; false: in one for each class"
    )
    box_weights: tuple[Length, Length, Length, Length] = Field(
        (10.0, 10.0, 5.0, 5.0), description="scales of the four box outputs: x, y, width, height"
    )
    sampling: SamplingConfig = SamplingConfig()


class SecondLookConfig(Section):
    """In prediction regions are named once more, on other copies of the picture."""

    mirror: bool = Field(False, description="on the mirrored one, and average (twice the time)")
    shrink: Length = Field(1.0, le=1, description="on one shrunk by this factor, for large regions; 1 = off")
    sizes: tuple[Length, Length] = Field(
        (80.0, 208.0),
        description="sides of a region, pixels: up to the first the picture itself names it, from the second "
        "on the shrunk one, between them both in proportion",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.sizes[0] >= self.sizes[1]:
            raise ValueError(f"two sizes, the second larger (not {self.sizes[0]:g}, {self.sizes[1]:g})")
        return self
