"""What a writer writes its reader reads back; the same truth in any format is the same truth."""

import numpy as np
import pytest
from annotated_files import CLASSES, annotations_of, assert_same, open_split, pictures, save_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from visiontasks.detection.datasets.coco import write_coco
from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.detection.datasets.voc import write_voc, write_voc_list
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.ledger import Ledger


def save_coco(root, truth):
    write_coco(root / "val.json", CLASSES, truth)
    return "val.json"


def save_voc(root, truth):
    write_voc(root / "Annotations", CLASSES, truth, Ledger(strict=True))
    write_voc_list(root, "val", truth)
    return "val"


def save_yolo(root, truth):
    write_yolo(root, CLASSES, truth, Ledger(strict=True))
    return "images/train"


def save_csv(root, truth):
    write_csv_boxes(root / "val.csv", CLASSES, truth)
    return "val.csv"


CASES = {  # format -> writer, what it carries besides boxes and labels, where its pictures are
    "coco": (save_coco, ("crowd", "difficult", "area"), None),
    "voc": (save_voc, ("difficult",), "."),
    "yolo": (save_yolo, (), None),
    "csv": (save_csv, ("crowd", "difficult", "area"), None),
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A folder with pictures for each format."""
    folders = {data_format: tmp_path_factory.mktemp(data_format) for data_format in CASES}
    for folder in folders.values():
        for i in range(4):
            save_picture(folder / f"images/train/{i} é.png")
    return folders


@pytest.mark.parametrize("data_format", CASES)
@settings(max_examples=30)
@given(rows=pictures, seed=st.integers(0, 99))
def test_identity(roots, data_format, rows, seed):
    save, carried, images = CASES[data_format]
    rng = np.random.default_rng(seed)
    count = sum(map(len, rows.values()))
    flags = {name: rng.integers(2, size=count) > 0 for name in ("crowd", "difficult") if name in carried}
    if "area" in carried:
        flags["area"] = rng.uniform(0, 100, count)
    if data_format != "coco" and not count:
        rows = {**rows, next(iter(rows)): [((1, 2, 3, 4), 0)]}  # a file of names has none without boxes
        flags = {name: np.zeros(1, dtype=values.dtype) for name, values in flags.items()}
    if data_format == "yolo":
        rows = {f"images/train/{i} é.png": rows.get(f"images/train/{i} é.png", []) for i in range(4)}
    truth = annotations_of(rows, **flags)
    root = roots[data_format]
    location = save(root, truth)
    source = open_split(root, data_format, "val", val=location, images=images, wanted=CLASSES, strict=True)
    assert_same(source.annotations, truth, columns=("boxes", "labels", *carried))
    assert np.array_equal(source.annotations.sizes, truth.sizes)


@settings(max_examples=20)
@given(rows=pictures, data=st.data())
def test_whole_pixels_come_back_exactly_from_fractions(roots, rows, data):
    rows = {path: [(tuple(map(round, box)), label) for box, label in boxes] for path, boxes in rows.items()}
    rows = {f"images/train/{i} é.png": rows.get(f"images/train/{i} é.png", []) for i in range(4)}
    truth = annotations_of(rows)
    location = save_yolo(roots["yolo"], truth)
    source = open_split(roots["yolo"], "yolo", "val", val=location, wanted=CLASSES)
    assert source.annotations.boxes.tolist() == truth.boxes.tolist()
