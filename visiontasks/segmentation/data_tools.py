"""What `visiontasks data` asks of segmentation. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.data_tools import DataTools, LabelCounts, Statistics
from visiontasks.errors import DataError, ImageError
from visiontasks.io.images import read_size
from visiontasks.io.listing import evenly_spaced
from visiontasks.segmentation.class_weights import median_frequency_weights
from visiontasks.segmentation.data_examine import examine
from visiontasks.segmentation.data_recognise import recognise
from visiontasks.segmentation.data_writers import WRITERS
from visiontasks.segmentation.datasets import LabelledMasks
from visiontasks.segmentation.types import IGNORE, Mask
from visiontasks.types import Source

PAIRS: Final = 50  # of classes, the most frequent, that a table lists
HEADERS: Final = 1000  # pictures whose size suggests one for the network
STRIDE: Final = 32  # of the networks: sides that are multiples of it lose nothing


def count(source: Source[Mask]) -> LabelCounts:
    """The pixels of each class on each picture; masks that are wrong have none."""
    assert isinstance(source, LabelledMasks)
    pictures, labels, pixels = ([np.empty(0, dtype=np.int64)] for _ in range(3))
    for place, tally in enumerate(source.tallies(range(len(source)))):
        if isinstance(tally, DataError):
            continue
        is_class = tally.labels != IGNORE
        labels.append(tally.labels[is_class].astype(np.int64))
        pixels.append(tally.pixels[is_class])
        pictures.append(np.full(len(labels[-1]), place, dtype=np.int64))
    return LabelCounts(*(np.concatenate(parts) for parts in (pictures, labels, pixels)))


def statistics(source: Source[Mask], size: tuple[int, int] | None) -> Statistics:
    """The shares of the classes, which of them meet, how much is ignored. size: unused."""
    assert isinstance(source, LabelledMasks)
    counts, names = count(source), source.classes.names
    totals = np.bincount(counts.picture, counts.count, minlength=len(source))  # pixels that have a class
    around = totals[counts.picture]
    pictures, pixels, in_pictures, shares = (
        np.bincount(counts.label, weights, minlength=len(names))
        for weights in (None, counts.count, around, counts.count / around)
    )
    classes = [
        {
            "class": name,
            "pixels": int(pixels[i]),
            "share": float(pixels[i] / max(1, pixels.sum())),
            "pictures": int(pictures[i]),
            "share where present": float(shares[i] / max(1, pictures[i])),
        }
        for i, name in enumerate(names)
    ]
    weights = median_frequency_weights(pixels.astype(np.int64), in_pictures.astype(np.int64))
    suggestions: dict[str, Any] = {
        "loss.class_weights": dict(zip(names, (float(f"{weight:.4g}") for weight in weights), strict=True))
    }
    if (sides := _input_size(source)) is not None:
        suggestions["input.size"] = sides
    return Statistics(
        tables={"classes": classes, "classes on one picture": _pairs(counts, len(source), names)},
        distributions={
            "classes a picture": np.unique(counts.picture, return_counts=True)[1].astype(np.float64),
            "ignored share of a picture's pixels": _ignored_shares(source),
        },
        suggestions=suggestions,
    )


def _pairs(counts: LabelCounts, num_pictures: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """On how many pictures two classes meet, the most frequent pairs first."""
    shown = np.zeros((num_pictures, len(names)), dtype=np.float32)
    shown[counts.picture, counts.label] = 1
    first, second = np.triu_indices(len(names), k=1)
    meetings = (shown.T @ shown)[first, second].astype(np.int64)
    order = np.argsort(-meetings, kind="stable")[: min(PAIRS, np.count_nonzero(meetings))].tolist()
    return [{"class": names[first[i]], "with": names[second[i]], "pictures": int(meetings[i])} for i in order]


def _ignored_shares(source: LabelledMasks) -> NDArray[np.float64]:
    """The share of its pixels that each mask ignores: (N,) without those that are wrong."""
    tallies = source.tallies(range(len(source)))
    return np.array(
        [
            tally.pixels[tally.labels == IGNORE].sum() / tally.pixels.sum()
            for tally in tallies
            if not isinstance(tally, DataError)
        ],
        dtype=np.float64,
    )


def _input_size(source: LabelledMasks) -> list[int] | None:
    """The median height and width of the pictures, as multiples of 32; None where no header can be read."""
    sizes = []
    for place in evenly_spaced(len(source), HEADERS):
        try:
            sizes.append(read_size(source.root / source.files[place]))
        except ImageError:  # the check of the pictures reports it
            continue
    if not sizes:
        return None
    nearest = np.rint(np.median(sizes, axis=0) / STRIDE).astype(np.int64)
    return [int(side) for side in np.maximum(nearest, 1) * STRIDE]


DATA_TOOLS: Final[DataTools[Mask]] = DataTools(
    counted="pixels",
    recognise=recognise,
    examine=examine,
    count=count,
    statistics=statistics,
    writers=WRITERS,
)
