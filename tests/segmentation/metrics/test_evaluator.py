"""Confusion counts, boundary IoU and the evaluator against scikit-learn, torchmetrics, scipy and by hand."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import multiclass_jaccard_index

from visiontasks.classes import ClassMap
from visiontasks.errors import DataError
from visiontasks.segmentation.metrics import SegmentationEvaluator, scores
from visiontasks.segmentation.metrics.boundary import boundary_counts, near_contour
from visiontasks.segmentation.metrics.confusion import CHUNK, confusion_counts
from visiontasks.segmentation.types import IGNORE, SegmentationMap
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("road", "sky", "tree", "car"))
K = len(CLASSES)


def masks(seed, size=(13, 17), classes=K, ignored=0.2):
    """A true and a predicted mask of blocks, so that there are contours and surfaces."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (2, -(-size[0] // 4), -(-size[1] // 4)), dtype=np.uint8)
    truth, predicted = (m.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].copy() for m in coarse)
    truth[rng.random(size) < ignored] = IGNORE
    return truth, predicted


def evaluate(pairs, classes=CLASSES):
    evaluator = SegmentationEvaluator(classes)
    for name, (truth, predicted) in pairs.items():
        info = ImageInfo(name, *truth.shape, *truth.shape)
        evaluator.update([SegmentationMap(predicted)], [truth], [info])
    return evaluator


def pairs_of(seed, number=4):
    return {f"{i}.png": masks(seed + i, size=(9 + i, 14)) for i in range(number)}


def flat(pairs):
    """All counted pixels: (N,) truth and prediction."""
    truth = np.concatenate([t.ravel() for t, _ in pairs.values()])
    predicted = np.concatenate([p.ravel() for _, p in pairs.values()])
    return truth[truth != IGNORE], predicted[truth != IGNORE]


# The confusion matrix


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 19, 254, 255]))
def test_counts_equal_sklearn(seed, classes):
    truth, predicted = masks(seed, classes=classes)
    found = confusion_counts(truth, predicted, classes, "a")
    counted = truth != IGNORE
    expected = sklearn_metrics.confusion_matrix(truth[counted], predicted[counted], labels=range(classes))
    np.testing.assert_array_equal(found[:, :-1], expected)
    assert not found[:, -1].any()


def test_a_mask_of_several_chunks_is_counted_whole():
    truth = np.random.default_rng(0).integers(0, 3, (CHUNK // 100, 250), dtype=np.uint8)
    found = confusion_counts(truth, truth, 3, "a")
    np.testing.assert_array_equal(np.diag(found), np.bincount(truth.ravel()))
    assert found.sum() == truth.size


def test_pixels_without_a_prediction_have_a_column():
    truth = np.array([[0, 1, IGNORE]], dtype=np.uint8)
    found = confusion_counts(truth, np.array([[IGNORE, 1, IGNORE]], dtype=np.uint8), 2, "a")
    assert found.tolist() == [[0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (
            [[0, 9, 9, 7]],
            [[0, 0, 0, 0]],
            r"a: truth: expected classes 0 to 3, .*found 7 \(1 pixels\), 9 \(2 p",
        ),
        ([[0, 0, 0, 0]], [[4, 0, 5, 5]], r"a: prediction: expected .*found 4 \(1 pixels\), 5 \(2 pixels\)"),
        ([[0, 0, 0, 0]], [[0, 0, 0]], "a: expected a prediction of the truth's size 1x4, found 1x3"),
    ],
)
def test_wrong_masks_are_refused(truth, predicted, message):
    truth, predicted = np.array(truth, dtype=np.uint8), np.array(predicted, dtype=np.uint8)
    with pytest.raises(DataError, match=message):
        confusion_counts(truth, predicted, K, "a")


# The evaluator


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 10))
def test_numbers_equal_sklearn_and_torchmetrics(seed):
    pairs = pairs_of(seed)
    truth, predicted = flat(pairs)
    numbers = evaluate(pairs).compute()
    present = sorted({*truth.tolist(), *predicted.tolist()})
    ious = sklearn_metrics.jaccard_score(truth, predicted, labels=present, average=None, zero_division=0)
    expected = dict(zip(present, ious, strict=True))
    assert [numbers[f"IoU/{name}"] for name in CLASSES.names] == pytest.approx(
        [expected.get(index, math.nan) for index in range(K)], nan_ok=True
    )
    assert numbers["aAcc"] == pytest.approx(sklearn_metrics.accuracy_score(truth, predicted))
    options = {"labels": present, "average": "macro", "zero_division": 0}
    assert numbers["mIoU"] == pytest.approx(sklearn_metrics.jaccard_score(truth, predicted, **options))
    assert numbers["mAcc"] == pytest.approx(sklearn_metrics.recall_score(truth, predicted, **options))
    assert numbers["mDice"] == pytest.approx(sklearn_metrics.f1_score(truth, predicted, **options))
    weighted = sklearn_metrics.jaccard_score(truth, predicted, average="weighted", zero_division=0)
    assert numbers["fwIoU"] == pytest.approx(weighted)
    theirs = multiclass_jaccard_index(
        torch.from_numpy(predicted.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)), K, "macro"
    )
    assert numbers["mIoU"] == pytest.approx(float(theirs), abs=1e-6)


