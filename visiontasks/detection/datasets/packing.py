"""Boxes of many pictures as arrays: packed, taken apart, joined. What a reader hands over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.types import Annotations, Flags, Floats, Ints
from visiontasks.io.pictures import picture_sizes
from visiontasks.ops.boxes import box_area

LARGEST: Final = 1e9  # px: no coordinate is larger, so that no area overflows
Where = Callable[[str, int], tuple[str, str]]  # a picture's file, a box's record -> as messages name them
_OF_BOXES: Final = ("boxes", "labels", "crowd", "difficult", "area", "scores", "records")


@dataclass(frozen=True, slots=True)
class Found:
    """What an adapter finds in one list of a data set.

    classes: as the files name them. annotations: `files` are relative to the data's root.
    where: file and record of a box.
    """

    classes: ClassMap
    annotations: Annotations
    where: Where

    def place(self, box: int) -> tuple[str, str]:
        """File and record of a box."""
        found = self.annotations
        assert found.records is not None  # every reader notes them
        return self.where(found.files[int(found.picture[box])], int(found.records[box]))


def pack(
    files: Sequence[str],
    sizes: Ints,
    picture: Ints,
    boxes: Floats,
    labels: Ints,
    records: Ints,
    *,
    image_ids: Sequence[int | str] | None = None,
    crowd: Flags | None = None,
    difficult: Flags | None = None,
    area: Floats | None = None,
    scores: Floats | None = None,
) -> Annotations:
    """Sort boxes by picture; those of one picture keep their order.

    Args:
        files, sizes: of N pictures, see `Annotations`.
        picture, boxes, labels, records: of M boxes in any order; boxes (M, 4) xyxy.
        image_ids: by default the files.
        crowd, difficult: by default none is.
        area: by default the box's; NaN where a file does not say.
        scores: of predictions.
    """
    order = np.argsort(picture, kind="stable")
    boxes = boxes[order]
    own_area = box_area(boxes)
    none = np.zeros(len(order), dtype=np.bool_)
    return Annotations(
        files=files,
        image_ids=files if image_ids is None else image_ids,
        sizes=sizes,
        picture=picture[order],
        boxes=boxes,
        labels=labels[order],
        crowd=none if crowd is None else crowd[order],
        difficult=none.copy() if difficult is None else difficult[order],
        area=own_area if area is None else np.where(np.isnan(area[order]), own_area, area[order]),
        scores=None if scores is None else scores[order],
        records=records[order],
    )


def take_pictures(annotations: Annotations, places: Ints) -> Annotations:
    """Some of the pictures with their boxes, in the order of `places` (n,)."""
    starts, counts = annotations.starts[places], np.diff(annotations.starts)[places]
    picture = np.repeat(np.arange(len(places)), counts)
    within = np.arange(len(picture)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = places.tolist()
    return Annotations(
        files=[annotations.files[i] for i in chosen],
        image_ids=[annotations.image_ids[i] for i in chosen],
        sizes=annotations.sizes[places],
        picture=picture,
        **_boxes_at(annotations, np.repeat(starts, counts) + within),
    )


def take_boxes(annotations: Annotations, kept: Flags) -> Annotations:
    """All pictures with some of their boxes: `kept` (M,)."""
    return Annotations(
        files=annotations.files,
        image_ids=annotations.image_ids,
        sizes=annotations.sizes,
        picture=annotations.picture[kept],
        **_boxes_at(annotations, np.flatnonzero(kept)),
    )


def _boxes_at(annotations: Annotations, index: Ints) -> dict[str, Any]:
    columns = {name: getattr(annotations, name) for name in _OF_BOXES}
    return {name: None if column is None else column[index] for name, column in columns.items()}


def fill_sizes(root: Path, annotations: Annotations) -> Annotations:
    """The same with sizes from the pictures' headers where the file does not say them."""
    unknown = np.flatnonzero((annotations.sizes <= 0).any(axis=1))
    if not len(unknown):
        return annotations
    sizes = annotations.sizes.copy()
    sizes[unknown] = picture_sizes(root, [annotations.files[i] for i in unknown.tolist()])
    return replace(annotations, sizes=sizes)
