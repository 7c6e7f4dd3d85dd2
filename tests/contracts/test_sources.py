"""What every adapter of every task must keep; a new format is tested by existing: it wants a builder here."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.classification import TASK as CLASSIFICATION
from visiontasks.classification.datasets import FORMATS as CLASSIFICATION_FORMATS
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger

TRUTH = {"žirafa 1.png": "dog", "b.png": "cat", "c.png": "dog"}


def save_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = hashlib.sha256(path.name.encode()).digest()[0]
    PIL.Image.new("RGB", (7, 5), (shade, 10, 20)).save(path, format="PNG")


def build_folder(root: Path, truth: dict[str, str]) -> dict[str, str]:
    for name, label in truth.items():
        save_picture(root / "train" / label / name)
    return {"train": "train"}


def build_csv(root: Path, truth: dict[str, str]) -> dict[str, str]:
    for name in truth:
        save_picture(root / "pictures" / name)
    rows = "".join(f"pictures/{name},{label}\r\n" for name, label in truth.items())
    (root / "train.csv").write_bytes(f"\ufeffpath,label\r\n{rows}".encode())
    return {"train": "train.csv"}


def build_tiny_imagenet(root: Path, truth: dict[str, str]) -> dict[str, str]:
    wnids = {"cat": "n1", "dog": "n2"}
    for name in truth:
        save_picture(root / "val" / "images" / name)
    rows = "".join(f"{name}\t{wnids[label]}\t0\t0\t1\t1\r\n" for name, label in truth.items())
    (root / "val" / "val_annotations.txt").write_bytes(f"\ufeff{rows}".encode())
    (root / "wnids.txt").write_text("n2\nn1\n")
    (root / "words.txt").write_text("n1\tcat, tom\nn2\tdog\n")
    return {"train": "val"}


CASES = {
    (CLASSIFICATION.name, "folder"): build_folder,
    (CLASSIFICATION.name, "csv"): build_csv,
    (CLASSIFICATION.name, "tiny-imagenet"): build_tiny_imagenet,
}
TASKS = {CLASSIFICATION.name: (CLASSIFICATION, CLASSIFICATION_FORMATS)}

every_format = pytest.mark.parametrize("case", CASES, ids="/".join)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "příliš žluťoučký, kůň"
    folder.mkdir()
    return folder


def open_case(case, root, truth=TRUTH, *, strict=True, classes=None):
    task, data_format = TASKS[case[0]][0], case[1]
    splits = CASES[case](root, truth)
    section = task.config.model_fields["data"].annotation
    config = section.model_validate({"format": data_format, "root": str(root), **splits})
    return task.open_source(config, "train", strict, classes)


def ids_of(source):
    return [source[i].image_id for i in range(len(source))]


def tree(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_format_has_a_case():
    formats = {(name, data_format) for name, (_, formats) in TASKS.items() for data_format in formats}
    assert formats == set(CASES)
    assert len(formats) >= 3


@every_format
def test_samples_are_pictures_with_their_truth(case, root):
    source = open_case(case, root)
    assert len(source) == 3
    assert source.classes.names == ("cat", "dog")
    seen = {}
    for i in range(len(source)):
        sample = source[i]
        assert sample.image.dtype == np.uint8
        assert sample.image.shape == (5, 7, 3)
        name = sample.image_id.rpartition("/")[2]
        assert sample.image[0, 0, 0] == hashlib.sha256(name.encode()).digest()[0]
        seen[name] = source.classes.names[sample.target]
    assert seen == TRUTH


@every_format
def test_ids_are_paths_below_the_root(case, root):
    for image_id in ids_of(open_case(case, root)):
        assert (root / image_id).is_file()
        assert "\\" not in image_id


@every_format
def test_opening_twice_gives_the_same(case, root):
    one, other = open_case(case, root), open_case(case, root)
    assert one.fingerprint == other.fingerprint
    assert ids_of(one) == ids_of(other)


@every_format
def test_the_order_of_listing_does_not_matter(case, root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    turned = dict(reversed(TRUTH.items()))
    assert open_case(case, root).fingerprint == open_case(case, other, turned).fingerprint


@every_format
def test_an_edited_label_changes_the_fingerprint(case, root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    edited = open_case(case, other, {**TRUTH, "c.png": "cat"})
    assert open_case(case, root).fingerprint != edited.fingerprint


@every_format
def test_inputs_are_not_modified(case, root):
    open_case(case, root)
    before = tree(root)
    source = open_case(case, root)
    ids_of(source)
    assert tree(root) == before


@every_format
def test_a_source_travels_to_other_processes(case, root):
    source = open_case(case, root)
    copy = pickle.loads(pickle.dumps(source))
    assert ids_of(copy) == ids_of(source)
    assert copy.classes == source.classes


@every_format
def test_indices_are_those_of_the_classes_asked_for(case, root):
    source = open_case(case, root, classes=ClassMap(("dog", "cat")))
    names = {
        sample.image_id.rpartition("/")[2]: sample.target for sample in map(source.__getitem__, range(3))
    }
    assert names == {"žirafa 1.png": 0, "b.png": 1, "c.png": 0}
    with pytest.raises(DataError, match=r"unknown class 'dog'; .*choices: cat, dogs"):
        open_case(case, root, classes=ClassMap(("cat", "dogs")))


@every_format
@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n truncated"])
def test_a_picture_that_cannot_be_read_is_an_image_error_that_names_it(case, root, content):
    source = open_case(case, root, strict=False)
    image_id = source[1].image_id
    (root / image_id).write_bytes(content)
    with pytest.raises(ImageError, match=image_id):
        source[1]
    assert source[0].image.shape == (5, 7, 3)


@every_format
def test_a_wrong_extension_is_noted_and_strict_refuses_it(case, root):
    truth = {**TRUTH, "d.jpg": "cat"}  # saved as PNG
    source = open_case(case, root, truth, strict=False)
    assert isinstance(source.ledger, Ledger)
    ids_of(source)
    (entry,) = source.ledger.entries
    assert entry.action == "repaired"
    assert entry.file.endswith("d.jpg")
    with pytest.raises(DataError, match=r"d\.jpg.*strict"):
        ids_of(open_case(case, root, truth, strict=True))
