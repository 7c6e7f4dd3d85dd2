"""The worst errors of a detector: their order, and how they are told."""

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.detection.metrics.errors import KINDS, find_errors
from visiontasks.detection.metrics.results import pack_results
from visiontasks.detection.mistakes import DetectionMistakes, cut
from visiontasks.detection.types import Boxes, Detections
from visiontasks.ops.boxes import box_area
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("cat", "dog"))


def truth_of(boxes, labels):
    boxes, none = np.array(boxes, dtype=float).reshape(-1, 4), np.zeros(len(labels), bool)
    return Boxes(boxes, np.array(labels, dtype=np.int64), none, none, box_area(boxes))


def found_of(boxes, labels, scores):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return Detections(boxes, np.array(labels, dtype=np.int64), np.array(scores, dtype=float))


def worst(n, predictions, truths, ids):
    mistakes = DetectionMistakes(CLASSES, n)
    for prediction, truth, ident in zip(predictions, truths, ids, strict=True):
        mistakes.update([prediction], [truth], [ImageInfo(ident, 100, 100, 100, 100)])
    return mistakes.worst()


def test_errors_are_told_with_their_picture_class_and_place():
    truths = [truth_of([(0, 0, 10, 10), (50, 50, 90, 90)], [0, 1]), truth_of([(20, 20, 40, 40)], [0])]
    predictions = [
        found_of([(50, 50, 90, 88)], [0], [0.9]),
        found_of([(20, 20, 40, 40), (70, 0, 99, 30)], [0, 0], [0.8, 0.95]),
    ]
    found = worst(10, predictions, truths, ["a", "b"])
    told = {(one.image_id, one.kind, one.predicted, one.truth, one.score): one for one in found}
    assert set(told) == {
        ("a", "wrong class", 0, 1, 0.9),
        ("a", "missed", None, 0, None),
        ("b", "on background", 0, None, 0.95),
    }
    assert told["a", "wrong class", 0, 1, 0.9].box == (50, 50, 90, 88)
    assert told["a", "missed", None, 0, None].box == (0, 0, 10, 10)
    assert told["b", "on background", 0, None, 0.95].place.tolist() == [70, 0, 99, 30]
    costs = [one.cost for one in found]
    assert costs == sorted(costs, reverse=True)
    results = pack_results(predictions, truths, 2)
    errors = find_errors(results)
    gains = {KINDS[kind]: gain for kind, gain in zip(errors.kind.tolist(), errors.gain.tolist(), strict=True)}
    assert {one.kind: one.cost for one in found} == pytest.approx(gains)


def test_of_equal_costs_the_larger_box_comes_first_and_what_costs_nothing_is_left_out():
    truths = [truth_of([(0, 0, 10, 10), (20, 20, 60, 60), (0, 60, 20, 80)], [0, 0, 0])]
    useless = found_of([(70, 0, 99, 30)], [1], [0.9])
    found = worst(2, [useless], truths, [0])
    assert [one.box for one in found] == [(20, 20, 60, 60), (0, 60, 20, 80)]
    assert len(worst(10, [useless], truths, [0])) == 3
    assert worst(3, [], [], []) == []


def test_a_part_of_a_picture():
    boxes = [(0, 0, 10, 10), (5, 5, 30, 30), (20, 20, 40, 40), (60, 20, 80, 40), (10, 0, 20, 10)]
    truth = cut(truth_of(boxes, [0, 1, 0, 1, 0]), (10, 10, 50, 50))
    assert truth.boxes.tolist() == [[-5, -5, 20, 20], [10, 10, 30, 30]] and truth.labels.tolist() == [1, 0]
    assert len(truth.crowd) == len(truth.difficult) == len(truth.area) == 2
    found = cut(found_of(boxes, [0, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5]), (10, 10, 50, 50))
    assert found.scores.tolist() == [0.8, 0.7]