def test_by_hand():
    """Of four roads two are hit; of two skies one is hit, one has no prediction; car is only predicted."""
    truth = np.array([[0, 0, 0, 1, 1, IGNORE, 0]], dtype=np.uint8)
    predicted = np.array([[0, 0, 1, 1, IGNORE, 3, 3]], dtype=np.uint8)
    evaluator = evaluate({"a": (truth, predicted)})
    numbers = evaluator.compute()
    assert numbers["IoU/road"] == pytest.approx(2 / 4)
    assert numbers["IoU/sky"] == pytest.approx(1 / 3)
    assert numbers["IoU/car"] == 0
    assert math.isnan(numbers["IoU/tree"])
    assert numbers["mIoU"] == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert numbers["aAcc"] == pytest.approx(3 / 6)
    assert numbers["fwIoU"] == pytest.approx((4 * 1 / 2 + 2 * 1 / 3) / 6)
    tables = evaluator.tables()
    assert tables["absent"] == ["tree"]
    assert tables["confusion"]["counts"][0] == [2, 1, 0, 1]
    assert tables["confusion"]["unpredicted"] == [0, 1, 0, 0]
    assert tables["classes"][2] == {
        "class": "tree", "pixels": 0, "predicted": 0, "IoU": None, "Acc": None, "Dice": None, "BIoU": None
    }  # fmt: skip
    assert tables["pictures"] == [
        {"id": "a", "aAcc": pytest.approx(0.5), "mIoU": pytest.approx(numbers["mIoU"])}
    ]


def test_nothing_is_undefined():
    numbers = SegmentationEvaluator(CLASSES).compute()
    assert set(numbers) >= {"mIoU", "mIoU@low", "mIoU@high", "mAcc", "aAcc", "fwIoU", "mDice", "mBIoU"}
    assert all(math.isnan(value) for value in numbers.values())
    ignored = np.full((4, 4), IGNORE, dtype=np.uint8)
    evaluator = evaluate({"a": (ignored, np.zeros((4, 4), dtype=np.uint8))})
    assert all(math.isnan(value) for value in evaluator.compute().values())
    assert evaluator.tables()["pictures"] == [{"id": "a", "aAcc": None, "mIoU": None}]


def test_order_and_sharding_change_nothing():
    pairs = pairs_of(3, number=6)
    whole = evaluate(pairs)
    first, second = (evaluate({k: pairs[k] for k in keys}) for keys in (list(pairs)[4::-1], list(pairs)[5:]))
    second.merge(pickle.loads(pickle.dumps(first)))
    assert second.compute() == pytest.approx(whole.compute(), rel=0, abs=0, nan_ok=True)
    assert second.tables() == whole.tables()
    assert len(second) == 6


def test_a_picture_comes_once():
    pairs = pairs_of(0, number=1)
    evaluator = evaluate(pairs)
    with pytest.raises(DataError, match=r"found 0\.png twice"):
        evaluator.add("0.png", *pairs["0.png"])
    with pytest.raises(DataError, match=r"found 0\.png twice"):
        evaluator.merge(evaluate(pairs))
    with pytest.raises(DataError, match="only in another: bus"):
        evaluator.merge(SegmentationEvaluator(ClassMap(("road", "sky", "tree", "bus"))))


