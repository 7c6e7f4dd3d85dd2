"""The confidence with the best mean F1, against a search by brute force; hand-worked cases; edges."""

import numpy as np
import pytest

from visiontasks.detection.metrics.results import pack_results
from visiontasks.detection.operating_point import LEAST_BOXES, LEAST_EMPTY, choose_operating_point, mean_f1
from visiontasks.detection.types import Boxes, Detections


def _truth(boxes, labels, *, crowd=(), difficult=()):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    flags = [np.isin(np.arange(len(boxes)), which) for which in (crowd, difficult)]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Boxes(boxes, np.array(labels, np.int64), *flags, area)


def _found(boxes, labels, scores):
    order = np.argsort(-np.array(scores, dtype=float), kind="stable")
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return Detections(boxes[order], np.array(labels, np.int64)[order], np.array(scores, dtype=float)[order])


def _scene(seed, pictures=12, num_classes=4):
    """Boxes, some of them ignored; good, bad and double detections whose scores tie."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 6))
        corners = rng.uniform(0, 100, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 60, (count, 2))], axis=1)
        labels = rng.integers(0, num_classes - 1, count)  # the last class has no boxes
        flags = rng.random((2, count)) < 0.15
        truths.append(
            _truth(boxes, labels, crowd=np.flatnonzero(flags[0]), difficult=np.flatnonzero(flags[1]))
        )
        shown = np.repeat(np.arange(count), rng.integers(0, 4, count))
        moved = boxes[shown] + rng.normal(0, 4, (len(shown), 4))
        extra = rng.uniform(0, 100, (int(rng.integers(0, 4)), 2))
        moved = np.concatenate([moved, np.concatenate([extra, extra + 30], axis=1)])
        kinds = np.concatenate([labels[shown], rng.integers(0, num_classes, len(extra))])
        moved[:, 2:] = np.maximum(moved[:, :2] + 1, moved[:, 2:])
        predictions.append(_found(moved, kinds, rng.integers(1, 16, len(moved)) / 16))
    return predictions, truths


def _overlap(one, other, crowd):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    own, theirs = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (own if crowd else own + theirs - shared)


def _brute_force(predictions, truths, least, num_classes):
    """Mean F1 of the detections that have this score: one picture and one detection at a time."""
    hits, found, boxes = np.zeros((3, num_classes), int)
    for prediction, truth in zip(predictions, truths, strict=True):
        ignored = truth.crowd | truth.difficult
        np.add.at(boxes, truth.labels[~ignored], 1)
        free = np.ones(len(truth), bool)
        for box, label, score in zip(prediction.boxes, prediction.labels, prediction.scores, strict=True):
            if score < least:
                continue
            overlaps = [
                (not ignored[i], _overlap(box, truth.boxes[i], truth.crowd[i]), i)
                for i in range(len(truth))
                if free[i] and truth.labels[i] == label
            ]
            counted, _, chosen = max((entry for entry in overlaps if entry[1] >= 0.5), default=(True, 0, -1))
            if chosen >= 0 and not truth.crowd[chosen]:
                free[chosen] = False
            found[label] += counted
            hits[label] += counted and chosen >= 0
    present = boxes > 0
    return np.mean(2 * hits[present] / (boxes + found)[present])


@pytest.mark.parametrize("seed", range(12))
def test_mean_f1_equals_a_count_by_hand_at_every_score(seed):
    predictions, truths = _scene(seed)
    scores, means = mean_f1(pack_results(predictions, truths, 4))
    counted = np.concatenate([p.scores[p.labels < 3] for p in predictions])  # class 3 has nothing to find
    levels = np.unique(counted)[::-1]
    expected = dict(zip(levels, (_brute_force(predictions, truths, at, 4) for at in levels), strict=True))
    assert set(scores) <= set(levels) and len(scores) > 5
    for score, value in zip(scores, means, strict=True):
        assert value == pytest.approx(expected[score], abs=1e-12)
    assert max(means) == pytest.approx(max(expected.values()), abs=1e-12)


def test_the_confidence_keeps_what_is_best_and_nothing_else():
    predictions, truths = _scene(5, pictures=75)  # too few without objects to count
    chosen = choose_operating_point(predictions, truths)
    confidence = chosen.options["confidence"]
    levels = np.unique(np.concatenate([p.scores for p in predictions]))
    values = [_brute_force(predictions, truths, level, 4) for level in levels]
    above = levels[levels > confidence].min()  # decode keeps scores above it
    assert _brute_force(predictions, truths, above, 4) == pytest.approx(max(values), abs=1e-12)
    usual = _brute_force(predictions, truths, 0.5 + 1e-9, 4)
    gain = f"mean F1 {max(values):.3f}, at 0.5 it is {usual:.3f}"
    pairs = zip(predictions, truths, strict=True)
    empty = [max(found.scores, default=0.0) for found, truth in pairs if not len(truth)]
    assert 5 < len(empty) < LEAST_EMPTY
    shown = sum(score > confidence for score in empty)
    assert str(chosen) == (
        f"confidence {confidence:.3g} ({gain}; boxes on {shown} of {len(empty)} pictures without objects)"
    )


def test_a_case_by_hand():
    """Two boxes of one class found at 0.9 and 0.6, false ones at 0.7 and 0.2: F1 2/3, 1/2, 4/5, 2/3."""
    box, other, nothing = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]
    found = _found([box, nothing, other, nothing], [0, 0, 0, 0], [0.9, 0.7, 0.6, 0.2])
    scores, means = mean_f1(pack_results([found], [_truth([box, other], [0, 0])], 1))
    assert scores.tolist() == [0.9, 0.7, 0.6, 0.2]
    assert means.tolist() == pytest.approx([2 / 3, 1 / 2, 4 / 5, 2 / 3])
    copies = LEAST_BOXES // 2
    chosen = choose_operating_point([found] * copies, [_truth([box, other], [0, 0])] * copies)
    assert chosen.options == {"confidence": pytest.approx(0.4)}  # halfway to what is left out


def test_a_class_without_detections_counts_with_0():
    box = [0, 0, 10, 10]
    found = _found([box], [0], [0.9])
    _, means = mean_f1(pack_results([found], [_truth([box, box], [0, 1])], 2))
    assert means.tolist() == [0.5]


def test_few_boxes_or_nothing_found_choose_nothing():
    box = [0, 0, 10, 10]
    found, truth = _found([box], [0], [0.9]), _truth([box], [0])
    assert choose_operating_point([found] * LEAST_BOXES, [truth] * LEAST_BOXES) is not None
    assert choose_operating_point([found] * (LEAST_BOXES - 1), [truth] * (LEAST_BOXES - 1)) is None
    assert choose_operating_point([_found([], [], [])] * LEAST_BOXES, [truth] * LEAST_BOXES) is None
    assert choose_operating_point([], []) is None
    difficult = _truth([box], [0], difficult=[0])
    assert choose_operating_point([found] * LEAST_BOXES, [difficult] * LEAST_BOXES) is None


def test_few_pictures_without_objects_may_show_any():
    """20 have false boxes at 0.01, 0.02 ... 0.2; two may show one, so the third score is the limit."""
    box = [0, 0, 10, 10]
    truths = [_truth([box], [0])] * LEAST_BOXES + [_truth([], [])] * LEAST_EMPTY
    found = [_found([box], [0], [0.15 + 0.001 * i]) for i in range(LEAST_BOXES)]
    empty = [_found([box], [0], [0.01 * (1 + i)]) for i in range(LEAST_EMPTY)]
    chosen = choose_operating_point(found + empty, truths)
    assert chosen.options == {"confidence": pytest.approx((0.18 + 0.181) / 2)}  # the next hit is at 0.181
    assert chosen.gain.endswith("boxes on 2 of 20 pictures without objects")
    fewer = choose_operating_point(found + empty[1:], truths[:-1])
    assert fewer.options["confidence"] < 0.15


def test_where_all_is_false_nothing_is_shown():
    box, other = [0, 0, 10, 10], [50, 50, 60, 60]
    truths = [_truth([box], [0])] * LEAST_BOXES + [_truth([], [])] * LEAST_EMPTY
    for label in (0, 1):  # of a class with boxes, or without
        found = [_found([other], [0], [0.3])] * LEAST_BOXES + [_found([box], [label], [0.9])] * LEAST_EMPTY
        chosen = choose_operating_point(found, truths)
        assert chosen.options["confidence"] >= 0.9  # decode shows what is above it
