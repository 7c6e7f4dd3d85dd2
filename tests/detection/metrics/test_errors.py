"""Errors of a detector: each kind in a hand-made case, and what each costs against counting anew."""

import numpy as np
import pytest

from visiontasks.detection.metrics.confusion import CONFIDENCE
from visiontasks.detection.metrics.errors import (
    BOTH,
    CLASS,
    DUPLICATE,
    GROUND,
    KINDS,
    MISSED,
    PLACE,
    UNSURE,
    find_errors,
)
from visiontasks.detection.metrics.results import pack_results
from visiontasks.detection.types import Boxes, Detections
from visiontasks.ops.boxes import box_area, iou_matrix

BOX = (10.0, 10, 30, 30)
HALF = (20.0, 10, 40, 30)  # IoU with BOX: 1/3
FAR = (100.0, 100, 130, 130)


def truth_of(*entries, crowd=()):
    """Entries (label, box)."""
    boxes = np.array([box for _, box in entries], dtype=float).reshape(-1, 4)
    flags = np.isin(np.arange(len(entries)), crowd)
    labels = np.array([label for label, _ in entries], dtype=np.int64)
    return Boxes(boxes, labels, flags, np.zeros(len(entries), bool), box_area(boxes))


def found_of(*entries):
    """Entries (label, box, score)."""
    boxes = np.array([box for _, box, _ in entries], dtype=float).reshape(-1, 4)
    labels = np.array([label for label, _, _ in entries], dtype=np.int64)
    return Detections(boxes, labels, np.array([score for *_, score in entries], dtype=float))


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ([(0, BOX, 0.9)], [(0, BOX)], []),
        ([(0, FAR, 0.9)], [(0, BOX)], [(GROUND, -1), (MISSED, 0)]),
        ([(0, HALF, 0.9)], [(0, BOX)], [(PLACE, 0)]),
        ([(0, HALF, 0.4)], [(0, BOX)], [(PLACE, 0), (MISSED, 0)]),  # it claims nothing below the confidence
        ([(1, BOX, 0.9)], [(0, BOX)], [(CLASS, 0)]),
        ([(1, HALF, 0.9)], [(0, BOX)], [(BOTH, 0), (MISSED, 0)]),
        ([(0, BOX, 0.9), (0, BOX, 0.8)], [(0, BOX)], [(DUPLICATE, 0)]),
        ([(0, BOX, 0.3)], [(0, BOX)], [(UNSURE, 0)]),
        ([], [(0, BOX), (1, FAR)], [(MISSED, 0), (MISSED, 1)]),
        ([(1, BOX, 0.9), (0, HALF, 0.8)], [(0, BOX)], [(CLASS, 0), (PLACE, 0)]),  # the surer one claims it
    ],
)
def test_kinds(found, truth, expected):
    errors = find_errors(pack_results([found_of(*found)], [truth_of(*truth)], 2))
    assert list(zip(errors.kind.tolist(), errors.truth.tolist(), strict=True)) == expected


def test_nothing_at_all():
    errors = find_errors(pack_results([], [], 2))
    assert len(errors.kind) == 0


def test_a_crowd_is_neither_missed_nor_found_wrongly():
    results = pack_results([found_of((0, BOX, 0.9))], [truth_of((0, BOX), crowd=[0])], 1)
    assert len(find_errors(results).kind) == 0


def test_what_a_class_without_truth_is_predicted_for_costs_nothing():
    errors = find_errors(pack_results([found_of((1, FAR, 0.9))], [truth_of((0, BOX))], 2))
    assert errors.kind.tolist() == [GROUND, MISSED]
    assert errors.gain.tolist() == [0, 1]


def mean_ap(pictures, num_classes):
    """AP at IoU 0.5 without interpolation, mean over the classes with truth: the definition, in plain loops.

    pictures: (list of [label, box, score], list of [label, box]).
    """
    values = []
    for label in range(num_classes):
        total = sum(true[0] == label for _, truth in pictures for true in truth)
        ranked = [
            (score, number, box)
            for number, (found, _) in enumerate(pictures)
            for own, box, score in found
            if own == label
        ]
        ranked.sort(key=lambda entry: -entry[0])
        used, hits, ap = set(), 0, 0.0
        for rank, (_, number, box) in enumerate(ranked, start=1):
            best, chosen = 0.5, None
            for place, (own, true) in enumerate(pictures[number][1]):
                overlap = iou_matrix(np.array([box]), np.array([true]))[0, 0]
                if own == label and (number, place) not in used and overlap >= best:
                    best, chosen = overlap, place
            if chosen is not None:
                used.add((number, chosen))
                hits += 1
                ap += hits / rank
        if total:
            values.append(ap / total)
    return np.mean(values)