def test_memory_does_not_grow_with_the_pictures():
    """An id and two numbers a picture are all that is kept."""
    few, many = evaluate(pairs_of(0, number=1)), SegmentationEvaluator(CLASSES)
    truth, predicted = masks(0)
    for i in range(200):
        many.add(f"{i}.png", truth, predicted)
    grown = len(pickle.dumps(many)) - len(pickle.dumps(few))
    assert grown < 200 * 50


# Intervals


def test_resampling_weights_are_poisson_and_depend_on_the_picture_alone():
    drawn = np.stack([scores.resample_weights(f"{i}") for i in range(200)])
    np.testing.assert_array_equal(drawn[7], scores.resample_weights("7"))
    assert drawn.mean() == pytest.approx(1, abs=0.02)
    assert drawn.var() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 0.1


def test_intervals_equal_the_plain_bootstrap():
    """Drawing pictures with replacement, as the textbooks do, from the same pictures."""
    rng = np.random.default_rng(0)
    pairs = {}
    for i in range(60):
        truth = rng.integers(0, K, (20, 20), dtype=np.uint8)
        wrong = rng.random((20, 20)) < rng.uniform(0, 0.8)
        pairs[f"{i}"] = truth, np.where(wrong, rng.integers(0, K, (20, 20), dtype=np.uint8), truth)
    evaluator = evaluate(pairs)
    numbers = evaluator.compute()
    shares = np.array([(t == p).mean() for t, p in pairs.values()])
    means = shares[rng.integers(0, 60, (4000, 60))].mean(axis=1)
    assert numbers["aAcc@low"] == pytest.approx(np.percentile(means, 2.5), abs=0.012)
    assert numbers["aAcc@high"] == pytest.approx(np.percentile(means, 97.5), abs=0.012)
    assert numbers["mIoU@low"] < numbers["mIoU"] < numbers["mIoU@high"]


# Boundary IoU


def official_boundary(mask, width):
    """A binary mask less its erosion; beyond the picture there is nothing (Cheng et al. 2021)."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)


@pytest.mark.parametrize("width", [1, 2, 5, 30])
@pytest.mark.parametrize("seed", range(3))
def test_near_contour_is_each_masks_boundary(seed, width):
    _, mask = masks(seed, size=(21, 34))
    found = near_contour(mask, width)
    for index in range(K):
        np.testing.assert_array_equal(found & (mask == index), official_boundary(mask == index, width))


@pytest.mark.parametrize(("size", "width"), [((24, 40), 1), ((90, 120), 3)])
def test_boundary_iou_equals_the_published_one(size, width):
    """Width: 2% of the diagonal (46.6 and 150 pixels), at least 1."""
    truth, predicted = masks(1, size=size, ignored=0)
    hits, true, found = boundary_counts(truth, predicted, K)
    for index in range(K):
        here, there = (official_boundary(mask == index, width) for mask in (truth, predicted))
        assert hits[index] == (here & there).sum()
        assert true[index] + found[index] - hits[index] == (here | there).sum()
    numbers = evaluate({"a": (truth, predicted)}).compute()
    ious = hits / (true + found - hits)
    assert [numbers[f"BIoU/{name}"] for name in CLASSES.names] == pytest.approx(list(ious))
    assert numbers["mBIoU"] == pytest.approx(ious.mean())


def test_ignored_pixels_are_cut_out_of_both_masks():
    """What is predicted there changes nothing, nor is it a boundary that is missed."""
    truth, predicted = masks(2)
    other = np.where(truth == IGNORE, np.uint8(3), predicted)
    np.testing.assert_array_equal(boundary_counts(truth, predicted, K), boundary_counts(truth, other, K))
    hits, true, found = boundary_counts(truth, np.where(truth == IGNORE, np.uint8(0), truth), K)
    np.testing.assert_array_equal(hits, true)
    np.testing.assert_array_equal(hits, found)
