"""JSON, YAML, XML and CSV from untrusted bytes: pure parsing; `io/files.py` reads and writes the files.

UTF-8 only, with or without byte order mark, any line ends. Every fault is a `DataError` with file and line;
nothing in a document can run code, refer to another file or expand beyond its own size.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import yaml

from visiontasks.errors import DataError

MAX_DEPTH: Final = 64  # levels of nesting in YAML and XML; JSON stops at the interpreter's recursion limit
_YAML_EVENTS: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml, where PyYAML was built with it
_JSON_STRING_OR_END: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|\}', re.DOTALL)

Lines = dict[tuple[str, ...], int]  # key path -> line number, from 1


def decode_text(data: bytes, name: str) -> str:
    """UTF-8 without its byte order mark. Raises: DataError with the line of the first wrong byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x}"
        raise DataError(
            f"{name}:{line}: expected UTF-8 text, found {found}; save the file as UTF-8"
        ) from None


def parse_json(text: str, name: str, *, allow_nan: bool) -> Any:
    """One JSON value.

    Args:
        allow_nan: accept the literals NaN and Infinity, which other programs write though JSON has none.

    Raises: DataError for a syntax error, a key that an object has twice, NaN unless allowed, deep nesting.
    """
    objects = itertools.count(1)

    def to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        number = next(objects)
        result = dict(pairs)
        if len(result) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key, count in counts.items() if count > 1)
            line = _line_of_object_end(text, number)
            raise DataError(
                f"{name}:{line}: expected each key once, found '{twice}' twice in the object above"
            )
        return result

    def refuse(literal: str) -> NoReturn:
        line = _line_of_literal(text, literal)
        raise DataError(f"{name}:{line}: expected finite numbers, found {literal}; mend or remove the record")

    try:
        return json.loads(text, object_pairs_hook=to_dict, parse_constant=float if allow_nan else refuse)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise DataError(
            f"{name}:{error.lineno}: expected JSON, found a fault in column {error.colno}: {what}"
        ) from None
    except RecursionError:
        raise DataError(f"{name}: expected JSON of reasonable depth, found too many nested values") from None
    except ValueError:  # the one other that json.loads has: Python refuses to convert such an integer
        raise DataError(
            f"{name}: expected numbers of reasonable length, found one of thousands of digits"
        ) from None


def _line_of_object_end(text: str, number: int) -> int:
    """The line where the `number`-th object (counted by their ends, from 1) is closed."""
    ends = (match for match in _JSON_STRING_OR_END.finditer(text) if match[0] == "}")
    end = next(itertools.islice(ends, number - 1, None))
    return text.count("\n", 0, end.start()) + 1


def _line_of_literal(text: str, literal: str) -> int:
    """The line of the first occurrence outside strings."""
    pattern = re.compile(rf'"[^"\\]*(?:\\.[^"\\]*)*"|{re.escape(literal)}', re.DOTALL)
    start = next(match.start() for match in pattern.finditer(text) if match[0] == literal)
    return text.count("\n", 0, start) + 1


def parse_yaml(text: str, name: str) -> tuple[Any, Lines]:
    """One YAML document as nested dicts, lists and strings: scalars stay as written, an empty one is "".

    Returns:
        The value ("" for an empty document) and the line of each key and list entry; entries count as "0",
        "1", ... in a path.

    Raises: DataError for a syntax error, anchors, aliases, tags, a key given twice, deep nesting, a second
        document.
    """
    lines: Lines = {}
    try:
        events = yaml.parse(text, Loader=_YAML_EVENTS)
        next(events)  # stream start
        if isinstance(next(events), yaml.StreamEndEvent):
            return "", lines
        value = _yaml_value(next(events), events, (), lines, name)
        next(events)  # document end
        second = next(events)
        if not isinstance(second, yaml.StreamEndEvent):
            raise DataError(f"{name}:{_line(second)}: expected one YAML document, found a second one ('---')")
        return value, lines
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        what = " ".join(f"{error.problem or error.context}".split())
        raise DataError(f"{name}{line}: expected YAML, found: {what}") from None
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise DataError(f"{name}: expected YAML, found: {what}") from None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _check_plain(event: yaml.Event, name: str) -> None:
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    if anchor is None and tag is None:
        return
    found = (
        f"an anchor or alias ('{anchor}'); write the value out" if anchor else f"the tag '{tag}'; remove it"
    )
    raise DataError(f"{name}:{_line(event)}: expected plain values, found {found}")


