"""Random truth and predictions, hard on purpose; and what pycocotools says of them."""

import contextlib
import copy
import io
import json
from string import ascii_lowercase

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visiontasks.classes import ClassMap
from visiontasks.detection.types import Boxes, Detections

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SIDES = (4, 16, 31.9, 32, 32.1, 60, 95.9, 96, 96.1, 150)  # around the limits of the bands


def coco_scene(seed, pictures=4, categories=8, most=6):
    """(truth, results) in COCO's form; each category is hard in another way.

    Boxes lie on a coarse grid, so overlaps tie and meet the thresholds; scores tie; some categories have no
    truth, no detections, crowds only; some pictures are empty.
    """
    rng = np.random.default_rng(seed)
    image_ids = (rng.permutation(50)[:pictures] + 1).tolist()
    category_ids = np.sort(rng.permutation(90)[:categories] + 1).tolist()
    annotations, results = [], []
    for category in category_ids:
        step = rng.choice([0.1, 0.5, 1, 8])
        crowds = rng.choice([0, 0, 0.2, 0.6, 1])
        levels = rng.choice([2, 5, 1000])
        for image in image_ids:
            true = _boxes(rng, rng.integers(0, most) * rng.integers(0, 2), step)
            found = _boxes(rng, rng.integers(0, 3), step)
            if rng.random() < 0.3:
                twins, between = _twins(rng)
                true, found = true + twins, found + between
            for box in true:
                area = box[2] * box[3]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": category,
                        "bbox": box,
                        "area": float(rng.choice([area, area / 2, 1024, 9216])),
                        "iscrowd": int(rng.random() < crowds),
                    }
                )
            for box in true:
                for _ in range(rng.integers(0, 4)):
                    shift = np.round(rng.integers(-2, 3, 4) * step, 1) * (rng.random() < 0.7)
                    moved = np.round(np.array(box) + shift, 1)
                    found.append([*moved[:2].tolist(), *np.maximum(moved[2:], 0).tolist()])
            for place in rng.permutation(len(found)).tolist():
                score = float(rng.integers(1, levels + 1) / levels)
                results.append(
                    {"image_id": image, "category_id": category, "bbox": found[place], "score": score}
                )
    order = rng.permutation(len(results)).tolist()
    truth = {
        "info": {},
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 400, "width": 400} for i in image_ids],
        "annotations": [annotations[place] for place in rng.permutation(len(annotations)).tolist()],
        "categories": [{"id": i, "name": f"class {i}"} for i in category_ids],
    }
    return truth, [results[place] for place in order]


def _boxes(rng, count, step):
    corners = np.round(rng.integers(0, 20, (count, 2)) * step, 1)
    return np.concatenate([corners, rng.choice(SIDES, (count, 2))], axis=1).tolist()


def _twins(rng):
    """Two true boxes side by side, and boxes between them: the middle one overlaps both alike."""
    x, y, side = (int(number) for number in rng.integers(10, 40, 3))
    shift = 2 * int(rng.integers(1, max(2, side // 4)))
    places = [x + shift // 2, x + int(rng.integers(0, shift + 1)), x + int(rng.integers(0, shift + 1))]
    return [[x, y, side, side], [x + shift, y, side, side]], [[place, y, side, side] for place in places]


def pycocotools(truth, results, *, max_detections=(1, 10, 100), with_classes=True):
    """A COCOeval that has accumulated; its `stats` where `max_detections` are the standard ones."""
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = copy.deepcopy(truth)
        true.createIndex()
        found = true.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluation = COCOeval(true, found, "bbox")
        evaluation.params.maxDets = list(max_detections)
        evaluation.params.useCats = int(with_classes)
        evaluation.evaluate()
        evaluation.accumulate()
        if tuple(max_detections) == (1, 10, 100) and with_classes:
            evaluation.summarize()
    return evaluation


def write_scene(folder, truth, results):
    """(path of the truth, path of the results)."""
    paths = folder / "gt.json", folder / "dt.json"
    for path, document in zip(paths, (truth, results), strict=True):
        path.write_text(json.dumps(document), encoding="utf-8")
    return paths


def boxes_of(rows=(), *, crowd=(), difficult=(), areas=None):
    """Truth of one picture: rows of (label, x1, y1, x2, y2); places of crowds and difficult ones."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    corners = table[:, 1:]
    own = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    places = np.arange(len(table))
    return Boxes(
        corners,
        table[:, 0].astype(np.int64),
        np.isin(places, crowd),
        np.isin(places, difficult),
        own if areas is None else np.array(areas, dtype=np.float64),
    )


def detections_of(rows=()):
    """Predictions of one picture: rows of (label, score, x1, y1, x2, y2)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Detections(table[:, 2:], table[:, 0].astype(np.int64), table[:, 1])


def classes_of(count):
    return ClassMap(tuple(ascii_lowercase[:count]))
