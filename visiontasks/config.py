"""A run's config: one YAML file, complete, strict; and the sections that all tasks share.

Scalars are read as strings and converted by the field's type, so `[no, yes]` and `1e-3` mean what they say.
This module imports no torch: the command line's help is made from it.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visiontasks.errors import ConfigError, DataError
from visiontasks.io.documents import parse_yaml

C = TypeVar("C", bound=BaseModel)

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Size = tuple[Positive, Positive]  # (height, width)

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

    name: Literal["sgd", "adamw"] = Field("sgd", description="sgd (Nesterov momentum) or adamw")
    lr: float = Field(0.1, gt=0, description="peak learning rate, for the whole batch size")
    momentum: Fraction = Field(0.9, description="SGD's momentum, or AdamW's beta1")
    weight_decay: float = Field(5e-4, ge=0, description="decay of weights; never of biases and norm layers")
    backbone_lr: float = Field(
        1.0, ge=0, description="factor on the learning rate of the backbone (with fine_tune: 0.1, say)"
    )


class ScheduleConfig(Section):
    """The learning rate over time, as a factor on its peak."""

    name: Literal["constant", "cosine", "step", "one_cycle"] = Field(
        "cosine",
        description="constant, cosine, step (x gamma at each milestone) or one_cycle (linear up, down)",
    )
    warmup: float = Field(0.0, ge=0, description="epochs of linear warm-up; for one_cycle the way up")
    milestones: tuple[float, ...] = Field((), description="epochs at which `step` multiplies by gamma")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of `step`")
    final: Fraction = Field(0.0, description="factor at the end of cosine and one_cycle")


class TrainConfig(Section):
    """How a run is trained; the same for every task."""

    epochs: Positive = Field(10, description="passes over the training pictures")
    batch_size: Positive = Field(64, description="pictures a step, over all processes")
    accumulate: Positive = Field(1, description="parts that a batch is computed in, to save memory")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    transfer: Literal["scratch", "feature_extraction", "fine_tune"] = Field(
        "scratch", description="scratch; feature_extraction (backbone frozen); fine_tune (all trained)"
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
    resolutions: tuple[tuple[float, Positive], ...] = Field(
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
    max_skip: Fraction = Field(0.01, description="largest share of pictures that may be unusable")


class RunConfig(Section):
    """The parts that every task's config has; a task adds data, input, augment, model and loss."""

    name: str = Field(..., pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run's folder")
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, order and augmentation")
    train: TrainConfig = TrainConfig()


def parse_config(
    model: type[C],
    values: Mapping[str, Any],
    *,
    file: str,
    lines: Mapping[tuple[str, ...], int] | None = None,
) -> C:
    """Check the values of a config file against its model.

    Args:
        model: the pydantic model to fill.
        values: nested mappings; scalars may be strings.
        file: where the values come from, for the messages.
        lines: line number of each key, where known.

    Raises:
        ConfigError: all faults together; each with file, line, dotted key, what was expected and found, and
            the nearest valid key.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        faults = [
            _describe_fault(model, fault, file, lines or {}) for fault in error.errors(include_url=False)
        ]
        raise ConfigError(list(dict.fromkeys(faults))) from None


def _describe_fault(
    model: type[BaseModel], fault: Any, file: str, lines: Mapping[tuple[str, ...], int]
) -> str:
    location = tuple(str(part) for part in fault["loc"])
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    where = f"{file}:{line}" if line else file
    key = ".".join(location)
    if fault["type"] == "extra_forbidden":
        valid = [".".join((*location[:-1], name)) for name in _fields_at(model, location[:-1])]
        names = [name.rpartition(".")[2] for name in valid]
        close = difflib.get_close_matches(location[-1], names, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        return f"{where}: unknown key '{key}'; {hint}valid here: {', '.join(names)}"
    if fault["type"] == "missing":
        return f"{where}: missing key '{key}'; add it{_meaning(model, location)}"
    if fault["type"] == "value_error" and "unknown " in fault["msg"]:
        return f"{where}: {key}: {fault['msg'].removeprefix('Value error, ')}"
    expected = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{where}: {key}: expected {expected}, found {fault['input']!r}{_meaning(model, location)}"


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> dict[str, Any]:
    """The fields of the section that a location names; of any variant where a section has several forms."""
    fields: dict[str, Any] = {}
    for section in _sections_at(model, location):
        fields.update(section.model_fields)
    return fields


def _sections_at(model: type[BaseModel], location: Sequence[str]) -> list[type[BaseModel]]:
    sections = [model]
    for part in location:
        found = [
            inner
            for s in sections
            if part in s.model_fields
            for inner in _models_in(s.model_fields[part].annotation)
        ]
        sections = found or sections  # a list's index or a union's tag names no field: stay
    return sections


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]


def _meaning(model: type[BaseModel], location: Sequence[str]) -> str:
    field = _fields_at(model, location[:-1]).get(location[-1]) if location else None
    return f" ({field.description})" if field is not None and field.description else ""


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`["a.b=v", ...]` -> `{"a.b": v}`. The right side is read as YAML; its scalars stay strings.

    Raises: ConfigError for a setting without `=` or with bad YAML; all of them together.
    """
    values: dict[str, Any] = {}
    faults = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.strip().split(".")):
            faults.append(f"--set: expected KEY.KEY=VALUE, found '{setting}'")
            continue
        try:
            values[key.strip()], _ = parse_yaml(text, "--set")
        except DataError:
            faults.append(f"--set {key}: expected a YAML value, found '{text}'; quote it")
    if faults:
        raise ConfigError(faults)
    return values


def override(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values with some of them replaced: `{"train.epochs": 5}`.

    Raises: ConfigError when a key's path runs through a value that is no section.
    """
    result = _copied(values)
    for key, value in settings.items():
        *path, last = key.split(".")
        section: Any = result
        for part in path:
            section = section.setdefault(part, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError([f"--set {key}: '{'.'.join(path)}' is a value, not a section"])
        section[last] = value
    return result


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as `{"a.b": value}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(
            flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
    return flat


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def section_model(config: type[BaseModel], name: str) -> type[Any]:
    """The model of one section of a config: `data` of ClassificationConfig -> DataConfig."""
    annotation = config.model_fields[name].annotation
    assert isinstance(annotation, type)
    return annotation


def to_yaml(config: BaseModel) -> str:
    """The resolved config as YAML that reads back to the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def describe_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every value of a config, for `visiontasks train --help`."""
    for name, field in model.model_fields.items():
        models = _models_in(field.annotation)
        if models:
            for inner in models:
                yield from describe_keys(inner, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else _show(field.default)
        yield f"{prefix}{name}", default, field.description or ""


def _show(value: Any) -> str:
    return "null" if value is None else str(list(value)) if isinstance(value, tuple) else str(value)


def read_config(path: Path) -> Path:
    """Resolve the path of a config: as typed, or a recipe of the package (`configs/...` works anywhere)."""
    package = Path(__file__).parent
    if not path.exists() and path.parts[:1] == ("configs",):
        for root in (package, package.parent):  # a wheel has the recipes inside, a checkout beside
            if (root / path).exists():
                return root / path
    return path
