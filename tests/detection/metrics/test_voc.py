import math

import numpy as np
import pytest

from visiontasks.detection.metrics import DetectionEvaluator
from visiontasks.detection.metrics.matching import find_pairs, rank_detections
from visiontasks.detection.metrics.results import pack_results
from visiontasks.detection.metrics.voc import voc_average_precision
from visiontasks.types import ImageInfo

from .scenes import boxes_of, classes_of, detections_of

pytestmark = pytest.mark.usefixtures("few_resamples")


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def by_the_book(found, truths, label):
    """VOCevaldet.m, line by line: (11-point AP, all-point AP)."""
    total, taken, ranked = 0, set(), []
    for picture, (detections, true) in enumerate(zip(found, truths, strict=True)):
        total += sum(true.labels[i] == label and not true.difficult[i] for i in range(len(true)))
        rows = zip(detections.labels, detections.scores, detections.boxes, strict=True)
        ranked += [(-score, picture, box) for own, score, box in rows if own == label]
    if not total:
        return math.nan, math.nan
    ranked.sort(key=lambda row: row[0])
    hits, alarms, points = 0, 0, [(0.0, 0.0)]
    for _, picture, box in ranked:
        true, best, most = truths[picture], None, -1.0
        for i in range(len(true)):
            if true.labels[i] == label and overlap(box, true.boxes[i]) > most:
                best, most = i, overlap(box, true.boxes[i])
        if most >= 0.5:
            if true.difficult[best]:
                continue
            hits += (picture, best) not in taken
            alarms += (picture, best) in taken
            taken.add((picture, best))
        else:
            alarms += 1
        points.append((hits / total, hits / (hits + alarms)))
    eleven = sum(max((p for r, p in points if r >= k / 10), default=0.0) for k in range(11)) / 11
    area = sum(
        (points[i][0] - points[i - 1][0]) * max(p for _, p in points[i:]) for i in range(1, len(points))
    )
    return eleven, area


def picture_of(rng, classes):
    corners = rng.integers(0, 12, (rng.integers(0, 6), 2)) * 2
    true = [(rng.integers(classes), *corner, *(corner + rng.integers(4, 16, 2))) for corner in corners]
    found = []
    for label, *box in true:
        for _ in range(rng.integers(0, 4)):
            moved = np.array(box) + rng.integers(-2, 3, 4)
            moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
            label = label if rng.random() < 0.8 else rng.integers(classes)
            found.append((label, rng.integers(1, 40) / 40, *moved))
    return detections_of(found), boxes_of(true, difficult=np.flatnonzero(rng.random(len(true)) < 0.3))


@pytest.mark.parametrize("seed", range(100))
def test_equals_the_book(seed):
    rng = np.random.default_rng(seed)
    classes = 3
    pictures = [picture_of(rng, classes) for _ in range(rng.integers(1, 8))]
    found, truths = zip(*pictures, strict=True)
    results = pack_results(found, truths, classes)
    ranking = rank_detections(results)
    ours = voc_average_precision(results, ranking, find_pairs(results, ranking.by_group, 0.5))
    for label in range(classes):
        expected = by_the_book(found, truths, label)
        assert [ap[label] for ap in ours] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def numbers_of(found, true):
    evaluator = DetectionEvaluator(classes_of(1))
    evaluator.update([detections_of(found)], [true], [ImageInfo(1, 99, 99, 99, 99)])
    return evaluator.compute()


def test_the_two_protocols_differ_on_the_same_detections():
    """Precision 1, 2/3 at recall 1/2, 1: eleven points weigh the first half 6 times, the second 5 times."""
    true = boxes_of([(0, 0, 0, 10, 10), (0, 50, 50, 60, 60)])
    numbers = numbers_of([(0, 0.9, 0, 0, 10, 10), (0, 0.8, 30, 30, 40, 40), (0, 0.7, 50, 50, 60, 60)], true)
    assert numbers["VOC07"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert numbers["VOC12"] == pytest.approx((1 + 2 / 3) / 2)


def test_difficult_boxes_are_neither_hits_nor_misses():
    rows = [(0, 0, 0, 10, 10), (0, 50, 50, 60, 60)]
    found = [(0, 0.95, 50, 50, 60, 60), (0, 0.94, 51, 50, 60, 60), (0, 0.9, 0, 0, 10, 10)]
    numbers = numbers_of(found, boxes_of(rows, difficult=[1]))
    assert numbers["VOC07"] == numbers["VOC12"] == 1
    assert numbers["AP50"] < 1  # COCO does not know the flag: the second detection is a false alarm
    numbers = numbers_of(found, boxes_of(rows))
    assert numbers["VOC12"] == pytest.approx((1 + 2 / 3) / 2)
    assert math.isnan(numbers_of(found, boxes_of(rows, difficult=[0, 1]))["VOC12"])


def test_crowds_are_left_out_too():
    found = [(0, 0.95, 50, 50, 55, 55), (0, 0.94, 55, 55, 60, 60), (0, 0.9, 0, 0, 10, 10)]
    numbers = numbers_of(found, boxes_of([(0, 0, 0, 10, 10), (0, 50, 50, 60, 60)], crowd=[1]))
    assert numbers["VOC12"] == 1


def test_more_than_a_hundred_detections_count():
    rows = [(0, 12 * (i % 12), 12 * (i // 12), 12 * (i % 12) + 9, 12 * (i // 12) + 9) for i in range(130)]
    numbers = numbers_of([(0, 1 - i / 1000, *row[1:]) for i, row in enumerate(rows)], boxes_of(rows))
    assert numbers["VOC12"] == pytest.approx(1)
    assert numbers["AR100"] == pytest.approx(100 / 130)
