"""What is suspicious about boxes: each kind is found with its place, and nothing on sound data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.detection.datasets.annotated_files import annotations_of, save_picture
from visiontasks.classes import ClassMap
from visiontasks.detection.data_examine import LISTED, examine
from visiontasks.detection.data_tools import DATA_TOOLS
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import cxcywh_to_xyxy, xywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh

SIZE = (400, 600)
SOUND = [((100, 50, 300, 250), 0), ((320, 60, 500, 390), 1), ((0, 0, 600, 400), 1)]


def source_of(root, pictures, sizes=None, data_format="voc"):
    annotations = annotations_of(pictures, sizes=sizes or [SIZE] * len(pictures))
    return LabelledBoxes.open(
        root,
        ClassMap(("cat", "dog")),
        annotations,
        ledger=Ledger(collects=True),
        max_pixels=10**8,
        format=data_format,
        where=lambda picture, record: (f"{picture}.xml", f"object {record}"),
    )


def found_in(source, size=None):
    return list(examine(source, "train", size, True))


def test_sound_boxes(tmp_path):
    pictures = {"a.png": SOUND, "b.png": [], "c.png": SOUND[:1] * 1}
    assert found_in(source_of(tmp_path, pictures), (320, 480)) == []
    assert found_in(source_of(tmp_path, {"a.png": []})) == []


CASES = {  # box, label -> severity, kind, words
    "a line": ((50, 60, 50, 90), 0, "warning", "box-without-area", "found x1 50, y1 60, x2 50, y2 90"),
    "corners swapped": ((50, 60, 40, 90), 0, "warning", "box-without-area", "x1 50, y1 60, x2 40, y2 90"),
    "outside": ((700, 60, 800, 90), 0, "warning", "box-outside", "inside 600 x 400 pixels (width x height)"),
    "above": ((10, -60, 80, -9), 0, "warning", "box-outside", "found x1 10, y1 -60, x2 80, y2 -9"),
    "partly": ((550, 60, 610, 90), 0, "warning", "box-partly-outside", "found x1 550, y1 60, x2 610, y2 90"),
    "partly above": ((550, -3, 590, 90), 0, "warning", "box-partly-outside", "y1 -3"),
    "by a pixel": ((550, 60, 600.5, 90), 0, "note", "box-partly-outside", "x2 600.5"),
    "a point": ((50, 60, 51, 61), 0, "warning", "box-tiny", "found a box of 1 x 1 px"),
    "twice": (SOUND[0][0], 0, "warning", "box-twice", "a box of 'cat' twice"),
    "two classes": (SOUND[0][0], 1, "warning", "box-two-classes", "found 'cat' and 'dog' in one place"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind(tmp_path, case):
    box, label, severity, kind, words = CASES[case]
    source = source_of(tmp_path, {"b.png": [*SOUND, (box, label)], "a.png": SOUND})
    [finding] = found_in(source)
    assert (finding.severity, finding.kind, finding.split) == (severity, kind, "train")
    assert (finding.file, finding.record, finding.picture) == ("b.png.xml", "object 3", "b.png")
    assert words in finding.message
    assert finding.remedy


def test_a_picture_of_another_size_than_annotated(tmp_path):
    save_picture(tmp_path / "a.png", (6, 4))
    save_picture(tmp_path / "b.png", (4, 6))
    save_picture(tmp_path / "c.png", (5, 6))
    pictures = {
        name: [((1, 1, 3, 3), 0), ((0, 0, 2, 4), 1)] for name in ("a.png", "b.png", "c.png", "gone.png")
    }
    found = found_in(source_of(tmp_path, pictures, sizes=[(4, 6)] * 4))
    assert [(one.severity, one.kind, one.picture) for one in found] == [
        ("error", "picture-size", "a.png"),
        ("error", "picture-size", "c.png"),
    ]
    assert "expected 4 x 6 pixels (height x width, as annotated), found 6 x 4; swap them" in found[0].message
    assert "found 5 x 6; mend the annotation" in found[1].message


def test_where_the_size_is_wrong_no_box_is_outside(tmp_path):
    save_picture(tmp_path / "a.png", (60, 40))
    [finding] = found_in(source_of(tmp_path, {"a.png": [((10, 10, 30, 55), 0)]}, sizes=[(40, 60)]))
    assert finding.kind == "picture-size" and "found 60 x 40" in finding.message


def test_rounding_in_a_file_is_nothing(tmp_path):
    assert found_in(source_of(tmp_path, {"a.png": [*SOUND, ((550, 60, 600.0005, 90), 0)]})) == []


def test_a_picture_of_unknown_size_has_no_outside(tmp_path):
    assert (
        found_in(source_of(tmp_path, {"a.png": [*SOUND, ((700, 60, 800, 90), 0)]}, [(0, 0)]), (64, 64)) == []
    )


def test_boxes_that_are_tiny_when_they_are_shown_to_the_network(tmp_path):
    pictures = {"a.png": SOUND, "b.png": [*SOUND, ((10, 10, 16, 40), 0), ((10, 10, 13, 40), 0)]}
    [finding] = found_in(source_of(tmp_path, pictures), (150, 150))
    assert finding.kind == "box-tiny" and finding.severity == "warning"
    assert "2 of 8 boxes (25.0%) have a side below 2 px" in finding.message
    assert "150 x 150" in finding.message and "the smallest has 0.75 px" in finding.message
    assert finding.record == "object 7"
    assert found_in(source_of(tmp_path, pictures), (400, 600)) == []
    few = {f"{i}.png": SOUND for i in range(20)} | pictures
    assert [one.severity for one in found_in(source_of(tmp_path, few), (150, 150))] == ["note"]


def test_many_boxes_on_a_picture(tmp_path):
    rows = [((i, 10, i + 50, 60), 0) for i in range(101)]
    [finding] = found_in(source_of(tmp_path, {"a.png": rows, "b.png": rows[:100]}))
    assert (finding.severity, finding.kind, finding.picture) == ("note", "many-boxes", "a.png")
    assert finding.message.startswith("101 boxes on one picture")


def test_findings_are_capped(tmp_path):
    rows = [((700 + i, 10, 750 + i, 60), 0) for i in range(80)]
    pictures = {f"{i}.png": rows for i in range(20)}
    findings = found_in(source_of(tmp_path, pictures))
    assert len(findings) == LISTED + 1
    assert findings[-1].message == "600 more like those before, not listed"


CORNERS, SIDES, CENTRES = "x1, y1, x2, y2", "x, y, width, height", "centre x, centre y, width, height"
OTHERWISE = {  # what becomes of corners -> format, how it is read, how it is meant
    "corners for width and height": (xywh_to_xyxy, "coco", SIDES, CORNERS),
    "width and height for corners": (xyxy_to_xywh, "csv", CORNERS, SIDES),
    "centres for corners": (xyxy_to_cxcywh, "voc", CORNERS, CENTRES),
    "corners for centres": (cxcywh_to_xyxy, "yolo", CENTRES, CORNERS),
    "upper left corners for centres": (lambda b: cxcywh_to_xyxy(xyxy_to_xywh(b)), "yolo", CENTRES, SIDES),
}


@pytest.mark.parametrize("case", OTHERWISE)
@pytest.mark.parametrize("seed", range(3))
def test_boxes_in_another_form(tmp_path, case, seed):
    mix, data_format, read, meant = OTHERWISE[case]
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 0.6, (2, 100, 2))
    boxes = np.concatenate([first, first + 0.1 + (0.9 - first) * second], axis=1) * (600, 400, 600, 400)
    written = mix(boxes).tolist()
    root = tmp_path
    pictures = {f"{i}.png": [(tuple(box), 0)] for i, box in enumerate(written)}
    [finding] = found_in(source_of(root, pictures, data_format=data_format), (400, 600))
    assert (finding.severity, finding.kind) == ("warning", "boxes-swapped-format")
    assert f"of {len(boxes)} boxes" in finding.message and f"are read as {read};" in finding.message
    assert meant in finding.message.partition(";")[2]
    assert finding.file.endswith(".png.xml") and finding.record
    right = {f"{i}.png": [(tuple(box), 0)] for i, box in enumerate(boxes.tolist())}
    assert found_in(source_of(root, right, data_format=data_format), (400, 600)) == []


def test_boxes_of_another_size_are_no_other_form(tmp_path):
    pictures = {f"{i}.png": [((100, 80, 700 + i, 500), 0)] for i in range(8)}
    assert {one.kind for one in found_in(source_of(tmp_path, pictures))} == {"box-partly-outside"}


def test_fractions_where_pixels_are_meant(tmp_path):
    pictures = {"a.png": [((0.1, 0.2, 0.3, 0.4), 0), ((0, 0, 1, 1), 1)]}
    [finding] = found_in(source_of(tmp_path, pictures), (400, 600))
    assert (finding.severity, finding.kind) == ("warning", "boxes-normalised")
    assert "none of 2" in finding.message


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=30))
def test_count(tmp_path_factory, rows):
    pictures = {f"{i}.png": [((1, 1, 5, 5), label) for p, label in rows if p == i] for i in range(4)}
    counts = DATA_TOOLS.count(source_of(tmp_path_factory.getbasetemp(), pictures))
    found = {
        (p, k): n
        for p, k, n in zip(*(c.tolist() for c in (counts.picture, counts.label, counts.count)), strict=True)
    }
    assert found == {row: rows.count(row) for row in rows}
    assert list(found) == sorted(found)
