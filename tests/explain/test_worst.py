"""The worst errors, shown: the part of the picture, the layer, the sheet; and places that are asked about."""

import json

import numpy as np
import pytest
import torch

from visiontasks.classification import TASK
from visiontasks.classification.types import Classification
from visiontasks.detection.targets import settle_aim as settle_detection
from visiontasks.explain.overlay import BRIGHT
from visiontasks.explain.picture import Explanation
from visiontasks.explain.worst import (
    CELL,
    Worst,
    show_mistake,
    window_around,
    write_worst,
)
from visiontasks.io.images import read_image
from visiontasks.segmentation import TASK as SEGMENTATION
from visiontasks.segmentation.targets import settle_aim as settle_place
from visiontasks.segmentation.types import SegmentationMap
from visiontasks.types import Aim, ImageInfo, Mistake, Sample

from .tiny import CLASSES


@pytest.mark.parametrize(
    ("box", "shape", "expected"),
    [
        (None, (40, 60, 3), (0, 0, 60, 40)),
        ((30, 10, 34, 20), (90, 120), (17, 0, 47, 30)),  # three times the longer side, moved inside
        ((50, 50, 54, 54), (90, 120), (37, 37, 67, 67)),  # at least a third of the shorter side
        ((110, 80, 120, 90), (90, 120), (90, 60, 120, 90)),
        ((10, 10, 50, 70), (90, 120), (0, 0, 120, 90)),  # no more than there is
        ((0, 0, 0, 0), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_the_part_of_the_picture(box, shape, expected):
    assert window_around(box, shape) == expected


def test_a_box_is_asked_about_whether_or_not_it_is_found():
    info = ImageInfo("a.png", 20, 40, 40, 80, pad_left=3)
    aim = Aim(2, place=np.array([1.0, 2, 5, 6]))
    settled = settle_detection(None, None, [info], aim, {}, CLASSES)
    assert settled.class_index == 2 and settled.where.tolist() == [5, 4, 13, 12]


def test_a_region_is_asked_about_whatever_is_predicted_there():
    info = ImageInfo("a.png", 8, 12, 4, 6, pad_left=1, pad_top=2)
    place = np.zeros((8, 12), bool)
    place[3, 4:7] = True  # shrunk by half: row 1, columns 2 and 3
    aim = Aim(1, place=place)
    settled = settle_place(None, torch.zeros(1, 3, 8, 9), [info], aim, {}, CLASSES)
    assert settled.class_index == 1
    assert settled.where.nonzero().tolist() == [[3, 3], [3, 4]]


def explanation(image, prediction, label):
    values = np.linspace(-1, 1, image.shape[0] * image.shape[1], dtype=np.float32).reshape(image.shape[:2])
    return Explanation(image, values, "grad-cam", "stages.1", "x", float(label), "words", prediction)


def row_of(task, mistake, sample, prediction):
    asked = []

    def explain(aim):
        asked.append(aim)
        return explanation(sample.image, prediction, aim.class_index)

    row = show_mistake(task, mistake, "a/b.png", sample, CLASSES, "loss", explain)
    return row, asked


def test_both_classes_are_explained_beside_truth_and_prediction(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    prediction = Classification(np.array([0.1, 0.7, 0.2], np.float32))
    mistake = Mistake(3, "wrong class", 1.609, 1, 2, 0.7)
    row, asked = row_of(TASK, mistake, Sample(image, 2, 3), prediction)
    assert [aim.class_index for aim in asked] == [1, 2] and all(aim.place is None for aim in asked)
    assert np.array_equal(row.cells[0], TASK.draw(image, 2, CLASSES))
    assert np.array_equal(row.cells[1], TASK.draw(image, prediction, CLASSES))
    assert row.captions == [
        "b.png\ntruth: rocket",
        "wrong class: dog 0.70\ncosts loss 1.6",
        "grad-cam of dog\nlogit 1.00, stages.1",
        "grad-cam of rocket\nlogit 2.00, stages.1",
    ]
    worst = Worst("loss", "meaning", 9, [row, row], [{"file": "c.png", "reason": "broken"}])
    write_worst(tmp_path, worst, {"model": "m"})
    content = json.loads((tmp_path / "worst.json").read_text())
    assert content["errors"] == [row.record] * 2 and content["skipped"] == worst.skipped
    assert row.record["maps"][0] == {"target": "dog", "logit": 1.0, "method": "grad-cam", "layer": "stages.1"}
    assert {name: content[name] for name in ("model", "unit", "cost", "pictures", "sheet")} == {
        **{"model": "m", "unit": "loss", "cost": "meaning", "pictures": 9, "sheet": "worst.png"}
    }
    sheet = read_image(tmp_path / "worst.png")
    assert sheet.shape[1] > 4 * min(CELL, row.cells[0].shape[1]) and np.array_equal(sheet, worst.draw())


def test_without_errors_there_is_no_sheet(tmp_path):
    (tmp_path / "worst.png").write_bytes(b"of an earlier run")
    write_worst(tmp_path, Worst("loss", "meaning", 9, [], []), {})
    assert json.loads((tmp_path / "worst.json").read_text())["sheet"] is None
    assert not (tmp_path / "worst.png").exists()


def test_a_region_is_cut_out_and_outlined():
    image = np.full((300, 300, 3), 90, np.uint8)
    truth = np.zeros((300, 300), np.uint8)
    place = np.zeros((300, 300), bool)
    place[100:140, 200:240] = True
    mistake = Mistake(0, "wrong class", 0.01, 1, 0, None, (200, 100, 240, 140), place)
    prediction = SegmentationMap(place.astype(np.uint8))
    row, asked = row_of(SEGMENTATION, mistake, Sample(image, truth, 0), prediction)
    assert all(aim.place is place for aim in asked)
    left, top, right, _ = window_around(mistake.box, image.shape)
    for cell in row.cells:
        factor = cell.shape[1] // (right - left)
        outline = (cell == BRIGHT).all(axis=2)
        row_at, column_at = factor * (120 - top), factor * (200 - left)
        assert outline[row_at, column_at - 1] and not outline[row_at, column_at]
        assert not outline[row_at, column_at - 8]
    assert row.record["box"] == [200, 100, 240, 140] and row.record["score"] is None
    assert row.captions[1] == "wrong class: dog\ncosts loss 0.01"


def test_what_is_missed_has_a_map_of_its_true_class_alone():
    image, place = np.zeros((60, 60, 3), np.uint8), np.ones((60, 60), bool)
    mistake = Mistake(0, "missed", 0.01, None, 2, None, None, place)
    row, asked = row_of(SEGMENTATION, mistake, Sample(image, np.zeros((60, 60), np.uint8), 0),
                        SegmentationMap(np.zeros((60, 60), np.uint8)))  # fmt: skip
    assert [aim.class_index for aim in asked] == [2]
    assert row.cells[2].shape == (1, 1, 3) and row.captions[2] == "" and "rocket" in row.captions[3]
    assert row.captions[1].startswith("missed: nothing\n")
