"""Where faults are collected, a reader names each faulty record and goes on with the sound ones."""

import json
import os

import pytest
from annotated_files import build_coco, coco_document, config_of, open_split, save_picture

from visiontasks.detection.datasets import open_source
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

SOUND = {"id": 100, "image_id": 7, "category_id": 2, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}
COCO_FAULTS = {  # record -> what its message says
    "no object": ("annotations[3]", 5, "expected an object, found 5"),
    "no box": ("annotations[4]", SOUND | {"bbox": [1, 2, 3]}, "found [1, 2, 3]"),
    "a text": ("annotations[5]", SOUND | {"bbox": [1, 2, 3, "x"]}, 'found [1, 2, 3, "x"]'),
    "not a number": ("annotations[6]", SOUND | {"id": 6, "bbox": [1, 2, 3, float("nan")]}, "found nan"),
    "infinity": ("annotations[7]", SOUND | {"id": 7, "bbox": [1, 2, float("inf"), 3]}, "found inf"),
    "no such picture": ("annotations[8]", SOUND | {"id": 8, "image_id": 44}, "found 44"),
    "no such category": ("annotations[9]", SOUND | {"id": 9, "category_id": 55}, "found 55"),
    "negative area": ("annotations[10]", SOUND | {"area": -4}, "found -4"),
    "crowd of 7": ("annotations[11]", SOUND | {"iscrowd": 7}, "iscrowd 0 or 1, found 7"),
    "ignored": ("annotations[12]", SOUND | {"ignore": 1}, "expected no ignore=1 without iscrowd=1"),
    "run length": (
        "annotations[13]",
        SOUND | {"id": 13, "segmentation": {"size": [4, 6], "counts": [24]}},
        "picture's size [40, 60], found [4, 6]",
    ),
    "polygon": ("annotations[14]", SOUND | {"segmentation": [["x"]]}, "polygons as lists of numbers"),
}


def open_collecting(root, data_format, location, **values):
    ledger = Ledger(collects=True)
    source = open_source(config_of(root, data_format, test=location, **values), "test", ledger)
    return source, ledger.faults


def assert_named(faults, expected):
    """The faults, in any order, with file and record in the message. expected: {(file, record): words}."""
    found = {(fault.file, fault.record): fault.message for fault in faults}
    assert found.keys() == expected.keys()
    assert len(faults) == len(expected)
    for (file, _), message in found.items():
        assert file in message and "\n" not in message
    for place, words in expected.items():
        assert words in found[place], found[place]


def test_coco(tmp_path):
    document = coco_document()
    document["annotations"] += [record for _, record, _ in COCO_FAULTS.values()] + [SOUND]
    document["images"] += [{"id": 20}, {"id": 21, "file_name": "../x.png"}, {"id": 22, "file_name": "a.png"}]
    document["categories"] += [{"id": 30}]
    for name in ("a.png", "žirafa 1.png", "empty.png"):
        save_picture(tmp_path / "images" / name)
    (tmp_path / "all.json").write_text(json.dumps(document))
    source, faults = open_collecting(tmp_path, "coco", "all.json")
    file = str(tmp_path / "all.json")
    expected = {(file, record): words for record, _, words in COCO_FAULTS.values()}
    expected |= {
        (file, "images[3]"): "expected a picture with a file_name",
        (file, "images[4]"): "'../x.png'",
        (file, "images[5]"): "found 'a.png' again",
        (file, "categories[2]"): "expected a category with a name",
    }
    assert_named(faults, expected)
    assert sorted(source.annotations.records.tolist()) == [0, 1, 2, 15]
    assert list(source.files) == ["images/a.png", "images/empty.png", "images/žirafa 1.png"]
    assert source.where("images/a.png", 15) == (file, "annotations[15]")


def test_coco_ids_that_come_twice_are_named_and_kept(tmp_path):
    document = coco_document()
    document["annotations"] += [SOUND | {"id": 1}, SOUND | {"id": 1}]
    file = str(build_coco(tmp_path, document))
    source, faults = open_collecting(tmp_path, "coco", "annotations/train.json")
    expected = {
        (file, "annotations[3]"): "found 1, as in annotations[0]",
        (file, "annotations[4]"): "found 1, as in annotations[3]",
    }
    assert_named(faults, expected)
    assert len(source.annotations.labels) == 5


def test_coco_with_nothing_but_faults(tmp_path):
    build_coco(tmp_path)
    run_length = SOUND | {"segmentation": {"size": [4, 6], "counts": [24]}}
    document = coco_document(images=[{"id": 7}], annotations=[run_length])
    (tmp_path / "annotations/train.json").write_text(json.dumps(document))
    source, faults = open_collecting(tmp_path, "coco", "annotations/train.json")
    assert [fault.record for fault in faults] == ["images[0]", "annotations[0]"]
    assert len(source) == 0


