"""What is suspicious about masks: `visiontasks data check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from visiontasks.data_tools import Finding
from visiontasks.errors import DataError, ImageError
from visiontasks.io.images import read_mask, read_size
from visiontasks.io.listing import evenly_spaced
from visiontasks.io.location import SHOWN
from visiontasks.segmentation.datasets import LabelledMasks
from visiontasks.segmentation.datasets.labelled_masks import MaskFiles, Tally
from visiontasks.segmentation.datasets.mask_values import IndexMasks
from visiontasks.segmentation.types import IGNORE, Mask
from visiontasks.types import Source

QUICK: Final = 500  # masks, and their pixels, that are decoded in a second or so
QUICK_PIXELS: Final = 100_000_000
MOST: Final = 1000  # findings of a kind
LOOKED_AT: Final = 16  # faulty masks by which a shift of the values is told


def examine(source: Source[Mask], split: str, size: tuple[int, int] | None, quick: bool) -> Iterator[Finding]:
    """Masks that cannot be used, and those that teach nothing. size: unused; quick: some masks only."""
    assert isinstance(source, LabelledMasks)
    places = evenly_spaced(len(source), _num_quick(source) if quick else None)
    faults: dict[int, DataError] = {}
    ignored: list[int] = []
    for place, tally in zip(places, source.tallies(places), strict=True):
        fault = tally if isinstance(tally, DataError) else _size_fault(source, place, tally)
        if fault is not None:
            faults[place] = fault
        elif not isinstance(tally, DataError) and (tally.labels == IGNORE).all():
            ignored.append(place)
    remedy = _shift(source, list(faults)[:LOOKED_AT])
    for place, fault in list(faults.items())[:MOST]:
        file, record = source.truth.place(place)
        where = f"{file}, {record}" if record else file
        yield Finding(
            severity="error",
            kind="mask-fault",
            message=str(fault).removeprefix(f"{where}: "),
            remedy=remedy,
            split=split,
            file=file,
            record=record,
            picture=source.files[place],
        )
    for place in ignored[:MOST]:
        file, record = source.truth.place(place)
        yield Finding(
            severity="warning",
            kind="mask-ignored",
            message="expected some labelled pixels, found nothing but ignored ones",
            remedy="label the picture, or take it out: nothing is learned or measured on it",
            split=split,
            file=file,
            record=record,
            picture=source.files[place],
        )


def _num_quick(source: LabelledMasks) -> int:
    """How many masks a quick look takes, if all are as large as the first picture."""
    try:
        height, width = read_size(source.root / source.files[0])
    except (ImageError, IndexError):  # unreadable, or there is none
        return QUICK
    return max(1, min(QUICK, QUICK_PIXELS // max(1, height * width)))


def _size_fault(source: LabelledMasks, place: int, tally: Tally) -> DataError | None:
    """Why a mask does not fit on its picture, by the picture's header."""
    try:
        source.check_size(place, read_size(source.root / source.files[place]), tally.size)
    except ImageError:  # the check of the pictures reports it
        return None
    except DataError as error:
        return error
    return None


def _shift(source: LabelledMasks, faulty: Sequence[int]) -> str:
    """What to do where the values of faulty masks are those of the classes, but one more or less."""
    truth = source.truth
    if not isinstance(truth, MaskFiles) or not isinstance(truth.codec, IndexMasks):
        return ""
    known = set(np.flatnonzero(truth.codec.known).tolist()) - {IGNORE}
    found: set[int] = set()
    for place in faulty:
        try:
            values = read_mask(truth.root / truth.paths[place], max_pixels=source.max_pixels)
        except DataError:  # a fault of another kind
            continue
        found.update(np.unique(values).tolist())
    found -= {IGNORE}
    for shift, words in ((1, "one more"), (-1, "one less")):
        if len(found) > 1 and found <= {value + shift for value in known} and not found <= known:
            return (
                f"each value in these masks is {words} than one that has a meaning: if they are shifted, set "
                f"{_moved(truth.codec, sorted(known), shift)}"
            )
    return ""


def _moved(codec: IndexMasks, known: Sequence[int], shift: int) -> str:
    """The keys of a data section that move each of the known values."""
    ids = [f"{codec.classes.names[codec.table[v]]}: {v + shift}" for v in known if codec.table[v] != IGNORE]
    ignored = [value + shift for value in known if codec.table[value] == IGNORE]
    shown = ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
    return f"data.ids: {{{shown}}}" + (f" and data.ignore: {ignored[:SHOWN]}" if ignored else "")
