import math

import numpy as np
import pytest

from visiontasks.detection.metrics.proposals import average_recall

from .scenes import boxes_of, pycocotools


def as_coco(proposals, truths):
    images = [{"id": i + 1, "file_name": "", "height": 99, "width": 99} for i in range(len(truths))]
    annotations, results = [], []
    for image, (regions, true) in enumerate(zip(proposals, truths, strict=True), start=1):
        for box, crowd, area in zip(
            true.boxes.tolist(), true.crowd.tolist(), true.area.tolist(), strict=True
        ):
            bbox = [*box[:2], box[2] - box[0], box[3] - box[1]]
            record = {"image_id": image, "category_id": 1, "bbox": bbox, "area": area, "iscrowd": int(crowd)}
            annotations.append({"id": len(annotations) + 1, **record})
        for place, box in enumerate(regions.tolist()):
            bbox = [*box[:2], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": image, "category_id": 1, "bbox": bbox, "score": 1 - place / 1000})
    categories = [{"id": 1, "name": "object"}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}, results


@pytest.mark.parametrize("seed", range(20))
def test_equals_pycocotools_without_categories(seed):
    rng = np.random.default_rng(seed)
    proposals, truths = [], []
    for _ in range(4):
        corners = rng.integers(0, 40, (rng.integers(0, 7), 2))
        rows = [(rng.integers(3), *corner, *(corner + rng.integers(5, 40, 2))) for corner in corners]
        truths.append(boxes_of(rows, crowd=np.flatnonzero(rng.random(len(rows)) < 0.2)))
        low = rng.integers(0, 40, (60, 2))
        proposals.append(np.concatenate([low, low + rng.integers(5, 40, (60, 2))], axis=1).astype(np.float64))
    numbers = average_recall(proposals, truths, (5, 20, 50))
    recall = pycocotools(*as_coco(proposals, truths), max_detections=(5, 20, 50), with_classes=False)
    recall = recall.eval["recall"][:, 0, 0]  # (T, M)
    for place, limit in enumerate((5, 20, 50)):
        assert numbers[f"AR{limit}"] == pytest.approx(recall[:, place].mean(), abs=1e-12)
        assert numbers[f"recall50@{limit}"] == pytest.approx(recall[0, place], abs=1e-12)


def test_by_hand():
    true = boxes_of([(0, 0, 0, 10, 10), (1, 50, 50, 60, 60)])
    proposals = np.array([[0, 0, 10, 6], [50, 50, 60, 60], [0, 0, 10, 10]], dtype=float)
    numbers = average_recall([proposals], [true], (1, 2, 3))
    assert [numbers[f"recall50@{limit}"] for limit in (1, 2, 3)] == [0.5, 1, 1]
    assert numbers["AR1"] == pytest.approx(0.5 * 3 / 10)  # IoU 0.6
    assert numbers["AR2"] == pytest.approx(0.5 + 0.5 * 3 / 10)
    assert numbers["AR3"] == 1


def test_nothing_proposed_and_nothing_to_find():
    true = boxes_of([(0, 0, 0, 10, 10)])
    assert average_recall([np.zeros((0, 4))], [true], (10,)) == {"AR10": 0, "recall50@10": 0}
    nothing = average_recall([np.ones((3, 4))], [boxes_of()], (10,))
    assert all(math.isnan(value) for value in nothing.values())
