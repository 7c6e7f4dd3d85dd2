"""What a folder or file of masks is taken for: the proposal opens, without a fault."""

import json

import pytest

from visiontasks.io.images import voc_palette
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.data_recognise import recognise
from visiontasks.segmentation.datasets import open_source
from visiontasks.segmentation.datasets.folders import LAYOUTS

from .mask_files import HEIGHT, WIDTH, add_colour_mask, add_mask, add_picture, jpeg_bytes, stripes

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


def open_best(path):
    """The likeliest reading of a path, and its splits."""
    best = recognise(path)[0]
    config = DataConfig.model_validate(best.values)
    sources = {}
    for split in ("train", "val", "test"):
        if getattr(config, split) is not None:
            ledger = Ledger(collects=True)
            sources[split] = open_source(config, split, ledger)
            assert not ledger.faults
            for i in range(len(sources[split])):
                assert sources[split][i].target.shape == (HEIGHT, WIDTH)
    return best, sources


def fill(root, images, masks, *, ending=""):
    for name in ("a", "b"):
        add_picture(root / images / f"{name}.jpg")
        add_mask(root / masks / f"{name}{ending}.png", stripes(0, 2, 255))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_splits(tmp_path, layout):
    for split in ("train", "valid"):
        fill(tmp_path, *(template.format(split=split) for template in layout))
    best, sources = open_best(tmp_path)
    assert (best.certainty, best.values["format"]) == (3, "masks")
    assert {split: best.values[split] for split in sources} == {"train": "train", "val": "valid"}
    assert [len(source) for source in sources.values()] == [2, 2]
    assert sources["train"].classes.names == ("class_0", "class_2")
    assert "2 values in masks, with names that are made up" in best.why


def test_two_folders_without_splits_joined_by_an_ending(tmp_path):
    fill(tmp_path, "images", "masks", ending="_mask.v2")
    best, sources = open_best(tmp_path)
    assert best.values["key"] == r"^(.+?)(?:_mask\.v2)?$"
    assert list(sources) == ["train"]
    assert len(sources["train"]) == 2


def test_names_come_from_classes_txt(tmp_path):
    fill(tmp_path, "images/train", "masks/train")
    add_mask(tmp_path / "masks/train/b.png", stripes(0, 255))
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    best, sources = open_best(tmp_path)
    assert sources["train"].classes.names == ("sky", "road", "car")
    assert best.why.endswith("classes in classes.txt")


def test_masks_of_0_and_255_get_two_names_and_a_word_of_it(tmp_path):
    fill(tmp_path, "images", "masks")
    for name in "ab":
        add_mask(tmp_path / "masks" / f"{name}.png", stripes(0, 255))
    best, sources = open_best(tmp_path)
    assert sources["train"].classes.names == ("background", "object")
    assert "masks of 0 and 255, taken as background and object: say in data.ids" in best.why


def test_colours(tmp_path):
    fill(tmp_path, "images", "masks")
    for name in "ab":
        add_colour_mask(tmp_path / "masks" / f"{name}.png", voc_palette()[stripes(0, 1)])
    best, sources = open_best(tmp_path)
    assert best.values["format"] == "colour"
    assert sources["train"].classes.file_ids == ("#000000", "#800000")
    assert "2 colours, with names that are made up" in best.why


def test_a_table_of_colours_names_them_and_what_is_ignored(tmp_path):
    fill(tmp_path, "train", "train_labels")
    for name in "ab":
        add_colour_mask(tmp_path / "train_labels" / f"{name}.png", voc_palette()[stripes(0, 1)])
    (tmp_path / "a.csv").write_text("path,label\na.jpg,cat\n")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nRoad,128,0,0\nVoid,0,0,0\nCar,1,1,1\n")
    best, sources = open_best(tmp_path)
    assert best.why.endswith("colours in class_dict.csv; ignored: Void")
    assert sources["train"].classes.names == ("Road", "Car")
    assert (sources["train"][0].target == stripes(255, 0)).all()


def test_photographs_are_no_masks(tmp_path):
    fill(tmp_path, "images", "labels")
    noise = voc_palette()[:48].reshape(6, 8, 3)
    for i, name in enumerate("ab"):
        add_colour_mask(tmp_path / "labels" / f"{name}.png", noise + i)
    assert recognise(tmp_path) == []


