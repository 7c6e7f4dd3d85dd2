"""Rows 9 to 11: training truth is mended or dropped, counted; evaluation keeps boxes as they stand."""

import numpy as np
import pytest
from annotated_files import CLASSES, SIZE, annotations_of, open_split, save_picture
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.detection.datasets import repair
from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.detection.datasets.packing import Found
from visiontasks.detection.datasets.repair import repair_boxes, warn_if_outside
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

HEIGHT, WIDTH = SIZE

GOLDEN = {  # box -> (what becomes of it, what is noted)
    (1, 2, 30, 20): ((1, 2, 30, 20), None),
    (0, 0, 60, 40): ((0, 0, 60, 40), None),
    (5, 5, 5, 9): (None, "dropped box without area"),
    (5, 5, 5, 5): (None, "dropped box without area"),
    (9, 5, 7, 9): (None, "dropped box without area"),
    (60, 5, 70, 9): (None, "dropped box wholly outside its picture"),
    (5, -9, 9, 0): (None, "dropped box wholly outside its picture"),
    (-5, 30, 70, 50): ((0, 30, 60, 40), "repaired box partly outside its picture: clipped"),
    (5, 5, 60.0009, 9): ((5, 5, 60, 9), None),
}


def found_of(boxes):
    annotations = annotations_of({"a.png": [(box, 0) for box in boxes]})
    return Found(CLASSES, annotations, lambda file, record: (f"{file}.txt", f"line {record}"))


@pytest.mark.parametrize("box", GOLDEN)
def test_golden(box):
    expected, note = GOLDEN[box]
    ledger = Ledger()
    repaired = repair_boxes(found_of([(0, 0, 1, 1), box]), ledger)
    assert [tuple(b) for b in repaired.boxes[1:].tolist()] == ([expected] if expected else [])
    assert [str(entry) for entry in ledger.entries] == (
        [f"{note.split()[0]} a.png.txt, line 1: {note.partition(' ')[2]}"] if note else []
    )
    if note:
        with pytest.raises(DataError, match=r"a\.png\.txt, line 1.*strict"):
            repair_boxes(found_of([(0, 0, 1, 1), box]), Ledger(strict=True))


coordinate = st.integers(-400, 400).map(lambda n: n / 4)


@given(boxes=st.lists(st.tuples(*[coordinate] * 4), max_size=8))
def test_what_is_left_is_the_part_inside(boxes):
    ledger = Ledger()
    repaired = repair_boxes(found_of(boxes), ledger)
    left = {int(record): box for record, box in zip(repaired.records, repaired.boxes.tolist(), strict=True)}
    for record, (x1, y1, x2, y2) in enumerate(boxes):
        inside = [max(x1, 0), max(y1, 0), min(x2, WIDTH), min(y2, HEIGHT)]
        is_there = x2 > x1 and y2 > y1 and inside[2] > inside[0] and inside[3] > inside[1]
        assert (record in left) == is_there
        if is_there:
            assert left[record] == inside
    changed = [box for record, box in enumerate(boxes) if left.get(record) != list(map(float, box))]
    assert len(ledger.entries) == len(changed)
    assert repaired.starts.tolist() == [0, len(left)]


@pytest.mark.parametrize("size", [(0, 0), (40, 0), (0, 60)])
def test_pictures_of_unknown_size_clip_nothing(caplog, size):
    annotations = annotations_of({"a.png": [((-5, 5, 900, 900), 0)]}, sizes=[size])
    found = Found(CLASSES, annotations, lambda file, record: (file, ""))
    assert repair_boxes(found, Ledger(strict=True)).boxes.tolist() == [[-5, 5, 900, 900]]
    warn_if_outside(annotations_of({"a.png": [((-5, 5, 900, 900), 0)] * 6}, sizes=[size]), "a.csv")
    assert not caplog.records


def test_a_clipped_box_has_no_more_area_than_is_left():
    assert repair_boxes(found_of([(-10, 0, 10, 10)]), Ledger()).area.tolist() == [100]


def test_a_very_long_list_of_faults_is_counted(monkeypatch):
    monkeypatch.setattr(repair, "LISTED", 3)
    ledger = Ledger()
    repair_boxes(found_of([(5, 5, 5, 9)] * 10), ledger)
    assert [entry.record for entry in ledger.entries] == ["line 0", "line 1", "line 2", "line 3"]
    assert list(ledger.entries)[3].reason == "box without area; 7 more, not listed"


def test_row_9_too_many_unusable_boxes_stop_a_run():
    ledger = Ledger()
    repair_boxes(found_of([(5, 5, 5, 9), *[(5, 5, 9, 9)] * 99]), ledger)
    ledger.check_skips(100, 0.01)
    repair_boxes(found_of([(5, 5, 5, 9), (-9, 5, -7, 9), *[(5, 5, 9, 9)] * 98]), ledger)
    with pytest.raises(DataError, match=r"at most 1\.0% of 100 boxes to be unusable, found 2"):
        ledger.check_skips(100, 0.01)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_only_training_truth_changes(tmp_path, split):
    boxes = [*GOLDEN]
    save_picture(tmp_path / "a.png")
    write_csv_boxes(tmp_path / "a.csv", CLASSES, annotations_of({"a.png": [(box, 0) for box in boxes]}))
    source = open_split(tmp_path, "csv", split, **{split: "a.csv"})
    kept = [expected for expected, _ in GOLDEN.values() if expected] if split == "train" else boxes
    assert source[0].target.boxes.tolist() == [list(map(float, box)) for box in kept]
    assert len(source.ledger.entries) == (6 if split == "train" else 0)


def test_held_out_pictures_keep_their_boxes(tmp_path):
    rows = {f"{i}.png": [((-5, 5, 9, 9), 0)] for i in range(6)}
    for name in rows:
        save_picture(tmp_path / name)
    write_csv_boxes(tmp_path / "a.csv", CLASSES, annotations_of(rows))
    train, val = (
        open_split(tmp_path, "csv", split, train="a.csv", holdout=0.5) for split in ("train", "val")
    )
    assert np.unique(train.annotations.boxes[:, 0]).tolist() == [0]
    assert np.unique(val.annotations.boxes[:, 0]).tolist() == [-5]
    assert (len(train.ledger.entries), len(val.ledger.entries)) == (3, 0)


def test_pictures_without_boxes_stay(tmp_path):
    save_picture(tmp_path / "a.png")
    write_csv_boxes(tmp_path / "a.csv", CLASSES, annotations_of({"a.png": [((5, 5, 5, 5), 0)]}))
    source = open_split(tmp_path, "csv", train="a.csv")
    assert len(source) == 1
    assert source[0].target.boxes.shape == (0, 4)
    assert source[0].target.labels.dtype == np.int64
