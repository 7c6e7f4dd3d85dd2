"""Small pictures with boxes, for the tests of the adapters."""

import json

import numpy as np
import PIL.Image
from hypothesis import strategies as st

from visiontasks.classes import ClassMap
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets import open_source
from visiontasks.detection.datasets.packing import pack
from visiontasks.ledger import Ledger

SIZE = (40, 60)  # height, width


def save_picture(path, size=SIZE, *, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.new("RGB", (size[1], size[0]), (90, 120, 30))
    exif = PIL.Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


def config_of(root, data_format, **values):
    return DataConfig.model_validate({"root": str(root), "format": data_format, **values})


def open_split(root, data_format, split="train", *, strict=False, wanted=None, **values):
    return open_source(config_of(root, data_format, **values), split, Ledger(strict), wanted)


def annotations_of(pictures, *, sizes=None, scores=None, **flags):
    """{file: [(box, label), ...]} as packed arrays."""
    rows = [(i, *row) for i, boxes in enumerate(pictures.values()) for row in boxes]
    sizes = sizes or [SIZE] * len(pictures)
    return pack(
        list(pictures),
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], dtype=np.int64),
        np.arange(len(rows)),
        scores=None if scores is None else np.array(scores, dtype=np.float64),
        **{name: np.array(values) for name, values in flags.items()},
    )


def assert_same(found, expected, *, columns=("boxes", "labels"), tolerance=1e-9):
    """The same boxes on the same pictures, in any order of the pictures."""
    assert sorted(found.files) == sorted(expected.files)
    places = {path: i for i, path in enumerate(found.files)}
    for i, path in enumerate(expected.files):
        ours = slice(*found.starts[places[path] : places[path] + 2])
        theirs = slice(*expected.starts[i : i + 2])
        for name in columns:
            one, other = getattr(found, name)[ours], getattr(expected, name)[theirs]
            np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=0, atol=tolerance)


def coco_document(**changes):
    """Two pictures with three boxes, and one without any; every key is replaced by those in `changes`."""
    document = {
        "info": {},
        "images": [
            {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 3, "file_name": "žirafa 1.png", "height": 40, "width": 60},
            {"id": 9, "file_name": "empty.png", "height": 40, "width": 60},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1, 2, 10, 20], "area": 150, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [5.5, 5, 4, 4], "area": 16, "iscrowd": 0},
            {"id": 5, "image_id": 3, "category_id": 2, "bbox": [0, 0, 60, 40], "area": 2000, "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    return {**document, **changes}


def build_coco(root, document=None):
    document = coco_document() if document is None else document
    for image in document["images"]:
        save_picture(root / "images" / image["file_name"])
    file = root / "annotations" / "train.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file


CLASSES = ClassMap(("cat", "dog", "eel"))
quarters = st.integers(0, 4 * 40).map(lambda n: n / 4)
boxes = st.tuples(quarters, quarters, quarters, quarters).map(
    lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
)
labelled = st.lists(st.tuples(boxes, st.integers(0, 2)), max_size=6)
pictures = st.lists(labelled, min_size=1, max_size=4).map(
    lambda rows: {f"images/train/{i} é.png": boxes for i, boxes in enumerate(rows)}
)