def _yaml_value(
    event: yaml.Event, events: Iterator[yaml.Event], path: tuple[str, ...], lines: Lines, name: str
) -> Any:
    _check_plain(event, name)
    if len(path) > MAX_DEPTH:
        raise DataError(f"{name}:{_line(event)}: expected at most {MAX_DEPTH} levels of nesting, found more")
    if isinstance(event, yaml.ScalarEvent):
        return event.value
    if isinstance(event, yaml.SequenceStartEvent):
        entries: list[Any] = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            inner = (*path, str(len(entries)))
            lines[inner] = _line(item)
            entries.append(_yaml_value(item, events, inner, lines, name))
        return entries
    mapping: dict[str, Any] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        _check_plain(key, name)
        if not isinstance(key, yaml.ScalarEvent):
            raise DataError(f"{name}:{_line(key)}: expected a name before ':', found a list or mapping")
        inner = (*path, key.value)
        if key.value in mapping:
            found = f"'{key.value}' again (first in line {lines[inner]})"
            raise DataError(f"{name}:{_line(key)}: expected each key once, found {found}")
        lines[inner] = _line(key)
        mapping[key.value] = _yaml_value(next(events), events, inner, lines, name)
    return mapping


def parse_xml(text: str, name: str) -> ElementTree.Element:
    """The root element.

    Raises: DataError for a syntax error, a DOCTYPE (entities, links to other files), or deep nesting.
    """
    doctype = text.find("<!DOCTYPE")
    if (
        doctype >= 0
    ):  # without one there are no entities but XML's own five; the encoding is ours, not the file's
        line = text.count("\n", 0, doctype) + 1
        raise DataError(f"{name}:{line}: expected XML without DOCTYPE, found one; remove it")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        line, column = error.position
        what = str(error).partition(":")[0]
        raise DataError(
            f"{name}:{line}: expected XML, found a fault in column {column + 1}: {what}; mend the file"
        ) from None
    except ValueError as error:  # a character that no encoding has
        raise DataError(f"{name}: expected XML, found: {error}") from None
    level, depth = [root], 1
    while level := [child for element in level for child in element]:
        depth += 1
        if depth > MAX_DEPTH:
            raise DataError(f"{name}: expected at most {MAX_DEPTH} levels of elements, found more")
    return root


def parse_csv(text: str, name: str) -> list[dict[str, str]]:
    """Comma-separated rows under a header, as one dict a row; empty lines are left out.

    Raises: DataError for a missing or ambiguous header, or a row with another number of fields.
    """
    rows: list[dict[str, str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            if not fields:
                continue
            if not header:
                header = _csv_header(fields, f"{name}:{reader.line_num}")
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{name}:{reader.line_num}: expected {len(header)} fields ({', '.join(header)}), "
                    f"found {len(fields)}; quote fields that hold commas"
                )
            rows.append(dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: expected CSV, found: {error}") from None
    if not header:
        raise DataError(f"{name}: expected a header line with the names of the columns, found an empty file")
    return rows


def _csv_header(fields: list[str], where: str) -> list[str]:
    header = [field.strip() for field in fields]
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice or "" in header:
        found = f"'{twice[0]}' twice" if twice else "an empty one"
        raise DataError(f"{where}: expected a header of distinct column names, found {found}")
    return header
