"""Under a ledger that collects faults each faulty record is listed, and the sound ones are all there."""

import json
import os

import numpy as np
import pytest

from visiontasks.ledger import Ledger
from visiontasks.segmentation.data_tools import DATA_TOOLS
from visiontasks.segmentation.datasets import open_source

from .mask_files import HEIGHT, WIDTH, add_mask, add_picture, config_of, ids_of, opened, stripes

NAMES = ["sky", "road"]


def collected(root, **values):
    ledger = Ledger(collects=True)
    source = open_source(config_of(root, **values), "train", ledger)
    faults = [(fault.file.removeprefix(f"{root}/"), fault.record, fault.message) for fault in ledger.faults]
    assert all("\n" not in message for *_, message in faults)
    return source, faults


def check_faults(faults, expected):
    """expected: (file, record, part of the message) of each."""
    assert [(file, record) for file, record, _ in faults] == [(file, record) for file, record, _ in expected]
    for (*_, message), (*_, part) in zip(faults, expected, strict=True):
        assert part in message


@pytest.fixture
def root(tmp_path):
    """Two sound pictures, with masks as folders have them."""
    for name in ("a", "b"):
        add_picture(tmp_path / "train" / f"{name}.jpg")
        add_mask(tmp_path / "trainannot" / f"{name}.png", stripes(0, 1))
    return tmp_path


def test_folders(root):
    for name in ("c", "d", "e"):
        add_picture(root / "train" / f"{name}.jpg")
    add_picture(root / "train" / "a.png")
    (root / "trainannot" / "c.png").mkdir()
    add_mask(root / "trainannot" / "z.png", 0)
    outside = root.parent / f"{root.name}-outside.png"
    add_mask(outside, 0)
    os.symlink(outside, root / "trainannot" / "e.png")
    source, faults = collected(root, ids=NAMES)
    assert ids_of(source) == ["train/a.jpg", "train/b.jpg"]
    check_faults(
        faults,
        [
            ("train/a.png", "", "expected one file for 'a', found train/a.jpg and train/a.png"),
            (
                "trainannot",
                "train/c.jpg",
                "expected a mask for train/c.jpg in trainannot, found none; add it, or take",
            ),
            ("trainannot", "train/d.jpg", "expected a mask for train/d.jpg in trainannot, found none"),
            ("trainannot/e.png", "", "'trainannot/e.png', a link that leads out"),
        ],
    )


def test_a_split_of_nothing_but_faults_is_empty(tmp_path):
    add_picture(tmp_path / "train" / "a.jpg")
    (tmp_path / "trainannot").mkdir()
    source, faults = collected(tmp_path, ids=NAMES)
    assert (len(source), len(faults)) == (0, 1)
    assert list(DATA_TOOLS.examine(source, "train", None, True)) == []
    assert len(DATA_TOOLS.count(source).count) == 0
    assert [row["pictures"] for row in DATA_TOOLS.statistics(source, None).tables["classes"]] == [0, 0]


def test_a_name_that_the_key_finds_nothing_in(root):
    add_picture(root / "train" / "0.jpg")
    source, faults = collected(root, ids=NAMES, key="([a-z])")
    assert len(source) == 2
    check_faults(faults, [("train/0.jpg", "", "data.key ('([a-z])') finds something in, found '0'")])


