import csv
import json

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.errors import RunError, UsageError
from visiontasks.io.files import read_document
from visiontasks.io.images import read_mask, voc_palette
from visiontasks.segmentation.outputs import OUTPUTS, describe, record
from visiontasks.segmentation.types import SegmentationMap

from .mask_files import HEIGHT, WIDTH, add_picture, opened, stripes

CLASSES = ClassMap(("background", "cat", 'a "quoted", dog'), (0, 17, 18))
FILES = ["a/x.jpg", "b/x.png", "日本 ž.png"]


def found(*values):
    return SegmentationMap(stripes(*values).astype(np.uint8))


PREDICTIONS = [found(0, 1, 2, 0), found(1), found(2, 0)]


def written(name, folder, classes=CLASSES, predictions=PREDICTIONS):
    output = OUTPUTS[name](folder, classes)
    for file, prediction in zip(FILES, predictions, strict=True):
        output.add(file, (HEIGHT, WIDTH), prediction)
    return output.close()


def test_a_record_writes_the_mask_and_says_the_shares(tmp_path):
    fields = record(PREDICTIONS[0], CLASSES, tmp_path, "x.jpg")
    assert json.loads(json.dumps(fields)) == {
        "mask": "masks/x.png",
        "shares": {"background": 0.5, "cat": 0.25, 'a "quoted", dog': 0.25},
    }
    assert np.array_equal(read_mask(tmp_path / "masks" / "x.png"), PREDICTIONS[0].mask)
    with PIL.Image.open(tmp_path / "masks" / "x.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == voc_palette()[:3].ravel().tolist()


def test_shares_of_a_large_mask_are_those_of_its_pixels():
    mask = np.random.default_rng(0).integers(0, 3, (3000, 1001)).astype(np.uint8)
    assert SegmentationMap(mask).shares(4).tolist() == [*(np.bincount(mask.ravel()) / mask.size), 0]


def test_a_description_is_the_largest_classes():
    assert describe(found(0, 1, 2, 0), CLASSES) == 'background 50%, cat 25%, a "quoted", dog 25%'
    many = ClassMap(tuple("abcdefgh"))
    assert describe(found(*range(8)), many) == "a 12%, b 12%, c 12%, d 12%, 4 more 50%"
    mask = np.zeros((100, 100), np.uint8)
    mask[0, :3] = 1
    assert describe(SegmentationMap(mask), many) == "a 100%, b 0.0%"


def test_shares_as_csv(tmp_path):
    assert written("csv", tmp_path) == [tmp_path / "shares.csv"]
    rows = list(csv.reader((tmp_path / "shares.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["path", *CLASSES.names]
    assert [row[0] for row in rows[1:]] == FILES
    assert [[float(value) for value in row[1:]] for row in rows[1:]] == [
        [0.5, 0.25, 0.25],
        [0, 1, 0],
        [0.5, 0, 0.5],
    ]


def test_ids_are_the_data_sets_own_and_equal_names_get_a_counter(tmp_path):
    paths = written("ids", tmp_path)
    assert [path.name for path in paths] == ["x.png", "x-2.png", "日本 ž.png"]
    for path, prediction in zip(paths, PREDICTIONS, strict=True):
        assert np.array_equal(read_mask(path), np.array([0, 17, 18])[prediction.mask])


@pytest.mark.parametrize("ids", [(), ("#000000", "#010203", "#040506"), (0, 17, 1000)])
def test_ids_that_a_mask_cannot_hold_are_refused(tmp_path, ids):
    with pytest.raises(UsageError, match=r"values of 0 to 255 .* --format ids, found"):
        OUTPUTS["ids"](tmp_path, ClassMap(CLASSES.names, ids))


@pytest.mark.parametrize("ids", [(0, 17, 18), ("#000000", "#0a0b0c", "#ff0000")])
def test_colour_masks_read_back_as_they_were(tmp_path, ids):
    (tmp_path / "train_labels").mkdir()
    for path in written("colour", tmp_path, ClassMap(CLASSES.names, ids)):
        path.rename(tmp_path / "train_labels" / path.name)
        add_picture(tmp_path / "train" / path.name)
    source = opened(tmp_path, format="colour", colours="colours.csv", strict=True)
    assert source.classes.names == CLASSES.names
    if isinstance(ids[0], str):
        assert source.classes.file_ids == ids
    targets = {sample.image_id: sample.target for sample in source}
    for name, prediction in zip(("x.png", "x-2.png", "日本 ž.png"), PREDICTIONS, strict=True):
        assert np.array_equal(targets[f"train/{name}"], prediction.mask)


@pytest.mark.parametrize(
    "classes", [CLASSES, ClassMap(CLASSES.names), ClassMap(("sky", "cat", "dog"), (4, 7, 9))]
)
def test_coco_reads_back_as_it_was(tmp_path, classes):
    for file in FILES:
        add_picture(tmp_path / file)
    assert written("coco", tmp_path, classes) == [tmp_path / "coco.json"]
    ignore = [] if "background" in classes.names else ["background"]
    source = opened(tmp_path, format="coco", train="coco.json", ignore=ignore, strict=True)
    assert source.classes.names == classes.names
    targets = {sample.image_id: sample.target for sample in source}
    for file, prediction in zip(FILES, PREDICTIONS, strict=True):
        assert np.array_equal(targets[file], prediction.mask)


def test_coco_says_areas_and_boxes(tmp_path):
    written("coco", tmp_path)
    document = read_document(tmp_path / "coco.json")
    first = document["annotations"][0]
    assert (first["category_id"], first["image_id"], first["area"]) == (17, 1, HEIGHT * WIDTH // 4)
    assert first["bbox"] == [1, 0, 5, HEIGHT]
    assert [category["id"] for category in document["categories"]] == [17, 18]


def test_no_results_are_empty_files(tmp_path):
    for name, make in OUTPUTS.items():
        folder = tmp_path / name
        folder.mkdir()
        paths = make(folder, CLASSES).close()
        assert all(path.exists() for path in paths)
    assert (tmp_path / "csv" / "shares.csv").read_text().count("\n") == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "masks").touch()
    with pytest.raises(RunError, match=r"masks/x\.png"):
        record(PREDICTIONS[0], CLASSES, tmp_path, "x.jpg")
