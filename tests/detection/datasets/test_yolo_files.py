"""YOLO's text files, data.yaml and classes.txt."""

import numpy as np
import pytest
from annotated_files import CLASSES, annotations_of, open_split, save_picture
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.detection.datasets.yolo import label_path, read_yolo_labels, write_yolo
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

YAML = "path: .\ntrain: images/train\nval: images/val\nnc: 2\nnames: [cat, dog]\n"


def build(root, rows="1 0.5 0.5 0.5 0.25\n", *, yaml=YAML):
    save_picture(root / "images/train/a é.png")
    save_picture(root / "images/train/empty.png")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a é.txt").write_text(rows)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)


def open_yolo(root, **values):
    return open_split(root, "yolo", **{"train": "train", **values})


def test_golden(tmp_path):
    build(tmp_path, "1 0.5 0.5 0.5 0.25\n\n0 0 0 0.5 0 0.5 0.5 0.25 1\n")
    source = open_yolo(tmp_path, strict=True)
    assert source.classes.names == ("cat", "dog")
    sample = source[0]
    assert sample.image_id == "images/train/a é.png"
    assert sample.target.boxes.tolist() == [[15, 15, 45, 25], [0, 0, 30, 40]]  # a box, a polygon's box
    assert sample.target.labels.tolist() == [1, 0]
    assert source.annotations.records.tolist() == [1, 3]
    assert len(source[1].target) == 0  # no file of labels: a negative


