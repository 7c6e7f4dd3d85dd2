"""From windows cut out of a picture to the objects on it: the same network, trained and searching."""

import cv2
import numpy as np
import torch

from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config
from visiontasks.detection.config import DetectionConfig
from visiontasks.detection.models import build_model
from visiontasks.detection.transforms import build_transform, collate
from visiontasks.detection.types import Boxes
from visiontasks.ops.boxes import iou_matrix
from visiontasks.types import Batch, Sample

STEPS = 80
CLASSES = ClassMap(("disc", "square"))
DISCS = [(30, 30, 14), (90, 40, 22), (140, 96, 14)]  # x, y, radius
SQUARES = [(50, 90, 30), (120, 12, 26), (12, 70, 22)]  # left, top, side


def scene():
    image = np.full((128, 160, 3), 90, dtype=np.uint8)
    for x, y, radius in DISCS:
        cv2.circle(image, (x, y), radius, (200, 80, 60), -1)
    for left, top, side in SQUARES:
        cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), (190, 90, 60), -1)
    boxes = [[x - r, y - r, x + r + 1, y + r + 1] for x, y, r in DISCS]
    boxes += [[left, top, left + side, top + side] for left, top, side in SQUARES]
    flags = np.zeros(len(boxes), dtype=bool)
    truth = Boxes(np.array(boxes, dtype=np.float64), np.repeat([0, 1], 3), flags, flags, np.ones(len(boxes)))
    return Sample(image, truth, "scene.png")


def normalised(batch):
    return Batch((batch.images.float() - 110) / 50, batch.infos, batch.targets)


def test_a_network_learns_from_windows_and_finds_the_objects():
    config = parse_config(
        DetectionConfig,
        {
            "name": "scene",
            "data": {"root": "x"},
            "input": {"size": [128, 160]},
            "augment": {"flip": 0.5, "windows": {"count": 64, "sizes": [0.1, 0.5]}},
            "model": {
                "name": "sliding_window",
                "backbone": "small",
                "options": {"stem": 8, "widths": [8, 16], "padded": False},
                "window": [32, 32],
                "hidden": 16,
                "scales": [1.0, 0.8, 0.6],
            },
        },
        file="scene.yaml",
    )
    sample, network = scene(), build_model(config.model, CLASSES, config.loss, None)
    transform = build_transform(config.input, config.augment, CLASSES)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / STEPS)
        batch = normalised(collate([transform(sample, np.random.default_rng(step), None)]))
        loss = torch.stack(list(network.loss(network(batch), batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item(), 0.0) if step == 0 else (first, loss.item())
    assert last < first / 2

    network.eval()
    search = build_transform(config.input, None, CLASSES)
    batch = normalised(collate([search(sample, np.random.default_rng(0), None)]))
    with torch.inference_mode():
        raw = network(batch)
        losses = network.loss(raw, batch)
        (found,) = network.decode(raw, batch.infos, {"confidence": 0.5, "iou": 0.3, "max_detections": 20})
    assert losses["classification"] < 0.3
    overlaps = iou_matrix(sample.target.boxes, found.boxes) * (sample.target.labels[:, None] == found.labels)
    assert (overlaps.max(axis=1) > 0.5).sum() >= 5
    assert (overlaps.max(axis=0) > 0.5).mean() > 0.5
