"""The worst errors of a segmentation: what each costs against the evaluator with the region mended."""

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.segmentation.metrics import SegmentationEvaluator
from visiontasks.segmentation.mistakes import SegmentationMistakes, cut
from visiontasks.segmentation.types import IGNORE, SegmentationMap
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("road", "car", "sky", "tree"))
SIZE = (14, 18)


def pictures(seed, count=6, classes=4):
    """Masks of blocks, predictions of other blocks here and there; some pixels are ignored."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        truth = np.kron(rng.integers(0, classes, (2, 3)), np.ones((7, 6), int)).astype(np.uint8)
        predicted = truth.copy()
        for _ in range(3):
            y, x, h, w = rng.integers(0, 10), rng.integers(0, 12), rng.integers(1, 8), rng.integers(1, 8)
            predicted[y : y + h, x : x + w] = rng.integers(0, classes)
        truth[0, : rng.integers(0, 5)] = IGNORE
        pairs.append((predicted, truth))
    return pairs


def gathered(pairs, n):
    mistakes = SegmentationMistakes(CLASSES, n)
    for number, (predicted, truth) in enumerate(pairs):
        mistakes.update([SegmentationMap(predicted)], [truth], [ImageInfo(number, *SIZE, *SIZE)])
    return mistakes.worst()


def mean_iou(pairs):
    evaluator = SegmentationEvaluator(CLASSES)
    for number, (predicted, truth) in enumerate(pairs):
        evaluator.add(str(number), truth, predicted)
    return evaluator.compute()["mIoU"]


def regions_of(pairs):
    """(pixels, picture, truth, predicted, mask) of every wrong region, by flooding: slow and plain."""
    found = []
    for number, (predicted, truth) in enumerate(pairs):
        left = {(y, x) for y, x in np.argwhere((predicted != truth) & (truth != IGNORE)).tolist()}
        while left:
            first = left.pop()
            kind, open_, region = (truth[first], predicted[first]), [first], {first}
            while open_:
                y, x = open_.pop()
                for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                    if near in left and (truth[near], predicted[near]) == kind:
                        left.remove(near)
                        region.add(near)
                        open_.append(near)
            mask = np.zeros(SIZE, bool)
            mask[tuple(zip(*region, strict=True))] = True
            found.append((len(region), number, *kind, mask))
    return found


@pytest.mark.parametrize(("seed", "n"), [(0, 3), (1, 1), (2, 8), (3, 1000)])
def test_costs_equal_mending_each_region_and_measuring_anew(seed, n):
    pairs = pictures(seed)
    before, regions, gains = mean_iou(pairs), regions_of(pairs), []
    for _, number, true, _, mask in regions:
        mended = [(p.copy(), t) for p, t in pairs]
        mended[number][0][mask] = true
        gains.append(mean_iou(mended) - before)
    found = gathered(pairs, n)
    assert len(found) == min(n, len(regions)) and len(regions) > 8
    expected = sorted(gains, reverse=True)[:n]
    np.testing.assert_allclose([one.cost for one in found], expected, atol=1e-12)
    for one in found:
        same = [
            region
            for region, gain in zip(regions, gains, strict=True)
            if region[1] == one.image_id and np.array_equal(region[4], one.place)
        ]
        assert len(same) == 1 and (same[0][2], same[0][3]) == (one.truth, one.predicted)
        left, top, right, bottom = one.box
        rows, columns = np.nonzero(one.place)
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.score is None and one.kind == "wrong class"


def test_a_class_that_is_only_predicted_costs_the_true_one_alone():
    truth, predicted = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    predicted[:7] = 3
    (found,) = gathered([(predicted, truth)], 4)
    assert found.cost == pytest.approx((1 - 0.5) / 2)  # of two classes; mended, the other one drops out
    assert found.place.sum() == 7 * 18


def test_no_errors():
    assert gathered([(np.zeros(SIZE, np.uint8),) * 2], 3) == []


def test_a_part_of_a_picture():
    mask = np.arange(252, dtype=np.uint8).reshape(SIZE)
    window = (2, 3, 7, 5)
    assert np.array_equal(cut(mask, window), mask[3:5, 2:7])
    assert np.array_equal(cut(SegmentationMap(mask), window).mask, mask[3:5, 2:7])
