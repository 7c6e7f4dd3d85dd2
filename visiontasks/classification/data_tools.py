"""What the commands on data sets ask of classification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from visiontasks.classification.data_formats import recognise
from visiontasks.classification.data_writers import WRITERS
from visiontasks.classification.datasets import LabelledImages
from visiontasks.data_tools import DataTools, Finding, LabelCounts, Statistics
from visiontasks.io.pictures import picture_sizes
from visiontasks.types import Source

LOOKED_AT: Final = 1000  # pictures whose sizes suggest one of the network's input
LARGEST_SIDE: Final = 224  # that is suggested: what published networks are trained with
STEP: Final = 32  # of the suggested sizes: networks halve them five times
UNEQUAL: Final = 3  # times the pictures of the rarest class, from which weights are suggested


def examine(source: Source[int], split: str, size: tuple[int, int] | None, quick: bool) -> Iterator[Finding]:
    """Nothing: a class a picture can't be wrong by itself. Names and pictures are compared for every task."""
    return iter(())


def count(source: Source[int]) -> LabelCounts:
    """One class a picture."""
    assert isinstance(source, LabelledImages)
    places = np.arange(len(source), dtype=np.int64)
    return LabelCounts(places, source.labels, np.ones(len(source), dtype=np.int64))


def statistics(source: Source[int], size: tuple[int, int] | None) -> Statistics:
    """Pictures a class; class weights where they are unequal, and the size of the network's input.

    size: as the input has it now; not looked at.
    """
    assert isinstance(source, LabelledImages)
    counts = np.bincount(source.labels, minlength=len(source.classes))
    rows = [
        {"class": name, "pictures": n, "share": n / len(source)}
        for name, n in zip(source.classes.names, counts.tolist(), strict=True)
    ]
    suggestions: dict[str, object] = {}
    if np.max(counts) >= UNEQUAL * np.min(counts[counts > 0], initial=len(source)):
        suggestions["loss.class_weights"] = "balanced"
    side = _usual_side(source)
    if side:
        suggestions["input.size"] = [side, side]
    return Statistics(
        tables={"pictures a class": rows},
        distributions={"pictures a class": counts.astype(np.float64)},
        suggestions=suggestions,
    )


def _usual_side(source: LabelledImages) -> int:
    """The median of the pictures' shorter sides, as a side of the network's input, px; 0 = none is there."""
    some = [source.files[i] for i in range(0, len(source), len(source) // LOOKED_AT + 1)]
    shorter = picture_sizes(source.root, some).min(axis=1)
    if not np.any(shorter):
        return 0
    return min(LARGEST_SIDE, max(1, round(float(np.median(shorter[shorter > 0])) / STEP)) * STEP)


DATA_TOOLS: Final[DataTools[int]] = DataTools(
    counted="pictures",
    recognise=recognise,
    examine=examine,
    count=count,
    statistics=statistics,
    writers=WRITERS,
)
