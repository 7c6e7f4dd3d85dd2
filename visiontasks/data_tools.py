"""What the commands of `visiontasks data` ask of a task, and what passes between the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from visiontasks.ledger import Ledger
from visiontasks.types import Source

T = TypeVar("T")  # a task's ground truth

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a data set that its owner should know.

    severity: error, it cannot be trained on as it stands; warning, it is likely wrong, or is skipped, dropped
        or repaired; note, nothing is wrong, but it explains a number.
    kind: a word or two joined by hyphens, for `data show --only`; the same for all findings of a kind.
    message: what was expected, what was found. remedy: what to do, where the message does not say.
    split: "train", "val" or "test"; empty where it concerns several.
    file, record: where it is written: a path, and a place in that file.
    picture: the path below the data's root of the picture that it concerns, if one.
    other: split and path of the picture that this one is compared with, if one.
    """

    severity: Severity
    kind: str
    message: str
    remedy: str = ""
    split: str = ""
    file: str = ""
    record: str = ""
    picture: str = ""
    other: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a folder or file may be.

    values: of a data section, as a DATA.yaml has them; with `format` and `root`.
    certainty: 3, only this format looks so; 2, the layout fits; 1, it can be read so.
    why: what was seen, in a few words ("12 XML files in Annotations/").
    """

    values: Mapping[str, Any]
    certainty: int
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """How often each class occurs on each picture: the entries above 0 of a table (N pictures, K classes).

    picture, label, count: (M,) int64, by picture, then label; counts are pictures (1), boxes or pixels.
    """

    picture: NDArray[np.int64]
    label: NDArray[np.int64]
    count: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a task says of the labels of a split.

    tables: {title: rows of {column: value}}, JSON-ready.
    distributions: {title with its unit: (n,) values}, drawn as histograms.
    suggestions: {dotted key of a config: value}, JSON-ready.
    """

    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    distributions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    suggestions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """Labels that were written in another format.

    values: of the data section that reads them, without `root`.
    pictures: {split: the path below the new root at which the labels expect each picture of the source}.
    """

    values: Mapping[str, Any]
    pictures: Mapping[str, Sequence[str]]


Writer = Callable[[Path, Mapping[str, Source[T]], Ledger], Written]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTools(Generic[T]):
    """A task's part of the commands on data sets; nothing of it imports torch.

    counted: what labels are counted in: "pictures", "boxes", "pixels".
    recognise(path): what a folder or file may be, the likelier first; empty where the task cannot read it.
        Looks at names and at the beginning of a few files; raises nothing.
    examine(source, split, size, quick): what is suspicious about the truth. size: height and width of the
        network's input, None = unknown. quick: in a second or so (masks: only some are decoded).
    count(source): the classes on each picture.
    statistics(source, size): see `Statistics`.
    writers: {format: write(folder, {split: source}, ledger)}: writes the labels of an opened data set; what
        the format cannot carry is dropped, with an entry of the ledger for each kind. Sources of all splits
        have the same classes.
    """

    counted: str
    recognise: Callable[[Path], Sequence[Recognised]]
    examine: Callable[[Source[T], str, tuple[int, int] | None, bool], Iterator[Finding]]
    count: Callable[[Source[T]], LabelCounts]
    statistics: Callable[[Source[T], tuple[int, int] | None], Statistics]
    writers: Mapping[str, Writer[T]]
