"""Which pictures a split has, where a list says so."""

import pytest

from visiontasks.config import DataSection
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger
from visiontasks.splits import find_split, listed_places, sole_split

PATHS = ["a.png", "b c.png", "d/é.png"]


def section(root, **values):
    return DataSection.model_validate({"root": str(root), "train": "x", **values})


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("d/é.png\na.png\n", [0, 2]),
        ("\ufeffa.png\r\nb c.png\r\n\r\n", [0, 1]),
        ("b c.png", [1]),
    ],
    ids=["any order", "byte order mark and CRLF", "no last end of line"],
)
def test_lists_are_read(tmp_path, text, places):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8", newline="")
    assert listed_places(PATHS, tmp_path / "list.txt", Ledger(strict=True)).tolist() == places


def test_repeated_lines_are_dropped_and_others_are_faults(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("a.png\na.png\n../x.png\nb c.png\n")
    with pytest.raises(DataError) as caught:
        listed_places(PATHS, file, Ledger())
    assert str(caught.value) == (
        f"{file}, line 3: expected a picture of the data set, found '../x.png'; "
        "remove the line, or make the list anew"
    )
    ledger = Ledger(collects=True)
    assert listed_places(PATHS, file, ledger).tolist() == [0, 1]
    assert [(fault.file, fault.record) for fault in ledger.faults] == [(str(file), "line 3")]
    assert [entry.record for entry in ledger.entries] == ["line 2"]


def test_a_list_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: expected a list of pictures, found no such file"):
        listed_places(PATHS, tmp_path / "none.txt", Ledger())
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"empty\.txt: expected a picture in each line, found none"):
        listed_places(PATHS, tmp_path / "empty.txt", Ledger())


def test_where_a_splits_list_is(tmp_path, monkeypatch):
    config = section(tmp_path, val="y", lists=f"{tmp_path}/parts/{{split}}.txt")
    assert find_split(config, "val").list == tmp_path / "parts" / "val.txt"
    alone = sole_split(config, "train")
    assert find_split(alone, "test").list == tmp_path / "parts" / "train.txt"
    assert (alone.train, alone.val, alone.test) == (None, None, "x")
    kept = section(tmp_path, holdout=0.5, lists="parts/{split}.txt")
    monkeypatch.setenv("VISIONTASKS_DATA", "/data")
    assert str(find_split(kept, "val").list) == "/data/parts/train.txt"  # what is held out of it
    assert find_split(section(tmp_path), "train").list is None
