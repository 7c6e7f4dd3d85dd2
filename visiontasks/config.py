"""A run's config: one YAML file, complete, strict; and the sections that all tasks share.

Scalars are read as strings and converted by the field's type, so `[no, yes]` and `1e-3` mean what they say.
This module imports no torch: the command line's help is made from it.
"""

from __future__ import annotations

import itertools
import types
import typing
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from visiontasks.io.images import MAX_PIXELS

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
BatchSize = Annotated[
    int,
    Field(ge=1, description="pictures a step, over all processes; an incomplete last one is left out"),
]
Depth = Annotated[int, Field(ge=1, le=1000)]  # layers, one after the other
Side = Annotated[int, Field(ge=1, le=8192)]  # of a network's input, pixels

NULLS = ("", "~", "null", "Null", "NULL")


class Section(BaseModel):
    """A part of a config: unknown keys are errors, values immutable, `null` is None where None is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_nulls(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        optional = {name for name, field in cls.model_fields.items() if _allows_none(field.annotation)}
        return {key: None if key in optional and value in NULLS else value for key, value in values.items()}


def _allows_none(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType) and type(None) in typing.get_args(
        annotation
    )


class OptimizerConfig(Section):
    """How weights are updated."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="adamw or sgd (Nesterov momentum)")
    lr: float = Field(
        1e-3, gt=0, description="peak learning rate, for the whole batch size (sgd wants 0.01 to 1)"
    )
    momentum: Fraction = Field(0.9, description="SGD's momentum, or AdamW's beta1")
    weight_decay: float = Field(
        0.05, ge=0, description="decay of weights, never of biases and norm layers (sgd wants 5e-4)"
    )
    backbone_lr: float = Field(
        1.0, ge=0, description="factor on the learning rate of the backbone (with fine_tune: 0.1, say)"
    )


class ScheduleConfig(Section):
    """The learning rate over time, as a factor on its peak."""

    name: Literal["constant", "cosine", "step", "one_cycle", "trapezoid"] = Field(
        "cosine",
        description="constant, cosine, step (x gamma at each milestone), one_cycle (linear up, down) or "
        "trapezoid (constant until the cooldown: a run can be made longer before it)",
    )
    warmup: float = Field(0.0, ge=0, description="epochs of linear warm-up; for one_cycle the way up")
    milestones: tuple[float, ...] = Field((), description="epochs at which `step` multiplies by gamma")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of `step`")
    cooldown: float = Field(0.0, ge=0, description="epochs at the end in which `trapezoid` falls")
    final: Fraction = Field(0.0, description="factor at the end of cosine, one_cycle and trapezoid")