def test_a_ledger_that_does_not_collect_stops_at_the_first(tmp_path):
    document = coco_document()
    document["annotations"] += [SOUND | {"image_id": 44}, SOUND | {"id": 8, "image_id": 45}]
    file = build_coco(tmp_path, document)
    with pytest.raises(DataError) as caught:
        open_split(tmp_path, "coco", train="annotations/train.json")
    assert str(caught.value).startswith(f"{file}, annotations[3]: ") and "found 44" in str(caught.value)


OBJECT = "<object><name>{}</name>{}<difficult>{}</difficult></object>"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
VOC_FAULTS = (  # objects of one file, and what their messages say; "" = sound
    (OBJECT.format("cat", BOX.format(1, 2, 3, 4), 0), ""),
    (OBJECT.format("", BOX.format(1, 2, 3, 4), 0), "expected the name of a class"),
    (OBJECT.format("cat", "", 0), "expected a bndbox"),
    (OBJECT.format("cat", BOX.format("x", 2, 3, 4), 0), "expected a number as xmin, found 'x'"),
    (OBJECT.format("cat", BOX.format(1, 2, 3, ""), 0), "expected a number as ymax, found none"),
    (OBJECT.format("cat", BOX.format(1, 2, "inf", 4), 0), "found xmax inf"),
    (OBJECT.format("cat", BOX.format(1, "nan", 3, 4), 0), "found ymin nan"),
    (OBJECT.format("cat", BOX.format(1, 2, 3, 4), 7), "expected difficult 0 or 1, found '7'"),
    (OBJECT.format("cat", BOX.format(1, 2, 3, 4) + "<score>1</score>", 0), "expected scores for all"),
    (OBJECT.format("dog", BOX.format(5, 6, 7, 8), 1), ""),
)


