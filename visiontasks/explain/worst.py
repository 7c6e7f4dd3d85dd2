"""The errors of a model that cost most, each shown: truth, prediction, and what the network looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.drawing import DARK, contact_sheet, draw_box
from visiontasks.explain.overlay import BRIGHT, draw_overlay
from visiontasks.explain.picture import Explanation
from visiontasks.io.files import remove_quietly, write_atomic, write_json
from visiontasks.io.images import encode
from visiontasks.ops.pictures import resize
from visiontasks.types import Aim, Image, Mistake, Sample, Task, Window

CELL: Final = 360  # side of a picture on the sheet, pixels
AROUND: Final = 3  # sides of an error's box that are shown about it
LEAST: Final = 1 / 3  # of the picture's shorter side, that is shown at least
COLUMNS: Final = 4  # truth, prediction, map of the predicted class, map of the true one


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One error on the sheet: four pictures with their captions, and its record for worst.json."""

    cells: Sequence[Image]
    captions: Sequence[str]
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Worst:
    """The worst errors of a model on a data set, most costly first.

    unit, meaning: of the costs, see `Mistakes`. images: how many pictures were looked at.
    rows: one an error. skipped: `file` and `reason` of each picture that could not be used.
    """

    unit: str
    meaning: str
    images: int
    rows: Sequence[Row]
    skipped: Sequence[Mapping[str, str]]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors as in worst.json."""
        return [dict(row.record) for row in self.rows]

    def draw(self) -> Image:
        """The contact sheet, (H, W, 3) uint8, a row an error; there must be one."""
        cells = [cell for row in self.rows for cell in row.cells]
        captions = [
            f"{number}. {caption}" if column == 0 else caption
            for number, row in enumerate(self.rows, start=1)
            for column, caption in enumerate(row.captions)
        ]
        return contact_sheet(cells, COLUMNS, cell=CELL, captions=captions)


def show_mistake(
    task: Task[Any, Any],
    mistake: Mistake,
    file: str,
    sample: Sample[Any],
    classes: ClassMap,
    unit: str,
    explain: Callable[[Aim], Explanation],
) -> Row:
    """One error, drawn: the part of the picture that it is on, or all of it.

    Args:
        file: of the picture. sample: its pixels and truth.
        unit: of the cost.
        explain: the map of a class at the place of the error, and with it the whole prediction.
    """
    window = window_around(mistake.box, sample.image.shape)
    left, top, right, bottom = window
    image = np.ascontiguousarray(sample.image[top:bottom, left:right])
    asked = dict.fromkeys(label for label in (mistake.predicted, mistake.truth) if label is not None)
    found = {label: explain(Aim(label, place=mistake.place)) for label in asked}
    prediction = next(iter(found.values())).prediction
    cells = [task.draw(image, task.cut(labels, window), classes) for labels in (sample.target, prediction)]
    for cell in cells:
        _mark(cell, mistake.place, window)
    maps = []
    for label in (mistake.predicted, None if mistake.truth == mistake.predicted else mistake.truth):
        if label is None:
            cells.append(_nothing())
            maps.append("")
            continue
        values = found[label].values[top:bottom, left:right]
        cell = draw_overlay(image, values, [], signed=found[label].signed)
        factor = cell.shape[1] // image.shape[1]
        _mark(cell[: factor * image.shape[0]], mistake.place, window)  # the scale lies below
        cells.append(cell)
        layer = f", {found[label].layer}" if found[label].layer else ""
        maps.append(f"{found[label].method} of {classes.names[label]}\nlogit {found[label].score:.2f}{layer}")
    said, true = (
        "nothing" if label is None else classes.names[label] for label in (mistake.predicted, mistake.truth)
    )
    score = "" if mistake.score is None else f" {mistake.score:.2f}"
    captions = [
        f"{PurePosixPath(file).name}\ntruth: {true}",
        f"{mistake.kind}: {said}{score}\ncosts {unit} {mistake.cost:.2g}",
        *maps,
    ]
    return Row([_fitted(cell) for cell in cells], captions, _record(mistake, file, classes, found))


def _fitted(cell: Image) -> Image:
    """At most as large as on the sheet."""
    longer = max(cell.shape[:2])
    height, width = (max(1, round(CELL * side / max(CELL, longer))) for side in cell.shape[:2])
    return resize(cell, (height, width))


def _record(
    mistake: Mistake, file: str, classes: ClassMap, found: Mapping[int, Explanation]
) -> dict[str, Any]:
    """The fields of an error in worst.json."""
    predicted, true = (
        None if label is None else classes.names[label] for label in (mistake.predicted, mistake.truth)
    )
    return {
        "file": file,
        "kind": mistake.kind,
        "predicted": predicted,
        "truth": true,
        "score": mistake.score,
        "cost": mistake.cost,
        "box": None if mistake.box is None else list(mistake.box),
        "maps": [
            {
                "target": classes.names[label],
                "logit": one.score,
                "method": one.method,
                "layer": one.layer or None,
            }
            for label, one in found.items()
        ],
    }


def window_around(box: Sequence[float] | None, shape: Sequence[int]) -> Window:
    """A square about a box, three times its longer side and at least a third of the picture; inside of it.

    Args:
        box: xyxy, original pixels; None = all of the picture. shape: height and width first.
    """
    height, width = shape[:2]
    if box is None:
        return 0, 0, width, height
    side = max(AROUND * max(box[2] - box[0], box[3] - box[1]), LEAST * min(height, width), 1)
    ends = []
    for low, high, length in ((box[0], box[2], width), (box[1], box[3], height)):
        extent = min(length, round(side))
        begin = min(max(0, round((low + high - extent) / 2)), length - extent)
        ends.append((begin, begin + extent))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _mark(drawn: Image, place: NDArray[Any] | None, window: Window) -> None:
    """Outline a box (4,) or a mask (H, W), original pixels, on the drawing of a window; in place.

    Bright beside dark, so that it is seen on any ground.
    """
    if place is None:
        return
    left, top, right, bottom = window
    factor = drawn.shape[0] // (bottom - top)
    width = max(1, round(max(drawn.shape[:2]) / CELL))  # a pixel of the sheet
    if place.ndim == 1:
        box = (place - [left, top, left, top]) * factor
        draw_box(drawn, (box + width * np.array([-1, -1, 1, 1])).tolist(), DARK, thickness=width)
        draw_box(drawn, box.tolist(), BRIGHT, thickness=width)
        return
    inside = place[top:bottom, left:right].astype(np.uint8)
    inside = inside.repeat(factor, axis=0).repeat(factor, axis=1)
    for reach, color in ((2 * width, DARK), (width, BRIGHT)):
        around = cv2.dilate(inside, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        drawn[around > inside] = color


def _nothing() -> Image:
    """An empty place on the sheet."""
    return np.full((1, 1, 3), DARK, dtype=np.uint8)


def write_worst(folder: Path, found: Worst, header: Mapping[str, Any]) -> None:
    """worst.json, and worst.png where there are errors. header: fields that go before the others."""
    if found.rows:
        write_atomic(folder / "worst.png", encode(found.draw(), ".png"))
    else:
        remove_quietly(folder / "worst.png")  # of an earlier run
    content = {
        **header,
        "unit": found.unit,
        "cost": found.meaning,
        "pictures": found.images,
        "sheet": "worst.png" if found.rows else None,
        "errors": found.errors,
        "skipped": list(found.skipped),
    }
    write_json(folder / "worst.json", content)
