"""The config of a segmentation run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from visiontasks.config import (
    BatchSize,
    DataSection,
    Fraction,
    InputSection,
    RunConfig,
    Section,
    Side,
    TrainConfig,
)
from visiontasks.segmentation.model_config import LossConfig, ModelConfig, UNetConfig

Format = Literal["masks", "colour", "list", "voc", "cityscapes", "coco"]
MaskValue = Annotated[int, Field(ge=0, le=65535)]
Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]  # red, green, blue


class DataConfig(DataSection):
    """Which pictures and masks, and how they are split. On its own it is a DATA.yaml.

    A split may be several: `train: train+val`.
    """

    format: Format = Field(
        "masks",
        description="masks (folders of pictures and index masks), colour (the same, colour-coded), list "
        "(files of lines 'picture mask'), voc, cityscapes or coco",
    )
    images: str | None = Field(
        None,
        description="folder of a split's pictures, {split} is its name; null = found (images/{split}, ...)",
    )
    masks: str | None = Field(
        None, description="folder of a split's masks, {split} is its name; null = found (masks/{split}, ...)"
    )
    key: str | None = Field(
        None,
        description="regular expression; what its first group finds in a file's path (without suffix) joins "
        "picture and mask; null = the path below the split's folder",
    )
    ids: tuple[str, ...] | dict[str, tuple[MaskValue, ...]] | None = Field(
        None,
        description="the masks' values: {name: value or [values]}, or the names of 0, 1, 2, ...; null = "
        "classes.txt, or the format's own",
    )
    colours: dict[str, tuple[Colour, ...]] | str | None = Field(
        None,
        description="of colour-coded masks: {name: [r, g, b] or '#rrggbb', or several}, or a CSV file with "
        "the columns name, r, g, b",
    )
    ignore: tuple[int | str, ...] = Field(
        (),
        description="values, names or '#rrggbb' that are neither trained on nor measured; 255 is one anyway",
    )
    strip_prefix: str = Field(
        "", description="beginning of the paths in a list file that stands for root (/SegNet/CamVid/, say)"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_layout(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("format") in ("voc", "cityscapes"):
            val = {} if values.get("holdout") else {"val": "val"}
            return {"train": "train", **val, **values}
        return values

    @field_validator("key")
    @classmethod
    def _check_key(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        if groups != 1:
            raise ValueError(f"a regular expression with one group, as in '(.+)_mask' ({groups} groups)")
        return value

    @field_validator("ids", mode="before")
    @classmethod
    def _list_values(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: ids if isinstance(ids, list | tuple) else [ids] for name, ids in value.items()}

    @field_validator("ids")
    @classmethod
    def _check_ids(cls, value: Any) -> Any:
        if value is None:
            return value
        listed = list(value) if isinstance(value, tuple) else [i for ids in value.values() for i in ids]
        _check_once(listed)
        if not value or (isinstance(value, dict) and not all(value.values())):
            raise ValueError("a value for each name, or the names of 0, 1, 2, ...")
        return value

    @field_validator("colours", mode="before")
    @classmethod
    def _list_colours(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: [parse_colour(colour) for colour in _colours(given)] for name, given in value.items()}

    @field_validator("colours")
    @classmethod
    def _check_colours(cls, value: Any) -> Any:
        if isinstance(value, dict):
            _check_once([format_colour(colour) for colours in value.values() for colour in colours])
            if not value or not all(value.values()):
                raise ValueError("a colour for each name")
        return value

    @field_validator("ignore", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple(int(item) if isinstance(item, str) and item.isdecimal() else item for item in value)


def _check_once(values: Sequence[Any]) -> None:
    twice = sorted(value for value, count in Counter(map(str, values)).items() if count > 1)
    if twice:
        raise ValueError(f"each value once ({twice[0]} comes twice)")


def _colours(given: Any) -> list[Any]:
    """One colour, or a list of some, as a list."""
    is_list = isinstance(given, list | tuple)
    nested = is_list and all(isinstance(item, list | tuple) or str(item).startswith("#") for item in given)
    return list(given) if nested else [given]


def parse_colour(given: Any) -> Any:
    """`#rrggbb` as [r, g, b]; anything else as it is, for the field's type to check."""
    if isinstance(given, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", given):
        return list(bytes.fromhex(given[1:]))
    return given


def format_colour(colour: Sequence[int]) -> str:
    """(r, g, b) as `#rrggbb`: what a class's file id is in colour-coded masks."""
    return "#" + bytes(colour).hex()


class InputConfig(InputSection):
    """What the network is fed with; a weights file keeps it."""

    size: tuple[Side, Side] = Field(
        (360, 480), description="height and width, pixels, of the resized picture, or of training crops"
    )
    resize: Literal["none", "fit", "shorter", "stretch"] = Field(
        "none",
        description="none (pictures keep their size, padded to the batch), fit (as large as fits into size, "
        "ratio kept), stretch (to size), or torchvision's shorter: the shorter side becomes the smaller "
        "number, unless the longer side would exceed the larger",
    )


class AugmentConfig(Section):
    """Random changes to training pictures and their masks: a part of input.size is cut out anyway."""

    scale: tuple[float, float] | None = Field(
        None, description="[min, max] factor on the resized picture before a part is cut out; null = off"
    )
    rotate: float = Field(
        0.0, ge=0, le=180, description="largest rotation either way, degrees; corners become ignored; 0 = off"
    )
    flip: Fraction = Field(0.5, description="chance of a mirror image, left to right")
    vertical_flip: Fraction = Field(0.0, description="chance of a mirror image, top to bottom")
    color_jitter: Fraction = Field(
        0.0,
        description="largest relative change of brightness, contrast, saturation (hue: a quarter of it)",
    )

    @field_validator("scale")
    @classmethod
    def _check_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0.05 <= value[0] <= value[1] <= 20:
            raise ValueError("[min, max] with 0.05 <= min <= max <= 20")
        return value


class SegmentationTrainConfig(TrainConfig):
    """As of every task; the pictures are larger."""

    batch_size: BatchSize = 8


class SegmentationConfig(RunConfig):
    """A whole segmentation run."""

    task: Literal["segmentation"] = Field("segmentation", description="what the run trains")
    train: SegmentationTrainConfig = SegmentationTrainConfig()
    data: DataConfig
    input: InputConfig = InputConfig()
    augment: AugmentConfig = AugmentConfig()
    model: Annotated[ModelConfig, Field(discriminator="name")] = UNetConfig()
    loss: LossConfig = LossConfig()

    @field_validator("model", mode="before")
    @classmethod
    def _name_model(cls, value: Any) -> Any:
        return {"name": "unet", **value} if isinstance(value, Mapping) else value
