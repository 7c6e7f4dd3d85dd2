"""Where faults are collected each is listed with its file and record, and what is sound is all there."""

import os

import pytest

from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets import open_source
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

from .test_datasets import add_pictures, ids_of

ROWS = """path,label
pics/000.png,dog
pics/001.png,
,cat
../secret.png,cat
/etc/passwd,cat
pics/out.png,cat
out/secret.png,cat
pics/000.png,cat
pics/000.png,dog
pics/002.png,cat
pics/900.png,cat
"""


def open_all(config, **changes):
    config = DataConfig.model_validate({**config, **changes})
    ledger = Ledger(collects=True)
    return open_source(config, "test", ledger), ledger


def records(ledger):
    return [fault.record for fault in ledger.faults]


@pytest.fixture
def csv(tmp_path):
    root = tmp_path / "data"
    add_pictures(root / "pics", 3)
    add_pictures(tmp_path / "outside", 1)
    os.symlink(tmp_path / "outside", root / "out")
    os.symlink(tmp_path / "outside" / "000.png", root / "pics" / "out.png")
    (root / "test.csv").write_text(ROWS)
    return {"root": str(root), "format": "csv", "test": "test.csv"}


def test_rows_of_a_csv_file(csv):
    source, ledger = open_all(csv)
    assert ids_of(source) == ["pics/000.png", "pics/002.png", "pics/900.png"]
    assert source.labels.tolist() == [1, 0, 0]
    assert records(ledger) == [*(f"row {n}" for n in (2, 3, 4, 5, 8)), "", ""]
    assert all(fault.file.startswith(csv["root"]) for fault in ledger.faults)
    assert "row 8: expected one label a picture, found two: pics/000.png is 'cat'" in ledger.faults[4].message
    assert [fault.file.removeprefix(csv["root"]) for fault in ledger.faults[5:]] == [
        "/pics/out.png",
        "/out/secret.png",
    ]
    assert [entry.record for entry in ledger.entries] == ["row 9"]


def test_classes_that_are_not_wanted(csv):
    source, ledger = open_all(csv, classes=["cat"])
    assert ids_of(source) == ["pics/002.png", "pics/900.png"]
    (fault,) = [fault for fault in ledger.faults if fault.record == "dog"]
    assert "test.csv, row 1 (pics/000.png): unknown class 'dog'; choices: cat" in fault.message


def test_a_csv_file_with_nothing_sound_can_not_be_opened(csv, tmp_path):
    (tmp_path / "data" / "test.csv").write_text("path,label\n,cat\n")
    with pytest.raises(DataError, match="expected rows under the header"):
        open_all(csv)


def test_class_folders_without_pictures(tmp_path):
    add_pictures(tmp_path / "test" / "cat", 1)
    add_pictures(tmp_path / "test" / "eel", 2)
    for name in ("bat", "dog"):
        (tmp_path / "test" / name).mkdir()
    source, ledger = open_all({"root": str(tmp_path), "test": "test"})
    assert source.classes.names == ("cat", "eel")
    assert source.labels.tolist() == [0, 1, 1]
    (fault,) = ledger.faults
    assert fault.file == str(tmp_path / "test")
    assert fault.record == "bat, dog"
    for name in ("cat", "eel"):
        for path in (tmp_path / "test" / name).iterdir():
            path.unlink()
    with pytest.raises(DataError, match="found none in 4 of 4: bat, cat, dog, eel"):
        open_all({"root": str(tmp_path), "test": "test"})


TINY = "a.png\tn1\nb.png\tn7\nc/d.png\tn1\na.png\tn2\na.png\tn1\ne.png\tn2\n"


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "wnids.txt").write_text("n1\nn2\n")
    (tmp_path / "words.txt").write_text("n1\tcat\nn2\tdog\n")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "val_annotations.txt").write_text(TINY)
    for wnid in ("n1", "n9"):
        add_pictures(tmp_path / "train" / wnid / "images", 2)
    return {"root": str(tmp_path), "format": "tiny-imagenet", "train": None, "val": None}


def test_rows_of_tiny_imagenet(tiny):
    source, ledger = open_all(tiny, test="val")
    assert ids_of(source) == ["val/images/a.png", "val/images/e.png"]
    assert source.labels.tolist() == [0, 1]
    assert records(ledger) == ["line 2", "line 3", "line 4"]
    assert [entry.record for entry in ledger.entries] == ["line 5"]


def test_folders_of_tiny_imagenet(tiny):
    source, ledger = open_all(tiny, test="train")
    assert ids_of(source) == ["train/n1/images/000.png", "train/n1/images/001.png"]
    assert source.classes.names == ("cat", "dog")
    (fault,) = ledger.faults
    assert fault.message.endswith("without a folder: n2; not in wnids.txt: n9")


def test_splits_may_be_joined(tmp_path):
    add_pictures(tmp_path / "a" / "cat", 1)
    add_pictures(tmp_path / "b" / "dog", 1)
    add_pictures(tmp_path / "b" / "bat", 1)
    source, ledger = open_all({"root": str(tmp_path), "test": "a + b"})
    assert source.classes.names == ("bat", "cat", "dog")
    assert ids_of(source) == ["a/cat/000.png", "b/bat/000.png", "b/dog/000.png"]
    assert source.labels.tolist() == [1, 0, 2]
    assert not ledger.faults
    add_pictures(tmp_path / "x+y" / "cat", 1)
    assert ids_of(open_all({"root": str(tmp_path), "test": "x+y"})[0]) == ["x+y/cat/000.png"]


def test_joined_lists_agree_on_a_pictures_class(tmp_path):
    add_pictures(tmp_path / "pics", 2)
    (tmp_path / "a.csv").write_text("path,label\npics/000.png,cat\npics/001.png,dog\n")
    (tmp_path / "b.csv").write_text("path,label\npics/000.png,cat\npics/001.png,cat\n")
    config = {"root": str(tmp_path), "format": "csv", "test": "a.csv+b.csv"}
    source, ledger = open_all(config)
    assert source.labels.tolist() == [0, 1]
    assert [entry.reason for entry in ledger.entries] == ["pictures that another listing has, too"]
    with pytest.raises(DataError, match=r"one class for pics/001.png, found 'dog' and 'cat'; leave one"):
        open_source(DataConfig.model_validate(config), "test", Ledger())
