import pytest

from tests.contracts.tiny_imagenet import VAL, WNIDS, WORDS, write_tiny_imagenet
from visiontasks.classes import ClassMap
from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets import open_source
from visiontasks.errors import DataError
from visiontasks.io.tiny_imagenet import readable_names
from visiontasks.ledger import Ledger

from .test_datasets import add_pictures, ids_of


@pytest.fixture
def root(tmp_path):
    return write_tiny_imagenet(tmp_path)


def open_split(root, split, strict=False, **values):
    config = DataConfig.model_validate({"root": str(root), "format": "tiny-imagenet", **values})
    return open_source(config, split, Ledger(strict))


def test_training_pictures(root):
    source = open_split(root, "train", strict=True)
    assert source.classes.names == ("crane (n02012849)", "Egyptian cat", "crane (n03126707)")
    assert source.classes.file_ids == ("n02012849", "n02124075", "n03126707")
    assert ids_of(source)[2] == "train/n02124075/images/n02124075_0.JPEG"
    assert source.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source[5].image.shape == (64, 64, 3)


def test_validation_pictures_have_the_same_indices(root):
    source = open_split(root, "val", strict=True)
    assert source.classes == open_split(root, "train").classes
    assert ids_of(source) == ["val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    assert source.labels.tolist() == [2, 1]
    assert source[1].target == 1


def test_byte_order_marks_and_crlf_are_accepted(root):
    for name in ("wnids.txt", "words.txt", "val/val_annotations.txt"):
        path = root / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert open_split(root, "val", strict=True).labels.tolist() == [2, 1]


def test_the_labelled_validation_pictures_can_be_the_test_split(root):
    values = {"val": None, "holdout": 0.5, "test": "val"}
    assert len(open_split(root, "val", **values)) == 3
    assert len(open_split(root, "train", **values)) == 3
    assert open_split(root, "test", **values).labels.tolist() == [2, 1]


def test_the_test_pictures_have_no_labels(root):
    with pytest.raises(DataError, match=r"expected a test split, found data\.test: null"):
        open_split(root, "test")


def test_validation_pictures_may_be_sorted_into_folders(root):
    (root / "val/val_annotations.txt").unlink()
    for i, wnid in enumerate(WNIDS):
        add_pictures(root / "val" / wnid, i + 1)
    for path in (root / "val/images").iterdir():
        path.unlink()
    (root / "val/images").rmdir()
    assert open_split(root, "val", strict=True).labels.tolist() == [0, 0, 1, 2, 2, 2]


def test_classes_keep_their_file_ids_in_another_order(root):
    names = ["Egyptian cat", "crane (n03126707)", "crane (n02012849)"]
    assert open_split(root, "train", classes=names).classes.file_ids == (
        "n02124075",
        "n03126707",
        "n02012849",
    )


def test_a_class_that_a_model_does_not_know_is_an_error_even_without_pictures(root):
    values = {"format": "tiny-imagenet", "root": str(root)}
    known = ClassMap(("Egyptian cat", "crane (n03126707)"))
    with pytest.raises(DataError, match=r"val: unknown class 'crane \(n02012849\)'"):
        open_source(DataConfig.model_validate(values), "val", Ledger(), known)


def test_a_class_without_a_name_keeps_its_wnid(root):
    (root / "words.txt").write_text(WORDS.replace("n02124075", "n99999999"))
    source = open_split(root, "train")
    assert source.classes.names[1] == "n02124075"
    (entry,) = source.ledger.entries
    assert (entry.action, entry.record) == ("repaired", "n02124075")


def test_rows_that_repeat_and_pictures_without_a_row_are_counted(root):
    (root / "val/val_annotations.txt").write_text(VAL.splitlines()[0] + "\n" + VAL.splitlines()[0] + "\n")
    source = open_split(root, "val")
    assert len(source) == 1
    assert [(entry.reason, entry.record) for entry in source.ledger.entries] == [
        ("row that repeats another", "line 2"),
        ("pictures without a label", "1, first val_1.JPEG"),
    ]


def test_names_that_two_classes_share_carry_the_wnid():
    words = {"a": "crane, bird", "b": "Crane", "c": "crane", "d": " reel "}
    assert readable_names("abcd", words) == ("crane (a)", "Crane", "crane (c)", "reel")


FAULTS = {
    "unknown wnid": (
        "val/val_annotations.txt",
        VAL + "x.JPEG\tn9\n",
        "line 3: expected one of the ids in wnids.txt",
    ),
    "no wnid": (
        "val/val_annotations.txt",
        "x.JPEG\n",
        "line 1: expected one of the ids in wnids.txt, found ''",
    ),
    "two classes": (
        "val/val_annotations.txt",
        VAL + "val_0.JPEG\tn02124075\n",
        "line 3: expected one class for val_0.JPEG, found n02124075 after n03126707",
    ),
    "a path": (
        "val/val_annotations.txt",
        "../../secret.png\tn02124075\n",
        "line 1: expected the name of a picture in images/, found '../../secret.png'",
    ),
    "no rows": ("val/val_annotations.txt", "\n", "expected a row a picture, found none"),
    "no such folder": (
        "wnids.txt",
        "n02124075\nn02012849\nn03126707\nn5\n",
        "without a folder: n5; not in wnids",
    ),
    "further folder": (
        "wnids.txt",
        "n02124075\nn02012849\n",
        "without a folder: none; not in wnids.txt: n03126707",
    ),
    "no wnids": ("wnids.txt", "", "expected at least one class, found none"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_its_file_and_line(root, case):
    name, text, message = FAULTS[case]
    (root / name).write_text(text)
    with pytest.raises(DataError) as caught:
        open_split(root, "val" if name.startswith("val") else "train")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt"])
def test_a_missing_list_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(
        DataError, match=f"{name}: expected a list in Tiny ImageNet's layout, found no such file"
    ):
        open_split(root, "train")
