"""Formats `masks` and `colour`: where folders are found, how names are joined."""

import os

import numpy as np
import pytest

from visiontasks.data.shapes import draw_shapes
from visiontasks.errors import DataError
from visiontasks.segmentation.datasets.folders import LAYOUTS

from .mask_files import add_colour_mask, add_mask, add_picture, ids_of, opened, stripes

IDS = {"ids": ["sky", "road"]}


@pytest.mark.parametrize("layout", LAYOUTS, ids=" with ".join)
def test_each_layout_is_found(tmp_path, layout):
    images, masks = (folder.replace("{split}", "train") for folder in layout)
    add_picture(tmp_path / images / "a.jpg")
    add_mask(tmp_path / masks / "a.png", 1)
    source = opened(tmp_path, **IDS)
    assert ids_of(source) == [f"{images}/a.jpg"]
    assert (source[0].target == 1).all()


def test_without_splits_the_root_itself_is_one(tmp_path):
    add_picture(tmp_path / "images" / "a.jpg")
    add_mask(tmp_path / "masks" / "a.png", 1)
    assert ids_of(opened(tmp_path, train=".", **IDS)) == ["images/a.jpg"]


def test_folders_can_be_named(tmp_path):
    add_picture(tmp_path / "photos" / "x" / "a.jpg")
    add_mask(tmp_path / "truth" / "x-labels" / "a.png", 1)
    values = {"train": "x", "images": "photos/{split}", "masks": "truth/{split}-labels", **IDS}
    assert ids_of(opened(tmp_path, **values)) == ["photos/x/a.jpg"]


def test_two_layouts_at_once_are_ambiguous(tmp_path):
    add_picture(tmp_path / "images" / "train" / "a.jpg")
    for folder in ("masks", "labels"):
        add_mask(tmp_path / folder / "train" / "a.png", 0)
    with pytest.raises(
        DataError, match="found images/train with masks/train, images/train with labels/train; "
    ):
        opened(tmp_path, **IDS)
    assert len(opened(tmp_path, masks="labels/{split}", **IDS)) == 1


