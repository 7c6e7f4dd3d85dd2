"""What holds for every format: splits, classes, holdout, joined lists, paths, pictures unlike their boxes."""

import json
import logging
import os
import pickle
import subprocess
import sys

import pytest
from annotated_files import (
    CLASSES,
    annotations_of,
    build_coco,
    coco_document,
    config_of,
    open_split,
    save_picture,
)

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets import FORMATS, open_source
from visiontasks.detection.datasets.coco import write_coco
from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.detection.datasets.voc import write_voc, write_voc_list
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger

BOX = (1, 2, 30, 40)


def save_csv(root, rows, name="train.csv", classes=CLASSES):
    """{file: [(box, label)]} with pictures where there are none yet."""
    for file in rows:
        if not (root / file).exists():
            save_picture(root / file)
    write_csv_boxes(root / name, classes, annotations_of(rows))


@pytest.fixture
def root(tmp_path):
    """train: 10 pictures with a dog, even ones a cat too; test: two cats."""
    rows = {f"pics/{i}.png": [(BOX, 1), (BOX, 0)][: 2 - i % 2] for i in range(10)}
    save_csv(tmp_path, rows)
    save_csv(tmp_path, {"pics/x.png": [(BOX, 0), (BOX, 0)]}, "test.csv")
    return tmp_path


def open_csv(root, split="train", **values):
    return open_split(root, "csv", split, **{"train": "train.csv", "test": "test.csv", **values})


def files_of(source):
    return list(source.annotations.files)


def test_a_split_of_fewer_classes_has_the_training_splits_indices(root, caplog):
    with caplog.at_level(logging.WARNING):
        source = open_csv(root, "test")
    assert source.classes.names == ("cat", "dog")
    assert "test.csv: no boxes of 1 of 2 classes: dog" in caplog.text


def test_a_class_that_training_does_not_have_is_an_error_with_its_record(root):
    save_csv(root, {"pics/x.png": [(BOX, 0), (BOX, 2)]}, "test.csv")
    with pytest.raises(DataError) as caught:
        open_csv(root, "test")
    message = str(caught.value)
    assert (
        "test.csv, row 2 (pics/x.png): unknown class 'eel'; choices: cat, dog; without boxes: dog" in message
    )
    assert "rename it with data.classes: {old: new}" in message


def test_the_classes_of_a_model_decide_the_indices(root):
    source = open_csv(root, "test", wanted=ClassMap(("dog", "emu", "cat")))
    assert source.annotations.labels.tolist() == [2, 2]
    with pytest.raises(DataError, match=r"unknown class 'cat'; .*choices: bat, dog"):
        open_csv(root, "test", wanted=ClassMap(("bat", "dog")))


def test_the_config_orders_and_renames_classes(root):
    assert open_csv(root, classes=["dog", "cat"])[1].target.labels.tolist() == [0]
    assert open_csv(root, "test", classes=["dog", "cat"]).annotations.labels.tolist() == [1, 1]
    source = open_csv(root, classes={"cat": "moggy"})
    assert source.classes.names == ("moggy", "dog")
    assert open_csv(root, "test", classes={"cat": "moggy"}).classes.names == ("moggy", "dog")


RENAMING_FAULTS = {
    "no such class": ({"cow": "ox"}, "unknown class 'cow'"),
    "two become one": ({"cat": "dog"}, "expected distinct class names, found twice: dog"),
    "list too short": (["cat"], r"train\.csv, row 1 \(pics/0\.png\): unknown class 'dog'"),
    "list too long": (["cat", "dog", "fox"], "train.csv: expected boxes of each class, found none of 1: fox"),
}


@pytest.mark.parametrize("case", RENAMING_FAULTS)
def test_a_list_of_classes_must_fit_the_data(root, case):
    classes, message = RENAMING_FAULTS[case]
    with pytest.raises(DataError, match=message):
        open_csv(root, classes=classes)


def test_a_category_without_boxes_counts_where_the_file_lists_it(tmp_path, caplog):
    categories = [{"id": i, "name": name} for i, name in enumerate(("things", "x", "y"))]
    build_coco(tmp_path, json.loads(json.dumps(coco_document(categories=categories)).replace("18", "1")))
    with caplog.at_level(logging.WARNING):
        source = open_split(tmp_path, "coco", train="annotations/train.json")
    assert source.classes.names == ("things", "x", "y")
    assert "no boxes of 1 of 3 classes: things" in caplog.text
    source = open_split(tmp_path, "coco", train="annotations/train.json", classes=["y", "x"])
    assert source.classes == ClassMap(("y", "x"), (2, 1))
    assert source[0].target.labels.tolist() == [0]


