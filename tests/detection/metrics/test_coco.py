"""Equality with pycocotools, from the files to the numbers."""

import json
import logging
import math

import numpy as np
import pytest

from visiontasks.detection.metrics import DetectionEvaluator, coco, compare
from visiontasks.detection.metrics.results import written_sizes
from visiontasks.types import ImageInfo

from .scenes import (
    NAMES,
    boxes_of,
    classes_of,
    coco_scene,
    detections_of,
    pycocotools,
    write_scene,
)

pytestmark = pytest.mark.usefixtures("few_resamples")


def numbers_of(folder, truth, results, **options):
    return compare(*write_scene(folder, truth, results), options).compute()


def assert_equals_pycocotools(evaluator, evaluation):
    """Every curve: precision at 101 recalls, and recall, of each threshold, class, band and limit."""
    matched = evaluator.matched()
    theirs = evaluation.eval["precision"], evaluation.eval["recall"]  # (T, R, K, A, M), (T, K, A, M)
    for band in range(len(coco.AREAS)):
        curves = coco.build_curves(matched, band)
        precision = coco.precision_at_recalls(curves).transpose(0, 2, 1)
        ours = np.nan_to_num(precision, nan=-1)
        assert np.allclose(ours, theirs[0][:, :, :, band, -1], rtol=0, atol=1e-9)
        means = np.nan_to_num(coco.average_precision(curves), nan=-1)
        assert np.allclose(means, theirs[0][:, :, :, band, -1].mean(axis=1), rtol=0, atol=1e-9)
        for place, most in enumerate(evaluation.params.maxDets):
            recall = np.nan_to_num(coco.recall(curves, most), nan=-1)
            assert np.allclose(recall, theirs[1][:, :, band, place], rtol=0, atol=1e-9)


def assert_stats(numbers, stats):
    expected = [math.nan if value == -1 else value for value in stats]
    assert [numbers[name] for name in NAMES] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", range(40))
def test_twelve_numbers_and_all_curves(tmp_path, seed):
    """40 data sets of 40 categories, each a case of its own: 1600 cases, 64,000 pairs of curves."""
    truth, results = coco_scene(seed, pictures=1 + seed % 4, categories=40)
    evaluator = compare(*write_scene(tmp_path, truth, results), {})
    theirs = pycocotools(truth, results)
    assert_equals_pycocotools(evaluator, theirs)
    numbers = evaluator.compute()
    assert_stats(numbers, theirs.stats)
    of_classes = theirs.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
    for category, value in zip(truth["categories"], of_classes, strict=True):
        expected = math.nan if value == -1 else value
        assert numbers[f"AP/{category['name']}"] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", range(10))
def test_few_detections_a_picture(tmp_path, seed):
    """Far more detections than the limit, ties at the limit included."""
    truth, results = coco_scene(1000 + seed, pictures=2, categories=40, most=12)
    evaluator = compare(*write_scene(tmp_path, truth, results), {"max_detections": 5})
    assert_equals_pycocotools(evaluator, pycocotools(truth, results, max_detections=(1, 2, 5)))


