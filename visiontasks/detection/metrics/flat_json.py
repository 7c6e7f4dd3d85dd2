"""Reads a JSON list of objects that hold numbers only, as COCO's results: many times as fast as `json`.

Every record of such a file has the same text but for its numbers. That is checked to the byte; what differs
(other keys, other spaces, texts, NaN) is left to a general parser, which is slower and says what is wrong.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK: Final = 1 << 20  # bytes of text at a time: bounds the memory and stays in the processor's cache
EXACT: Final = 2.0**53  # whole numbers below are exact as float64

_DIGITS: Final = b"0123456789.+-"
_KEY: Final = re.compile(r"[a-z_]+")  # no digits, and no E, which marks exponents here
_TO_SPACES: Final = bytes(code if code in _DIGITS + b"E," else 0x20 for code in range(256))
_IN_NUMBER: Final = np.array([code in _DIGITS + b"E" for code in range(256)])
_IS_DIGIT: Final = np.array([code in b"0123456789" for code in range(256)])


@dataclass(frozen=True, slots=True)
class _Layout:
    """What all records have in common.

    widths: key -> how many numbers it has, in order. unit: a record without the characters of its numbers.
    between: the text from the end of a record to the beginning of the next. exponents: e's in the unit.
    """

    widths: dict[str, int]
    unit: bytes
    between: bytes

    @property
    def width(self) -> int:
        return sum(self.widths.values())


def parse_flat_records(data: bytes) -> dict[str, Floats] | None:
    """The columns of a JSON list of M objects with the same keys, each a number or a list of n numbers.

    Numbers are read as `json` reads them, to the last bit; whole numbers from 2^53 up are rounded.

    Args:
        data: the file's bytes, with or without byte order mark.

    Returns:
        {key: (M, n) float64; n = 1 for a number}; None for a file of another form, or with a fault.
    """
    start, end = _inside(data)
    layout = _first_layout(data, start, end)
    if layout is None:
        return None
    parts: list[Floats] = []
    while start < end:
        stop = data.find(b"}", min(start + BLOCK, end - 1)) + 1
        numbers = _parse_block(data[start:stop], layout) if stop > start else None
        if numbers is None:
            return None
        parts.append(numbers)
        start = stop
        if stop < end:
            start += len(layout.between)
            if data[stop:start] != layout.between or start >= end:
                return None
    table = np.concatenate(parts)  # (M, width)
    del parts
    edges = np.cumsum([0, *layout.widths.values()]).tolist()
    columns = zip(layout.widths, edges[:-1], edges[1:], strict=True)
    return {key: np.ascontiguousarray(table[:, low:high]) for key, low, high in columns}


def _inside(data: bytes) -> tuple[int, int]:
    """Where the text between the outer brackets begins and ends; an empty range where there are none."""
    opened = re.match(rb"(?:\xef\xbb\xbf)?\s*\[\s*", data)
    tail = data[-64:]
    closed = re.search(rb"\s*\]\s*\Z", tail)
    if opened is None or closed is None:
        return 0, 0
    return opened.end(), len(data) - len(tail) + closed.start()


def _first_layout(data: bytes, start: int, end: int) -> _Layout | None:
    """The layout of the first record, and of the gap behind it."""
    stop = data.find(b"}", start, end) + 1
    record = data[start:stop]
    try:
        pairs = json.loads(record, object_pairs_hook=list)
    except ValueError:  # none, or nested objects
        return None
    widths: dict[str, int] = {}
    for key, value in pairs:
        values = value if isinstance(value, list) else [value]
        if key in widths or not _KEY.fullmatch(key) or not values:
            return None
        if not all(type(number) in (int, float) for number in values):
            return None
        widths[key] = len(values)
    gap = re.compile(rb"\s*,\s*").match(data, stop, end)
    unit = _with_marked_exponents(record).translate(None, _DIGITS + b"E")
    return _Layout(widths, unit, gap[0] if gap else b"") if widths else None


def _parse_block(block: bytes, layout: _Layout) -> Floats | None:
    """The numbers of whole records: (m, width); None where they are not laid out as they should be."""
    count = block.count(b"}")
    if block.count(b"e") != count * layout.unit.count(b"e"):
        block = _with_marked_exponents(block)
    if block.translate(None, _DIGITS + b"E") != layout.between.join([layout.unit] * count):
        return None
    text = block.translate(_TO_SPACES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # what older NumPy gives for a ValueError
        try:
            numbers = np.fromstring(text, dtype=np.float64, sep=",")
        except (ValueError, DeprecationWarning):
            return None
    codes = np.frombuffer(text, np.uint8)
    in_number = _IN_NUMBER[codes]
    starts = np.flatnonzero(in_number[1:] > in_number[:-1]) + 1  # no record begins with a number
    # two numbers between two commas are a fault to NumPy; as many as expected then leave no gap empty
    if not len(numbers) == len(starts) == count * layout.width or not _are_json_numbers(codes, starts):
        return None
    return numbers.reshape(count, layout.width)


def _are_json_numbers(codes: NDArray[np.uint8], starts: NDArray[np.int64]) -> bool:
    """False for 007, +5, .5 and 5., which C reads and JSON does not have."""
    is_negative = codes[starts] == ord("-")
    starts = starts + is_negative
    first, second = codes[starts], codes[starts + 1]
    right = _IS_DIGIT[first] & ~((first == ord("0")) & _IS_DIGIT[second])
    points = codes[:-1] == ord(".")
    return bool(right.all()) and not (points & ~_IS_DIGIT[codes[1:]]).any()


def _with_marked_exponents(block: bytes) -> bytes:
    """The e of 1e-05 in upper case, to tell it from those of keys (which no digit goes before)."""
    codes = np.frombuffer(block, np.uint8).copy()
    places = np.flatnonzero(codes == ord("e"))
    codes[places[_IS_DIGIT[codes[places - 1]]]] = ord("E")
    return codes.tobytes()
