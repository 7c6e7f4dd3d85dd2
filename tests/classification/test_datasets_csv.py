import os

import pytest

from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets import open_source
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger

from .test_datasets import add_pictures, ids_of

ROWS = "path,label\npics/000.png,dog\npics/001.png,cat\npics/002.png,dog\n"


@pytest.fixture
def root(tmp_path):
    add_pictures(tmp_path / "data" / "pics", 4)
    return tmp_path / "data"


def open_csv(root, text, strict=False, **values):
    (root / "train.csv").write_bytes(text.encode())
    config = DataConfig(root=str(root), format="csv", train="train.csv", **values)
    return open_source(config, "train", Ledger(strict))


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "\ufeff" + ROWS.replace("\n", "\r\n"),
        "id,label,path\n1,dog,pics/000.png\n2,cat,pics/001.png\n3, dog ,./pics//002.png\n\n",
        'path,label,note\npics/000.png,"dog","a, b"\npics/001.png,cat,"c\nd"\npics/002.png,dog,\n',
        ROWS.replace("pics/000.png,dog\n", "") + "pics/000.png,dog\n",
    ],
    ids=["plain", "byte order mark and CRLF", "further columns", "quotes", "another order"],
)
def test_rows_are_read(root, text):
    source = open_csv(root, text, strict=True)
    assert source.classes.names == ("cat", "dog")
    assert ids_of(source) == ["pics/000.png", "pics/001.png", "pics/002.png"]
    assert source.labels.tolist() == [1, 0, 1]
    assert source[2].image[0, 0].tolist() == [2, 20, 30]


def test_the_order_of_rows_does_not_matter(root):
    lines = ROWS.splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])])
    assert open_csv(root, ROWS).fingerprint == open_csv(root, turned).fingerprint


def test_names_that_look_like_other_things_stay_as_written(root):
    rows = "".join(f"pics/00{i}.png,{name}\n" for i, name in enumerate(["no", "1e3", "null", "007"]))
    assert open_csv(root, f"path,label\n{rows}").classes.names == ("007", "1e3", "no", "null")


def test_rows_that_repeat_another_are_dropped_and_counted(root):
    source = open_csv(root, ROWS + "./pics/000.png,dog\n")
    assert len(source) == 3
    (entry,) = source.ledger.entries
    assert (entry.action, entry.reason, entry.record) == ("dropped", "row that repeats another", "row 4")
    with pytest.raises(DataError, match="row 4: row that repeats another"):
        open_csv(root, ROWS + "pics/000.png,dog\n", strict=True)


def test_a_missing_picture_is_skipped_when_it_is_read(root):
    source = open_csv(root, ROWS + "pics/900.png,cat\n")
    assert len(source) == 4
    with pytest.raises(ImageError, match=r"pics/900\.png"):
        source[3]


def test_a_missing_picture_that_comes_changes_the_fingerprint(root):
    text = ROWS + "pics/900.png,cat\n"
    before = open_csv(root, text).fingerprint
    (root / "pics" / "003.png").rename(root / "pics" / "900.png")
    assert open_csv(root, text).fingerprint != before


FAULTS = {
    "unknown label": (
        ROWS.replace("2.png,dog", "2.png,dgo"),
        ["cat", "dog"],
        "train.csv, row 3 (pics/002.png): unknown class 'dgo'; did you mean 'dog'?",
    ),
    "no column": (
        "file,label\na,b\n",
        None,
        "expected the columns path, label, found file, label; add or rename path",
    ),
    "no rows": ("path,label\n", None, "train.csv: expected rows under the header, found none"),
    "no header": ("", None, "train.csv: expected a header line"),
    "two labels": (
        ROWS + "pics/000.png,cat\npics/001.png,dog\n",
        None,
        "found 2 with two: row 4: pics/000.png is 'cat', before it was 'dog'; row 5: pics/001.png is 'dog'",
    ),
    "no label": (
        ROWS + "pics/003.png,\n",
        None,
        "train.csv, row 4: expected a label for pics/003.png, found none",
    ),
    "no path": (ROWS + ",cat\n", None, "train.csv, row 4: expected a path, found none"),
    "upwards": (ROWS + "../secret.png,cat\n", None, "row 4: ROOT: expected a path inside this folder"),
    "upwards inside": (
        ROWS + "pics/../pics/003.png,cat\n",
        None,
        "row 4: ROOT: expected a path inside this folder",
    ),
    "absolute": (ROWS + "/etc/passwd,cat\n", None, "row 4: ROOT: expected a path relative to this folder"),
    "outward folder": (ROWS + "out/secret.png,cat\n", None, "a link that leads out"),
    "outward link": (ROWS + "pics/out.png,cat\n", None, "a link that leads out"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_line_with_its_row(root, case):
    text, classes, message = FAULTS[case]
    add_pictures(root.parent / "outside", 1)
    os.symlink(root.parent / "outside", root / "out")
    os.symlink(root.parent / "outside" / "000.png", root / "pics" / "out.png")
    with pytest.raises(DataError) as caught:
        open_csv(root, text, classes=classes)
    assert message.replace("ROOT", str(root)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_must_be_named_as_what_it_is(root):
    (root / "train.txt").write_text(ROWS)
    config = DataConfig(root=str(root), format="csv", train="train.txt")
    with pytest.raises(DataError, match=r"expected a file named \*\.csv, found 'train\.txt'"):
        open_source(config, "train", Ledger())