def test_lossy_masks_are_recognised_so_that_a_check_can_name_them(tmp_path):
    fill(tmp_path, "images", "masks")
    for name in "ab":
        (tmp_path / "masks" / f"{name}.png").unlink()
        (tmp_path / "masks" / f"{name}.jpg").write_bytes(jpeg_bytes(stripes(0, 255)))
    [found] = recognise(tmp_path)
    assert found.certainty == 2
    assert "lossy format" in found.why
    DataConfig.model_validate(found.values)


def test_voc(tmp_path):
    fill(tmp_path, "JPEGImages", "SegmentationClass")
    for split in ("train", "val", "trainval"):
        file = tmp_path / "ImageSets" / "Segmentation" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a\nb\n")
    best, sources = open_best(tmp_path)
    assert (best.values["format"], list(sources)) == ("voc", ["train", "val"])
    assert len(sources["train"].classes) == 21
    add_mask(tmp_path / "SegmentationClass" / "a.png", stripes(0, 30))
    best, sources = open_best(tmp_path)
    assert sources["train"].classes.names == ("class_0", "class_2", "class_30")


def test_cityscapes(tmp_path):
    for split in ("train", "val"):
        add_picture(tmp_path / "leftImg8bit" / split / "ulm" / "a_leftImg8bit.png")
        add_mask(tmp_path / "gtFine" / split / "ulm" / "a_gtFine_labelIds.png", 7)
    best, sources = open_best(tmp_path)
    assert (best.values["format"], list(sources)) == ("cityscapes", ["train", "val"])


@pytest.mark.parametrize("prefix", ["", "/SegNet/CamVid/"])
def test_list_files(tmp_path, prefix):
    fill(tmp_path, "pictures", "truth")
    for split in ("train", "test"):
        lines = [f"{prefix}pictures/{name}.jpg {prefix}truth/{name}.png" for name in "ab"]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    for path, splits in ((tmp_path, ["train", "test"]), (tmp_path / "test.txt", ["test"])):
        best, sources = open_best(path)
        assert (best.values["format"], list(sources)) == ("list", splits)
        assert best.values.get("strip_prefix", "") == prefix


def write_coco(path, **fields):
    image = {"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, **fields}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    add_picture(path.parent / "a.jpg")


COCO = {
    "masks alone": ({"segmentation": [SQUARE]}, 3),
    "masks and boxes": ({"segmentation": [SQUARE], "bbox": [1, 1, 4, 4]}, 2),
    "boxes alone": ({"bbox": [1, 1, 4, 4]}, None),
    "boxes with empty masks": ({"bbox": [1, 1, 4, 4], "segmentation": []}, None),
}


@pytest.mark.parametrize("case", COCO)
def test_coco(tmp_path, case):
    fields, certainty = COCO[case]
    write_coco(tmp_path / "annotations" / "instances_val2017.json", **fields)
    paths = (tmp_path, tmp_path / "annotations" / "instances_val2017.json")
    if certainty is None:
        assert [recognise(path) for path in paths] == [[], []]
        return
    for path in paths:
        best, sources = open_best(path)
        assert (best.certainty, best.values["format"], list(sources)) == (certainty, "coco", ["val"])


NOTHING = {
    "no such path": lambda root: root / "none",
    "an empty folder": lambda root: root,
    "a text": lambda root: write(root / "a.txt", b"a word\nor two\n"),
    "no text": lambda root: write(root / "a.txt", b"\xff\xfe\x00"),
    "no JSON": lambda root: write(root / "a.json", b"{"),
    "another suffix": lambda root: write(root / "a.bin", b""),
}


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", NOTHING)
def test_what_is_no_data_set_raises_nothing(tmp_path, case):
    assert recognise(NOTHING[case](tmp_path)) == []


@pytest.mark.parametrize("how", ["a path", "a link"])
def test_masks_outside_are_not_looked_at(tmp_path, how):
    root = tmp_path / "root"
    fill(tmp_path, "pictures", "truth")
    add_picture(root / "a.jpg")
    if how == "a link":
        (root / "b.png").symlink_to(tmp_path / "truth" / "b.png")
    mask = "b.png" if how == "a link" else tmp_path / "truth" / "a.png"
    (root / "train.txt").write_text(f"a.jpg {mask}\n")
    assert recognise(root) == []


def test_damaged_masks_raise_nothing(tmp_path):
    fill(tmp_path, "images", "masks")
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    assert recognise(tmp_path)[0].certainty == 3