def test_folders_that_are_not_there_are_listed_with_what_is(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(
        DataError, match=r"'train' \(train with trainannot, .*holds: pictures/\); set data\.images"
    ):
        opened(tmp_path, **IDS)


def test_names_are_joined_below_subfolders_whatever_the_suffix(tmp_path):
    for name in ("x/a.JPG", "y/a.tif", "b.webp"):
        add_picture(tmp_path / "train" / name)
    for i, name in enumerate(("b.png", "x/a.bmp", "y/a.tiff")):
        add_mask(tmp_path / "trainannot" / name, i % 2)
    source = opened(tmp_path, **IDS)
    assert ids_of(source) == ["train/b.webp", "train/x/a.JPG", "train/y/a.tif"]
    assert [sample.target[0, 0] for sample in source] == [0, 1, 0]


def test_a_pattern_joins_other_names(tmp_path):
    for i in range(2):
        add_picture(tmp_path / "train" / f"scene_{i:03}_rgb.png")
        add_mask(tmp_path / "train_labels" / f"scene_{i:03}_L.png", i)
    with pytest.raises(DataError, match=r"found none for 2 of 2: .* or say with data\.key"):
        opened(tmp_path, **IDS)
    source = opened(tmp_path, key=r"scene_(\d+)_", **IDS)
    assert [sample.target[0, 0] for sample in source] == [0, 1]
    with pytest.raises(DataError, match=r"scene_000_rgb\.png: expected a name that data\.key \('view_"):
        opened(tmp_path, key=r"view_(\d+)", **IDS)


def test_pictures_and_masks_in_one_folder(tmp_path):
    for i in range(2):
        add_picture(tmp_path / "all" / f"{i}.jpg")
        add_mask(tmp_path / "all" / f"{i}_mask.png", i)
    values = {"train": "all", "images": "{split}/*.jpg", "masks": "{split}/*_mask.png", **IDS}
    source = opened(tmp_path, key=r"(\d+)", **values)
    assert ids_of(source) == ["all/0.jpg", "all/1.jpg"]
    assert [sample.target[0, 0] for sample in source] == [0, 1]


def test_two_files_of_one_name_are_refused(tmp_path):
    add_picture(tmp_path / "train" / "a.jpg")
    for suffix in ("png", "tif"):
        add_mask(tmp_path / "trainannot" / f"a.{suffix}", 0)
    with pytest.raises(DataError, match=r"one file for 'a', found trainannot/a\.png and trainannot/a\.tif"):
        opened(tmp_path, **IDS)


def test_masks_without_a_picture_are_counted(tmp_path):
    add_picture(tmp_path / "train" / "a.jpg")
    for name in "abc":
        add_mask(tmp_path / "trainannot" / f"{name}.png", 0)
    source = opened(tmp_path, **IDS)
    assert [str(entry) for entry in source.ledger.entries] == [
        "dropped trainannot, 2, first trainannot/b.png: masks without a picture"
    ]
    with pytest.raises(DataError, match=r"masks without a picture.*strict"):
        opened(tmp_path, strict=True, **IDS)


def test_row_35_hidden_files_others_and_names_of_any_language(tmp_path):
    add_picture(tmp_path / "train" / "žluťoučký kůň 猫" / "ein Bild ö.jpg")
    add_mask(tmp_path / "trainannot" / "žluťoučký kůň 猫" / "ein Bild ö.png", 1)
    add_picture(tmp_path / "train" / ".thumbnails" / "x.png")
    (tmp_path / "train" / ".DS_Store").touch()
    (tmp_path / "trainannot" / "Thumbs.db").touch()
    source = opened(tmp_path, strict=True, **IDS)
    assert ids_of(source) == ["train/žluťoučký kůň 猫/ein Bild ö.jpg"]
    assert (source[0].target == 1).all()


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(DataError, match=r"train: expected pictures .* found none"):
        opened(tmp_path, **IDS)


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_row_36_a_link_that_leads_out_is_never_read(tmp_path, folder):
    outside, root = tmp_path / "outside.png", tmp_path / "root"
    add_mask(outside, 0)
    add_picture(root / "train" / "a.png")
    add_mask(root / "trainannot" / "a.png", 0)
    (root / folder / "a.png").unlink()
    os.symlink(outside, root / folder / "a.png")
    with pytest.raises(DataError, match="a link that leads out"):
        opened(root, **IDS)


@pytest.mark.parametrize("key", ["images", "masks"])
def test_row_36_a_folder_outside_is_refused(tmp_path, key):
    add_picture(tmp_path / "train" / "a.png")
    add_mask(tmp_path / "trainannot" / "a.png", 0)
    with pytest.raises(DataError, match=r"which has '\.\.' in it"):
        opened(tmp_path, **{key: "../{split}"}, **IDS)


COLOURS = {"sky": [128, 128, 128], "road": "#804080", "car": ["#400080", [64, 0, 129]], "void": [0, 0, 0]}


@pytest.fixture
def coloured(tmp_path):
    colours = np.array([[128, 128, 128], [128, 64, 128], [64, 0, 128], [64, 0, 129], [0, 0, 0]], np.uint8)
    add_picture(tmp_path / "train" / "a.png")
    add_colour_mask(tmp_path / "train_labels" / "a.png", colours[stripes(0, 1, 2, 3, 4)])
    return tmp_path


def test_colours_are_named_in_a_table(coloured):
    source = opened(coloured, format="colour", colours=COLOURS, ignore=["void"])
    assert source.classes.names == ("sky", "road", "car")
    assert source.classes.file_ids == ("#808080", "#804080", "#400080")
    assert np.array_equal(source[0].target, stripes(0, 1, 2, 2, 255))
    nameless = {name: colour for name, colour in COLOURS.items() if name != "void"}
    same = opened(coloured, format="colour", colours=nameless, ignore=["#000000"])
    assert np.array_equal(same[0].target, source[0].target)
    assert source.class_pixels()[0].sum() < source[0].target.size


def test_colours_come_from_a_csv_file(coloured):
    rows = ["sky,128,128,128", "road,128,64,128", "car,64,0,128", "car,64,0,129", "void,0,0,0"]
    (coloured / "class_dict.csv").write_text("\ufeffname,R,G,B\r\n" + "\r\n".join(rows))
    source = opened(coloured, format="colour", colours="class_dict.csv", ignore=["void"])
    assert np.array_equal(source[0].target, stripes(0, 1, 2, 2, 255))
    (coloured / "class_dict.csv").write_text("name,r,g,b\nsky,128,128,256\n")
    with pytest.raises(
        DataError, match=r"class_dict\.csv, row 1: expected name, r, g, b .* found sky, 128, 128, 256"
    ):
        opened(coloured, format="colour", colours="class_dict.csv")
    (coloured / "class_dict.csv").write_text("name,r,g,b\nsky,1,2,3\nroad,1,2,3\n")
    with pytest.raises(DataError, match=r"row 2: expected each colour once, found #010203 again"):
        opened(coloured, format="colour", colours="class_dict.csv")


def test_unknown_colours_are_listed_with_their_pixels(coloured):
    with pytest.raises(
        DataError, match=r"a\.png: expected the 4 colours of the table, found #000000 \(6 pixels\); name them"
    ):
        opened(coloured, format="colour", colours={k: v for k, v in COLOURS.items() if k != "void"})[0]


def test_colours_are_wanted_where_they_are_the_format(coloured):
    with pytest.raises(DataError, match=r"set data\.colours"):
        opened(coloured, format="colour")


def test_drawn_shapes_open_as_they_are(tmp_path):
    draw_shapes(tmp_path / "shapes", "segmentation", 18, 0, size=(32, 48))
    for split in ("train", "val", "test"):
        source = opened(tmp_path / "shapes", split, val="val", test="test", strict=True)
        assert len(source) == 6
        assert source.classes.names[:2] == ("background", "circle")
        pixels, _ = source.class_pixels()
        assert pixels.min() > 0
        assert pixels.sum() == 6 * 32 * 48
