"""What the commands on data sets ask of classification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visiontasks.classes import ClassMap
from visiontasks.classification.config import DataConfig
from visiontasks.classification.data_tools import DATA_TOOLS
from visiontasks.classification.datasets import LabelledImages, open_source
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

from .test_datasets import add_pictures


def touch(root, *paths, text=""):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def recognised(path):
    """(format, splits, certainty) of each."""
    found = DATA_TOOLS.recognise(path)
    splits = [
        {split: one.values[split] for split in ("train", "val", "test") if one.values.get(split)}
        for one in found
    ]
    return [(one.values["format"], split, one.certainty) for one, split in zip(found, splits, strict=True)]


LAYOUTS = {
    "class folders": (["cat/a.png", "dog/b.jpg"], [("folder", {"train": "."}, 2)]),
    "one folder": (["cat/a.png"], [("folder", {"train": "."}, 1)]),
    "splits": (
        ["train/cat/a.png", "train/dog/b.png", "Test/cat/c.png", "note.txt"],
        [("folder", {"train": "train", "test": "Test"}, 2)],
    ),
    "valid": (["train/cat/a.png", "valid/cat/x/a.png"], [("folder", {"train": "train", "val": "valid"}, 2)]),
    "a test split without classes": (
        ["train/cat/a.png", "test/a.png"],
        [("folder", {"train": "train"}, 2)],
    ),
    "YOLO": (["images/train/a.png", "labels/train/a.txt"], []),
    "Roboflow": (["train/images/a.png", "train/labels/a.txt", "data.yaml"], []),
    "VOC": (["JPEGImages/a.jpg", "Annotations/a.xml"], []),
    "COCO": (["train2017/a.jpg", "val2017/b.jpg", "annotations/a.json"], []),
    "COCO, the pictures": (["train2017/a.jpg", "val2017/b.jpg"], []),
    "CamVid": (["train/a.png", "trainannot/a.png", "val/b.png", "valannot/b.png"], []),
    "Cityscapes": (["leftImg8bit/train/x/a.png", "gtFine/train/x/a.png"], []),
    "masks": (["images/a.png", "masks/a.png"], []),
    "data sets": (["bccd/JPEGImages/a.png", "camvid/train/a.png"], []),
    "no pictures": (["cat/a.txt", "dog/b.txt"], []),
    "hidden": ([".cat/a.png"], []),
    "pictures": (["a.png", "b.png"], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts_are_recognised(tmp_path, case):
    paths, expected = LAYOUTS[case]
    touch(tmp_path, *paths)
    assert recognised(tmp_path) == expected
    for one in DATA_TOOLS.recognise(tmp_path):
        config = DataConfig.model_validate(one.values)
        assert len(open_source(config, next(iter(expected[0][1])), Ledger()))


HEADERS = {
    "path,label": 3,
    "\ufefflabel , path,note": 3,
    "path,x1,y1,x2,y2,label": None,
    "path,label,score": None,
    "file,label": None,
    "": None,
}


@pytest.mark.parametrize("header", HEADERS)
def test_lists_are_recognised_by_their_columns(tmp_path, header):
    touch(tmp_path, "a.png")
    touch(tmp_path, "all.csv", text=f"{header}\na.png,a.png\n")
    certainty = HEADERS[header]
    expected = [] if certainty is None else [("csv", {"train": "all.csv"}, certainty)]
    assert recognised(tmp_path) == expected
    assert len(recognised(tmp_path / "all.csv")) == len(expected)
    assert recognised(tmp_path / "a.png") == recognised(tmp_path / "none") == []


def test_the_root_of_a_list_is_where_its_pictures_are(tmp_path):
    touch(tmp_path, "pics/a.png")
    touch(tmp_path, "lists/mine.csv", text="path,label\npics/none.png,cat\npics/a.png,cat\n")
    (one,) = DATA_TOOLS.recognise(tmp_path / "lists" / "mine.csv")
    assert one.values == {"format": "csv", "root": str(tmp_path), "train": "lists/mine.csv"}
    touch(tmp_path, "lists/train.csv", "lists/valid.csv", text="path,label\npics/a.png,cat\n")
    splits = {"train": "lists/train.csv", "val": "lists/valid.csv"}
    assert recognised(tmp_path / "lists") == [("csv", splits, 3)]
    assert recognised(tmp_path / "lists" / "valid.csv") == [("csv", {"val": "lists/valid.csv"}, 3)]


def test_tiny_imagenet_is_recognised(tmp_path):
    touch(tmp_path, "wnids.txt", "words.txt", "train/n1/images/a.JPEG", "test/images/b.JPEG")
    assert recognised(tmp_path)[0] == ("tiny-imagenet", {"train": "train"}, 3)
    touch(tmp_path, "val/val_annotations.txt", "val/images/c.JPEG")
    assert recognised(tmp_path)[0] == ("tiny-imagenet", {"train": "train", "val": "val"}, 3)


def source_of(root, paths, labels, names):
    return LabelledImages.open(
        root, ClassMap(tuple(names)), paths, np.array(labels), ledger=Ledger(), max_pixels=10**8
    )


def test_counts_and_statistics(tmp_path):
    for i, (height, width) in enumerate([(300, 90), (70, 100), (60, 60), (64, 500)]):
        Image.new("RGB", (width, height)).save(tmp_path / f"{i}.png")
    source = source_of(tmp_path, ["0.png", "1.png", "2.png", "3.png", "4.png"], [1, 1, 0, 1, 1], "abc")
    counts = DATA_TOOLS.count(source)
    assert counts.picture.tolist() == [0, 1, 2, 3, 4]
    assert counts.label.tolist() == [1, 1, 0, 1, 1]
    assert counts.count.tolist() == [1] * 5
    statistics = DATA_TOOLS.statistics(source, None)
    assert statistics.tables["pictures a class"] == [
        {"class": "a", "pictures": 1, "share": 0.2},
        {"class": "b", "pictures": 4, "share": 0.8},
        {"class": "c", "pictures": 0, "share": 0.0},
    ]
    assert statistics.suggestions == {"loss.class_weights": "balanced", "input.size": [64, 64]}
    even = source_of(tmp_path, ["4.png", "5.png"], [0, 1], "ab")
    assert DATA_TOOLS.statistics(even, None).suggestions == {}  # alike, and no size can be read


def test_nothing_is_said_of_labels_alone(tmp_path):
    source = source_of(tmp_path, ["a.png"], [0], "a")
    assert list(DATA_TOOLS.examine(source, "train", (32, 32), False)) == []


FOLDERS = st.sampled_from(["", "a/", "ä b/"])
STEMS = st.sampled_from(["1", "2", ".x", "é", "One", "one"])
SUFFIXES = st.sampled_from([".png", ".PNG"])
PATHS = st.builds("{}{}{}".format, FOLDERS, STEMS, SUFFIXES)
NAMES = st.text(st.sampled_from("abzÄ no,'-1."), min_size=1, max_size=4).filter(
    lambda name: name == name.strip() and not name.startswith(".") and not name.endswith(".")
)


@given(
    st.dictionaries(PATHS, st.integers(0, 3), min_size=1, max_size=12),
    st.lists(NAMES, min_size=4, max_size=4, unique=True),
    st.sampled_from(sorted(DATA_TOOLS.writers)),
)
def test_round_trips_keep_pictures_labels_and_the_order_of_classes(tmp_path_factory, labels, names, form):
    root, out = tmp_path_factory.mktemp("from"), tmp_path_factory.mktemp("to")
    for i, path in enumerate(labels):
        (root / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (1, 1), (i, 0, 0)).save(root / path, "PNG")
    source, ledger = source_of(root, list(labels), list(labels.values()), names), Ledger()
    written = DATA_TOOLS.writers[form](out, {"train": source}, ledger)
    assert len({path.lower() for path in written.pictures["train"]}) == len(labels) or form == "csv"
    for old, new in zip(source.files, written.pictures["train"], strict=True):
        (out / new).parent.mkdir(parents=True, exist_ok=True)
        (out / new).write_bytes((root / old).read_bytes())
    config = DataConfig.model_validate({"root": str(out), **written.values})
    back = open_source(config, "train", Ledger(strict=True))

    def shown(opened):
        return {
            int(sample.image[0, 0, 0]): opened.classes.names[sample.target]
            for sample in (opened[i] for i in range(len(opened)))
        }

    assert shown(back) == shown(source)
    used = [name for i, name in enumerate(names) if i in labels.values()]
    assert list(back.classes.names) == used
    assert len(ledger.entries) == len(names) - len(used)


def test_pictures_of_one_name_get_others(tmp_path):
    add_pictures(tmp_path / "x", 1)
    paths = ["x/000.png", "y/000.PNG", "y/000-2.png", "z/000.png"]
    written = DATA_TOOLS.writers["folder"](
        tmp_path, {"test": source_of(tmp_path, paths, [0, 0, 0, 1], "ab")}, Ledger()
    )
    assert written.pictures["test"] == [
        "test/a/000.png",
        "test/a/000-2.png",
        "test/a/000-3.PNG",
        "test/b/000.png",
    ]


@pytest.mark.parametrize("name", ["a/b", ".git", "a?", "..", "a\\b"])
def test_names_that_no_folder_can_have_are_refused(tmp_path, name):
    with pytest.raises(DataError) as caught:
        DATA_TOOLS.writers["folder"](
            tmp_path, {"train": source_of(tmp_path, ["a.png"], [0], [name])}, Ledger()
        )
    assert f"found '{name}'; rename it with data.classes" in str(caught.value)


def test_pictures_that_a_folder_does_not_show_are_listed(tmp_path):
    ledger = Ledger()
    DATA_TOOLS.writers["folder"](tmp_path, {"train": source_of(tmp_path, ["a.raw"], [0], "a")}, ledger)
    (entry,) = ledger.entries
    assert (entry.action, entry.file) == ("dropped", "a.raw")
