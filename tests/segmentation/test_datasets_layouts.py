"""Formats `list`, `voc` and `cityscapes`."""

import os

import numpy as np
import pytest

from visiontasks.errors import DataError, ImageError
from visiontasks.segmentation.datasets import cityscapes, voc

from .mask_files import add_colour_mask, add_mask, add_palette_mask, add_picture, ids_of, opened, stripes

IDS = {"ids": ["sky", "road"]}


@pytest.fixture
def listed(tmp_path):
    for i, name in enumerate(("b b.png", "a.png")):
        add_picture(tmp_path / "pics" / name)
        add_mask(tmp_path / "truth" / name, i)
    return tmp_path


def open_list(root, text, **values):
    (root / "train.txt").write_bytes(text.encode())
    return opened(root, format="list", train="train.txt", **{**IDS, **values})


@pytest.mark.parametrize(
    "text",
    [
        "pics/a.png\ttruth/a.png\npics/b b.png\ttruth/b b.png\n",
        "\ufeffpics/b b.png, truth/b b.png\r\n\r\n./pics//a.png,truth/a.png",
        "/SegNet/CamVid/pics/a.png\t/SegNet/CamVid/truth/a.png\npics/b b.png\ttruth/b b.png\n",
    ],
)
def test_a_list_pairs_pictures_and_masks(listed, text):
    source = open_list(listed, text, strip_prefix="/SegNet/CamVid/")
    assert ids_of(source) == ["pics/a.png", "pics/b b.png"]
    assert [sample.target[0, 0] for sample in source] == [1, 0]


def test_a_list_in_segnets_own_form_says_what_to_set(listed):
    text = "/SegNet/CamVid/pics/a.png /SegNet/CamVid/truth/a.png\n"
    with pytest.raises(DataError, match=r"line 1: .*set data\.strip_prefix to .*'/SegNet/CamVid/', say"):
        open_list(listed, text)
    assert len(open_list(listed, text, strip_prefix="/SegNet/CamVid/")) == 1


def test_a_list_of_colour_coded_masks(listed):
    add_colour_mask(listed / "truth" / "a.png", (9, 8, 7))
    source = open_list(listed, "pics/a.png truth/a.png", ids=None, colours={"road": [9, 8, 7]})
    assert (source[0].target == 0).all()


LIST_FAULTS = {
    "one path": ("pics/a.png\n", r"train\.txt, line 1: expected a picture and its mask, found 1 paths"),
    "three": ("\npics/b b.png truth/b.png\n", r"line 2: .* found 3 paths; separate two by a tab"),
    "two masks": (
        "pics/a.png truth/a.png\npics/a.png truth/b.png\n",
        r"line 2: expected one mask for pics/a\.png, found truth/b\.png after truth/a\.png",
    ),
    "leads out": ("../a.png truth/a.png\n", r"line 1: .*which has '\.\.' in it"),
    "empty": ("\n\n", "expected a line a picture, found none"),
    "no such mask": ("pics/a.png truth/c.png\n", r"found none for 1 of 1: truth/c\.png; add them"),
}


@pytest.mark.parametrize("case", LIST_FAULTS)
def test_a_faulty_list_is_named_with_its_line(listed, case):
    text, message = LIST_FAULTS[case]
    with pytest.raises(DataError, match=message):
        open_list(listed, text)


def test_a_repeated_line_is_counted(listed):
    source = open_list(listed, "pics/a.png truth/a.png\n" * 2)
    assert len(source) == 1
    assert "dropped 1: line that repeats another" in source.ledger.summary()[0]


def test_a_listed_picture_that_is_missing_is_skipped_when_it_is_read(listed):
    (listed / "pics" / "a.png").unlink()
    source = open_list(listed, "pics/a.png truth/a.png")
    with pytest.raises(ImageError, match=r"a\.png: .*no such file"):
        source[0]


@pytest.fixture
def devkit(tmp_path):
    for name, values in {"2007_1": stripes(0, 15, 255), "2007_2": stripes(20)}.items():
        add_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        add_palette_mask(tmp_path / "SegmentationClass" / f"{name}.png", values)
    sets = tmp_path / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_bytes(b"2007_1\r\n2007_2\r\n")
    (sets / "val.txt").write_text("2007_2\n")
    return tmp_path