def test_voc(tmp_path):
    texts = {
        "a": "".join(text for text, _ in VOC_FAULTS),
        "b": VOC_FAULTS[-1][0],
        "c": "<size><width>x</width><height>4</height></size>",
    }
    (tmp_path / "Annotations").mkdir()
    for name, objects in texts.items():
        (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        save_picture(tmp_path / f"JPEGImages/{name}.png")
    (tmp_path / "Annotations/d.xml").write_text("<annotation>")
    (tmp_path / "Annotations/e.xml").write_text("<other/>")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    listing = tmp_path / "ImageSets/Main/test.txt"
    listing.write_text("a\nb\nc\nd\ne\nnone\n../b\n")
    source, faults = open_collecting(tmp_path, "voc", "test")
    folder = tmp_path / "Annotations"
    expected = {
        (f"{folder}/a.xml", f"object {i}"): words for i, (_, words) in enumerate(VOC_FAULTS, 1) if words
    }
    expected |= {
        (f"{folder}/c.xml", ""): "expected a width in pixels, found 'x'",
        (f"{folder}/d.xml", ""): "expected XML",
        (f"{folder}/e.xml", ""): "found <other>",
        (str(listing), "line 6"): "expected Annotations/none.xml, found no such file",
        (str(listing), "line 7"): "'../b'",
    }
    assert_named(faults, expected)
    assert list(source.files) == ["JPEGImages/a.png", "JPEGImages/b.png"]
    assert source.annotations.boxes.tolist() == [[0, 1, 3, 4], [4, 5, 7, 8], [4, 5, 7, 8]]
    assert source.annotations.records.tolist() == [1, 10, 1]


YOLO_FAULTS = (
    ("0 0.5 0.5 0.5 0.5", ""),
    ("x 0.5 0.5 0.5 0.5", "expected numbers separated by spaces"),
    ("0 0.5 0.5 0.5", "found 4 numbers"),
    ("2 0.5 0.5 0.5 0.5", "expected a class of 0 to 1, found 2"),
    ("-1 0.5 0.5 0.5 0.5", "found -1"),
    ("0.5 0.5 0.5 0.5 0.5", "found 0.5"),
    ("0 nan 0.5 0.5 0.5", "expected finite numbers"),
    ("0 320 240 64 48", "found 320; divide pixels"),
    ("0 -0.5 0.5 0.5 0.5", "found -0.5"),
    ("0 0.1 0.2 0.3 0.4 0.5", "found 6 numbers"),
    ("0 0.1 0.1 0.1 0.9 0.9 0.9 0.9", "found 8 numbers"),
    ("1 0.25 0.25 0.5 0.5", ""),
)


def test_yolo(tmp_path):
    for name in ("train/a", "train/b", "train/c", "other/d"):
        save_picture(tmp_path / f"images/{name}.png")
    labels = tmp_path / "labels/train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("\n".join(row for row, _ in YOLO_FAULTS))
    (labels / "b.txt").write_bytes(b"\xff\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    listing = tmp_path / "all.txt"
    listing.write_text(
        "images/train/a.png\n../x.png\nimages/train/c.png\nimages/other/d.png\nimages/train/b.png"
    )
    source, faults = open_collecting(tmp_path, "yolo", "all.txt")
    expected = {
        (f"{labels}/a.txt", f"line {i}"): words for i, (_, words) in enumerate(YOLO_FAULTS, 1) if words
    }
    expected |= {
        (f"{labels}/b.txt", ""): "expected UTF-8 text",
        (str(listing), "line 2"): "'../x.png'",
        (str(tmp_path / "labels/other"), ""): "expected the folder of the labels of images/other/d.png",
    }
    assert_named(faults, expected)
    assert list(source.files) == ["images/train/a.png", "images/train/c.png"]
    assert source.annotations.records.tolist() == [1, 12]


CSV_FAULTS = (
    ("a.png,1,2,3,4,cat,40,60,0", ""),
    ("a.png,1,2,3,4,,40,60,0", "expected a label, found none"),
    ("a.png,x,2,3,4,cat,40,60,0", "expected a number as x1, found 'x'"),
    ("a.png,1,,3,4,cat,40,60,0", "expected a number as y1, found ''"),
    ("a.png,1,2,nan,4,cat,40,60,0", "found x2 nan"),
    ("a.png,1,2,3,inf,cat,40,60,0", "found y2 inf"),
    ("a.png,1,2,3,4,cat,41,60,0", "found 41 x 60 after 40 x 60"),
    ("a.png,1,2,3,4,cat,high,60,0", "found 'high', '60'"),
    ("a.png,1,2,3,4,cat,40,60,7", "expected crowd 0 or 1, found '7'"),
    ("../a.png,1,2,3,4,cat,40,60,0", "'../a.png'"),
    (",1,2,3,4,cat,40,60,0", "expected the path of a picture"),
    ("new.png,1,2,3,4,,40,60,0", "expected a label"),
    ("b.png,1,2,3,4,dog,40,60,0", ""),
)


def test_csv(tmp_path):
    for name in ("a", "b"):
        save_picture(tmp_path / f"{name}.png")
    file = tmp_path / "all.csv"
    rows = [row for row, _ in CSV_FAULTS]
    file.write_text("\n".join(["path,x1,y1,x2,y2,label,height,width,crowd", *rows]))
    source, faults = open_collecting(tmp_path, "csv", "all.csv")
    expected = {(str(file), f"row {i}"): words for i, (_, words) in enumerate(CSV_FAULTS, 1) if words}
    assert_named(faults, expected)
    assert list(source.files) == ["a.png", "b.png"]
    assert source.annotations.records.tolist() == [1, 13]


def test_crops(tmp_path):
    save_picture(tmp_path / "all/cat/a.png")
    (tmp_path / "all/empty").mkdir()
    source, faults = open_collecting(tmp_path, "crops", "all")
    assert_named(faults, {(str(tmp_path / "all"), ""): "found none in 1 of 2: empty"})
    assert source.classes.names == ("cat",)
    assert source.annotations.labels.tolist() == [0]


def test_a_link_that_leads_out_leaves_the_picture_out(tmp_path):
    save_picture(tmp_path / "elsewhere.png")
    save_picture(tmp_path / "data/a.png")
    os.symlink(tmp_path / "elsewhere.png", tmp_path / "data/b.png")
    file = tmp_path / "data/all.csv"
    file.write_text("path,x1,y1,x2,y2,label\na.png,1,2,3,4,cat\nb.png,1,2,3,4,dog\n")
    source, faults = open_collecting(tmp_path / "data", "csv", "all.csv")
    assert [(fault.file, fault.record) for fault in faults] == [(str(file), "b.png")]
    assert "a link that leads out" in faults[0].message
    assert list(source.files) == ["a.png"]


def test_lists_that_differ_on_a_picture(tmp_path):
    for name in ("a", "b"):
        save_picture(tmp_path / f"{name}.png")
    (tmp_path / "one.csv").write_text("path,x1,y1,x2,y2,label\na.png,1,2,3,4,cat\n")
    (tmp_path / "two.csv").write_text("path,x1,y1,x2,y2,label\na.png,1,2,3,5,cat\nb.png,1,2,3,4,dog\n")
    source, faults = open_collecting(tmp_path, "csv", "one.csv + two.csv")
    assert_named(faults, {(str(tmp_path / "two.csv"), "a.png"): f"than in {tmp_path / 'one.csv'}"})
    assert source.annotations.boxes.tolist() == [[1, 2, 3, 4]] * 2
    assert source.where("b.png", 2) == (str(tmp_path / "two.csv"), "row 2")


@pytest.mark.parametrize(
    ("classes", "words"),
    [(["cat", "dog"], "unknown class 'background'"), (None, "expected no class 'background'")],
    ids=["not wanted", "reserved"],
)
def test_classes_that_cannot_be(tmp_path, classes, words):
    save_picture(tmp_path / "a.png")
    rows = ("a.png,1,2,3,4,cat", "a.png,1,2,3,4,background" if classes is None else "a.png,1,2,3,4,eel")
    file = tmp_path / "all.csv"
    file.write_text("\n".join(["path,x1,y1,x2,y2,label", *rows, "a.png,5,2,9,4,dog"]))
    source, faults = open_collecting(tmp_path, "csv", "all.csv", classes=classes)
    assert_named(faults, {(str(file), "row 2"): words.replace("background", "eel") if classes else words})
    assert [source.classes.names[label] for label in source.annotations.labels] == ["cat", "dog"]
