"""What a detector gets wrong: false detections and missed boxes, by what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.metrics.errors import KINDS, Errors, find_errors
from visiontasks.detection.metrics.results import Results, join_results, pack_results
from visiontasks.detection.types import Boxes, Detections
from visiontasks.ops.boxes import xywh_to_xyxy
from visiontasks.types import ImageInfo, Mistake, Window


class DetectionMistakes:
    """Keeps every box until the end, as the evaluator does (88 bytes a detection): ranks depend on all."""

    unit = "AP50"
    meaning = (
        "false detections and missed boxes, by what AP at IoU 0.5 (without interpolation, mean of the "
        "classes) would gain were the error alone corrected: a detection of wrong class or place, of a score "
        "from 0.5 on, made right, another false one left out, a box that is missed, or found with a score "
        "below 0.5, found with certainty"
    )

    def __init__(self, classes: ClassMap, n: int) -> None:
        self.n = n
        self._ids: list[int | str] = []
        self._parts: list[Results] = [pack_results([], [], len(classes))]

    def update(
        self, predictions: Sequence[Detections], truths: Sequence[Boxes], infos: Sequence[ImageInfo]
    ) -> None:
        """Take in a batch; entry i of each argument belongs to one picture."""
        self._ids += [info.image_id for info in infos]
        self._parts.append(pack_results(predictions, truths, self._parts[0].num_classes))

    def worst(self) -> list[Mistake]:
        """Largest gain of AP first; of equal ones the surer, then the larger: it was easier to see."""
        results = join_results(self._parts)
        errors = find_errors(results)
        is_seen = errors.detection >= 0
        score, area = np.zeros(len(is_seen)), np.zeros(len(is_seen))
        score[is_seen] = results.scores[errors.detection[is_seen]]
        area[~is_seen] = results.area[errors.truth[~is_seen]]
        order = np.lexsort((-area, -score, -errors.gain))
        order = order[errors.gain[order] > 0]
        return [self._mistake(results, errors, place) for place in order[: self.n].tolist()]

    def _mistake(self, results: Results, errors: Errors, place: int) -> Mistake:
        detection, truth = int(errors.detection[place]), int(errors.truth[place])
        seen = detection >= 0
        box = xywh_to_xyxy(results.boxes[detection] if seen else results.true_boxes[truth])
        picture = results.picture[detection] if seen else results.true_picture[truth]
        left, top, right, bottom = box.tolist()
        return Mistake(
            image_id=self._ids[int(picture)],
            kind=KINDS[errors.kind[place]],
            cost=float(errors.gain[place]),
            predicted=int(results.labels[detection]) if seen else None,
            truth=int(results.true_labels[truth]) if truth >= 0 else None,
            score=float(results.scores[detection]) if seen else None,
            box=(left, top, right, bottom),
            place=box,
        )


def cut(labels: Boxes | Detections, window: Window) -> Boxes | Detections:
    """The boxes that a window shows some of, in its pixels; they may reach out of it."""
    left, top, right, bottom = window
    boxes = labels.boxes - np.array([left, top, left, top])
    seen = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < [right - left, bottom - top]).all(axis=1)
    others = {
        field.name: getattr(labels, field.name)[seen] for field in fields(labels) if field.name != "boxes"
    }
    return replace(labels, boxes=boxes[seen], **others)
