"""A folder of crops: the picture is the box."""

import os

import pytest
from annotated_files import open_split, save_picture

from visiontasks.errors import DataError


def build(root):
    save_picture(root / "train/dog/a.png", (8, 12))
    save_picture(root / "train/cat/ž 1.png", (10, 10))
    save_picture(root / "train/cat/more/b.png", (9, 10), orientation=6)
    save_picture(root / "train/background/c.png", (20, 30))


def open_crops(root, **values):
    return open_split(root, "crops", **{"train": "train", **values})


def test_golden(tmp_path):
    build(tmp_path)
    (tmp_path / "train/.hidden").mkdir()
    source = open_crops(tmp_path, strict=True)
    assert source.classes.names == ("cat", "dog")
    found = {sample.image_id: sample.target for sample in (source[i] for i in range(4))}
    assert found["train/dog/a.png"].boxes.tolist() == [[0, 0, 12, 8]]
    assert found["train/dog/a.png"].labels.tolist() == [1]
    assert found["train/cat/ž 1.png"].boxes.tolist() == [[0, 0, 10, 10]]
    assert found["train/cat/more/b.png"].boxes.tolist() == [[0, 0, 9, 10]]  # upright
    assert found["train/background/c.png"].boxes.shape == (0, 4)


def test_a_split_at_the_root(tmp_path):
    build(tmp_path)
    assert len(open_crops(tmp_path / "train", train=".")) == 4


def test_background_alone_is_no_class(tmp_path):
    save_picture(tmp_path / "train/background/c.png")
    with pytest.raises(
        DataError, match=r"train: expected one folder a class, found none \(.*holds: background/\)"
    ):
        open_crops(tmp_path)


def test_an_empty_class_is_an_error(tmp_path):
    build(tmp_path)
    (tmp_path / "train/eel").mkdir()
    with pytest.raises(
        DataError, match="train: expected pictures in each class folder, found none in 1 of 4: eel"
    ):
        open_crops(tmp_path)


def test_what_is_left_out_is_counted(tmp_path):
    build(tmp_path)
    save_picture(tmp_path / "train/loose.png")
    os.symlink(tmp_path / "train/dog", tmp_path / "train/cat/dogs")
    source = open_crops(tmp_path)
    assert len(source) == 4
    assert [str(entry) for entry in source.ledger.entries] == [
        "dropped train/, 1, first loose.png: pictures outside the class folders",
        "dropped train/cat/dogs: link to a folder",
    ]


def test_a_crop_that_cannot_be_read_is_skipped_when_it_is_read(tmp_path):
    build(tmp_path)
    (tmp_path / "train/dog/a.png").write_bytes(b"")
    source = open_crops(tmp_path)
    assert len(source) == 4 and len(source.annotations.boxes) == 2
    with pytest.raises(DataError, match=r"dog/a\.png: expected a picture.*found an empty file"):
        source[3]