def test_background_is_no_class_of_objects(tmp_path):
    categories = [{"id": 0, "name": "background"}, {"id": 2, "name": "cat"}, {"id": 18, "name": "dog"}]
    file = build_coco(tmp_path, coco_document(categories=categories))
    source = open_split(tmp_path, "coco", train="annotations/train.json")
    assert source.classes == ClassMap(("cat", "dog"), (2, 18))
    assert sorted(source.annotations.labels) == [0, 0, 1]
    categories[0]["id"], categories[1]["id"] = 2, 0
    file.write_text(json.dumps(coco_document(categories=categories)))
    with pytest.raises(
        DataError, match=r"train\.json, annotations\[1\] \(images/a\.png\): expected no class 'background'"
    ):
        open_split(tmp_path, "coco", train="annotations/train.json")
    source = open_split(tmp_path, "coco", train="annotations/train.json", classes={"background": "back"})
    assert source.classes.names == ("cat", "back", "dog")


def test_a_split_that_is_not_set(root):
    with pytest.raises(
        DataError,
        match=r"found data\.val: null; take --split test or train, or set data\.val, or data\.holdout",
    ):
        open_csv(root, "val")


def test_holdout_keeps_a_share_of_the_pictures(root):
    train, val = (open_csv(root, split, holdout=0.3) for split in ("train", "val"))
    assert (len(train), len(val)) == (7, 3)
    assert sorted(files_of(train) + files_of(val)) == files_of(open_csv(root))
    assert val.classes == train.classes
    assert files_of(val) == files_of(open_csv(root, "val", holdout=0.3))
    assert {tuple(files_of(open_csv(root, "val", holdout=0.3, seed=seed))) for seed in range(5)} != {
        tuple(files_of(val))
    }
    assert (len(open_csv(root, holdout=0.99)), len(open_csv(root, "val", holdout=0.001))) == (1, 1)


def test_holdout_does_not_depend_on_the_order_of_a_list(root):
    before = files_of(open_csv(root, "val", holdout=0.3))
    header, *rows = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([header, *reversed(rows)]))
    assert files_of(open_csv(root, "val", holdout=0.3)) == before


def test_several_lists_are_read_as_one(root):
    save_csv(root, {"pics/e.png": [(BOX, 2)], "pics/0.png": [(BOX, 1), (BOX, 0)]}, "more.csv")
    source = open_csv(root, train="train.csv + more.csv")
    assert source.classes.names == ("cat", "dog", "eel")
    assert len(source) == 11
    assert source[10].target.labels.tolist() == [2]
    assert source[0].target.labels.tolist() == [1, 0]
    assert [str(entry) for entry in source.ledger.entries] == [
        "dropped pics/0.png: picture that another list has, too"
    ]
    assert open_csv(root, train="more.csv+train.csv").fingerprint == source.fingerprint
    other = open_csv(root, train="test.csv+more.csv", wanted=CLASSES)
    assert other.annotations.labels.tolist() == [1, 0, 2, 0, 0]


def test_lists_that_disagree_are_refused(root):
    save_csv(root, {"pics/1.png": [(BOX, 0)]}, "more.csv")
    with pytest.raises(
        DataError, match=r"more\.csv: expected the same boxes wherever pics/1\.png is.*train\.csv"
    ):
        open_csv(root, train="train.csv+more.csv")


def test_a_plus_may_be_part_of_a_name(root):
    (root / "train.csv").rename(root / "a+b.csv")
    assert len(open_csv(root, train="a+b.csv")) == 10


def test_joined_coco_files_keep_numbers_while_they_are_distinct(tmp_path):
    build_coco(tmp_path)
    other = json.dumps(coco_document()).replace('.png"', '.jpg"')
    (tmp_path / "annotations/same.json").write_text(other)
    for name in ("a", "žirafa 1", "empty"):
        save_picture(tmp_path / f"images/{name}.jpg")
    source = open_split(tmp_path, "coco", train="annotations/train.json+annotations/same.json")
    assert source[0].image_id == "images/a.jpg"
    assert source.classes.file_ids == (2, 18)
    document = json.loads(other)
    for table, key in (("images", "id"), ("annotations", "image_id")):
        for record in document[table]:
            record[key] += 100
    document["categories"] = [{"id": 4, "name": "dog"}, {"id": 2, "name": "emu"}]
    text = json.dumps(document).replace('"category_id": 18', '"category_id": 4')
    (tmp_path / "annotations/same.json").write_text(text)
    source = open_split(tmp_path, "coco", train="annotations/train.json+annotations/same.json")
    assert source[0].image_id == 107
    assert source.classes == ClassMap(("cat", "dog", "emu"))  # ids that disagree are not kept
    assert source[0].target.labels.tolist() == [2]


