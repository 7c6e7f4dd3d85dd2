"""Resampled pictures: the same as measuring a data set that holds them so often, without matching again."""

import json
import math

import numpy as np
import pytest

from visiontasks.detection.metrics import DetectionEvaluator, coco, compare
from visiontasks.types import ImageInfo

from .scenes import boxes_of, classes_of, coco_scene, detections_of, pycocotools, write_scene


def repeated(truth, results, times):
    """The documents of a data set with picture i `times[i]` times over."""
    truth = json.loads(json.dumps(truth))
    images, annotations, found = [], [], []
    for image, count in zip(sorted(truth["images"], key=lambda image: image["id"]), times, strict=True):
        for copy in range(count):
            ident = image["id"] * 100 + copy
            images.append({**image, "id": ident})
            for annotation in truth["annotations"]:
                if annotation["image_id"] == image["id"]:
                    annotations.append({**annotation, "image_id": ident, "id": len(annotations) + 1})
            found += [
                {**result, "image_id": ident} for result in results if result["image_id"] == image["id"]
            ]
    return {**truth, "images": images, "annotations": annotations}, found


@pytest.mark.parametrize("seed", range(12))
def test_weights_equal_copies_of_the_pictures(tmp_path, seed):
    """Against pycocotools on the copies. No equal scores on a picture: copies interleave there."""
    truth, results = coco_scene(seed, pictures=4, categories=12)
    rng = np.random.default_rng(seed)
    for result, score in zip(results, rng.permutation(len(results)), strict=True):
        result["score"] = (1 + score) / (1 + len(results))
    matched = compare(*write_scene(tmp_path, truth, results), {}).matched()
    curves = coco.build_curves(matched, 0)
    times = rng.integers(0, 4, 4)
    ours = coco.average_precision(curves, times.astype(np.float64))
    if not times.any():
        assert np.isnan(ours).all()
        return
    theirs = pycocotools(*repeated(truth, results, times)).eval["precision"][:, :, :, 0, -1].mean(axis=1)
    assert np.allclose(np.nan_to_num(ours, nan=-1), theirs, rtol=0, atol=1e-9)


def evaluator_of(pictures, classes=1):
    evaluator = DetectionEvaluator(classes_of(classes))
    for place, (found, true) in enumerate(pictures):
        info = ImageInfo(place, 100, 100, 100, 100)
        evaluator.update([detections_of(found)], [boxes_of(true)], [info])
    return evaluator


HIT = ([(0, 0.9, 0, 0, 10, 10)], [(0, 0, 0, 10, 10)])
MISS = ([], [(0, 0, 0, 10, 10)])


def test_interval_of_a_share_by_hand():
    """Half of 40 pictures is found without false alarms: AP is the share of the found, in steps of recall."""
    numbers = evaluator_of([HIT, MISS] * 20).compute()
    assert numbers["AP"] == pytest.approx(51 / 101)
    standard_error = math.sqrt(0.25 / 40)
    for name in ("AP", "AP50", "AP/a"):
        assert numbers[f"{name}@low"] == pytest.approx(0.5 - 1.96 * standard_error, abs=0.04)
        assert numbers[f"{name}@high"] == pytest.approx(0.5 + 1.96 * standard_error, abs=0.04)


def test_the_number_lies_in_its_interval():
    """Few boxes a class, many false alarms: resampling alone raises AP by as much as its spread."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(60):
        true = [(rng.integers(26), *corner, *(corner + 20)) for corner in rng.integers(0, 80, (2, 2))]
        hits = [(row[0], rng.beta(3, 2), *(np.array(row[1:]) + rng.integers(-2, 3, 4))) for row in true]
        alarms = [
            (rng.integers(26), rng.beta(2.7, 2), *corner, *(corner + 6))
            for corner in rng.integers(0, 80, (12, 2))
        ]
        pictures.append((hits + alarms, true))
    evaluator = evaluator_of(pictures, classes=26)
    numbers = evaluator.compute()
    curves = coco.build_curves(evaluator.matched(), 0)
    plain = coco.bootstrap(curves, 60, np.random.default_rng(0))[:, 0]
    low, high = np.percentile(plain, (2.5, 97.5))
    assert (plain > numbers["AP"]).mean() > 0.9
    assert numbers["AP@low"] < numbers["AP"] < numbers["AP@high"]
    assert numbers["AP@high"] - numbers["AP@low"] == pytest.approx(high - low)


def test_no_doubt_no_width():
    numbers = evaluator_of([HIT] * 5).compute()
    assert numbers["AP@low"] == numbers["AP@high"] == numbers["AP"] == pytest.approx(1)


def test_a_class_of_one_picture_is_undefined_in_some_resamples():
    rare = ([(1, 0.9, 0, 0, 10, 10)], [(1, 0, 0, 10, 10)])
    numbers = evaluator_of([HIT, MISS, rare], classes=3).compute()
    assert numbers["AP/b@low"] == numbers["AP/b@high"] == pytest.approx(1)
    assert math.isnan(numbers["AP/c@low"])


def test_which_numbers_have_intervals():
    numbers = evaluator_of([HIT, MISS], classes=2).compute()
    with_interval = {name.removesuffix("@low") for name in numbers if name.endswith("@low")}
    assert with_interval == {"AP", "AP50", "AP/a", "AP/b"}
    assert {f"{name}@high" for name in with_interval} <= set(numbers)


def test_the_same_pictures_give_the_same_interval():
    pictures = [HIT, MISS, MISS, HIT, HIT]
    expected = evaluator_of(pictures).compute()
    assert evaluator_of(pictures).compute() == pytest.approx(expected, abs=0, nan_ok=True)
