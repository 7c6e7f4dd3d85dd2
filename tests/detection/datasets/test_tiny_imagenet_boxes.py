"""Tiny ImageNet's layout: a box a picture, corners from 0, the last pixels inside."""

import pytest
from annotated_files import open_split

from tests.contracts.tiny_imagenet import VAL, WNIDS, write_tiny_imagenet
from visiontasks.classification.config import DataConfig as ClassificationData
from visiontasks.classification.datasets import open_source as open_classification
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets import open_source
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger


@pytest.fixture
def root(tmp_path):
    return write_tiny_imagenet(tmp_path)


def open_tiny(root, split, **values):
    return open_split(root, "tiny-imagenet", split, **{"train": "train", "val": "val", **values})


def test_training_boxes(root):
    source = open_tiny(root, "train", strict=True)
    assert source.files[2] == "train/n02124075/images/n02124075_0.JPEG"
    assert source.annotations.boxes[2:4].tolist() == [[0, 10, 64, 59], [1, 2, 4, 5]]
    assert source.annotations.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.annotations.sizes.tolist() == [[64, 64]] * 6


def test_validation_boxes(root):
    source = open_tiny(root, "val", strict=True)
    assert list(source.files) == ["val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    assert source.annotations.boxes.tolist() == [[0, 32, 45, 63], [52, 55, 58, 60]]
    assert source.annotations.labels.tolist() == [2, 1]


def test_classes_are_called_as_the_classifiers(root):
    section = {"format": "tiny-imagenet", "root": str(root)}
    classifier = open_classification(ClassificationData.model_validate(section), "train", Ledger())
    assert open_tiny(root, "train").classes == classifier.classes
    assert "crane (n03126707)" in classifier.classes.names


FAULTS = {  # file, its text -> what the message says
    "no box": (
        "train/n02124075/n02124075_boxes.txt",
        "n02124075_0.JPEG\n",
        "n02124075_boxes.txt, line 1: expected x1, y1, x2, y2 in px, found ''",
    ),
    "three numbers": (
        "val/val_annotations.txt",
        VAL + "x.JPEG\tn02124075\t1\t2\t3\n",
        "val_annotations.txt, line 3: expected x1, y1, x2, y2 in px, found '1 2 3'",
    ),
    "not a number": (
        "val/val_annotations.txt",
        "val_0.JPEG\tn02124075\t1\t2\t3\tnan\n",
        "line 1: expected x1, y1, x2, y2 in px, found '1 2 3 nan'",
    ),
    "a path": (
        "train/n02124075/n02124075_boxes.txt",
        "../x.JPEG\t0\t0\t1\t1\n",
        "n02124075_boxes.txt, line 1: expected the name of a picture in images/, found '../x.JPEG'",
    ),
    "a class without a folder": (
        "wnids.txt",
        "\n".join((*WNIDS, "n5")),
        "train: expected a folder for each line of wnids.txt; without a folder: n5; not in wnids.txt: none",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_its_file_and_line(root, case):
    name, text, message = FAULTS[case]
    (root / name).write_text(text)
    with pytest.raises(DataError) as caught:
        open_tiny(root, "val" if name.startswith("val") else "train")
    assert message in str(caught.value)


def test_faults_are_collected_and_the_sound_rows_stay(root):
    (root / "train" / WNIDS[0] / f"{WNIDS[0]}_boxes.txt").write_text(
        f"{WNIDS[0]}_0.JPEG\t1\t2\n{WNIDS[0]}_1.JPEG\t1\t2\t3\t4\n"
    )
    ledger = Ledger(collects=True)
    values = {"root": str(root), "format": "tiny-imagenet", "test": "train"}
    source = open_source(DataConfig.model_validate(values), "test", ledger)
    assert len(source) == 5
    (fault,) = ledger.faults
    assert (fault.file, fault.record) == (str(root / f"train/{WNIDS[0]}/{WNIDS[0]}_boxes.txt"), "line 1")
    assert source.where(source.files[2], 2) == (fault.file, "line 2")


def test_pictures_without_a_box_and_rows_that_repeat_are_counted(root):
    file = root / "train" / WNIDS[0] / f"{WNIDS[0]}_boxes.txt"
    file.write_text(f"{WNIDS[0]}_0.JPEG\t1\t2\t3\t4\n" * 2)
    source = open_tiny(root, "train")
    assert len(source) == 5
    assert [(entry.reason, entry.record) for entry in source.ledger.entries] == [
        ("row that repeats another", "line 2"),
        ("pictures without a box", f"1, first {WNIDS[0]}_1.JPEG"),
    ]


def test_a_training_box_outside_its_picture_is_repaired(root):
    file = root / "train" / WNIDS[0] / f"{WNIDS[0]}_boxes.txt"
    file.write_text(f"{WNIDS[0]}_0.JPEG\t1\t2\t70\t4\n{WNIDS[0]}_1.JPEG\t80\t2\t90\t4\n")
    source = open_tiny(root, "train")
    assert source.annotations.boxes[2].tolist() == [1, 2, 64, 5]
    assert [(entry.action, entry.file, entry.record) for entry in source.ledger.entries] == [
        ("dropped", str(file), "line 2"),
        ("repaired", str(file), "line 1"),
    ]
