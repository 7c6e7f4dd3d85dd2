"""Pictures whose boxes can be read from their pixels: black, with a coloured rectangle for each."""

import numpy as np
import torch

from visiontasks.classes import ClassMap
from visiontasks.detection.types import Boxes
from visiontasks.types import Sample

CLASSES = ClassMap(("red", "green", "blue", "yellow"))
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]])


PLAIN = {"flip": 0.0, "min_visible": 0.0}
GEOMETRY = {
    "nothing": {},
    "flip": {"flip": 1.0},
    "vertical flip": {"vertical_flip": 1.0},
    "turn": {"rotate90": 1.0},
    "crop": {"crop": 1.0, "crop_scale": (0.2, 0.8)},
    "scale": {"scale": (0.4, 2.0)},
    "everything": {
        **{"flip": 0.5, "vertical_flip": 0.5, "rotate90": 0.5, "crop": 0.5, "scale": (0.5, 2.0)},
        "mosaic": 0.5,
    },
}


def boxes_of(boxes, labels=None, crowd=None):
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    n = len(boxes)
    labels = np.arange(n) if labels is None else np.asarray(labels, dtype=np.int64)
    crowd = np.zeros(n, bool) if crowd is None else np.asarray(crowd)
    return Boxes(boxes, labels, crowd, np.zeros(n, bool), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def picture(height, width, boxes, labels=None, image_id="a.png"):
    """Black, with a rectangle of its class's colour for each box; whole pixels."""
    truth = boxes_of(boxes, labels)
    image = np.zeros((height, width, 3), np.uint8)
    for (left, top, right, bottom), label in zip(truth.boxes.astype(int), truth.labels, strict=True):
        image[top:bottom, left:right] = COLORS[label]
    return Sample(image, truth, image_id)


def found_in(image):
    """{class: its box} as the pixels of a (3, H, W) picture show it."""
    pixels = image.numpy().transpose(1, 2, 0).astype(int)
    found = {}
    for label, color in enumerate(COLORS):
        rows, columns = np.nonzero((np.abs(pixels - color) < 110).all(axis=2))
        if len(rows):
            found[label] = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return found


def check_boxes_follow_pixels(example, tolerance=1.01):
    target = example.target
    assert target.boxes.dtype == torch.float32
    assert target.labels.dtype == torch.int64
    found = found_in(example.image)
    for label, box in zip(target.labels.tolist(), target.boxes.tolist(), strict=True):
        assert np.abs(np.array(box) - found[label]).max() <= tolerance, (label, box, found[label])
    return found


SCENE = picture(90, 160, [[10, 10, 50, 40], [100, 15, 140, 75], [60, 50, 90, 85]])
PARTNERS = [picture(100, 100, [[20, 20, 80, 70]], [label], f"{label}.png") for label in range(4)]


def fetch(index):
    return PARTNERS[1 + index % 3]
