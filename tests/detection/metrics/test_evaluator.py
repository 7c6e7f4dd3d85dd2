import json
import math

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.detection.metrics import DetectionEvaluator
from visiontasks.detection.types import Detections
from visiontasks.errors import DataError
from visiontasks.types import ImageInfo

from .scenes import NAMES, boxes_of, classes_of, detections_of

pytestmark = pytest.mark.usefixtures("few_resamples")

A, B = (0, 0, 10, 10), (50, 50, 90, 90)


def info(image_id):
    return ImageInfo(image_id, 100, 100, 100, 100)


def evaluator_of(*pictures, classes=2):
    evaluator = DetectionEvaluator(classes_of(classes))
    for image_id, found, true in pictures:
        evaluator.update([found], [true], [info(image_id)])
    return evaluator


def test_perfect_predictions():
    numbers = evaluator_of(
        ("a.jpg", detections_of([(0, 0.9, *A), (1, 0.8, *B)]), boxes_of([(0, *A), (1, *B)])),
        ("b.jpg", detections_of([(0, 0.7, *A)]), boxes_of([(0, *A)])),
        ("c.jpg", detections_of(), boxes_of()),
    ).compute()
    assert [numbers[name] for name in ("AP", "AP50", "AP75", "AR100", "VOC07", "VOC12", "AP/a", "AP/b")] == (
        pytest.approx([1] * 8)
    )
    assert math.isnan(numbers["APl"])


def test_names_and_their_order():
    numbers = evaluator_of(("a.jpg", detections_of([(0, 0.9, *A)]), boxes_of([(0, *A)]))).compute()
    assert [name for name in numbers if "@" not in name] == [*NAMES, "VOC07", "VOC12", "AP/a", "AP/b"]
    assert all(math.isnan(value) or 0 <= value <= 1 for value in numbers.values())


def test_no_pictures():
    evaluator = DetectionEvaluator(classes_of(2))
    assert all(math.isnan(value) for value in evaluator.compute().values())
    tables = evaluator.tables()
    assert tables["pictures"] == []
    assert tables["confusion"]["counts"] == [[0, 0, 0]] * 3
    json.dumps(tables, allow_nan=False)


def test_a_picture_twice():
    evaluator = evaluator_of(("a.jpg", detections_of(), boxes_of()))
    with pytest.raises(DataError, match=r"^expected each picture once in an evaluation, found a.jpg twice"):
        evaluator.update([detections_of()], [boxes_of()], [info("a.jpg")])
    other = evaluator_of(("b.jpg", detections_of(), boxes_of()), ("a.jpg", detections_of(), boxes_of()))
    with pytest.raises(DataError, match=r"found a.jpg twice"):
        evaluator.merge(other)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(1, 6))
def test_numbers_that_are_not_finite(bad, column):
    """pycocotools gives a box of nan an AP of 1."""
    row = [0.0, 0.9, *A]
    row[column] = bad
    with pytest.raises(DataError, match=r"^expected finite boxes and scores, found nan or inf for b.jpg;"):
        evaluator_of(
            ("a.jpg", detections_of(), boxes_of()), ("b.jpg", detections_of([row]), boxes_of([(0, *A)]))
        )


def test_merge_of_other_classes():
    other = DetectionEvaluator(ClassMap(("a", "z")))
    with pytest.raises(DataError, match=r"only in another: z"):
        DetectionEvaluator(classes_of(2)).merge(other)


def test_merge_of_nothing():
    evaluator = evaluator_of(("a.jpg", detections_of([(0, 0.9, *A)]), boxes_of([(0, *A)])))
    evaluator.merge(DetectionEvaluator(classes_of(2)))
    DetectionEvaluator(classes_of(2)).merge(evaluator)
    assert evaluator.compute()["AP"] == pytest.approx(1)


def test_more_pictures_after_a_result():
    evaluator = evaluator_of(("a.jpg", detections_of([(0, 0.9, *A)]), boxes_of([(0, *A)])))
    assert evaluator.compute()["AP"] == pytest.approx(1)
    evaluator.update([detections_of()], [boxes_of([(0, *A)])], [info("b.jpg")])
    assert evaluator.compute()["AP"] == pytest.approx(51 / 101)
    assert len(evaluator) == 2


def test_predictions_in_single_precision():
    found = Detections(np.array([A], np.float32), np.array([0]), np.array([0.9], np.float32))
    assert evaluator_of(("a.jpg", found, boxes_of([(0, *A)]))).compute()["AP"] == pytest.approx(1)


def test_tables():
    evaluator = evaluator_of(
        ("b.jpg", detections_of([(0, 0.9, *A), (1, 0.8, *A)]), boxes_of([(0, *A), (0, *B)])),
        ("a.jpg", detections_of([(0, 0.3, *B)]), boxes_of([(0, *B)])),
        classes=3,
    )
    tables = evaluator.tables()
    json.dumps(tables, allow_nan=False)
    curves = tables["curves"]
    assert curves["recall"] == np.linspace(0, 1, 101).tolist()
    # hits at ranks 1 and 2 of 3 true boxes
    assert curves["precision50"]["a"] == pytest.approx([1] * 67 + [0] * 34)
    assert curves["precision50"]["b"] == [None] * 101  # predicted only
    assert curves["precision75"]["c"] == [None] * 101
    assert tables["overlaps"]["AP"] == pytest.approx([67 / 101] * 10)
    assert tables["overlaps"]["iou"][0] == 0.5
    confusion = tables["confusion"]
    assert confusion["classes"] == ["a", "b", "c", "background"]
    assert confusion["counts"] == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert tables["pictures"] == [
        {"id": "a.jpg", "found": 0, "missed": 1, "false": 0},
        {"id": "b.jpg", "found": 1, "missed": 1, "false": 1},
    ]


def test_the_protocol_says_what_was_measured():
    protocol = DetectionEvaluator(classes_of(1)).protocol
    for word in (
        "pycocotools",
        "101-point",
        "0.50:0.05:0.95",
        "100 detections",
        "1000",
        "VOC07",
        "bootstrap",
    ):
        assert word in protocol
    assert "300 detections" in DetectionEvaluator(classes_of(1), 300).protocol
    assert "\n" not in protocol
