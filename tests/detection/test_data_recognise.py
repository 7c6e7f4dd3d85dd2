"""A folder or file is recognised by what is in it, and what is recognised opens."""

import json
import random

import pytest
import yaml

from tests.detection.datasets.annotated_files import SIZE, annotations_of, coco_document, save_picture
from visiontasks.classes import ClassMap
from visiontasks.detection.config import DataConfig
from visiontasks.detection.data_recognise import recognise
from visiontasks.detection.data_writers import WRITERS
from visiontasks.detection.datasets import open_source
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.ledger import Ledger

XML = (
    "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"
    "</bndbox></object></annotation>"
)
CSV = "path,x1,y1,x2,y2,label\na.png,1,2,3,4,cat\n"
COCO = json.dumps(
    {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
)
YAML = yaml.safe_dump({"names": ["cat"], "train": "../train/images", "val": "../valid/images"})
ROW = "0 0.5 0.5 0.5 0.5\n"
ALL = {"train": "train", "val": "val", "test": "test"}

LAYOUTS = {  # files (None: a picture) -> format, its splits, certainty
    "COCO": (
        {
            "annotations/instances_train2017.json": COCO,
            "annotations/instances_val2017.json": COCO,
            "annotations/captions_val2017.json": '{"images": [], "annotations": []}',
            "annotations/person_keypoints_val2017.json": COCO,
            "train2017/a.png": None,
            "val2017/a.png": None,
        },
        "coco",
        {
            "train": "annotations/instances_train2017.json",
            "val": "annotations/instances_val2017.json",
        },
        3,
    ),
    "COCO, Roboflow": (
        {
            f"{folder}/{name}": text
            for folder in ("train", "valid")
            for name, text in (("_annotations.coco.json", COCO), ("a.png", None))
        },
        "coco",
        {"train": "train/_annotations.coco.json", "val": "valid/_annotations.coco.json"},
        3,
    ),
    "COCO, one file": ({"labels.json": COCO, "images/a.png": None}, "coco", {"train": "labels.json"}, 3),
    "VOC": (
        {
            "Annotations/a.xml": XML,
            "JPEGImages/a.png": None,
            "ImageSets/Main/trainval.txt": "a\n",
            "ImageSets/Main/cat_train.txt": "a 1\n",
            "ImageSets/Main/train.txt": "a\n",
            "ImageSets/Main/test.txt": "a\n",
        },
        "voc",
        {"train": "train", "test": "test"},
        3,
    ),
    "VOC, trainval": (
        {"Annotations/a.xml": XML, "JPEGImages/a.png": None, "ImageSets/Main/trainval.txt": "a\n"},
        "voc",
        {"train": "trainval"},
        3,
    ),
    "VOC without lists": (
        {"Annotations/a.xml": XML, "images/a.png": None},
        "voc",
        {"train": "Annotations"},
        3,
    ),
    "VOC, Roboflow": (
        {
            f"{folder}/a{suffix}": text
            for folder in ("train", "test")
            for suffix, text in ((".xml", XML), (".png", None))
        },
        "voc",
        {"train": "train", "test": "test"},
        3,
    ),
    "VOC, all in one folder": ({"a.xml": XML, "a.png": None}, "voc", {"train": "."}, 3),
    "YOLO": (
        {
            "data.yaml": yaml.safe_dump({"names": ["cat"], "train": "images/train", "val": "images/val"}),
            "images/train/a.png": None,
            "labels/train/a.txt": ROW,
            "images/val/a.png": None,
            "labels/val/a.txt": ROW,
        },
        "yolo",
        {"train": "train", "val": "val"},
        3,
    ),
    "YOLO, Roboflow": (
        {"data.yaml": YAML}
        | {
            f"{folder}/{name}": text
            for folder in ("train", "valid")
            for name, text in (("images/a.png", None), ("labels/a.txt", ROW))
        },
        "yolo",
        {"train": "train", "val": "val"},
        3,
    ),
    "YOLO, names in a text file": (
        {"classes.txt": "cat\n", "images/train/a.png": None, "labels/train/a.txt": ROW},
        "yolo",
        {"train": "images/train"},
        2,
    ),
    "YOLO, splits first": (
        {"classes.txt": "cat\n", "train/images/a.png": None, "train/labels/a.txt": ROW},
        "yolo",
        {"train": "train"},
        2,
    ),
    "YOLO, labels beside the pictures": (
        {"classes.txt": "cat\n", "a.png": None, "a.txt": ROW},
        "yolo",
        {"train": "."},
        2,
    ),
    "Tiny ImageNet, a classifier's first": (
        {
            "wnids.txt": "n1\n",
            "words.txt": "n1\tcat\n",
            "train/n1/n1_boxes.txt": "a.png\t0\t0\t3\t3\n",
            "train/n1/images/a.png": None,
            "val/val_annotations.txt": "a.png\tn1\t0\t0\t3\t3\n",
            "val/images/a.png": None,
        },
        "tiny-imagenet",
        {"train": "train", "val": "val"},
        2,
    ),
    "CSV": (
        {"train.csv": CSV, "valid.csv": CSV, "other.csv": "a,b\n1,2\n", "a.png": None},
        "csv",
        {"train": "train.csv", "val": "valid.csv"},
        3,
    ),
    "CSV, Roboflow": (
        {"train/_annotations.csv": CSV, "train/a.png": None},
        "csv",
        {"train": "train/_annotations.csv"},
        3,
    ),
}


def build(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            save_picture(path)
        else:
            path.write_text(text)


def opens(values):
    """Whether each split of a section opens as it stands."""
    config = DataConfig.model_validate(dict(values))
    for split in ALL:
        if (location := getattr(config, split)) is not None:
            alone = config.model_copy(update={**dict.fromkeys(ALL), "test": location})
            source = open_source(alone, "test", Ledger(collects=True))
            assert not source.ledger.faults
            assert (
                len(source) == 1 and len(source.annotations.labels) == 1 and source.classes.names == ("cat",)
            )
    return True


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(tmp_path, monkeypatch, case):
    files, data_format, splits, certainty = LAYOUTS[case]
    build(tmp_path, files)
    monkeypatch.chdir(tmp_path.parent)
    [found] = recognise(type(tmp_path)(tmp_path.name))  # a relative path, too
    assert found.values == {"format": data_format, "root": str(tmp_path), **splits}
    assert found.certainty == certainty
    assert found.why and opens(found.values)


FILES = {  # the file that is named -> format, root, splits
    "COCO": ("annotations/instances_val2017.json", "coco", "", {"val": "annotations/instances_val2017.json"}),
    "COCO, Roboflow": ("train/_annotations.coco.json", "coco", "train", {"train": "_annotations.coco.json"}),
    "VOC, all in one folder": ("a.xml", "voc", "", {"train": "."}),
    "YOLO": ("data.yaml", "yolo", "", {"train": "train", "val": "val"}),
    "CSV": ("valid.csv", "csv", "", {"val": "valid.csv"}),
}


@pytest.mark.parametrize("case", FILES)
def test_files(tmp_path, case):
    name, data_format, root, splits = FILES[case]
    build(tmp_path, LAYOUTS[case][0])
    [found] = recognise(tmp_path / name)
    assert found.values == {"format": data_format, "root": str(tmp_path / root), **splits}
    assert opens(found.values)


NOTHING = {
    "empty": {"a/b.txt": ""},
    "pictures": {"train/cat/a.png": None, "train/dog/b.png": None},
    "results": {"results.json": "[]", "config.json": '{"images": 3}'},
    "masks": {"train/a.png": None, "trainannot/a.png": None, "classes.txt": "cat\n"},
    "other XML": {"Annotations/a.xml": "<kml/>"},
    "other CSV": {"train.csv": "path,label\na.png,cat\n", "x.csv": "", "y.csv": "\xff"},
    "broken YAML": {"data.yaml": "names: [", "a.png": None},
    "two files with names": {"a.yaml": "names: [a]", "b.yaml": "names: [b]"},
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_is_none_of_them(tmp_path, case):
    build(tmp_path, NOTHING[case])
    assert list(recognise(tmp_path)) == []
    for file in NOTHING[case]:
        assert list(recognise(tmp_path / file)) == []
    assert list(recognise(tmp_path / "nothing")) == []


@pytest.mark.parametrize("data_format", WRITERS)
def test_what_is_written_is_recognised(tmp_path, data_format):
    truth = annotations_of({"a.png": [((1, 2, 3, 4), 0)]})
    source = LabelledBoxes.open(tmp_path, ClassMap(("cat",)), truth, ledger=Ledger(), max_pixels=10**6)
    written = WRITERS[data_format](tmp_path / "new", {"train": source, "val": source}, Ledger())
    for file in (file for files in written.pictures.values() for file in files):
        save_picture(tmp_path / "new" / file, SIZE)
    found = recognise(tmp_path / "new")[0]
    assert found.certainty == 3 and opens(found.values)
    assert {split: found.values[split] for split in ("train", "val")} == {
        split: written.values[split] for split in ("train", "val")
    }


def test_nothing_is_raised_for_damaged_files(tmp_path):
    rng = random.Random(0)
    build(
        tmp_path,
        {"data.yaml": YAML, "train.csv": CSV, "train.json": json.dumps(coco_document()), "a.xml": XML},
    )
    for _ in range(100):
        path = tmp_path / rng.choice(["data.yaml", "train.csv", "train.json", "a.xml"])
        data = bytearray(path.read_bytes() or b"x")
        data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        recognise(tmp_path)
        recognise(path)
