"""Contact sheets of a data set: pictures with their labels on them, as they are or as a network sees them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.data.opening import OpenedData
from visiontasks.data_tools import Finding, LabelCounts
from visiontasks.drawing import SHEET_CELL, contact_sheet, enlarged
from visiontasks.errors import DataError, ImageError
from visiontasks.io.images import read_image
from visiontasks.io.listing import ranks
from visiontasks.types import Image, Source, Task

CELL: Final = 448  # side of a picture on a sheet, pixels: labels are drawn before it is shrunk, stay legible
LETTER: Final = 8  # width of a letter of a caption, pixels, about
LINES: Final = 5  # of a caption

Cell = tuple[Callable[[], Image], str]  # draws a picture; its caption


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """image: (H, W, 3) uint8, None where no picture could be read. faults: why each that is missing is."""

    image: Image | None
    shown: int
    faults: Sequence[str]


def choose(
    counts: LabelCounts, files: Sequence[str], n: int, seed: int, label: int | None = None
) -> NDArray[np.int64]:
    """Up to n pictures on which the classes take turns, as do pictures without any: their places.

    The choice depends on the paths, the classes and the seed alone.

    Args:
        counts: the classes on each picture.
        files: their paths.
        label: only pictures that show this class; None = all.
    """
    rank = ranks(files, f"show {seed}")
    without = np.setdiff1d(np.arange(len(files)), counts.picture)
    picture = np.concatenate([counts.picture, without])
    labels = np.concatenate([counts.label, np.full(len(without), -1)])
    if label is not None:
        kept = np.isin(picture, picture[labels == label])
        picture, labels = picture[kept], labels[kept]
    order = np.lexsort((rank[picture], labels))  # by class, then by chance
    picture, labels = picture[order], labels[order]
    turn = np.arange(len(labels)) - np.searchsorted(labels, labels)  # the how-manieth of its class
    picture = picture[np.lexsort((rank[picture], turn))]
    places, met = np.unique(picture, return_index=True)
    chosen: NDArray[np.int64] = places[np.argsort(met)][:n]
    return chosen


def draw_pictures(
    task: Task[Any, Any], source: Source[Any], places: Sequence[int], columns: int | None = None
) -> Sheet:
    """Pictures with their labels, their file names below."""

    def draw(place: int) -> Image:
        sample = source[place]
        return task.draw(sample.image, sample.target, source.classes)

    return _sheet([(partial(draw, place), _name(source.files[place])) for place in places], columns)


def draw_as_trained(
    task: Task[Any, Any],
    run: Any,
    source: Source[Any],
    places: Sequence[int],
    seed: int,
    columns: int | None = None,
) -> Sheet:
    """Pictures as a run's network is fed with them, with their targets.

    Args:
        run: its config. source: its training pictures, as `open_source` gives them to it.
        seed: of the augmentation.
    """
    transform = task.build_transform(run.input, run.augment, source.classes, None)

    def draw(place: int) -> Image:
        rng = np.random.default_rng([seed, place])
        example = transform(source[place], rng, lambda index: source[index % len(source)])
        return task.draw_example(example, source.classes)

    return _sheet([(partial(draw, place), _name(source.files[place])) for place in places], columns)


def draw_findings(data: OpenedData, findings: Sequence[Finding], n: int, columns: int | None = None) -> Sheet:
    """The first n pictures that findings are about, each once, with what was found; pairs side by side.

    A picture whose labels could not be read is drawn without any.

    findings: each says its split and picture.
    """
    found: dict[tuple[str, str], list[str]] = {}  # split and path -> what is said of it
    for finding in findings:
        if finding.other is not None:
            found.setdefault(finding.other, [])
        found.setdefault((finding.split, finding.picture), []).append(finding.message)
    cells = [
        (partial(_draw_picture, data, split, file), _say(f"{split} {_name(file)}", messages))
        for (split, file), messages in list(found.items())[:n]
    ]
    return _sheet(cells, columns)


def _draw_picture(data: OpenedData, split: str, file: str) -> Image:
    source = data.sources[split]
    try:
        sample = source[list(source.files).index(file)]
    except ImageError:
        raise
    except (ValueError, DataError):  # it was left out, or its labels are wrong
        return enlarged(read_image(source.root / file, max_pixels=data.config.max_pixels))
    return data.task.draw(sample.image, sample.target, source.classes)


def _say(name: str, messages: Sequence[str]) -> str:
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return f"{name}{more}: {messages[0]}" if messages else name


def _name(file: str) -> str:
    return PurePosixPath(file).name


def _sheet(cells: Sequence[Cell], columns: int | None) -> Sheet:
    """The pictures that can be read; why the others can't."""
    drawn, captions, faults = [], [], []
    for draw, caption in cells:
        try:
            drawn.append(draw())
            captions.append(caption)
        except DataError as error:
            faults.append(str(error))
    if not drawn:
        return Sheet(None, 0, faults)
    width = max(SHEET_CELL, min(CELL, *(image.shape[1] for image in drawn)))
    wrapped = [
        "\n".join(textwrap.wrap(caption, width // LETTER, max_lines=LINES, placeholder=" ..."))
        for caption in captions
    ]
    return Sheet(contact_sheet(drawn, columns, cell=CELL, captions=wrapped), len(drawn), faults)
