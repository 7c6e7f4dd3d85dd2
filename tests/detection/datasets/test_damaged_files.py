"""Damaged at random, a file is read or refused in one line; never anything else."""

import random

import numpy as np
import pytest
import test_csv_boxes
import test_voc_files
import test_yolo_files
from annotated_files import build_coco, coco_document, open_split

from visiontasks.errors import VisionTasksError

TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"NaN",
    b"-1",
    b"0",
    b"1e400",
    b"9" * 20,
    b"true",
]
TOKENS += [
    b'"x"',
    b"\0",
    b"\xff",
    b"<",
    b">",
    b"\n",
    b"../",
    b"/",
    b" ",
    "é".encode(),
    b"0.5",
    b"[]",
    b"{}",
    b"",
]


def build_coco_file(root):
    document = coco_document()
    document["annotations"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6]]
    document["annotations"][2]["segmentation"] = {"size": [40, 60], "counts": [2400]}
    build_coco(root, document)


CASES = {  # file -> format, builder, location of the split
    "annotations/train.json": ("coco", build_coco_file, "annotations/train.json"),
    "Annotations/b.xml": ("voc", test_voc_files.build, "train"),
    "ImageSets/Main/train.txt": ("voc", test_voc_files.build, "train"),
    "labels/train/a é.txt": ("yolo", test_yolo_files.build, "train"),
    "data.yaml": ("yolo", test_yolo_files.build, "train"),
    "train.csv": ("csv", test_csv_boxes.build, "train.csv"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_or_finite_boxes(tmp_path, name):
    data_format, build, location = CASES[name]
    build(tmp_path)
    whole, rng, refused = (tmp_path / name).read_bytes(), random.Random(name), 0
    for _ in range(80):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 4])):
            start = rng.randrange(len(content) + 1)
            content[start : start + rng.choice([0, 0, 1, 2, 5, 20])] = rng.choice(TOKENS)
        (tmp_path / name).write_bytes(content)
        try:
            source = open_split(tmp_path, data_format, train=location)
            targets = [source[i].target for i in range(len(source))]
        except VisionTasksError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) < 1500
        else:
            for target in targets:
                assert np.isfinite(target.boxes).all() and np.isfinite(target.area).all()
    assert 0 < refused < 80
