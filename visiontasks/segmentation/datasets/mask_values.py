"""What mask files hold, as class indices: index masks by a table of values, colour-coded ones by colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import MAX_CLASSES_IN_MASK, ClassMap, class_name
from visiontasks.errors import DataError, ImageError, unknown_name
from visiontasks.io.documents import decode_text
from visiontasks.io.files import read_bytes, read_document, safe_path
from visiontasks.io.images import read_colour_mask, read_mask
from visiontasks.io.location import SHOWN
from visiontasks.segmentation.config import DataConfig, format_colour, parse_colour
from visiontasks.segmentation.types import IGNORE, Mask

CLASSES_FILE: Final = "classes.txt"
VALUES: Final = 65536  # that a mask of 16 bits can hold
BAND: Final = 1 << 22  # pixels of 16-bit and colour masks that are looked up at once: bounds the memory

Named = Mapping[str, Sequence[int]]  # class -> its values in a file


@dataclass(frozen=True, slots=True, eq=False)
class IndexMasks:
    """How index masks are read.

    classes: K classes; their file ids are the first value of each.
    table: (65536,) uint8 class index of each value, 255 for the ignored ones.
    known: (65536,) bool, the values that have a meaning.
    assumes_255: nobody said what 255 means; it is ignored, but a mask of nothing else and 0 is refused.
    """

    classes: ClassMap
    table: Mask
    known: NDArray[np.bool_]
    assumes_255: bool

    def read(self, path: Path, max_pixels: int) -> Mask:
        """A mask (H, W) of class indices, 255 = ignore.

        Raises: DataError for a mask that can't be read, in a lossy format, or with values of no meaning.
        """
        try:
            values = read_mask(path, max_pixels=max_pixels)
        except ImageError as error:
            raise DataError(f"{error}; replace the mask, or take its picture out") from None
        present = _present(values)
        unknown = present & ~self.known
        if unknown.any():
            raise DataError(self._describe_unknown(path, values, unknown))
        if self.assumes_255 and present[IGNORE] and not present[1:IGNORE].any():
            raise DataError(
                f"{path}: expected class indices, found only {'0 and ' if present[0] else ''}255; say what "
                "they mean with data.ids: {background: 0, object: 255}, or data.ignore: [255]"
            )
        return _look_up(values, self.table)

    def _describe_unknown(self, path: Path, values: NDArray[Any], unknown: NDArray[np.bool_]) -> str:
        found, counts = np.unique(values[unknown[values]], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:SHOWN]
        shown = ", ".join(f"{found[i]} ({counts[i]:,} pixels)" for i in order)
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        pairs = list(zip(self.classes.file_ids, self.classes.names, strict=True))
        named = ", ".join(f"{value} {name}" for value, name in pairs[:SHOWN])
        named += f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        return (
            f"{path}: expected the values of the classes ({named}), found {shown}{more}; "
            "name them in data.ids, or list them in data.ignore"
        )

    def signature(self) -> bytes:
        """What of this decides how a file is read."""
        return self.table.tobytes() + self.known.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class ColourMasks:
    """How colour-coded masks are read.

    classes: K classes; their file ids are the first colour of each, `#rrggbb`.
    codes: (C,) colours as red << 16 | green << 8 | blue. indices: (C,) class index of each, 255 = ignore.
    """

    classes: ClassMap
    codes: tuple[int, ...]
    indices: tuple[int, ...]

    def read(self, path: Path, max_pixels: int) -> Mask:
        """A mask (H, W) of class indices, 255 = ignore.

        Raises: DataError for a mask that can't be read, in a lossy format, or with other colours.
        """
        try:
            colours = read_colour_mask(path, max_pixels=max_pixels)
        except ImageError as error:
            raise DataError(f"{error}; replace the mask, or take its picture out") from None
        table = _colour_table(self.codes, self.indices)
        mask = np.empty(colours.shape[:2], dtype=np.uint8)
        rows = max(1, BAND // max(1, colours.shape[1]))
        for top in range(0, len(mask), rows):
            index = table[_codes(colours[top : top + rows])]
            if np.min(index) < 0:
                raise DataError(self._describe_unknown(path, colours))
            mask[top : top + rows] = index
        return mask

    def _describe_unknown(self, path: Path, colours: NDArray[np.uint8]) -> str:
        codes = _codes(colours)
        codes = codes[_colour_table(self.codes, self.indices)[codes] < 0]
        found, counts = np.unique(codes, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:SHOWN]
        shown = ", ".join(f"{_from_code(int(found[i]))} ({counts[i]:,} pixels)" for i in order)
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return (
            f"{path}: expected the {len(self.codes)} colours of the table, found {shown}{more}; "
            "name them in data.colours, or list them in data.ignore"
        )

    def signature(self) -> bytes:
        """What of this decides how a file is read."""
        return repr((self.codes, self.indices)).encode()


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values a mask holds: (65536,) bool."""
    present = np.zeros(VALUES, dtype=np.bool_)
    if values.dtype == np.uint8:
        present[:256] = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel() > 0
    else:
        for band in _bands(values):
            present[band.ravel()] = True
    return present