def test_a_fault_in_a_joined_list_names_its_file(root):
    save_csv(root, {"pics/e.png": [((5, 5, 5, 9), 2)]}, "more.csv")
    source = open_csv(root, train="train.csv+more.csv")
    assert [str(e).rpartition("/")[2] for e in source.ledger.entries] == ["more.csv, row 1: box without area"]


def test_a_picture_of_another_size_than_annotated_is_an_error(tmp_path):
    document = coco_document()
    build_coco(tmp_path, document)
    save_picture(tmp_path / "images/a.png", (41, 60))
    source = open_split(tmp_path, "coco", train="annotations/train.json")
    with pytest.raises(
        DataError, match=r"images/a\.png: expected 40 x 60 pixels .*found 41 x 60; mend"
    ) as caught:
        source[0]
    assert not isinstance(caught.value, ImageError)  # which would be skipped


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_those_of_the_upright_picture(tmp_path, orientation):
    build_coco(tmp_path)
    stored = (60, 40) if orientation >= 5 else (40, 60)
    save_picture(tmp_path / "images/a.png", stored, orientation=orientation)
    source = open_split(tmp_path, "coco", train="annotations/train.json")
    assert source[0].image.shape == (40, 60, 3)
    save_picture(tmp_path / "images/a.png", stored[::-1], orientation=orientation)  # annotated as stored
    with pytest.raises(
        DataError, match=r"a\.png: expected 40 x 60 .*found 60 x 40; swap them; or, .*EXIF orientation"
    ):
        source[0]


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n truncated"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_picture_that_cannot_be_read_is_an_image_error_that_names_it(root, content, split):
    save_csv(root, {"pics/0.png": [(BOX, 0)], "pics/x.png": [(BOX, 0)]}, "more.csv")
    (root / "pics/x.png").unlink()
    if content is not None:
        (root / "pics/x.png").write_bytes(content)
    source = open_csv(root, split, **{split: "more.csv"})
    with pytest.raises(ImageError, match=r"pics/x\.png"):
        source[1]
    assert source[0].image.shape == (40, 60, 3)


def test_too_many_pixels_are_an_image_error(root):
    with pytest.raises(ImageError, match=r"at most 2,399 pixels, found 40 x 60"):
        open_csv(root, max_pixels=2399)[0]


def write_format(root, data_format, file):
    """A data set of one picture under a name that may be bad; the location of its split."""
    truth = annotations_of({file: [(BOX, 0)]})
    if data_format == "coco":
        write_coco(root / "a.json", CLASSES, truth)
        return {"train": "a.json"}
    if data_format == "csv":
        write_csv_boxes(root / "a.csv", CLASSES, truth)
        return {"train": "a.csv"}
    if data_format == "voc":
        stem = file.rpartition(".")[0]
        (root / "ImageSets/Main").mkdir(parents=True)
        (root / "ImageSets/Main/a.txt").write_text(f"{stem}\n")
        write_voc(root / "Annotations", CLASSES, annotations_of({"x.png": [(BOX, 0)]}), Ledger())
        return {"train": "a", "images": "."}
    (root / "classes.txt").write_text("cat\n")
    (root / "a.txt").write_text(f"{file}\n")
    return {"train": "a.txt"}


@pytest.mark.parametrize("data_format", ["coco", "voc", "yolo", "csv"])
@pytest.mark.parametrize("name", ["../canary.png", "pics/../../canary.png", "/{outside}/canary.png"])
def test_paths_that_lead_out_are_refused_with_their_record(tmp_path, data_format, name):
    inside = tmp_path / "data"
    inside.mkdir()
    save_picture(tmp_path / "canary.png")
    values = write_format(inside, data_format, name.format(outside=str(tmp_path).lstrip("/")))
    with pytest.raises(DataError, match=r"(images\[0\]|a\.txt:1|row 1): .*expected a path") as caught:
        open_split(inside, data_format, **values)
    assert "canary" in str(caught.value)