def test_voc(devkit):
    source = opened(devkit, format="voc", strict=True)
    assert len(source.classes) == 21
    assert source.classes.names[15] == "person"
    assert source.classes.file_ids == tuple(range(21))
    assert ids_of(source) == ["JPEGImages/2007_1.jpg", "JPEGImages/2007_2.jpg"]
    assert np.array_equal(source[0].target, stripes(0, 15, 255))
    assert ids_of(opened(devkit, "val", format="voc")) == ["JPEGImages/2007_2.jpg"]


def test_voc_with_classes_of_its_own_and_another_folder(devkit):
    (devkit / "SegmentationClass").rename(devkit / "SegmentationClassAug")
    ids = {"background": 0, "thing": [15, 20]}
    source = opened(devkit, format="voc", masks="SegmentationClassAug", ids=ids, ignore=[255])
    assert np.array_equal(source[0].target, stripes(0, 1, 255))


def test_voc_faults(devkit):
    sets = devkit / "ImageSets" / "Segmentation"
    with pytest.raises(DataError, match=r"expected a list of names at .*Segmentation/test\.txt"):
        opened(devkit, "test", format="voc", test="test")
    (sets / "train.txt").write_text("2007_1\n../2007_2\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: .* found '\.\./2007_2'"):
        opened(devkit, format="voc")
    (sets / "train.txt").write_text("2007_3\n")
    with pytest.raises(DataError, match=r"found none for 1 of 1: SegmentationClass/2007_3\.png"):
        opened(devkit, format="voc")
    (devkit / "JPEGImages").rename(devkit / "Images")
    with pytest.raises(DataError, match=r"expected a folder JPEGImages, found none \(.*holds: "):
        opened(devkit, format="voc")


def test_the_classes_of_voc_are_the_development_kits():
    assert len(voc.CLASSES) == 21
    assert list(voc.CLASSES[1:]) == sorted(voc.CLASSES[1:])


KINDS = {"labelIds": (7, 26, 4, 255), "labelTrainIds": (0, 13, 255, 255)}


@pytest.fixture(params=KINDS)
def streets(request, tmp_path):
    name = "aachen_000000_000019"
    add_picture(tmp_path / "leftImg8bit" / "train" / "aachen" / f"{name}_leftImg8bit.png")
    folder = tmp_path / "gtFine" / "train" / "aachen"
    add_mask(folder / f"{name}_gtFine_{request.param}.png", stripes(*KINDS[request.param]))
    return tmp_path


def test_cityscapes_reads_both_kinds_of_ids_alike(streets):
    source = opened(streets, format="cityscapes", strict=True)
    assert source.classes.names == tuple(cityscapes.CLASSES)
    assert ids_of(source) == ["leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"]
    assert np.array_equal(source[0].target, stripes(0, 13, 255, 255))
    assert source.class_pixels()[0][[0, 13]].tolist() == [12, 12]


def test_cityscapes_keeps_the_files_ids(streets):
    ids = opened(streets, format="cityscapes").classes.file_ids
    (kind,) = [
        kind for kind in KINDS if any(kind in name for name in os.listdir(streets / "gtFine/train/aachen"))
    ]
    assert ids == (tuple(cityscapes.CLASSES.values()) if kind == "labelIds" else tuple(range(19)))


def test_cityscapes_prefers_the_ids_that_it_comes_with(tmp_path):
    name = "a_1_2"
    add_picture(tmp_path / "leftImg8bit" / "train" / "a" / f"{name}_leftImg8bit.png")
    for kind, values in KINDS.items():
        add_mask(tmp_path / "gtCoarse" / "train" / "a" / f"{name}_gtCoarse_{kind}.png", stripes(*values))
    source = opened(tmp_path, format="cityscapes", masks="gtCoarse")
    assert source.classes.file_ids[0] == 7


def test_cityscapes_without_a_mask_is_an_error_that_lists_it(streets):
    add_picture(streets / "leftImg8bit" / "train" / "ulm" / "ulm_1_2_leftImg8bit.png")
    with pytest.raises(DataError, match=r"found none for 1 of 2: train/ulm/ulm_1_2_leftImg8bit\.png; add"):
        opened(streets, format="cityscapes")


def test_the_trainids_of_cityscapes_are_the_published_ones():
    # cityscapesScripts, helpers/labels.py
    published = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert list(cityscapes.CLASSES.values()) == published
