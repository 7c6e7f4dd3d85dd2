"""The config of a classification run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from visiontasks.backbones.section import BackboneSection
from visiontasks.config import DataSection, Fraction, InputSection, Positive, RunConfig, Section

Format = Literal["folder", "csv", "tiny-imagenet"]


class DataConfig(DataSection):
    """Which pictures, and how they are split. On its own it is a DATA.yaml."""

    format: Format = Field(
        "folder", description="folder (one a class), csv (columns path,label) or tiny-imagenet"
    )
    per_class: Positive | None = Field(
        None, description="use only so many training pictures a class; null = all"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_layout(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("format") == "tiny-imagenet":
            return {"train": "train", "val": "val", **values}
        return values


class InputConfig(InputSection):
    """What the network is fed with; a weights file keeps it."""

    resize: Literal["stretch", "crop", "pad"] = Field(
        "crop",
        description="stretch (ratio not kept), crop (cover size / crop_fraction, cut the centre) "
        "or pad (fit into size, fill the rest)",
    )
    crop_fraction: float = Field(
        0.875, gt=0, le=1, description="share of the resized height and width that `crop` keeps"
    )


class AugmentConfig(Section):
    """Random changes to training pictures. All are off but the mirror image."""

    flip: Fraction = Field(0.5, description="chance of a mirror image, left to right")
    vertical_flip: Fraction = Field(0.0, description="chance of a mirror image, top to bottom")
    crop_scale: tuple[float, float] | None = Field(
        None, description="[min, max] share of the picture's area that a random crop keeps; null = no crop"
    )
    crop_ratio: tuple[float, float] = Field(
        (3 / 4, 4 / 3), description="[min, max] width / height of the random crop"
    )
    pad_crop: int = Field(
        0, ge=0, description="pixels reflected onto each side of the input, then cut at random; 0 = off"
    )
    rotate: float = Field(0.0, ge=0, le=180, description="largest rotation either way, degrees; 0 = off")
    color_jitter: Fraction = Field(
        0.0,
        description="largest relative change of brightness, contrast, saturation (hue: a quarter of it)",
    )
    cutout: int = Field(0, ge=0, description="side of a square of the input that is blanked, pixels; 0 = off")
    mixup: float = Field(
        0.0, ge=0, description="alpha of the Beta distribution that blends two pictures; 0 = off"
    )
    cutmix: float = Field(
        0.0, ge=0, description="alpha of the Beta distribution that pastes a box of another picture; 0 = off"
    )

    @field_validator("crop_scale", "crop_ratio")
    @classmethod
    def _check_range(
        cls, value: tuple[float, float] | None, info: ValidationInfo
    ) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1]:
            raise ValueError("[min, max] with 0 < min <= max")
        if value is not None and info.field_name == "crop_scale" and value[1] > 1:
            raise ValueError("[min, max] with max at most 1, the whole picture")
        return value

    @field_validator("pad_crop")
    @classmethod
    def _check_one_crop(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("crop_scale") is not None:
            raise ValueError("0 beside crop_scale: one random crop is enough")
        return value


class ModelConfig(BackboneSection):
    """The network."""

    head: Literal["linear", "original"] = Field(
        "linear", description="linear (pooling, one layer) or original (the paper's own classifier)"
    )
    dropout: Fraction | None = Field(
        None, description="chance that an input of the head is dropped; null = as published, none for linear"
    )
    mirror: bool = Field(
        False, description="predict on the picture and its mirror image, and average (twice the time)"
    )
    shift: int = Field(
        0,
        ge=0,
        description="predict also on the picture moved diagonally by so many pixels (3 times the time)",
    )


class LossConfig(Section):
    """Cross-entropy, and what bends it."""

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="balanced (by inverse frequency), or {class: factor}, 1 where not named; null = none",
    )

    @field_validator("class_weights", mode="before")
    @classmethod
    def _check_weights(cls, value: Any) -> Any:
        if value is None or value == "balanced":
            return value
        try:
            weights = {name: float(weight) for name, weight in value.items()}
        except (AttributeError, TypeError, ValueError):
            raise ValueError("balanced, null, or {class name: factor}") from None
        if not weights or not all(0 < weight < float("inf") for weight in weights.values()):
            raise ValueError("a factor above 0 for each class that is named")
        return weights


class ClassificationConfig(RunConfig):
    """A whole classification run."""

    task: Literal["classification"] = Field("classification", description="what the run trains")
    data: DataConfig
    input: InputConfig = InputConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle",
        description="shuffle (each picture once an epoch) or balanced (each class equally often, by chance)",
    )

    @field_validator("augment")
    @classmethod
    def _check_pixels(cls, value: AugmentConfig, info: ValidationInfo) -> AugmentConfig:
        shorter = min(info.data["input"].size) if "input" in info.data else math.inf
        for name in ("pad_crop", "cutout"):
            if getattr(value, name) >= shorter:
                raise ValueError(f"{name} below the input's shorter side ({shorter} pixels)")
        return value

    @field_validator("model")
    @classmethod
    def _check_shift(cls, value: ModelConfig, info: ValidationInfo) -> ModelConfig:
        shorter = min(info.data["input"].size) if "input" in info.data else math.inf
        if value.shift >= shorter:
            raise ValueError(f"shift below the input's shorter side ({shorter} pixels)")
        return value

    @field_validator("sampling")
    @classmethod
    def _check_sampling(cls, value: str, info: ValidationInfo) -> str:
        if value == "balanced" and "loss" in info.data and info.data["loss"].class_weights == "balanced":
            raise ValueError("shuffle beside loss.class_weights: balanced (one remedy for rare classes)")
        return value
