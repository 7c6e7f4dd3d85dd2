"""Converted boxes are the same boxes: through every pair of formats, on what both carry."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detection.datasets.annotated_files import SIZE, annotations_of, config_of, save_picture
from visiontasks.classes import ClassMap
from visiontasks.detection.data_writers import WRITERS
from visiontasks.detection.datasets import open_source
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.ledger import Ledger

NAMES = ("dog", "cat", "no")  # in no order
CARRIED = {
    "coco": {"crowd", "difficult", "area"},
    "voc": {"difficult"},
    "yolo": set(),
    "csv": {"crowd", "difficult", "area"},
}
FILES = ("deep/a b.png", "deep/ž.png", "other/a b.png", ".hidden 1.png")

coordinates = st.tuples(*[st.integers(0, n) for n in (50, 30, 10, 10)]).map(
    lambda n: (n[0] / 2, n[1] / 3, n[0] / 2 + 1 + n[2], n[1] / 3 + 1 + n[3])
)
rows = st.lists(st.tuples(coordinates, st.integers(0, 2)), max_size=4)
EVERY = [((1, 2, 3, 4.5), label) for label in range(3)]


def source_of(root, rows, flags=None):
    """Pictures of a root, in the order of their paths, with boxes on each."""
    truth = annotations_of(dict(zip(FILES, rows, strict=True)), **(flags or {}))
    return LabelledBoxes.open(root, ClassMap(NAMES), truth, ledger=Ledger(), max_pixels=10**6)


def converted(sources, data_format, root):
    """The sources in another format, opened, and what was not carried."""
    ledger = Ledger()
    written = WRITERS[data_format](root, sources, ledger)
    for files in written.pictures.values():
        for file in files:
            if not (root / file).exists():
                save_picture(root / file)
    config = config_of(root, data_format, **written.values)
    opened = {split: open_source(config, split, Ledger(strict=True)) for split in sources}
    return opened, written.pictures, ledger


def assert_same(found, expected, pictures, columns):
    """found: a split as it was read again; pictures: where each of `expected` is."""
    assert found.classes.names == expected.classes.names
    assert sorted(found.files) == sorted(pictures) and len(set(pictures)) == len(pictures)
    place = {file: i for i, file in enumerate(found.files)}
    for i, file in enumerate(pictures):
        ours, theirs = found.annotations.truth(place[file]), expected.annotations.truth(i)
        for column in ("boxes", "labels", *columns):
            one, other = getattr(ours, column), getattr(theirs, column)
            np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=0, atol=1e-8)
    assert (found.annotations.sizes == SIZE).all()


@pytest.mark.parametrize("second", CARRIED)
@pytest.mark.parametrize("first", CARRIED)
@settings(max_examples=4)
@given(
    train=st.lists(rows, min_size=4, max_size=4),
    val=st.lists(rows, min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
def test_identity(tmp_path_factory, first, second, train, val, seed):
    train[0], val[2] = [*train[0], *EVERY], [*val[2], *EVERY]
    shared = CARRIED[first] & CARRIED[second]
    sources = {}
    for split, boxes in (("train", train), ("val", val)):
        count, rng = sum(map(len, boxes)), np.random.default_rng(seed)
        flags = {name: rng.integers(2, size=count) > 0 for name in sorted(shared - {"area"})}
        if "area" in shared:
            flags["area"] = rng.uniform(0, 100, count)
        sources[split] = source_of(tmp_path_factory.getbasetemp(), boxes, flags)
    there, pictures, _ = converted(sources, first, tmp_path_factory.mktemp("first"))
    for split, source in sources.items():
        assert_same(there[split], source, pictures[split], shared)
    back, more, ledger = converted(there, second, tmp_path_factory.mktemp("second"))
    for split, source in there.items():
        assert_same(back[split], source, more[split], shared)
    assert not ledger.count("repaired")


def test_pictures_whose_names_clash_get_numbers(tmp_path):
    files = ["images/a.png", "JPEGImages/A.png", "b/a.jpg", "b/a.png", "b/.x", "b/two  spaces\n.png"]
    truth = annotations_of({file: EVERY for file in files})
    source = LabelledBoxes.open(tmp_path, ClassMap(NAMES), truth, ledger=Ledger(), max_pixels=10**6)
    places = {
        data_format: dict(
            zip(
                source.files,
                write(tmp_path / data_format, {"val": source}, Ledger()).pictures["val"],
                strict=True,
            )
        )
        for data_format, write in WRITERS.items()
    }
    assert places["voc"] == {
        "JPEGImages/A.png": "JPEGImages/A.png",
        "b/.x": "JPEGImages/x.jpg",
        "b/a.jpg": "JPEGImages/a-2.jpg",
        "b/a.png": "JPEGImages/a-3.png",
        "b/two  spaces\n.png": "JPEGImages/two spaces_.png",
        "images/a.png": "JPEGImages/a-4.png",
    }
    assert places["yolo"]["images/a.png"] == "images/val/a-4.png"
    assert (
        places["coco"]["images/a.png"] == "images/a-2.png" and places["coco"]["b/a.jpg"] == "images/b/a.jpg"
    )
    assert places["csv"] == places["coco"]


LOST = {  # format -> what the ledger says, of everything that a format may lose
    "coco": ["outlines"],
    "voc": ["COCO's numbers", "areas of outlines", "crowds"],
    "yolo": ["COCO's numbers", "areas of outlines", "difficult", "crowds"],
    "csv": ["COCO's numbers"],
}


@pytest.mark.parametrize("data_format", LOST)
def test_what_is_not_carried_is_said(tmp_path, data_format):
    flags = {"crowd": [True, False, False], "difficult": [False, True, False], "area": [1.0, 2.0, 3.0]}
    truth = replace(annotations_of({"a.png": EVERY}, **flags), image_ids=[7])
    source = LabelledBoxes.open(
        tmp_path, ClassMap(NAMES, (1, 2, 3)), truth, ledger=Ledger(), max_pixels=10**6
    )
    ledger = Ledger()
    WRITERS[data_format](tmp_path / "new", {"train": source}, ledger)
    reasons = [entry.reason for entry in ledger.entries]
    assert len(reasons) == len(LOST[data_format])
    for words in LOST[data_format]:
        assert any(words in reason for reason in reasons), reasons
    assert {entry.action for entry in ledger.entries} == {"dropped"}


def test_ids_of_classes_are_kept_in_order_or_made_anew(tmp_path):
    sources = {"train": source_of(tmp_path, [EVERY] * 4)}
    for ids, expected, count in (((3, 7, 9), (3, 7, 9), 0), ((9, 3, 7), (1, 2, 3), 1)):
        sources["train"].classes = ClassMap(NAMES, ids)
        opened, _, ledger = converted(sources, "coco", tmp_path / str(ids))
        assert opened["train"].classes == ClassMap(NAMES, expected)
        assert ledger.count("repaired") == count


def test_boxes_that_yolo_cannot_say(tmp_path):
    outside, partly, beyond = (-30, 5, -10, 9), (-5, 5, 9, 9), (-50, 5, 70, 9)
    source = source_of(tmp_path, [[(box, 0) for box in (outside, partly, beyond)], EVERY, [], []])
    opened, _, ledger = converted({"val": source}, "yolo", tmp_path / "new")
    assert [(entry.action, entry.record) for entry in ledger.entries] == [
        ("dropped", "1 of val"),
        ("repaired", "1 of val"),
    ]
    boxes = opened["val"].annotations.boxes.tolist()
    assert [-5, 5, 9, 9] in boxes and [0, 5, 60, 9] in boxes
    assert len(boxes) == 5


def test_boxes_on_a_picture_of_unknown_size(tmp_path):
    truth = annotations_of({"a.png": EVERY, "b.png": EVERY}, sizes=[SIZE, (0, 0)])
    source = LabelledBoxes.open(tmp_path, ClassMap(NAMES), truth, ledger=Ledger(), max_pixels=10**6)
    ledger = Ledger()
    WRITERS["yolo"](tmp_path, {"train": source}, ledger)
    assert [entry.record for entry in ledger.entries] == ["3 of train"]
    assert (tmp_path / "labels/train/b.txt").read_text() == ""


@pytest.mark.parametrize("data_format", ["voc", "csv"])
def test_classes_without_boxes(tmp_path, data_format):
    sources = {"train": source_of(tmp_path, [EVERY[:2]] * 4)}
    ledger = Ledger()
    written = WRITERS[data_format](tmp_path / "new", sources, ledger)
    assert written.values["classes"] == ["dog", "cat"]
    assert [entry.record for entry in ledger.entries] == ["no"]