def test_a_link_of_a_picture_that_leads_out(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("out") / "c.jpg"
    add_picture(outside)
    os.symlink(outside, root / "train" / "c.jpg")
    add_mask(root / "trainannot" / "c.png", 0)
    source, faults = collected(root, ids=NAMES)
    assert ids_of(source) == ["train/a.jpg", "train/b.jpg"]
    check_faults(faults, [("train/c.jpg", "", "'train/c.jpg', a link that leads out")])


def test_list_files(root):
    lines = (
        "train/a.jpg trainannot/a.png",
        "train/a.jpg",
        "train/a.jpg trainannot/b.png",
        "train/../../a.jpg trainannot/b.png",
        "/SegNet/train/a.jpg trainannot/b.png",
        "train/b.jpg\ttrainannot/b.png",
        "train/c.jpg\ttrainannot/c.png",
    )
    (root / "l.txt").write_text("\n".join(lines))
    source, faults = collected(root, ids=NAMES, format="list", train="l.txt")
    assert ids_of(source) == ["train/a.jpg", "train/b.jpg"]
    check_faults(
        faults,
        [
            ("l.txt", "line 2", "l.txt, line 2: expected a picture and its mask, found 1 paths"),
            ("l.txt", "line 3", "one mask for train/a.jpg, found trainannot/b.png after trainannot/a.png"),
            ("l.txt", "line 4", "'train/../../a.jpg', which has '..' in it"),
            ("l.txt", "line 5", "line 5: expected a path relative to"),
            ("trainannot/c.png", "", "c.png: expected the mask of a picture, found no such file"),
        ],
    )


def test_voc(tmp_path):
    for name in ("a", "b"):
        add_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    add_mask(tmp_path / "SegmentationClass" / "b.png", stripes(0, 20, 255))
    file = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    file.parent.mkdir(parents=True)
    file.write_text("a\n../c\nb\n")
    source, faults = collected(tmp_path, format="voc")
    assert ids_of(source) == ["JPEGImages/b.jpg"]
    assert np.array_equal(source[0].target, stripes(0, 20, 255))
    listed = "ImageSets/Segmentation/train.txt"
    check_faults(
        faults,
        [
            (listed, "line 2", "expected the name of a picture in JPEGImages, found '../c'"),
            ("SegmentationClass/a.png", "", "a.png: expected the mask of a picture, found no such file"),
        ],
    )


def test_cityscapes(tmp_path):
    for name in ("a", "b"):
        add_picture(tmp_path / "leftImg8bit" / "train" / "ulm" / f"{name}_leftImg8bit.png")
    add_mask(tmp_path / "gtFine" / "train" / "ulm" / "b_gtFine_labelIds.png", 7)
    source, faults = collected(tmp_path, format="cityscapes")
    assert ids_of(source) == ["leftImg8bit/train/ulm/b_leftImg8bit.png"]
    picture = "leftImg8bit/train/ulm/a_leftImg8bit.png"
    check_faults(faults, [(picture, "", "expected a mask *_labelIds.png for train/ulm/a_leftImg8bit.png")])


SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


def test_coco(tmp_path):
    sides = {"height": HEIGHT, "width": WIDTH}
    images = [
        {"id": 1, "file_name": "../a.jpg", **sides},
        {"id": 2},
        {"id": 3, "file_name": "b.jpg", **sides},
        {"id": 4, "file_name": "./b.jpg", **sides},
        {"id": 5, "file_name": "a.jpg", **sides},
    ]
    sound = {"image_id": 5, "category_id": 9, "iscrowd": 0, "segmentation": [SQUARE]}
    annotations = [
        sound,
        [],
        {**sound, "image_id": 77},
        {**sound, "category_id": 77},
        {**sound, "image_id": 1},
        {**sound, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [1]}},
        {**sound, "segmentation": [[*SQUARE, 1, 900]]},
        {**sound, "segmentation": [[*SQUARE, 1, float("nan")]]},
        {**sound, "segmentation": "all of it"},
        {**sound, "ignore": 1},
        {**sound, "image_id": 3},
    ]
    for name in ("a", "b"):
        add_picture(tmp_path / f"{name}.jpg")
    annotations = [{**one, "id": i} if one else one for i, one in enumerate(annotations, 1)]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 9, "name": "cat"}]}
    (tmp_path / "t.json").write_text(json.dumps(document))
    source, faults = collected(tmp_path, format="coco", train="t.json")
    assert ids_of(source) == ["a.jpg", "b.jpg"]
    for i in range(2):
        assert source[i].target.sum() == 16
    assert source.truth.place(0) == (str(tmp_path / "t.json"), "images[4]")
    expected = {
        "images[0]": "images[0]: ",
        "images[1]": "expected a picture with a file_name",
        "images[3]": "found 'b.jpg' again, as in",
        "annotations[1]": "expected an object, found []",
        "annotations[2]": "expected image_id to be one of",
        "annotations[3]": "expected category_id to be one of",
        "annotations[5]": "expected run lengths that sum to 6 x 8 = 48 pixels, found 1",
        "annotations[6]": "coordinates from 1 to 900",
        "annotations[7]": "annotations[7]: expected polygons on the picture of 6 x 8 (height x width), found "
        "coordinates from nan to nan",
        "annotations[8]": 'expected polygons or a run length, found "all of it"',
        "annotations[9]": "expected no ignore=1 without iscrowd=1",
    }
    check_faults(sorted(faults), [("t.json", record, part) for record, part in sorted(expected.items())])


def test_without_collecting_the_first_fault_is_raised(root):
    add_picture(root / "train" / "c.jpg")
    with pytest.raises(Exception, match=r"found none for 1 of 3: train/c\.jpg"):
        opened(root, ids=NAMES)