def crowded(count):
    """`count` objects of one class on one picture, all found, the first ones with the lowest scores."""
    boxes = [[20.0 * (i % 20), 20.0 * (i // 20), 10.0, 10.0] for i in range(count)]
    truth = {
        "info": {},
        "images": [{"id": 1, "file_name": "1.jpg", "height": 500, "width": 500}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 100.0, "iscrowd": 0}
            for i, box in enumerate(boxes)
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": (i + 1) / 1000} for i, box in enumerate(boxes)
    ]
    return truth, results


def test_150_objects_on_a_picture(tmp_path, caplog):
    truth, results = crowded(150)
    with caplog.at_level(logging.WARNING):
        numbers = numbers_of(tmp_path, truth, results)
    assert_stats(numbers, pycocotools(truth, results).stats)
    assert numbers["AR100"] == pytest.approx(100 / 150)
    assert "1 pictures have more than 100 objects (1 has 150)" in caplog.text
    caplog.clear()
    numbers = numbers_of(tmp_path, truth, results, max_detections=300)
    assert numbers["AP"] == pytest.approx(1)
    assert numbers["AR300"] == 1
    assert "AR100" not in numbers
    assert "objects" not in caplog.text


def test_no_predictions_is_zero(tmp_path):
    truth, _ = crowded(3)
    numbers = numbers_of(tmp_path, truth, [])
    assert [numbers[name] for name in ("AP", "AP50", "APs", "AR1", "AR100", "VOC07", "VOC12")] == [0] * 7
    assert math.isnan(numbers["APl"])  # no large object is there


def test_no_truth_is_undefined(tmp_path, caplog):
    truth, results = crowded(3)
    truth["annotations"] = []
    with caplog.at_level(logging.WARNING):
        numbers = numbers_of(tmp_path, truth, results)
    assert all(math.isnan(value) for value in numbers.values())
    assert "no true boxes: every number is undefined" in caplog.text


def test_annotation_id_zero_is_found(tmp_path):
    truth, results = crowded(3)
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    assert pycocotools(truth, results).stats[0] < 0.9  # 0 means "unmatched" there
    assert numbers_of(tmp_path, truth, results)["AP"] == pytest.approx(1)


def test_a_class_that_is_only_predicted_has_no_ap(tmp_path):
    truth, results = crowded(3)
    truth["categories"].append({"id": 2, "name": "ghost"})
    results.append({"image_id": 1, "category_id": 2, "bbox": [0.0, 0.0, 9.0, 9.0], "score": 0.9})
    numbers = numbers_of(tmp_path, truth, results)
    assert_stats(numbers, pycocotools(truth, results).stats)
    assert numbers["AP"] == pytest.approx(1)
    assert math.isnan(numbers["AP/ghost"])


def test_sizes_are_those_that_the_file_wrote():
    rng = np.random.default_rng(0)
    boxes = np.round(rng.uniform(-50, 3000, (20_000, 4)), rng.integers(0, 5, (20_000, 1)).max())
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    assert not np.array_equal(corners[:, 2:] - corners[:, :2], boxes[:, 2:])
    assert np.array_equal(written_sizes(corners), boxes)


def test_a_box_on_the_limit_of_a_band_stays_on_it(tmp_path):
    """10.1 + 32 - 10.1 is 32.000000000000004: not small any more."""
    truth, _ = crowded(1)
    truth["annotations"][0]["area"] = 1024
    results = [{"image_id": 1, "category_id": 1, "bbox": [10.1, 200.3, 32.0, 32.0], "score": 0.9}]
    numbers = numbers_of(tmp_path, truth, results)
    assert_stats(numbers, pycocotools(truth, results).stats)


def test_order_and_sharding_change_nothing():
    rng = np.random.default_rng(3)
    pictures = []
    for _ in range(12):
        rows = [(rng.integers(3), *xy, *(xy + rng.integers(5, 40, 2))) for xy in rng.integers(0, 50, (4, 2))]
        found = [
            (row[0], rng.integers(1, 4) / 4, *(np.array(row[1:]) + rng.integers(-2, 3, 4)))
            for row in rows * 2
        ]
        pictures.append((detections_of(found), boxes_of(rows, crowd=[1])))
    infos = [ImageInfo(f"p{i}", 100, 100, 100, 100) for i in range(12)]

    def evaluated(order, shards):
        parts = [DetectionEvaluator(classes_of(3)) for _ in range(shards)]
        for place, index in enumerate(order):
            found, true = pictures[index]
            parts[place % shards].update([found], [true], [infos[index]])
        for part in parts[1:]:
            parts[0].merge(part)
        return json.dumps([parts[0].compute(), parts[0].tables()])

    expected = evaluated(range(12), 1)
    assert evaluated(range(11, -1, -1), 1) == expected
    assert evaluated(rng.permutation(12).tolist(), 3) == expected


def test_of_equal_overlaps_the_later_box_is_taken():
    """The first detection lies between two boxes; the second fits the first box alone, and finds it free."""
    true = boxes_of([(0, 0, 0, 20, 20), (0, 8, 0, 28, 20)])
    found = detections_of([(0, 0.9, 4, 0, 24, 20), (0, 0.8, -4, 0, 16, 20)])
    evaluator = DetectionEvaluator(classes_of(1))
    evaluator.update([found], [true], [ImageInfo(1, 50, 50, 50, 50)])
    assert evaluator.compute()["AP50"] == pytest.approx(1)
