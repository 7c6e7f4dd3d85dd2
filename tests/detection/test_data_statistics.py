"""Counts, sizes and pairs of classes; anchors that fit; a size at which boxes can be seen."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.detection.datasets.annotated_files import annotations_of
from visiontasks.classes import ClassMap
from visiontasks.detection.config import DetectionConfig
from visiontasks.detection.data_statistics import fit_anchors, statistics
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import iou_matrix


def source_of(root, pictures, names=("cat", "dog", "eel"), sizes=None):
    truth = annotations_of(pictures, sizes=sizes or [(400, 600)] * len(pictures))
    return LabelledBoxes.open(root, ClassMap(tuple(names)), truth, ledger=Ledger(), max_pixels=10**6)


def test_golden(tmp_path):
    pictures = {
        "a.png": [((0, 0, 60, 40), 0), ((0, 0, 30, 80), 1), ((0, 0, 20, 40), 0)],
        "b.png": [((10, 10, 50, 90), 0), ((9, 9, 9, 20), 1)],
        "c.png": [],
    }
    found = statistics(source_of(tmp_path, pictures), (200, 300))
    assert found.tables["boxes of each class"] == [
        {"class": "cat", "boxes": 3, "pictures": 2, "median width, px": 40, "median height, px": 40},
        {"class": "dog", "boxes": 2, "pictures": 2, "median width, px": 30, "median height, px": 80},
        {"class": "eel", "boxes": 0, "pictures": 0, "median width, px": None, "median height, px": None},
    ]
    assert found.tables["pictures that show two classes"] == [
        {"class": "cat", "cat": 2, "dog": 2, "eel": 0},
        {"class": "dog", "cat": 2, "dog": 2, "eel": 0},
        {"class": "eel", "cat": 0, "dog": 0, "eel": 0},
    ]
    values = {title: array.tolist() for title, array in found.distributions.items()}
    assert values["boxes a picture"] == [3, 2, 0]
    assert values["box width, px"] == [60, 30, 20, 40]
    assert values["box height, px"] == [40, 80, 40, 80]
    assert values["aspect ratio of a box, width / height"] == [1.5, 0.375, 0.5, 0.5]
    assert values["box side, share of the picture's (square root of the areas' ratio)"][0] == pytest.approx(
        0.1
    )
    assert values["box side at 200 x 300, px"] == pytest.approx([24.495, 24.495, 14.142, 28.284], abs=1e-3)
    json.dumps([found.tables, found.suggestions], allow_nan=False)


def test_without_boxes_or_sizes(tmp_path):
    found = statistics(source_of(tmp_path, {"a.png": []}), None)
    assert found.suggestions == {} and found.distributions["boxes a picture"].tolist() == [0]
    found = statistics(source_of(tmp_path, {"a.png": [((1, 1, 5, 5), 0)]}, sizes=[(0, 0)]), (64, 64))
    assert found.suggestions == {} and found.distributions["box width, px"].tolist() == [4]


@given(rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 19)), max_size=60))
def test_pairs_of_many_classes(tmp_path_factory, rows):
    pictures = {
        f"{i}.png": [((1, 1, 9, 9), label) for picture, label in rows if picture == i] for i in range(31)
    }
    source = source_of(tmp_path_factory.getbasetemp(), pictures, [f"c{i}" for i in range(20)])
    table = statistics(source, None).tables["pictures that show two classes"]
    shown = [{label for picture, label in rows if picture == i} for i in range(31)]
    counts = {
        (f"c{i}", f"c{j}"): sum({i, j} <= labels for labels in shown)
        for i in range(20)
        for j in range(i + 1, 20)
    }
    assert all(counts[row["class"], row["with"]] == row["pictures"] for row in table)
    assert [row["pictures"] for row in table] == sorted((n for n in counts.values() if n), reverse=True)[:30]


SIZES = {  # boxes, the pictures' size -> the input's size (height, width)
    "large boxes: a small input": ([(0, 0, 300, 200)] * 20, (400, 600), [64, 96]),
    "boxes of a tenth": ([(0, 0, 60, 60)] * 20, (400, 600), [160, 256]),
    "small boxes: no more than there is": ([(0, 0, 5, 5)] * 20, (400, 600), [416, 608]),
    "a few small ones do not count": ([(0, 0, 60, 60)] * 99 + [(0, 0, 5, 5)], (400, 600), [160, 256]),
}


@pytest.mark.parametrize("case", SIZES)
def test_input_size(tmp_path, case):
    boxes, size, expected = SIZES[case]
    pictures = {f"{i}.png": [(box, 0)] for i, box in enumerate(boxes)}
    found = statistics(source_of(tmp_path, pictures, sizes=[size] * len(boxes)), None)
    assert found.suggestions["input.size"] == expected


def test_suggestions_are_values_of_a_config(tmp_path):
    rng = np.random.default_rng(0)
    sides = rng.choice([(20, 20), (60, 90), (200, 150)], size=300) * rng.uniform(0.95, 1.05, (300, 2))
    pictures = {f"{i}.png": [((0, 0, *side), 0)] for i, side in enumerate(sides)}
    found = statistics(source_of(tmp_path, pictures), (400, 600)).suggestions
    values = {
        "task": "detection",
        "name": "x",
        "data": {"root": "."},
        "input": {"size": found["input.size"]},
        "model": {
            "name": "faster_rcnn",
            "anchors": {key: found[f"model.anchors.{key}"] for key in ("sizes", "ratios")},
        },
    }
    config = DetectionConfig.model_validate(values)
    sizes = np.array(config.model.anchors.sizes)[:, 0]
    np.testing.assert_allclose(sizes, [20, 73.5, 173.2], rtol=0.05)
    np.testing.assert_allclose(config.model.anchors.ratios, [0.75, 1, 1.5], rtol=0.05)


def test_anchors_find_the_groups():
    centres = np.array([(10, 30), (40, 40), (90, 50), (60, 200)], dtype=np.float64)
    rng = np.random.default_rng(1)
    sides = np.repeat(centres, 50, axis=0) * rng.uniform(0.97, 1.03, (200, 2))
    np.testing.assert_allclose(fit_anchors(sides, 4), centres, rtol=0.02)
    np.testing.assert_array_equal(fit_anchors(sides, 4), fit_anchors(sides[::-1], 4))


@given(
    sides=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=60),
    count=st.integers(1, 9),
)
def test_anchors(sides, count):
    sides = np.array(sides, dtype=np.float64)
    anchors = fit_anchors(sides, count)
    assert 1 <= len(anchors) <= min(count, len(np.unique(sides, axis=0)))
    assert (np.diff(anchors.prod(axis=1)) >= 0).all()
    assert (anchors >= sides.min(axis=0)).all() and (anchors <= sides.max(axis=0)).all()


def test_the_figure_is_the_mean_of_the_best_overlap(tmp_path):
    rng = np.random.default_rng(2)
    sides = rng.integers(5, 300, (200, 2))
    pictures = {f"{i}.png": [((0, 0, *side), 0)] for i, side in enumerate(sides.tolist())}
    found = statistics(source_of(tmp_path, pictures), (400, 600))
    *rows, total = found.tables["anchors at 400 x 600, px (k-means on 1 - IoU)"]
    anchors = [(0, 0, row["width"], row["height"]) for row in rows]
    overlaps = iou_matrix(np.array([(0, 0, *side) for side in sides], dtype=np.float64), np.array(anchors))
    assert total["mean best IoU"] == pytest.approx(overlaps.max(axis=1).mean(), abs=1e-3)
    assert total["mean best IoU"] > 0.6
    assert sum(row["share of the boxes"] for row in rows) == pytest.approx(1, abs=1e-3)