def test_byte_order_mark_and_crlf(tmp_path):
    build(tmp_path)
    for file in (tmp_path / "labels/train/a é.txt", tmp_path / "data.yaml"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert open_yolo(tmp_path, strict=True)[0].target.boxes.tolist() == [[15, 15, 45, 25]]


NAMES = {  # row 23: as written
    "words that mean something": ("names: [no, yes]", ("no", "yes")),
    "numbers": ("names: [007, 1e3]", ("007", "1e3")),
    "list": ("names:\n  - null\n  - 'a b'", ("null", "a b")),
    "dict": ("names:\n  1: dog\n  0: cat", ("cat", "dog")),
    "another key": ("names: [cat, dog]\nroboflow: {x: 1}", ("cat", "dog")),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_are_kept_as_written(tmp_path, case):
    text, names = NAMES[case]
    build(tmp_path, yaml=f"train: images/train\n{text}\n")
    assert open_yolo(tmp_path).classes.names == names


@pytest.mark.parametrize("file", ["classes.txt", "labels/classes.txt", "obj.names"])
def test_names_in_a_text_file(tmp_path, file):
    build(tmp_path, yaml=None)
    (tmp_path / file).write_bytes("\ufeffno\r\nyes\r\n".encode())
    assert open_yolo(tmp_path, train="images/train").classes.names == ("no", "yes")


def test_names_in_another_yaml_file_or_in_the_config(tmp_path):
    build(tmp_path, yaml=None)
    assert open_yolo(tmp_path, train="images/train", classes=["x", "y"]).classes.names == ("x", "y")
    (tmp_path / "coco8.yaml").write_text(YAML)
    (tmp_path / "hyp.yaml").write_text("lr0: 0.1\n")
    assert open_yolo(tmp_path).classes.names == ("cat", "dog")
    (tmp_path / "coco9.yaml").write_text(YAML)
    with pytest.raises(DataError, match=r"expected one data\.yaml, found coco8\.yaml, coco9\.yaml"):
        open_yolo(tmp_path)


NAME_FAULTS = {
    "none": (None, "expected data.yaml or classes.txt .* found neither .*images/"),
    "nothing": ("names: []", r"data\.yaml: expected names: \[name, ...\] or numbers with names, found \[\]"),
    "no key": ("train: x", r"data\.yaml: expected names: .*found None"),
    "gap": ("names: {0: a, 2: b}", r"data\.yaml: expected names numbered 0, 1, ..., found 0, 2; number them"),
    "words": ("names: {a: 0, b: 1}", r"data\.yaml: expected names numbered 0, 1, ..., found a, b"),
    "nc": ("nc: 3\nnames: [a, b]", r"data\.yaml: expected nc: 2, the number of names, found '3'"),
    "twice": ("names: [a, a]", r"data\.yaml: expected distinct class names, found twice: a; rename one"),
    "nested": ("names: [[a], b]", r"data\.yaml: expected names: .*found \[\['a'\], 'b'\]"),
}


@pytest.mark.parametrize("case", NAME_FAULTS)
def test_faults_of_names(tmp_path, case):
    yaml, message = NAME_FAULTS[case]
    build(tmp_path, yaml=yaml)
    with pytest.raises(DataError, match=message):
        open_yolo(tmp_path)


PLACES = {
    "folder": ("train: images/train", {}),
    "list of folders": ("train: [images/train, images/more]", {"images/more/c.png": None}),
    "path": ("path: data\ntrain: images/train", {"data/images/train/a.png": "data/labels/train"}),
    "path of another machine": ("path: /home/me/data\ntrain: images/train", {}),
    "path beside": ("path: ../datasets/coco8\ntrain: images/train", {}),
    "steps up that mean nothing": ("train: ../images/train", {}),
    "not in the file": ("", {}),
}


@pytest.mark.parametrize("case", PLACES)
def test_where_pictures_are(tmp_path, case):
    text, more = PLACES[case]
    build(tmp_path, yaml=f"names: [cat, dog]\n{text}\n")
    (tmp_path / "labels/more").mkdir()
    for name, labels in more.items():
        save_picture(tmp_path / name)
        if labels:
            (tmp_path / labels).mkdir(parents=True)
    source = open_yolo(tmp_path, train="train" if text else "images/train")
    expected = ["images/train/a é.png", "images/train/empty.png"]
    files = list(source.annotations.files) if source else []
    assert files == (list(more) if case == "path" else sorted([*more, *expected]))


def test_roboflows_layout(tmp_path):
    save_picture(tmp_path / "train/images/a.png")
    (tmp_path / "train/labels").mkdir()
    (tmp_path / "train/labels/a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: ['cat']\n")
    assert open_yolo(tmp_path)[0].target.boxes.tolist() == [[0, 0, 60, 40]]


def test_a_text_file_of_pictures(tmp_path):
    build(tmp_path, yaml="names: [cat, dog]\n")
    lines = f"./images/train/a é.png\r\n{tmp_path}/images/train/empty.png\r\nimages/train/empty.png\r\n"
    (tmp_path / "train.txt").write_text(lines)
    source = open_yolo(tmp_path, train="train.txt")
    assert list(source.annotations.files) == ["images/train/a é.png", "images/train/empty.png"]
    (entry,) = source.ledger.entries
    assert str(entry).endswith("train.txt, line 3: picture that repeats line 2")


PLACE_FAULTS = {
    "no such split": ("images/trian", r"expected a folder of pictures, or a text file .* at .*images/trian"),
    "no pictures": ("labels", r"expected pictures below .*labels, found none \(.*labels holds: train/\)"),
    "leads out": ("../elsewhere", "which has '..' in it"),
}


@pytest.mark.parametrize("case", PLACE_FAULTS)
def test_a_split_that_is_not_there(tmp_path, case):
    location, message = PLACE_FAULTS[case]
    build(tmp_path)
    with pytest.raises(DataError, match=message):
        open_yolo(tmp_path, train=location)


def test_no_labels_are_a_negative_only_where_there_is_a_folder_for_them(tmp_path):
    build(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "lables")
    with pytest.raises(
        DataError, match=r"labels/train: expected the folder of the labels of images/train/a é\.png"
    ):
        open_yolo(tmp_path)


@pytest.mark.parametrize(
    ("picture", "labels"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/images/a.b.jpg", "images/labels/a.b.txt"),
        ("train/a.jpg", "train/a.txt"),
        ("images.jpg", "images.txt"),
        ("images/labels/a.jpg", "labels/labels/a.txt"),
    ],
)
def test_where_labels_are(picture, labels):
    assert label_path(picture) == labels


ROWS = {
    "class too large": ("2 0.5 0.5 0.1 0.1", "expected a class of 0 to 1, found 2"),
    "class below 0": ("-1 0.5 0.5 0.1 0.1", "expected a class of 0 to 1, found -1"),
    "class with a fraction": ("0.5 0.5 0.5 0.1 0.1", "expected a class of 0 to 1, found 0.5"),
    "class is NaN": ("nan 0.5 0.5 0.1 0.1", "expected a class of 0 to 1, found nan"),
    "name": ("cat 0.5 0.5 0.1 0.1", "expected numbers separated by spaces, found 'cat 0.5 0.5 0.1 0.1'"),
    "commas": ("0,0.5,0.5,0.1,0.1", "expected numbers separated by spaces"),
    "NaN": ("0 0.5 nan 0.1 0.1", "expected finite numbers.*; mend or remove the row"),
    "infinity": ("0 0.5 0.5 1e999 0.1", "expected finite numbers.*; mend or remove the row"),
    "pixels": ("0 30 20 10 10", "expected fractions of the picture in 0 to 1, found 30; divide pixels"),
    "above 1": ("0 0.5 1.0011 0.1 0.1", "found 1.0011"),
    "below 0": ("0 0.5 -0.0011 0.1 0.1", "found -0.0011"),
    "polygon above 1": ("0 0.1 0.1 0.5 1.2 0.3 0.3", "found 1.2"),
    "too few": ("0 0.5 0.5 0.1", "expected class, x, y, width, height, or a polygon.* found 4 numbers; mend"),
    "a score": ("0 0.5 0.5 0.1 0.1 0.9", "found 6 numbers"),
    "odd": ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "found 8 numbers"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_row_is_an_error_with_file_and_line(tmp_path, case):
    row, message = ROWS[case]
    build(tmp_path, f"1 0.5 0.5 0.1 0.1\n{row}\n")
    with pytest.raises(DataError, match=message) as caught:
        open_yolo(tmp_path)
    assert "labels/train/a é.txt:2:" in str(caught.value)


@given(excess=st.floats(1e-6, 9.9e-4), place=st.integers(0, 3))
def test_a_fraction_above_1_by_rounding_is_clipped(tmp_path_factory, excess, place):
    numbers = [0.5, 0.5, 0.5, 0.5]
    numbers[place] = 1 + excess
    root = tmp_path_factory.mktemp("yolo")
    build(root, f"0 {' '.join(map(str, numbers))}\n")
    source = open_yolo(root)
    assert next(iter(source.ledger.entries)).record == "line 1"
    numbers[place] = 1
    x, y, width, height = numbers
    box = np.array([60 * (x - width / 2), 40 * (y - height / 2), 60 * (x + width / 2), 40 * (y + height / 2)])
    assert source[0].target.boxes[0].tolist() == pytest.approx(np.clip(box, 0, [60, 40, 60, 40]).tolist())
    with pytest.raises(DataError, match="strict"):
        open_yolo(root, strict=True)


def test_boxes_and_polygons_may_be_mixed(tmp_path):
    build(tmp_path, "0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.5 0.1 0.3 0.3\n0 0.5 0.5 0.1 0.1\n")
    assert open_yolo(tmp_path, strict=True)[0].target.labels.tolist() == [0, 1, 0]


def test_a_picture_that_cannot_be_read_keeps_its_place_without_boxes(tmp_path):
    build(tmp_path)
    (tmp_path / "images/train/a é.png").write_bytes(b"no picture")
    source = open_yolo(tmp_path)
    assert len(source) == 2
    assert len(source.annotations.boxes) == 0
    with pytest.raises(DataError, match=r"a é\.png: expected a picture"):
        source[0]


PREDICTIONS = {"images/a.png": [((1, 2, 13, 20), 1), ((0, 0, 60, 40), 2)], "images/b.png": []}


@pytest.mark.parametrize("flat", [False, True])
def test_predictions_have_scores(tmp_path, flat):
    expected = annotations_of(PREDICTIONS, scores=[0.125, 0.5])
    write_yolo(tmp_path, CLASSES, expected, Ledger())
    folder = tmp_path / "labels"
    files = [f"{'x/' if flat else ''}{path.removeprefix('images/')}" for path in PREDICTIONS]
    found = read_yolo_labels(folder, files, expected.sizes, CLASSES, Ledger(strict=True), scores=True)
    assert found.boxes.tolist() == expected.boxes.tolist()
    assert found.labels.tolist() == [1, 2]
    assert found.scores.tolist() == [0.125, 0.5]
    assert list(found.files) == files


def test_predictions_for_other_pictures_are_an_error(tmp_path):
    write_yolo(tmp_path, CLASSES, annotations_of({"a.png": [], "c.png": []}, scores=[]), Ledger())
    sizes = np.array([[40, 60]])
    with pytest.raises(
        DataError, match=r"expected files of the 1 pictures, found 1 of others \(first: c\.txt\)"
    ):
        read_yolo_labels(tmp_path, ["a.png"], sizes, CLASSES, Ledger(), scores=True)
    with pytest.raises(DataError, match=r"missing: expected a folder of text files, found none"):
        read_yolo_labels(tmp_path / "missing", ["a.png"], sizes, CLASSES, Ledger(), scores=True)
    (tmp_path / "c.txt").unlink()
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1 nan\n")
    with pytest.raises(DataError, match=r"a\.txt:1: expected finite numbers"):
        read_yolo_labels(tmp_path, ["a.png"], sizes, CLASSES, Ledger(), scores=True)
    with pytest.raises(
        DataError, match=r"expected the size of each picture to be known, found none for a\.png"
    ):
        read_yolo_labels(tmp_path, ["a.png"], sizes * 0, CLASSES, Ledger(), scores=True)
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(
        DataError, match=r"a\.txt:1: expected class, x, y, width, height, score, or a polygon"
    ):
        read_yolo_labels(tmp_path, ["a.png"], sizes, CLASSES, Ledger(), scores=True)


def test_crowds_are_left_out_and_counted(tmp_path):
    ledger = Ledger()
    truth = annotations_of({"a.png": [((0, 0, 9, 9), 0), ((1, 1, 5, 5), 1)]}, crowd=[True, False])
    names, labels = write_yolo(tmp_path, CLASSES, truth, ledger)
    assert names.read_text() == "cat\ndog\neel\n"
    assert labels.read_text().count("\n") == 1
    assert [(entry.action, entry.record) for entry in ledger.entries] == [("dropped", "1 boxes")]


def test_writing_wants_sizes_and_distinct_names(tmp_path):
    with pytest.raises(DataError, match=r"expected the size of each picture, found none for a\.png"):
        write_yolo(tmp_path, CLASSES, annotations_of({"a.png": []}, sizes=[(0, 0)]), Ledger())
    with pytest.raises(
        DataError, match=r"a\.png: expected each picture once, found 'a\.txt' again, as in a\.jpg"
    ):
        write_yolo(tmp_path, CLASSES, annotations_of({"a.jpg": [], "a.png": []}), Ledger())
