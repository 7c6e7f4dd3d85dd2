"""Truth and predictions of many pictures, packed into arrays: what every protocol of detection works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.detection.types import Annotations, Boxes, Detections, Flags, Floats, Ints

DECIMALS: Final = 9  # of the sizes of boxes that files write


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """M true boxes and D detections on N pictures of K classes; both sorted by picture.

    true_picture: (M,) ascending. true_boxes: (M, 4) xywh, original px. true_labels, crowd, difficult, area:
        (M,), see `Boxes`.
    picture: (D,) ascending. boxes: (D, 4) xywh, original px. labels: (D,). scores: (D,) finite.
    """

    num_pictures: int
    num_classes: int
    true_picture: Ints
    true_boxes: Floats
    true_labels: Ints
    crowd: Flags
    difficult: Flags
    area: Floats
    picture: Ints
    boxes: Floats
    labels: Ints
    scores: Floats

    def confident(self, least: float) -> Results:
        """The same truth, with the detections whose score is at least this."""
        kept = self.scores >= least
        return replace(
            self,
            picture=self.picture[kept],
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            scores=self.scores[kept],
        )

    def without_classes(self) -> Results:
        """The same boxes, all of one class."""
        return replace(
            self,
            num_classes=1,
            true_labels=np.zeros_like(self.true_labels),
            labels=np.zeros_like(self.labels),
        )


def pack_results(predictions: Sequence[Detections], truths: Sequence[Boxes], num_classes: int) -> Results:
    """The results of some pictures, in the order given."""

    def pictures(items: Sequence[Boxes] | Sequence[Detections]) -> Ints:
        return np.repeat(np.arange(len(items)), np.array([len(item) for item in items], dtype=np.int64))

    def joined(
        items: Sequence[Boxes] | Sequence[Detections], name: str, nothing: NDArray[Any]
    ) -> NDArray[Any]:
        return np.concatenate([nothing, *(getattr(item, name) for item in items)])

    flags, whole, real, corners = np.zeros(0, np.bool_), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4))
    return Results(
        num_pictures=len(truths),
        num_classes=num_classes,
        true_picture=pictures(truths),
        true_boxes=written_sizes(joined(truths, "boxes", corners)),
        true_labels=joined(truths, "labels", whole),
        crowd=joined(truths, "crowd", flags),
        difficult=joined(truths, "difficult", flags),
        area=joined(truths, "area", real),
        picture=pictures(predictions),
        boxes=written_sizes(joined(predictions, "boxes", corners)),
        labels=joined(predictions, "labels", whole),
        scores=joined(predictions, "scores", real),
    )


def join_annotations(truth: Annotations, found: Annotations, num_classes: int) -> Results:
    """The results of a whole data set: truth, and predictions (with scores) on the same N pictures."""
    assert found.scores is not None
    assert len(truth) == len(found)
    return Results(
        num_pictures=len(truth),
        num_classes=num_classes,
        true_picture=truth.picture,
        true_boxes=written_sizes(truth.boxes),
        true_labels=truth.labels,
        crowd=truth.crowd,
        difficult=truth.difficult,
        area=truth.area,
        picture=found.picture,
        boxes=written_sizes(found.boxes),
        labels=found.labels,
        scores=found.scores,
    )


def join_results(parts: Sequence[Results]) -> Results:
    """The pictures of all parts (at least one), in that order."""
    offsets = np.cumsum([0, *(part.num_pictures for part in parts)])
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Results)
        if field.name not in ("num_pictures", "num_classes")
    }
    columns["true_picture"] += np.repeat(offsets[:-1], [len(part.true_picture) for part in parts])
    columns["picture"] += np.repeat(offsets[:-1], [len(part.picture) for part in parts])
    return Results(int(offsets[-1]), parts[0].num_classes, **columns)


def sort_pictures(results: Results, order: Ints) -> Results:
    """The pictures in another order: picture i of the result is picture order[i]."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    true_picture, picture = place[results.true_picture], place[results.picture]
    true_order, found_order = np.argsort(true_picture, kind="stable"), np.argsort(picture, kind="stable")
    return Results(
        results.num_pictures,
        results.num_classes,
        true_picture[true_order],
        results.true_boxes[true_order],
        results.true_labels[true_order],
        results.crowd[true_order],
        results.difficult[true_order],
        results.area[true_order],
        picture[found_order],
        results.boxes[found_order],
        results.labels[found_order],
        results.scores[found_order],
    )


def written_sizes(boxes: Floats) -> Floats:
    """Boxes (N, 4) xyxy as xywh, with the width and height that a file of xywh wrote.

    x + width, rounded to float64, less x is not always the width again; a box of 32 x 32 px would leave
    COCO's small ones. Where rounding to 9 decimals explains the difference, the rounded size is taken.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    size = high - low
    rounded = np.round(size, DECIMALS)
    noise = 2 * np.spacing(np.maximum(np.abs(low), np.abs(high)))
    return np.concatenate([low, np.where(np.abs(rounded - size) <= noise, rounded, size)], axis=1)
