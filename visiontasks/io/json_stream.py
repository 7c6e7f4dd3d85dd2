"""JSON files that are mostly long lists of records, record by record: memory for one record, not for all.

`documents.parse_json` holds a whole document as Python objects: ten times the size of a COCO file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from visiontasks.errors import DataError
from visiontasks.io.files import MAX_BYTES, open_binary

MAX_RECORD: Final = 64 << 20  # characters of one record
CHUNK: Final = 1 << 22  # bytes read at once
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LOOKAHEAD: Final = 16  # characters at the end of a text that may be half a word, as `-Infini`

_OF_NUMBERS: Final = ("", *"0123456789.eE+-")

Record = tuple[str, int, Any]  # key of the list, place in it (-1: the value is no list's), value


class _Fault(Exception):
    """What is wrong inside a record; `_Text.fail` says where."""


class _Text:
    """A window on the text of a file, moved along as values are read."""

    def __init__(self, file: BinaryIO, name: str, *, allow_nan: bool) -> None:
        self.file, self.name = file, name
        self.text, self.at, self.ended = "", 0, False
        self.line = 1  # of the window's first character
        self.record = ""  # what is being read, for messages
        self._bytes = codecs.getincrementaldecoder("utf-8-sig")()
        self._decode = json.JSONDecoder(
            object_pairs_hook=_to_dict, parse_constant=float if allow_nan else _refuse
        ).raw_decode

    def fail(self, what: str, at: int | None = None) -> NoReturn:
        line = self.line + self.text.count("\n", 0, self.at if at is None else at)
        where = f"{self.name}:{line}" + (f", {self.record}" if self.record else "")
        raise DataError(f"{where}: {what}") from None

    def grow(self) -> None:
        """Read on, as much again as is left unread; what is behind is let go."""
        data = self.file.read(max(CHUNK, len(self.text) - self.at))
        self.line += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :], 0
        self.ended = not data
        try:
            self.text += self._bytes.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + error.object.count(b"\n", 0, error.start)
            found = f"byte 0x{error.object[error.start]:02x}"
            raise DataError(
                f"{self.name}:{line}: expected UTF-8 text, found {found}; save the file as UTF-8"
            ) from None

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            assert found is not None  # it matches nothing, too
            self.at = found.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.grow()

    def take(self, choices: str) -> str:
        """Step over the next character, which must be one of some."""
        character = self.peek()
        if not character or character not in choices:
            found = f"'{character}'" if character else "the end of the file"
            self.fail(f"expected JSON with {' or '.join(choices)} here, found {found}")
        self.at += 1
        return character

    def value(self) -> Any:
        """Read one value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _LOOKAHEAD
                if self.ended or not cut_off or len(self.text) - self.at > MAX_RECORD:
                    column = error.pos - self.text.rfind("\n", 0, error.pos)
                    what = error.msg[:1].lower() + error.msg[1:]
                    self.fail(f"expected JSON, found a fault in column {column}: {what}", error.pos)
            except RecursionError:
                self.fail("expected JSON of reasonable depth, found too many nested values")
            except _Fault as fault:
                self.fail(str(fault))
            except ValueError:  # Python refuses to convert such an integer
                self.fail("expected numbers of reasonable length, found one of thousands of digits")
            else:
                if self.ended or self._is_whole(end):
                    self.at = end
                    return value
            self.grow()

    def _is_whole(self, end: int) -> bool:
        """Whether a value that ends here, before the end of the file, can't be a number that goes on."""
        rest = self.text[end : end + _LOOKAHEAD]
        return rest[:1] not in _OF_NUMBERS or len(rest) == _LOOKAHEAD


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise _Fault(f"expected each key once, found '{twice}' twice in one object")
    return result


def _refuse(literal: str) -> NoReturn:
    raise _Fault(f"expected finite numbers, found {literal}; mend or remove the record")


def stream_json(
    path: Path, *, max_bytes: int = MAX_BYTES[".json"], allow_nan: bool = False
) -> Iterator[Record]:
    """Read a JSON file of lists of records, such as COCO's.

    Args:
        max_bytes: largest size of the file.
        allow_nan: accept NaN and Infinity, which JSON does not have.

    Yields:
        (key, place, value): of an object at the top each list's values with the list's key, and each other
        value with place -1, as of an empty list [] too; of a list at the top its values with the key "".

    Raises: DataError with file, line and record; a key twice; anything but a list or an object at the top.
    """
    with open_binary(path, max_bytes=max_bytes, what="a JSON file") as file:
        text = _Text(file, str(path), allow_nan=allow_nan)
        if text.peek() == "[":
            yield from _values(text, "")
        elif text.take("{[") == "{":
            yield from _members(text)
        text.record = ""
        if rest := text.peek():
            text.fail(f"expected the end of the JSON document, found '{rest}'")


def _members(text: _Text) -> Iterator[Record]:
    seen: set[str] = set()
    more = text.peek() != "}"
    while more:
        text.record = ""
        if text.peek() != '"':
            text.take('"')
        key = text.value()
        if key in seen:
            text.fail(f"expected each key once, found '{key}' twice")
        seen.add(key)
        text.take(":")
        text.record = key
        if text.peek() == "[":
            yield from _values(text, key)
        else:
            yield key, -1, text.value()
        text.record = ""
        more = text.take(",}") == ","
    if not seen:
        text.take("}")


def _values(text: _Text, key: str) -> Iterator[Record]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        yield key, -1, []
        return
    number = 0
    while True:
        text.record = f"{key}[{number}]"
        yield key, number, text.value()
        number += 1
        if text.take(",]") == "]":
            return
