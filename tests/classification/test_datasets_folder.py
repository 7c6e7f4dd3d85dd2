import os

import pytest

from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets import open_source
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger

from .test_datasets import add_pictures, ids_of


def open_folder(root, strict=False, **values):
    return open_source(DataConfig(root=str(root), train="train", **values), "train", Ledger(strict))


@pytest.fixture
def train(tmp_path):
    add_pictures(tmp_path / "train" / "cat", 2)
    add_pictures(tmp_path / "train" / "dog", 1)
    return tmp_path / "train"


def summary(source):
    return [str(entry) for entry in source.ledger.entries]


def test_pictures_may_lie_deeper(train):
    add_pictures(train / "cat" / "black" / "old", 1)
    assert ids_of(open_folder(train.parent)) == [
        "train/cat/000.png",
        "train/cat/001.png",
        "train/cat/black/old/000.png",
        "train/dog/000.png",
    ]


def test_the_root_itself_may_hold_the_classes(train):
    source = open_source(DataConfig(root=str(train), train=".", holdout=0.5), "val", Ledger())
    assert source.classes.names == ("cat", "dog")
    assert source.files[0] in ("cat/000.png", "cat/001.png")
    assert source[0].target == 0


@pytest.mark.parametrize("location", ["train/", "./train", "train//"])
def test_ids_do_not_depend_on_how_the_split_is_written(train, location):
    config = DataConfig(root=str(train.parent), train=location)
    assert ids_of(open_source(config, "train", Ledger()))[0] == "train/cat/000.png"


def test_hidden_files_and_folders_are_no_part_of_the_data(train):
    add_pictures(train / ".git", 1)
    add_pictures(train / "cat" / ".thumbnails", 1)
    (train / "cat" / ".DS_Store").touch()
    (train / ".hidden.png").touch()
    source = open_folder(train.parent, strict=True)
    assert source.classes.names == ("cat", "dog")
    assert len(source) == 3


def test_other_files_are_counted_once_a_folder(train):
    for name in ("Thumbs.db", "a.txt", "b.txt"):
        (train / "cat" / name).touch()
    add_pictures(train, 2)
    (train / "README").touch()
    source = open_folder(train.parent)
    assert len(source) == 3
    assert summary(source) == [
        "dropped train, 2, first 000.png: pictures outside the class folders",
        "dropped train/cat, 3, first Thumbs.db: files that are no pictures",
    ]
    with pytest.raises(DataError, match="pictures outside the class folders"):
        open_folder(train.parent, strict=True)


def test_suffixes_count_in_either_case(train):
    add_pictures(train / "cat", 1, suffix=".JPG", start=7)
    assert "train/cat/007.JPG" in ids_of(open_folder(train.parent))


def test_spaces_and_letters_of_any_language(train):
    add_pictures(train / "žluťoučký kůň 猫", 1)
    source = open_folder(train.parent)
    assert source.classes.names[2] == "žluťoučký kůň 猫"
    assert source[3].image_id == "train/žluťoučký kůň 猫/000.png"
    assert source[3].image.shape == (4, 6, 3)


def test_empty_class_folders_are_an_error_that_names_them(train):
    (train / "emu").mkdir()
    (train / "fox").mkdir()
    (train / "fox" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"found none in 2 of 4: emu, fox; add some or remove the folder"):
        open_folder(train.parent)


def test_a_split_without_folders_says_what_there_is(tmp_path):
    add_pictures(tmp_path / "train", 2)
    with pytest.raises(
        DataError, match=r"one folder a class, found no folder \(.*train holds: 000\.png, 001\.png"
    ):
        open_folder(tmp_path)


def test_splits_are_not_taken_for_classes(train):
    add_pictures(train.parent / "val" / "cat", 1)
    with pytest.raises(DataError, match=r"found splits \(train, val\); name them .* data\.train: train"):
        open_source(DataConfig(root=str(train.parent), train="."), "train", Ledger())


def test_a_picture_that_cannot_be_read_is_an_image_error(train):
    (train / "cat" / "000.png").write_bytes(b"no picture")
    (train / "cat" / "001.png").write_bytes(b"")
    source = open_folder(train.parent)
    for index in range(2):
        with pytest.raises(ImageError, match=f"00{index}.png"):
            source[index]


def test_a_picture_that_vanishes_is_an_image_error(train):
    source = open_folder(train.parent)
    (train / "dog" / "000.png").unlink()
    with pytest.raises(ImageError, match=r"dog/000\.png"):
        source[2]


def test_large_pictures_are_refused(train):
    source = open_folder(train.parent, max_pixels=23)
    with pytest.raises(ImageError, match="expected at most 23 pixels, found 4 x 6"):
        source[0]


def test_links_inside_the_data_are_followed(train):
    os.symlink(train / "dog", train / "hound")
    os.symlink(train / "dog" / "000.png", train / "cat" / "link.png")
    source = open_folder(train.parent)
    assert source.classes.names == ("cat", "dog", "hound")
    assert source[2].image_id == "train/cat/link.png"
    assert len(source) == 5


def test_links_to_folders_below_a_class_are_left_out_and_counted(train):
    os.symlink(train / "cat", train / "cat" / "again")
    source = open_folder(train.parent)
    assert len(source) == 3
    assert summary(source) == ["dropped train/cat, 1, first again: links to folders"]


@pytest.mark.parametrize("link", ["train/cat/out.png", "train/emu"])
def test_links_that_lead_out_of_the_data_are_an_error(train, link):
    root = train.parent / "data"
    root.mkdir()
    train.rename(root / "train")
    add_pictures(root.parent / "secret", 1)
    target = root.parent / "secret" / ("000.png" if link.endswith("png") else "")
    os.symlink(target, root / link)
    with pytest.raises(DataError, match="a link that leads out"):
        open_folder(root)


def test_a_dangling_link_is_a_missing_picture(train):
    os.symlink(train / "nothing.png", train / "cat" / "gone.png")
    source = open_folder(train.parent)
    with pytest.raises(ImageError, match=r"gone\.png"):
        source[2]
