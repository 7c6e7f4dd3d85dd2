"""Which pictures of a list can be used, where the faults of the others are collected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from visiontasks.detection.types import Ints
from visiontasks.errors import DataError
from visiontasks.io.listing import file_sizes
from visiontasks.io.pictures import check_once, clean_path
from visiontasks.ledger import Ledger

Where = Callable[[int], tuple[str, str]]  # place of a picture in a list -> file and record, for messages


def clean_paths(paths: Sequence[str], root: Path, where: Where, ledger: Ledger) -> tuple[list[str], Ints]:
    """The paths that stay inside root, as image ids are written, and (n,) their places in the list.

    Raises: DataError for one that leaves root, unless the ledger collects faults.
    """
    clean: list[str] = []
    places: list[int] = []
    for place, path in enumerate(paths):
        file, record = where(place)
        try:
            clean.append(clean_path(path, root, f"{file}, {record}"))
            places.append(place)
        except DataError as error:
            ledger.fault(error, file, record)
    return clean, np.array(places, dtype=np.int64)


def each_once(files: Sequence[str], where: Where, ledger: Ledger) -> Ints:
    """(n,) the places of the pictures, of one that a list has several times the first.

    Raises: DataError as `check_once`, unless the ledger collects faults.
    """
    first: dict[str, int] = {}
    for place, name in enumerate(files):
        before = first.setdefault(name, place)
        if before != place:
            try:
                check_once((name, name), _of_two(where, before, place))
            except DataError as error:
                ledger.fault(error, *where(place))
    return np.fromiter(first.values(), np.int64, len(first))


def _of_two(where: Where, before: int, place: int) -> Callable[[int], str]:
    return lambda number: ", ".join(filter(None, where((before, place)[number])))


def inside_root(root: Path, files: Sequence[str], where: Where, ledger: Ledger) -> Ints:
    """(n,) the places of the pictures that no link leads out of root to.

    Where faults are not collected: all; whoever looks at the files raises.
    """
    if not ledger.collects:
        return np.arange(len(files))
    places: list[int] = []
    for place, name in enumerate(files):
        try:
            file_sizes(root, [name])
            places.append(place)
        except DataError as error:
            ledger.fault(error, *where(place))
    return np.array(places, dtype=np.int64)