class TrainConfig(Section):
    """How a run is trained; the same for every task, but for the usual batch."""

    epochs: Positive = Field(10, description="passes over the training pictures")
    batch_size: BatchSize = 64
    accumulate: Positive = Field(1, description="parts that a batch is computed in, to save memory")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    transfer: Literal["scratch", "feature_extraction", "fine_tune"] = Field(
        "scratch",
        description="scratch, or from model.weights: feature_extraction (backbone frozen), fine_tune (all "
        "trained; the default beside model.weights)",
    )
    clip_norm: float = Field(0.0, ge=0, description="largest gradient norm; 0 = no clipping")
    ema: Fraction = Field(0.0, description="decay of the moving average of the weights a step; 0 = none")
    evaluate_every: Positive = Field(
        1, description="epochs between validations; the last is always validated"
    )
    early_stopping: int = Field(
        0, ge=0, description="stop after this many validations without a better one; 0 = never"
    )
    monitor: str | None = Field(
        None, description="metric that picks the best epoch; null = the task's headline"
    )
    resolutions: tuple[tuple[float, Side], ...] = Field(
        (),
        description="progressive resizing: [[until_epoch, size], ...]; after the last the input's own size",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="number format of the network"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    workers: int | None = Field(
        None, ge=0, le=64, description="processes that prepare pictures; null = by the machine"
    )
    checkpoint_minutes: float = Field(5.0, gt=0, description="minutes between saves of the run's state")
    max_skip: Fraction = Field(
        0.01, description="largest share of the pictures, or of their labels, that may be unusable"
    )

    @field_validator("resolutions")
    @classmethod
    def _check_resolutions(cls, value: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
        if any(after[0] <= before[0] for before, after in itertools.pairwise(value)):
            raise ValueError("[[until_epoch, size], ...] with rising epochs")
        return value


Channels = tuple[float, float, float]  # red, green, blue

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


class DataSection(Section):
    """What every task's data section has; a task adds `format` and what its formats need."""

    root: str = Field(
        ..., min_length=1, description="folder of the data; if relative, under $VISIONTASKS_DATA or here"
    )
    train: str | None = Field(None, description="training split, as the format names it, under root")
    val: str | None = Field(None, description="validation split under root; null = see holdout")
    test: str | None = Field(None, description="test split under root")
    holdout: float = Field(
        0.0, ge=0, lt=1, description="share of the training pictures kept for validation; wants val: null"
    )
    classes: tuple[str, ...] | dict[str, str] | None = Field(
        None,
        description="names in the order wanted, or {old: new} to rename some; null = the data's own",
    )
    lists: str | None = Field(
        None,
        description="text file with the pictures that a split has, a path under root in each line; {split} "
        "is its name; if relative, under $VISIONTASKS_DATA or here; null = all of them",
    )
    seed: int = Field(0, ge=0, description="which pictures holdout chooses")
    max_pixels: Positive = Field(
        MAX_PIXELS, description="pictures with more pixels are skipped before decoding"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _check_classes(cls, value: Any) -> Any:
        names = list(value.values()) if isinstance(value, Mapping) else value
        if value is None:
            return value
        if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) for n in names):
            raise ValueError("a list of class names, or {old name: new name}")
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ValueError(f"distinct class names ('{twice[0]}' comes twice)")
        return value

    @field_validator("holdout")
    @classmethod
    def _check_holdout(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("val") is not None:
            raise ValueError(f"0 where val is set (to '{info.data['val']}'), or val: null")
        return value


class InputSection(Section):
    """What every task's input section has; a weights file keeps it."""

    size: tuple[Side, Side] = Field((224, 224), description="height and width of the network's input, pixels")
    mean: Channels = Field(
        IMAGENET_MEAN, description="mean of red, green, blue, as fractions of 255; default ImageNet's"
    )
    std: Channels = Field(IMAGENET_STD, description="standard deviation of the same, as fractions of 255")

    @field_validator("mean")
    @classmethod
    def _check_mean(cls, value: Channels) -> Channels:
        if not all(0 <= channel <= 1 for channel in value):
            raise ValueError("fractions of 255, from 0 to 1 (divide 0..255 figures by 255)")
        return value

    @field_validator("std")
    @classmethod
    def _check_std(cls, value: Channels) -> Channels:
        if not all(0 < channel <= 1 for channel in value):
            raise ValueError("fractions of 255, above 0 and up to 1 (divide 0..255 figures by 255)")
        return value


class RunConfig(Section):
    """The parts that every task's config has; a task adds data, input, augment, model and loss."""

    name: str = Field(..., pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run's folder")
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, order and augmentation")
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _fill_transfer(self) -> Self:
        """What starts from weights is fine-tuned, if nothing else is said."""
        model: Any = getattr(self, "model", None)  # every task has the field
        starts = model is not None and model.weights is not None
        if starts and "transfer" not in self.train.model_fields_set:
            object.__setattr__(self, "train", self.train.model_copy(update={"transfer": "fine_tune"}))
        elif starts and self.train.transfer == "scratch":
            raise ValueError(
                "train.transfer: fine_tune or feature_extraction with model.weights, found scratch"
            )
        elif not starts and self.train.transfer != "scratch":
            raise ValueError(f"model.weights with train.transfer: {self.train.transfer}, found null")
        return self
