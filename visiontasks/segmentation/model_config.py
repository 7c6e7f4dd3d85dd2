"""The sections `model:` and `loss:` of a segmentation run."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from visiontasks.backbones import BACKBONES
from visiontasks.backbones.section import BackboneSection
from visiontasks.config import Depth, Fraction, Positive, Section

WITH_POSITIONS: Final = tuple(name for name, family in BACKBONES.items() if family == "vgg")

Number = BeforeValidator(lambda value: int(value) if isinstance(value, str) and value.isdecimal() else value)
Offsets = Annotated[
    bool,
    Field(
        description="after training, add to the scores of each class what makes mIoU best on val (if that "
        "has 20 pictures, none of them in train)"
    ),
]
Mirror = Annotated[
    bool, Field(description="predict on the picture and its mirror image, and average (twice the time)")
]


class NaiveConfig(Section):
    """Convolutions at full size without pooling: where the lectures begin, for comparison."""

    name: Literal["naive"] = "naive"
    width: Positive = Field(32, description="channels of each convolution")
    depth: Depth = Field(6, description="3x3 convolutions before the one that scores the classes")
    weights: str | None = Field(
        None, description="start from: a file, run folder or bundled name; null = random"
    )
    mirror: Mirror = False
    offsets: Offsets = True

    @property
    def backbone(self) -> str:
        """What stands where other networks name a shared CNN."""
        return "naive"


class FCNConfig(BackboneSection):
    """Scores of deep levels, enlarged and summed: FCN-32s, FCN-16s, FCN-8s."""

    name: Literal["fcn"] = "fcn"
    stride: Annotated[Literal[8, 16, 32], Number] = Field(
        8, description="32: the last level alone; 16 and 8: one and two finer levels are scored as well"
    )
    width: Positive = Field(
        512, description="channels of the two convolutions before the scores (the paper's VGG: 4096)"
    )
    dropout: Fraction = Field(0.5, description="chance that a channel of these is dropped")
    mirror: Mirror = False
    offsets: Offsets = True


class SegNetConfig(BackboneSection):
    """A decoder that mirrors the encoder and enlarges with the positions of its max pools; VGG only."""

    name: Literal["segnet"] = "segnet"
    backbone: str = Field("vgg16_bn", min_length=1, description=f"one of {', '.join(WITH_POSITIONS)}")
    mirror: Mirror = False
    offsets: Offsets = True

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        _check_pools(self.backbone, "segnet")
        return self


class UNetConfig(BackboneSection):
    """A decoder that goes back up level by level, with the encoder's levels beside it."""

    name: Literal["unet"] = "unet"
    up: Literal["transpose", "bilinear", "unpool"] = Field(
        "bilinear",
        description="how sizes double: transpose (learned), bilinear, or unpool (positions of VGG's pools)",
    )
    widths: tuple[Positive, ...] = Field(
        (128, 64, 32, 16, 16),
        min_length=1,
        description="channels of each stage of the decoder, coarsest first; the last one repeats, and a "
        "backbone of few levels leaves the last ones out",
    )
    convolutions: Annotated[Literal[1, 2], Number] = Field(2, description="3x3 convolutions of a stage")
    mirror: Mirror = False
    offsets: Offsets = True

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        if self.up == "unpool":
            _check_pools(self.backbone, "unet with up: unpool")
        return self


class UPerNetConfig(BackboneSection):
    """Pyramid pooling over the last level and a feature pyramid over the others: the strong one."""

    name: Literal["upernet"] = "upernet"
    width: Positive = Field(128, description="channels of the pyramid")
    dropout: Fraction = Field(0.1, description="chance that a channel before the scores is dropped")
    mirror: Mirror = False
    offsets: Offsets = True


class LRASPPConfig(BackboneSection):
    """The last level, weighted channel by channel, beside one of stride 8: the quick one."""

    name: Literal["lraspp"] = "lraspp"
    backbone: str = Field("mobilenet_v3_large", min_length=1, description="name of the shared CNN")
    width: Positive = Field(128, description="channels that the last level is brought to")
    mirror: Mirror = False
    offsets: Offsets = True


ModelConfig = NaiveConfig | FCNConfig | SegNetConfig | UNetConfig | UPerNetConfig | LRASPPConfig


def _check_pools(backbone: str, what: str) -> None:
    if backbone not in WITH_POSITIONS:
        raise ValueError(
            f"a backbone whose pools have positions for {what}, one of {', '.join(WITH_POSITIONS)} "
            f"(not '{backbone}')"
        )


class LossConfig(Section):
    """What training minimises: a weighted sum. Ignored pixels count nowhere."""

    cross_entropy: float = Field(1.0, ge=0, description="weight of the cross-entropy; 0 = off")
    focal: float = Field(0.0, ge=0, description="weight of the focal loss; 0 = off")
    focal_gamma: float = Field(2.0, ge=0, description="how much the focal loss spares easy pixels")
    dice: float = Field(0.0, ge=0, description="weight of the Dice loss; 0 = off")
    lovasz: float = Field(0.0, ge=0, description="weight of the Lovasz-softmax loss; 0 = off")
    lovasz_step: Positive = Field(
        1, description="pixels along each axis of which Lovasz-softmax sees one: sorting them all is slow"
    )
    class_weights: Literal["median"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="of cross-entropy and focal loss: median (median frequency / frequency), or "
        "{class: factor}, 1 where not named; null = none",
    )
    class_weight_power: Fraction = Field(
        1.0, description="exponent of the class weights: 1 = as they are, 0.5 = their square roots"
    )

    @field_validator("class_weights", mode="before")
    @classmethod
    def _check_weights(cls, value: Any) -> Any:
        if value is None or value == "median":
            return value
        try:
            weights = {name: float(weight) for name, weight in value.items()}
        except (AttributeError, TypeError, ValueError):
            raise ValueError("median, null, or {class name: factor}") from None
        if not weights or not all(0 < weight < math.inf for weight in weights.values()):
            raise ValueError("a factor above 0 for each class that is named")
        return weights

    @model_validator(mode="after")
    def _check_terms(self) -> Self:
        if not self.cross_entropy + self.focal + self.dice + self.lovasz:
            raise ValueError("a weight above 0 for one of cross_entropy, focal, dice, lovasz")
        return self
