"""Hard negatives: when they are searched for, what counts as one, and that a state file keeps them."""

import io

import numpy as np
import pytest
import torch

from visiontasks.config_files import parse_config
from visiontasks.detection.config import DetectionConfig
from visiontasks.detection.mining import false_detections, is_due, merged, refresh
from visiontasks.detection.types import Boxes, Detections
from visiontasks.types import ImageInfo


def run_config(epochs=10, name="sliding_window", **model):
    given = {
        "name": "mining",
        "data": {"root": "x"},
        "model": {"name": name, **({"backbone": "small", **model} if model else {})},
        "train": {"epochs": epochs},
    }
    return parse_config(DetectionConfig, given, file="run.yaml")


def boxes_of(boxes, crowd=None):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    flags = np.zeros(len(boxes), dtype=bool)
    return Boxes(
        boxes, flags.astype(np.int64), flags if crowd is None else np.array(crowd), flags, np.ones(len(boxes))
    )


def found(boxes, scores):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return Detections(boxes, np.zeros(len(boxes), dtype=np.int64), np.array(scores, dtype=np.float64))


def test_schedule():
    model = run_config(mine_every=3, mine_from=2).model
    assert [epoch for epoch in range(10) if is_due(model, epoch, 10)] == [1, 4, 7]
    assert [epoch for epoch in range(10) if is_due(model, epoch, 8)] == [1, 4]
    assert not any(is_due(run_config(mine_every=0).model, epoch, 10) for epoch in range(10))


def test_false_detections_touch_no_object():
    truth = boxes_of([[0, 0, 10, 10], [50, 50, 100, 100]], [False, True])
    detections = found(
        [[0, 0, 10, 11], [0, 6, 10, 16], [60, 60, 70, 70], [30, 30, 40, 40], [20, 0, 30, 10]],
        [0.9, 0.8, 0.7, 0.6, 0.01],
    )
    assert false_detections(detections, truth, iou=0.3, score=0.05).tolist() == [
        [0, 6, 10, 16],
        [30, 30, 40, 40],
    ]
    assert len(false_detections(detections, boxes_of([]), iou=0.3, score=0.05)) == 4
    assert false_detections(found([], []), truth, iou=0.3, score=0.05).shape == (0, 4)


def test_fresh_ones_come_first_and_repeats_go():
    fresh = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    known = np.array([[0.0, 0, 10, 11], [40, 40, 50, 50], [60, 60, 70, 70]])
    assert merged(fresh, known, 3).tolist() == [[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]
    assert merged(np.zeros((0, 4)), np.zeros((0, 4)), 3).shape == (0, 4)


def infer():
    truth = boxes_of([[0, 0, 10, 10]])
    for number in (2, 1):
        detections = found([[0, 0, 10, 10], [30, 30, 40, 40 + number]], [0.9, 0.5])
        yield detections, truth, ImageInfo(number, 100, 100, 100, 100)
    yield found([], []), boxes_of([]), ImageInfo(3, 100, 100, 100, 100)


def test_memory_is_kept_by_a_state_file_and_grows():
    config = run_config(mine_every=1)
    memory = refresh(config, 0, None, infer)
    assert {key: boxes.tolist() for key, boxes in memory.items()} == {
        "1": [[30, 30, 40, 41]],
        "2": [[30, 30, 40, 42]],
    }
    buffer = io.BytesIO()
    torch.save({"memory": memory}, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=True)["memory"]
    again["3"] = torch.tensor([[5.0, 5, 9, 9]])
    later = refresh(config, 1, again, infer)
    assert list(later) == ["1", "2", "3"]
    assert all(torch.equal(later[key], boxes) for key, boxes in again.items())


@pytest.mark.parametrize("config", [run_config(name="faster_rcnn"), run_config(mine_every=0)])
def test_nothing_changes_where_nothing_is_mined(config):
    def never():
        raise AssertionError("the training pictures were looked at")

    assert refresh(config, 0, None, never) is None