@pytest.mark.parametrize("kind", ["picture", "folder"])
def test_links_that_lead_out_are_refused(root, tmp_path_factory, kind):
    outside = tmp_path_factory.mktemp("outside")
    save_picture(outside / "canary.png")
    target, link = (outside / "canary.png", "link.png") if kind == "picture" else (outside, "links")
    os.symlink(target, root / link)
    name = "link.png" if kind == "picture" else "links/canary.png"
    write_csv_boxes(root / "train.csv", CLASSES, annotations_of({name: [(BOX, 0)]}))
    with pytest.raises(DataError, match=f"a file inside this folder, found '{link}', a link that leads out"):
        open_csv(root)


def test_links_of_labels_that_lead_out_are_refused(tmp_path):
    root = tmp_path / "data"
    save_picture(root / "images/a.png")
    write_yolo(root, CLASSES, annotations_of({"images/a.png": []}), Ledger())
    (tmp_path / "canary.txt").write_text("0 0.5 0.5 1 1")
    (root / "labels/a.txt").unlink()
    os.symlink(tmp_path / "canary.txt", root / "labels/a.txt")
    with pytest.raises(DataError, match=r"found 'labels/a\.txt', a link that leads out"):
        open_split(root, "yolo", train="images")
    os.unlink(root / "labels/a.txt")
    write_voc(root / "Annotations", CLASSES, annotations_of({"a.png": [(BOX, 0)]}), Ledger())
    (root / "Annotations/a.xml").rename(tmp_path / "canary.xml")
    os.symlink(tmp_path / "canary.xml", root / "Annotations/a.xml")
    with pytest.raises(DataError, match=r"found 'Annotations/a\.xml', a link that leads out"):
        open_split(root, "voc", train="Annotations")


def test_the_fingerprint_knows_pictures_boxes_and_classes(root):
    before = open_csv(root).fingerprint
    assert open_csv(root).fingerprint == before
    text = (root / "train.csv").read_text()
    for edited in (
        text.replace("1.0,2.0", "1.0,2.5", 1),
        text.replace("cat", "kat"),
        text.replace("dog", "cat", 1),
    ):
        assert edited != text
        (root / "train.csv").write_text(edited)
        assert open_csv(root).fingerprint != before
    (root / "train.csv").write_text(text)
    save_picture(root / "pics/3.png", orientation=1)
    assert open_csv(root).fingerprint != before


def test_a_source_travels_to_other_processes(tmp_path):
    build_coco(tmp_path)
    source = open_split(tmp_path, "coco", train="annotations/train.json")
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[i].image_id for i in range(3)] == [7, 9, 3]
    assert copy[2].target.boxes.tolist() == source[2].target.boxes.tolist()
    assert len(copy) == 3
    with pytest.raises(IndexError):
        copy[3]


def test_the_same_under_every_hash_seed(root):
    save_yolo = {"images/a.png": [(BOX, 2)], "images/b.png": [(BOX, 0)]}
    for name in save_yolo:
        save_picture(root / name)
    write_yolo(root, CLASSES, annotations_of(save_yolo), Ledger())
    write_voc(root / "Annotations", CLASSES, annotations_of(save_yolo), Ledger())
    write_voc_list(root, "train", annotations_of(save_yolo))
    script = (
        "import sys; from visiontasks.detection.datasets import open_source;"
        "from visiontasks.detection.config import DataConfig; from visiontasks.ledger import Ledger as L;"
        "values = [dict(format='csv', train='train.csv'), dict(format='yolo', train='images'),"
        "dict(format='voc', train='train', images='.')];"
        f"configs = [DataConfig(root={str(root)!r}, **v) for v in values];"
        "sources = [open_source(config, 'train', L(strict=True)) for config in configs];"
        "print([(s.classes.names, s.fingerprint) for s in sources], 'torch' in sys.modules)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(5)
    }
    (only,) = found
    assert "('cat', 'dog')" in only
    assert "('cat', 'dog', 'eel')" in only
    assert "('cat', 'eel')" in only
    assert only.strip().endswith("False")  # no torch


def test_the_formats_are_those_of_the_config(tmp_path):
    for data_format in FORMATS:
        assert config_of(tmp_path, data_format).format == data_format
    with pytest.raises(DataError, match="expected a train split"):
        open_source(config_of(tmp_path, "csv"), "train", Ledger())


@pytest.mark.parametrize("data_format", ["yolo", "crops", "tiny-imagenet"])
def test_a_folder_of_pictures_is_for_formats_that_want_one(tmp_path, data_format):
    with pytest.raises(ValueError, match=f"null with format {data_format}, whose splits say where"):
        config_of(tmp_path, data_format, images="pictures")