def random_pictures(seed, num_classes=3):
    """Ten pictures: boxes on a grid, and detections that are right, shifted, renamed, doubled, left out."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(10):
        truth, found = [], []
        for cell in range(int(rng.integers(0, 6))):
            x, y = 100.0 * (cell % 3), 100.0 * (cell // 3)
            box, label = (x + 20, y + 20, x + 60, y + 60), int(rng.integers(num_classes))
            truth.append((label, box))
            for _ in range(int(rng.integers(0, 3))):
                shift = float(rng.choice([0, 3, 20, 70], p=[0.4, 0.3, 0.2, 0.1]))
                own = label if rng.random() < 0.7 else int(rng.integers(num_classes))
                place = (box[0] + shift, box[1], box[2] + shift, box[3])
                found.append((own, place, float(rng.random())))
        pictures.append((found, truth))
    return pictures


def corrected(pictures, result, errors, place, claimed):
    """The pictures with one error corrected, as the module says."""
    pictures = [(list(found), list(truth)) for found, truth in pictures]
    kind, detection, truth = (int(values[place]) for values in (errors.kind, errors.detection, errors.truth))
    number = int(result.picture[detection] if detection >= 0 else result.true_picture[truth])
    found, true = pictures[number]
    if kind == MISSED:
        label, box = true[truth - int(np.searchsorted(result.true_picture, number))]
        found.append((label, box, 2.0))
        return pictures
    own = detection - int(np.searchsorted(result.picture, number))
    label, box, score = found[own]
    if kind == UNSURE:
        found[own] = (label, box, 2.0)
    elif place in claimed:
        true_label, true_box = true[truth - int(np.searchsorted(result.true_picture, number))]
        found[own] = (true_label, true_box, score)
    else:
        del found[own]
    return pictures


def claims_of(result, errors):
    """Of each box that no detection has found, the surest confident one of wrong class or place."""
    unseen = set(range(len(result.true_labels)))
    best = {}
    false = np.isin(errors.kind, [GROUND, BOTH, PLACE, CLASS, DUPLICATE])
    hits = set(range(len(result.labels))) - set(errors.detection[false].tolist())
    for detection in hits:
        box = result.boxes[detection] + np.r_[0, 0, result.boxes[detection][:2]]
        boxes = result.true_boxes + np.c_[0 * result.true_boxes[:, :2], result.true_boxes[:, :2]]
        same = (result.true_labels == result.labels[detection]) & (
            result.true_picture == result.picture[detection]
        )
        overlap = np.where(same, iou_matrix(box[None], boxes)[0], 0)
        unseen.discard(int(np.argmax(overlap)))
    for place in np.flatnonzero(np.isin(errors.kind, [PLACE, CLASS])).tolist():
        truth, score = int(errors.truth[place]), result.scores[errors.detection[place]]
        if truth in unseen and score >= CONFIDENCE and score > best.get(truth, (0.0, 0))[0]:
            best[truth] = (score, place)
    return {place for _, place in best.values()}


@pytest.mark.parametrize("seed", range(12))
def test_gains_equal_correcting_each_error_and_counting_anew(seed):
    pictures = random_pictures(seed)
    result = pack_results([found_of(*found) for found, _ in pictures], [truth_of(*t) for _, t in pictures], 3)
    errors = find_errors(result)
    before, claimed = mean_ap(pictures, 3), claims_of(result, errors)
    assert len(errors.kind) > 10
    for place in range(len(errors.kind)):
        after = mean_ap(corrected(pictures, result, errors, place, claimed), 3)
        what = KINDS[errors.kind[place]], place in claimed
        assert errors.gain[place] == pytest.approx(after - before, abs=1e-9), what


def test_the_random_cases_hold_every_kind():
    kinds = set()
    for seed in range(12):
        pictures = random_pictures(seed)
        errors = find_errors(
            pack_results([found_of(*found) for found, _ in pictures], [truth_of(*t) for _, t in pictures], 3)
        )
        kinds |= set(errors.kind.tolist())
    assert kinds == set(range(len(KINDS)))
