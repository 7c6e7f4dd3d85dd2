"""The confidence from which a detector's boxes are worth showing. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from visiontasks.detection.metrics.matching import find_owners, rank_detections
from visiontasks.detection.metrics.results import Results, pack_results
from visiontasks.detection.types import Boxes, Detections, Floats
from visiontasks.operating_point import OperatingPoint

LEAST_BOXES: Final = 100  # fewer true boxes say too little
OVERLAP: Final = 0.5  # least IoU of a detection with the box that it found
USUAL: Final = 0.5  # confidence that the gain is told against
LEAST_EMPTY: Final = 20  # fewer pictures without objects say too little
FALSE_ALARMS: Final = 0.1  # share of them on which something may be shown


def choose_operating_point(
    predictions: Sequence[Detections], truths: Sequence[Boxes]
) -> OperatingPoint | None:
    """The confidence with the best mean F1 of those that show little on pictures without objects.

    Args:
        predictions: with a confidence next to 0. truths: of the same pictures.

    Returns:
        None for fewer than 100 boxes to find.
    """
    labels = [*(found.labels for found in predictions), *(truth.labels for truth in truths)]
    num_classes = 1 + max((int(np.max(some, initial=-1)) for some in labels), default=-1)
    results = pack_results(predictions, truths, num_classes)
    if np.count_nonzero(~(results.crowd | results.difficult)) < LEAST_BOXES:
        return None
    scores, means = mean_f1(results)
    if not len(means):
        return None
    alarms = false_alarms(predictions, truths)
    limit = alarms[int(FALSE_ALARMS * len(alarms))] if len(alarms) >= LEAST_EMPTY else 0.0
    best = int(np.argmax(np.where(scores > limit, means, -1.0)))  # of equal ones the most cautious
    if scores[best] <= limit:
        return OperatingPoint({"confidence": float(limit)}, "nothing right is surer than what is false")
    below = max(limit, np.append(scores, 0.0)[best + 1])
    confidence = float(scores[best] + below) / 2  # where least depends on rounding
    usual = np.append(0.0, means)[np.count_nonzero(scores > USUAL)]
    gain = f"mean F1 {means[best]:.3f}, at {USUAL} it is {usual:.3f}"
    if len(alarms):
        shown = np.count_nonzero(alarms > confidence)
        gain += f"; boxes on {shown} of {len(alarms)} pictures without objects"
    return OperatingPoint({"confidence": confidence}, gain)


def false_alarms(predictions: Sequence[Detections], truths: Sequence[Boxes]) -> Floats:
    """The best score on each picture without objects, 0 where nothing is found: (E,), falling."""
    pairs = zip(predictions, truths, strict=True)
    best = [np.max(found.scores, initial=0.0) for found, truth in pairs if not len(truth)]
    return np.sort(np.array(best, dtype=np.float64))[::-1]


def mean_f1(results: Results) -> tuple[Floats, Floats]:
    """Mean over classes of F1 = 2 hits / (boxes + detections), of what has at least a certain score.

    A hit overlaps its box by an IoU of 0.5; the best score takes a box first, so the hits above a confidence
    do not depend on what lies below it. Boxes that are difficult or a crowd, and what is found on them, count
    nowhere; neither do classes without a box.

    Returns:
        (the different scores (M,), falling, F1 (M,)).
    """
    ranking = rank_detections(results)
    ignored = results.crowd | results.difficult
    owner = find_owners(results, ranking, ignored, OVERLAP)
    boxes = np.bincount(results.true_labels[~ignored], minlength=results.num_classes)
    counts = (boxes[results.labels] > 0) & ~np.append(ignored, False)[owner]
    by_class = ranking.by_score[counts[ranking.by_score]]  # by class, then falling score
    labels, scores = results.labels[by_class], results.scores[by_class]
    hits, place = np.cumsum(owner[by_class] >= 0), np.arange(len(by_class))
    first = np.searchsorted(labels, labels)  # where the class of each begins
    so_far = np.append(0, hits)[first]
    f1 = 2 * (hits - so_far) / (boxes[labels] + place - first + 1)  # with this one as the last
    steps = np.where(place == first, f1, np.diff(f1, prepend=0.0))
    falling = np.argsort(-scores, kind="stable")
    means = np.cumsum(steps[falling]) / max(1, np.count_nonzero(boxes))
    is_last = np.append(np.diff(scores[falling]) < 0, np.ones(min(1, len(scores)), np.bool_))  # of its equals
    return scores[falling][is_last], means[is_last]
