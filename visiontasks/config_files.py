"""Config files: read, overridden, checked against their models with all faults at once, and written."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from visiontasks.errors import ConfigError, DataError, UsageError, unknown_name
from visiontasks.io.documents import parse_yaml

MOST_FAULTS = 100  # that a message lists
EXPECTED = {  # pydantic's kinds of fault in our words
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a section of keys and values",
    "model_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
}


def parse_config(
    model: Any,
    values: Mapping[str, Any],
    *,
    file: str,
    lines: Mapping[tuple[str, ...], int] | None = None,
) -> Any:
    """Check the values of a config file against its model.

    Args:
        model: the pydantic model to fill; for a section that has several forms, their union.
        values: nested mappings; scalars may be strings.
        file: where the values come from, for the messages.
        lines: line number of each key, where known; 0 = set on the command line.

    Raises:
        ConfigError: all faults together, up to `MOST_FAULTS`; each with file, line, dotted key, what was
            expected and found, and the nearest valid key.
    """
    try:
        return TypeAdapter(model).validate_python(dict(values))
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = [_describe_fault(model, fault, file, lines or {}) for fault in found[:MOST_FAULTS]]
        more = [f"{file}: and {len(found) - MOST_FAULTS} more faults"] * (len(found) > MOST_FAULTS)
        raise ConfigError([*dict.fromkeys(faults), *more]) from None


def _describe_fault(model: Any, fault: Any, file: str, lines: Mapping[tuple[str, ...], int]) -> str:
    tagged = tuple(str(part) for part in fault["loc"])
    location = _without_tags(model, tagged)
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    where = "--set" if line == 0 else file if line is None else f"{file}:{line}"
    key = ".".join(location)
    if fault["type"] == "extra_forbidden":
        names = list(_fields_at(model, tagged[:-1]))
        close = difflib.get_close_matches(location[-1], names, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        return f"{where}: unknown key '{key}'; {hint}valid here: {', '.join(names)}"
    if fault["type"] == "missing":
        return f"{where}: missing key '{key}'; add it{_meaning(model, tagged)}"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        names = [str(_tag(section)) for section in _sections_at(model, tagged)]
        return f"{where}: {key}: {unknown_name('name', str(fault['input'].get('name')), names)}"
    if fault["type"] == "value_error" and "unknown " in fault["msg"]:
        return f"{where}: {key}: {fault['msg'].removeprefix('Value error, ')}"
    expected = EXPECTED.get(fault["type"]) or fault["msg"].removeprefix("Input should be ")
    expected = expected.removeprefix("Value error, ")
    if not location:  # of sections that do not fit together: the message names the keys
        return f"{where}: expected {expected}"
    return f"{where}: {key}: expected {expected}, found {fault['input']!r}{_meaning(model, tagged)}"


def _fields_at(model: Any, location: Sequence[str]) -> dict[str, Any]:
    """The fields of the section that a location names; of any variant where a section has several forms."""
    fields: dict[str, Any] = {}
    for section in _sections_at(model, location):
        fields.update(section.model_fields)
    return fields


def _sections_at(model: Any, location: Sequence[str]) -> list[type[BaseModel]]:
    sections = _models_in(model)
    for part in location:
        found = [
            inner
            for s in sections
            if part in s.model_fields
            for inner in _models_in(s.model_fields[part].annotation)
        ]
        tagged = [s for s in sections if _tag(s) == part]
        sections = found or tagged or sections  # a list's index names nothing: stay
    return sections


def _tag(section: type[BaseModel]) -> Any:
    """What tells a form of a section from the others: its field `name` has one value."""
    name = section.model_fields.get("name")
    return name.default if name is not None else None


def _without_tags(model: Any, location: Sequence[str]) -> tuple[str, ...]:
    """A location as the file writes it: pydantic adds the tag of a section that has several forms."""
    return tuple(
        part
        for place, part in enumerate(location)
        if not any(
            _tag(s) == part and part not in s.model_fields for s in _sections_at(model, location[:place])
        )
    )


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]


def _meaning(model: Any, location: Sequence[str]) -> str:
    field = _fields_at(model, location[:-1]).get(location[-1]) if location else None
    return f" ({field.description})" if field is not None and field.description else ""


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`["a.b=v", ...]` -> `{"a.b": v}`. The right side is read as YAML; its scalars stay strings.

    Raises: UsageError for a setting without `=` or with bad YAML; all of them together.
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
        raise UsageError("; ".join(faults))
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


def section_model(config: type[BaseModel], name: str) -> Any:
    """The model of one section of a config: `data` of ClassificationConfig -> DataConfig."""
    field = config.model_fields[name]
    return Annotated[field.annotation, field] if field.discriminator else field.annotation


def to_yaml(config: BaseModel) -> str:
    """The resolved config as YAML that reads back to the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def describe_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every value of a config, for `visiontasks train --help`.

    A section of several forms has the keys of all, those that not all have with the form's name.
    """
    for name, field in model.model_fields.items():
        models = _models_in(field.annotation)
        if models:
            forms = [(_tag(inner), list(describe_keys(inner, f"{prefix}{name}."))) for inner in models]
            shared = set.intersection(*({key for key, *_ in rows} for _, rows in forms))
            choices = f"one of {', '.join(str(form) for form, _ in forms)}" if len(forms) > 1 else ""
            yield from (
                (key, default, meaning or choices) for key, default, meaning in forms[0][1] if key in shared
            )
            for form, rows in forms:
                yield from (
                    (key, default, f"{meaning} [{form}]")
                    for key, default, meaning in rows
                    if key not in shared
                )
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