def _look_up(values: NDArray[Any], table: Mask) -> Mask:
    """table[values], without a copy of eight bytes a pixel."""
    if values.dtype == np.uint8:
        return np.asarray(cv2.LUT(values, table[:256]), dtype=np.uint8)
    return np.concatenate([table[band] for band in _bands(values)])


def _bands(values: NDArray[Any]) -> list[NDArray[Any]]:
    rows = max(1, BAND // max(1, values.shape[1]))
    return [values[top : top + rows] for top in range(0, len(values), rows)]


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(H, W, 3) -> (H, W): red << 16 | green << 8 | blue."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def _from_code(code: int) -> str:
    return format_colour(tuple(code.to_bytes(3, "big")))


@lru_cache(maxsize=4)
def _colour_table(codes: tuple[int, ...], indices: tuple[int, ...]) -> NDArray[np.int16]:
    """(2**24,) int16: the class index of each colour, -1 where it has none; 32 MB, once a process."""
    table = np.full(1 << 24, -1, dtype=np.int16)
    table[list(codes)] = indices
    return table


def index_masks(named: Named, ignore: Sequence[int | str], where: str, *, assumes_255: bool) -> IndexMasks:
    """How to read masks whose values have names.

    Args:
        named: class -> its values; the order of the classes is that of the names.
        ignore: further values that are ignored, or names of `named`; 255 is one unless it has a name.
        where: where the names come from, for messages.
        assumes_255: see `IndexMasks`; not where `ignore` lists 255, or 255 has a name.

    Raises: DataError for a value that is named and ignored, an unknown name, or too many classes.
    """
    kept, ignored = _without_ignored(named, ignore, where)
    table, known = np.full(VALUES, IGNORE, dtype=np.uint8), np.zeros(VALUES, dtype=np.bool_)
    meant = {value for values in named.values() for value in values}
    listed = [*ignored, *(item for item in ignore if isinstance(item, int))]
    for value in listed:
        if not 0 <= value < VALUES:
            raise DataError(f"{where}: expected values of 0 to 65535 in data.ignore, found {value}")
        known[value] = True
    known[IGNORE] = True
    for index, values in enumerate(kept.values()):
        table[list(values)] = index
        known[list(values)] = True
    classes = ClassMap(tuple(kept), tuple(values[0] for values in kept.values()))
    return IndexMasks(classes, table, known, assumes_255 and IGNORE not in listed and IGNORE not in meant)


def _without_ignored(
    named: Named, ignore: Sequence[int | str], where: str
) -> tuple[dict[str, Sequence[int]], list[int]]:
    """The classes that stay, and the values of those that `ignore` names."""
    classes = {class_name(name): values for name, values in named.items()}
    names = [class_name(item) for item in ignore if isinstance(item, str)]
    for name in names:
        if name not in classes:
            raise DataError(f"{where}: data.ignore: {unknown_name('class', name, classes)}")
    kept = {name: values for name, values in classes.items() if name not in names}
    numbers = {item for item in ignore if isinstance(item, int)}
    for name, values in kept.items():
        twice = numbers.intersection(values)
        if twice:
            raise DataError(
                f"{where}: expected each value once, found {min(twice)} as '{name}' and in data.ignore"
            )
    if not 1 <= len(kept) <= MAX_CLASSES_IN_MASK:
        raise DataError(f"{where}: expected 1 to {MAX_CLASSES_IN_MASK} classes, found {len(kept)}")
    return kept, [value for name in names for value in classes[name]]


def configured_masks(config: DataConfig, root: Path, own: Named | None = None) -> IndexMasks | ColourMasks:
    """How to read the masks of a data section.

    Args:
        config: says so in `ids`, `colours`, `ignore`, or by the mere list `classes`.
        root: the data's folder, which may have a classes.txt.
        own: what the format itself says of its values; None = nothing.

    Raises: DataError when nothing says which classes there are; as `index_masks`.
    """
    if config.colours is not None:
        return _colour_masks(config, root)
    if config.format == "colour":
        raise DataError(
            f"{root}: expected a table of the masks' colours, found none; set data.colours: "
            "{name: '#rrggbb', ...}, or to a CSV file with the columns name, r, g, b"
        )
    if isinstance(config.ids, dict):
        named: Named = config.ids
        where = "data.ids"
    elif config.ids is not None:
        named, where = _numbered(config.ids), "data.ids"
    elif own is not None:
        return index_masks(own, config.ignore, f"format {config.format}", assumes_255=False)
    elif (root / CLASSES_FILE).is_file():
        where = str(root / CLASSES_FILE)
        named = _numbered(_lines(root / CLASSES_FILE))
    elif isinstance(config.classes, tuple):
        named, where = _numbered(config.classes), "data.classes"
    else:
        renamed = "only data.classes: {old: new} (--map-class takes the place of a list there)"
        raise DataError(
            f"{root}: expected names for the masks' values, found {renamed if config.classes else 'none'}; "
            "set data.ids: {name: value, ...} "
            f"(or the names of 0, 1, 2, ... in a list, or a line each in {CLASSES_FILE})"
        )
    return index_masks(named, config.ignore, where, assumes_255=True)


def _numbered(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    return {name: (value,) for value, name in enumerate(names)}


def _lines(file: Path) -> list[str]:
    """The names in a text file, one a line; empty lines at the end are none."""
    held = safe_path(file.parent, file.name)
    text = decode_text(read_bytes(held, max_bytes=1 << 20, what="a list of class names"), str(file))
    names = [line.strip() for line in text.rstrip().split("\n")]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or not all(names):
        found = f"'{twice[0]}' twice" if twice and twice[0] else "an empty line"
        raise DataError(f"{file}: expected a class name in each line, all different, found {found}")
    return names


def _colour_masks(config: DataConfig, root: Path) -> ColourMasks:
    if isinstance(config.colours, str):
        where = str(safe_path(root, config.colours))
        named = read_colours(safe_path(root, config.colours))
    else:
        assert config.colours is not None
        where = "data.colours"
        named = {name: [_to_code(colour) for colour in colours] for name, colours in config.colours.items()}
    ignore: list[int | str] = []
    for item in config.ignore:
        colour = parse_colour(item)
        if isinstance(item, int):
            raise DataError(f"{where}: expected names or '#rrggbb' in data.ignore, found {item}")
        ignore.append(item if colour is item else _to_code(colour))
    kept, ignored = _without_ignored(named, ignore, where)
    codes = [code for values in kept.values() for code in values]
    indices = [index for index, values in enumerate(kept.values()) for _ in values]
    ignored += [item for item in ignore if isinstance(item, int)]
    classes = ClassMap(tuple(kept), tuple(_from_code(values[0]) for values in kept.values()))
    return ColourMasks(classes, (*codes, *ignored), (*indices, *[IGNORE] * len(ignored)))


def _to_code(colour: Sequence[int]) -> int:
    return int.from_bytes(bytes(colour), "big")


def read_colours(file: Path) -> dict[str, list[int]]:
    """A table of colours: CSV with the columns name, r, g, b; a name may have several rows."""
    named: dict[str, list[int]] = {}
    seen: set[int] = set()
    for number, row in enumerate(read_document(file), start=1):
        fields = {column.lower(): value.strip() for column, value in row.items()}
        name = class_name(fields.get("name", ""))
        numbers = [fields.get(channel, "") for channel in "rgb"]
        if not name or not all(text.isdecimal() and len(text) < 10 and int(text) <= 255 for text in numbers):
            raise DataError(
                f"{file}, row {number}: expected name, r, g, b with numbers of 0 to 255, found "
                f"{', '.join(row.values())}"
            )
        code = _to_code([int(text) for text in numbers])
        if code in seen:
            raise DataError(
                f"{file}, row {number}: expected each colour once, found {_from_code(code)} again"
            )
        seen.add(code)
        named.setdefault(name, []).append(code)
    return named
