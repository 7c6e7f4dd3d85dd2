"""Real files: BCCD in VOC's layout, as it is and converted."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from annotated_files import assert_same, open_split

from visiontasks.detection.datasets.coco import write_coco
from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.ledger import Ledger

BCCD = Path(os.environ.get("VISIONTASKS_DATA", "../shared/data")) / "bccd"

pytestmark = pytest.mark.skipif(not BCCD.is_dir(), reason=f"no {BCCD}; set VISIONTASKS_DATA")


def test_the_boxes_are_those_that_its_authors_count():
    splits = {"train": 205, "val": 87, "test": 72}
    values = {split: split for split in splits}
    sources = [open_split(BCCD, "voc", split, strict=True, **values) for split in splits]
    assert [len(source) for source in sources] == list(splits.values())
    counts = sum(np.bincount(source.annotations.labels, minlength=3) for source in sources)
    assert dict(zip(sources[0].classes.names, counts.tolist(), strict=True)) == {
        "Platelets": 361,
        "RBC": 4155,
        "WBC": 372,
    }
    sample = sources[2][0]
    assert sample.image.shape == (480, 640, 3)
    both = open_split(BCCD, "voc", train="train+val", strict=True)
    assert len(both) == 205 + 87


@pytest.mark.parametrize("data_format", ["coco", "yolo", "csv"])
def test_converted_it_has_the_same_boxes(tmp_path, data_format):
    truth = open_split(BCCD, "voc", "test", train="train", test="test")
    root = tmp_path / "data"
    for file in truth.annotations.files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(BCCD / file, root / file)
    if data_format == "coco":
        write_coco(root / "test.json", truth.classes, truth.annotations)
    elif data_format == "csv":
        write_csv_boxes(root / "test.csv", truth.classes, truth.annotations)
    else:
        write_yolo(root, truth.classes, truth.annotations, Ledger(strict=True))
    location = {"coco": "test.json", "csv": "test.csv", "yolo": "JPEGImages"}[data_format]
    converted = open_split(root, data_format, "test", test=location, strict=True)
    assert converted.classes.names == truth.classes.names
    assert_same(converted.annotations, truth.annotations, columns=("boxes", "labels", "area"), tolerance=0)
