"""One data set of four pictures, its truth and predictions in each format."""

import json

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.coco import write_coco
from visiontasks.detection.datasets.packing import pack
from visiontasks.detection.datasets.voc import write_voc
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.io.images import encode
from visiontasks.ledger import Ledger

CLASSES = ClassMap(("cat", "dog"), (3, 18))
FILES = ("images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg")
SIZE = (64, 80)


def annotations(seed, *, scores):
    """Truth of four pictures (the last one empty), or predictions near it."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (12, 2)) / 2
    boxes = np.concatenate([corners, corners + rng.integers(8, 40, (12, 2)) / 2], axis=1)
    picture, labels = np.sort(rng.integers(0, 3, 12)), rng.integers(0, 2, 12)
    sizes = np.array([SIZE] * 4)
    if scores:
        rng = np.random.default_rng(seed)
        boxes = np.concatenate([boxes, boxes + rng.integers(-3, 4, (12, 4)) / 4])
        boxes = np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2)
        labels = np.concatenate([labels, np.where(rng.random(12) < 0.8, labels, 1 - labels)])
        picture = np.concatenate([picture, picture])
    return pack(
        FILES,
        sizes,
        picture,
        boxes,
        labels,
        np.arange(len(labels)),
        image_ids=(5, 2, 9, 40),
        scores=np.random.default_rng(seed).integers(1, 64, len(labels)) / 64 if scores else None,
    )


def write_truth(folder, form):
    true = annotations(0, scores=False)
    if form == "coco":
        write_coco(folder / "gt.json", CLASSES, true)
        return folder / "gt.json"
    if form == "voc":
        write_voc(folder / "voc", CLASSES, true, Ledger())
        return folder / "voc"
    write_yolo(folder / "yolo", CLASSES, true, Ledger())
    for file in FILES:
        path = folder / "yolo" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(np.zeros((*SIZE, 3), np.uint8), ".jpg"))
    return folder / "yolo" / "labels"


def write_predictions(folder, form, found):
    if form == "coco":
        write_coco(folder / "dt.json", CLASSES, found)
        return folder / "dt.json"
    if form == "voc":
        write_voc(folder / "found", CLASSES, found, Ledger())
        return folder / "found"
    if form == "yolo":
        write_yolo(folder / "found", CLASSES, found, Ledger())
        return folder / "found" / "labels"
    path = folder / "predictions.json"
    path.write_text(json.dumps(predictions_json(found)), encoding="utf-8")
    return path


def predictions_json(found, prefix="data/"):
    images = []
    for place, file in enumerate(FILES):
        part = slice(int(found.starts[place]), int(found.starts[place + 1]))
        rows = zip(
            found.labels[part].tolist(), found.scores[part].tolist(), found.boxes[part].tolist(), strict=True
        )
        detections = [
            {"label": CLASSES.names[label], "class": label, "score": score, "box": box}
            for label, score, box in rows
        ]
        images.append({"file": prefix + file, "width": SIZE[1], "height": SIZE[0], "detections": detections})
    return {
        "task": "detection",
        "model": "m",
        "classes": list(CLASSES.names),
        "images": images,
        "skipped": [],
    }


def shown(numbers):
    return {name: value for name, value in numbers.items() if "@" not in name}
