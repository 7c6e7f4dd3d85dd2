import io
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from rich.console import Console

from tests.contracts.data_files import BUILDERS, TRUTH
from tests.data.pictures import save, save_folders, texture
from visiontasks.classes import ClassMap
from visiontasks.data.check import check, ledger_findings
from visiontasks.data.class_tables import class_findings, class_table
from visiontasks.data.opening import open_data
from visiontasks.data.report import print_report, refusals, warnings_in_brief
from visiontasks.data.shapes import draw_shapes
from visiontasks.data_tools import Finding, LabelCounts
from visiontasks.errors import DataError
from visiontasks.io.files import write_json
from visiontasks.ledger import MOST_FAULTS, Ledger
from visiontasks.tasks import TASKS, load_task

ALL = [load_task(name) for name in TASKS]
COUNTS = {"train": {"cat": 4, "dog": 3}, "val": {"cat": 2, "dog": 2}}


@pytest.fixture
def pets(tmp_path):
    return save_folders(tmp_path / "pets", COUNTS)


def found(path, **options):
    return check(open_data(path, ALL), **options)


def brief(report, *severities):
    """[(severity, kind, split, picture or file)]."""
    return [
        (one.severity, one.kind, one.split, one.picture or one.file)
        for one in report.findings
        if one.severity in (severities or ("error", "warning", "note"))
    ]


def printed(report):
    console = Console(width=100, record=True, file=io.StringIO())
    print_report(report, console)
    return console.export_text()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("quick", [True, False])
def test_sound_data_has_no_findings(tmp_path, task, quick):
    drawn = draw_shapes(tmp_path / "drawn", task, 60, 0, size=(64, 80))
    report = found(drawn.config, quick=quick)
    assert brief(report, "error", "warning") == []
    assert report.task == task
    assert {split: row.pictures for split, row in report.splits.items()} == drawn.counts
    assert {row.name for row in report.classes} >= set(drawn.classes)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_format_is_checked(tmp_path, name):
    task, data_format = name.split(",")[0].split("/")
    values = BUILDERS[name](tmp_path / "data", TRUTH)
    splits = {"val": None, "test": None}
    section = {"format": data_format, "root": str(tmp_path / "data"), **splits, **values}
    (tmp_path / "DATA.yaml").write_text(yaml.safe_dump(section), encoding="utf-8")
    report = check(open_data(tmp_path / "DATA.yaml", ALL, task=task))
    assert brief(report, "error") == []
    assert report.splits["train"].pictures == len(TRUTH)
    counts = {row.name: row.counts["train"] for row in report.classes}
    assert counts["dog"] == 2 * counts["cat"] > 0


def test_the_numbers_of_sound_data(pets):
    report = found(pets)
    assert report.findings == []
    assert [(row.name, row.counts) for row in report.classes] == [
        ("cat", {"train": 4, "val": 2}),
        ("dog", {"train": 3, "val": 2}),
    ]
    train = report.splits["train"]
    assert (train.pictures, train.looked_at, train.unusable, train.labels) == (7, 7, 0, 7)
    assert train.sizes == [(72, 96, 7)]
    assert "nothing to report" in printed(report)


def test_rows_9_and_11_labels_that_cannot_be_used(tmp_path):
    save(tmp_path / "a.png", np.arange(3 * 40 * 40, dtype=np.uint8).reshape(40, 40, 3))
    boxes = [(5, 5, 5, 9), (50, 5, 60, 9), (5, 5, 30, 30)]
    rows = [f"a.png,cat,{x1},{y1},{x2},{y2}\n" for x1, y1, x2, y2 in boxes]
    (tmp_path / "a.csv").write_text("file,class,x1,y1,x2,y2\n" + "".join(rows))
    data = {"format": "csv", "root": str(tmp_path), "train": "a.csv"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"task": "detection", "name": "a", "data": data}))
    report = found(tmp_path / "data.yaml")
    (fault,) = (finding for finding in report.findings if finding.kind == "too-many-unusable")
    assert (fault.severity, fault.split) == ("error", "train")
    assert fault.message == "expected at most 1.0% of 3 boxes to be unusable, found 2"


def test_pictures_that_cannot_be_used(pets):
    cut = pets / "train" / "cat" / "cat_train_0.png"
    cut.write_bytes(cut.read_bytes()[:200])
    save(pets / "train" / "dog" / "dog_train_1.png", np.full((10, 10, 3), 9, np.uint8))
    png = (pets / "train" / "cat" / "cat_train_2.png").rename(pets / "train" / "cat" / "wrong.jpg")
    report = found(pets)
    assert brief(report) == [
        ("error", "too-many-unusable", "train", ""),
        ("warning", "picture-unreadable", "train", "train/cat/cat_train_0.png"),
        ("warning", "picture-blank", "train", "train/dog/dog_train_1.png"),
        ("warning", "repaired", "train", str(png)),
    ]
    many, unreadable = report.findings[:2]
    assert many.message == "expected at most 1.0% of 7 pictures to be unusable, found 1"
    assert unreadable.message.startswith("expected a whole picture, found a damaged PNG")
    assert brief(found(pets, max_skip=0.2), "error") == []


def test_a_missing_picture(pets):
    rows = "path,label\n" + "".join(f"val/cat/cat_val_{i}.png,cat\n" for i in (0, 1, 2))
    (pets / "list.csv").write_text(rows)
    report = found(pets / "list.csv", max_skip=0.5, quick=True)
    (missing,) = report.findings
    assert (missing.severity, missing.kind, missing.picture) == (
        "warning",
        "picture-missing",
        "val/cat/cat_val_2.png",
    )
    assert missing.message == "expected a picture, found no such file"


def test_copies_within_and_across_splits(pets):
    cat = (pets / "train" / "cat" / "cat_train_0.png").read_bytes()
    (pets / "train" / "cat" / "z.png").write_bytes(cat)
    (pets / "val" / "dog" / "y.png").write_bytes(cat)
    save(pets / "val" / "cat" / "x.jpg", texture(1), quality=60)  # train/cat/cat_train_1.png, recompressed
    report = found(pets)
    assert set(brief(report)) == {
        ("warning", "pictures-same", "train", "train/cat/z.png"),
        ("warning", "pictures-same-across-splits", "val", "val/dog/y.png"),
        ("warning", "same-picture-other-label", "val", "val/dog/y.png"),
        ("warning", "pictures-alike-across-splits", "val", "val/cat/x.jpg"),
    }
    by_kind = {one.kind: one for one in report.findings}
    alike = by_kind["pictures-alike-across-splits"]
    assert "looks the same as train/cat/cat_train_1.png (train)" in alike.message
    assert alike.other == ("train", "train/cat/cat_train_1.png")
    label = by_kind["same-picture-other-label"].message
    assert "train/cat/cat_train_0.png (train), cat, " in label and label.endswith("found dog")
    assert brief(found(pets, quick=True)) == []


def test_one_picture_that_is_listed_in_two_splits_is_found_without_decoding(pets):
    for split, numbers in (("train", (0, 1)), ("val", (1,))):
        rows = "".join(f"train/cat/cat_train_{i}.png,cat\n" for i in numbers)
        (pets / f"{split}.csv").write_text(f"path,label\n{rows}")
    (pets / "d.yaml").write_text(f"format: csv\nroot: {pets}\ntrain: train.csv\nval: val.csv\n")
    (twice,) = found(pets / "d.yaml", quick=True).findings
    assert (twice.kind, twice.picture) == ("pictures-same-across-splits", "train/cat/cat_train_1.png")


def test_faults_of_labels_and_of_whole_splits(pets):
    (pets / "train.csv").write_text("path,label\ntrain/cat/cat_train_0.png,cat\n../out.png,cat\n")
    (pets / "d.yaml").write_text(f"format: csv\nroot: {pets}\ntrain: train.csv\nval: gone.csv\n")
    report = found(pets / "d.yaml", quick=True)
    assert [(one.kind, one.split) for one in report.findings] == [
        ("unreadable-split", "val"),
        ("label-fault", "train"),
    ]
    split, fault = report.findings
    assert "gone.csv" in split.message
    assert (
        "train.csv" in fault.file and fault.message.startswith("expected ") and "../out.png" in fault.message
    )
    assert [line for line in refusals(report.findings) if "train.csv" in line and "../out.png" in line]


def test_what_was_not_listed_is_counted(pets):
    data = open_data(pets, ALL)
    for i in range(MOST_FAULTS + 5):
        data.ledgers["train"].fault(DataError(f"a.csv, row {i}: expected x, found y"), "a.csv", f"row {i}")
    report = check(data, quick=True)
    assert len(report.findings) == MOST_FAULTS + 1
    assert report.findings[-1].message.startswith("5 more faults")
    lines = refusals(report.findings)
    assert lines[0] == "a.csv, row 0: expected x, found y"
    assert lines[-1] == f"and {MOST_FAULTS + 1 - 20} more" and len(lines) == 21


def test_only_some_headers_are_read_when_asked(pets):
    report = found(pets, quick=True, most=3)
    assert (report.splits["train"].pictures, report.splits["train"].looked_at) == (7, 3)


def test_findings_of_a_task_get_their_split(pets):
    data = open_data(pets, ALL)
    odd = Finding(severity="error", kind="odd", message="expected even, found odd", record="row 3")
    tools = replace(data.task.data, examine=lambda source, split, size, quick: iter([odd]))
    report = check(replace(data, task=replace(data.task, data=tools)), quick=True)
    assert [one.split for one in report.findings] == ["train", "val"]
    text = printed(report)
    assert "error odd in train" in text and "row 3: expected even, found odd" in text
    assert text.rstrip().endswith("2 errors, 0 warnings, 0 notes")


def counts_of(*numbers):
    amounts = np.array(numbers, dtype=np.int64)
    return LabelCounts(np.arange(len(amounts)), np.arange(len(amounts)), amounts)


CLASS_CASES = {  # name -> (train: {class: count}, val, expected: (severity, kind, split, in the message))
    "sound": ({"cat": 5, "dog": 4}, {"dog": 2, "cat": 1}, []),
    "unknown to train": (
        {"cat": 5},
        {"cat": 1, "dog": 2},
        [("error", "class-only-in-split", "val", "'dog'")],
    ),
    "no examples in train": (
        {"cat": 5, "dog": 0},
        {"cat": 1, "dog": 2},
        [
            ("warning", "class-without-examples", "train", "'dog'"),
            ("warning", "class-only-in-split", "val", "2 boxes"),
        ],
    ),
    "listed but empty": ({"cat": 5}, {"cat": 1, "dog": 0}, []),
    "no examples in val": (
        {"cat": 5, "dog": 3},
        {"cat": 2},
        [("note", "class-without-examples", "val", "'dog'")],
    ),
    "case": ({"Cat": 5, "cat": 4}, {"Cat": 1, "cat": 1}, [("warning", "class-names-alike", "", "'Cat' (6)")]),
    "punctuation": (
        {"t-shirt": 5, "t shirt": 4},
        None,
        [("warning", "class-names-alike", "", "'t shirt' (4)")],
    ),
    "plural": ({"cars": 5, "car": 4}, None, [("warning", "class-names-alike", "", "'cars' (5)")]),
    "a slip": (
        {"platelet": 500, "plateled": 2},
        None,
        [("warning", "class-names-alike", "", "'plateled' (2)")],
    ),
    "two words": ({"horse": 500, "house": 400}, None, []),
    "numbers": ({"n01443537": 500, "n01443538": 2, "1": 3, "11": 900}, None, []),
    "short words": ({"cat": 500, "car": 2, "bus": 3, "bu": 1}, None, []),
}


@pytest.mark.parametrize("name", CLASS_CASES)
def test_findings_about_classes(name):
    train, val, expected = CLASS_CASES[name]
    splits = {"train": train} if val is None else {"train": train, "val": val}
    classes = {split: ClassMap(tuple(table)) for split, table in splits.items()}
    counts = {split: counts_of(*table.values()) for split, table in splits.items()}
    findings = list(class_findings(class_table(classes, counts), classes, "boxes"))
    assert [(one.severity, one.kind, one.split) for one in findings] == [case[:3] for case in expected]
    for finding, case in zip(findings, expected, strict=True):
        assert case[3] in finding.message


@pytest.mark.parametrize(
    ("faulty", "expected"),
    [
        ((), ["note in val: cat", "warning in train: dog", "warning in val: dog"]),
        (("train",), ["note in val: cat"]),
        (("val",), ["warning in train: dog", "warning in val: dog"]),
        (("train", "val"), []),
    ],
)
def test_a_class_may_be_among_the_labels_that_could_not_be_read(faulty, expected):
    classes = {"train": ClassMap(("cat", "dog")), "val": ClassMap(("cat", "dog"))}
    rows = class_table(classes, {"train": counts_of(5, 0), "val": counts_of(0, 3)})
    found = class_findings(rows, classes, "boxes", faulty)
    told = [f"{one.severity} in {one.split}: {one.message.split(chr(39))[1]}" for one in found]
    assert sorted(told) == expected


def test_ids_that_differ_between_splits_are_shown():
    classes = {"train": ClassMap(("cat", "dog"), (1, 2)), "val": ClassMap(("dog", "cat"), (1, 2))}
    rows = class_table(classes, {})
    assert rows[0].file_ids == {"train": 1, "val": 2} and rows[0].counts == {}
    first, second = class_findings(rows, classes, "boxes")
    assert (first.severity, first.kind) == ("note", "class-ids-differ")
    assert first.message == "class 'cat' has the id 1 in train, 2 in val"
    assert "'dog'" in second.message


def test_the_report_fits_a_hundred_columns_and_elides(tmp_path):
    counts = {f"class {i} with a name of some length": 1 for i in range(40)}
    root = save_folders(tmp_path / "many", {"train": counts, "val": dict(list(counts.items())[:3])})
    report = found(root)
    text = printed(report)
    assert max(map(len, text.splitlines())) <= 100
    assert "10 more" in text and "class 39 with" in text
    assert "note class-without-examples in val: 37" in text and "and 34 more" in text
    write_json(tmp_path / "report.json", report.as_json())
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["counts"] == {"error": 0, "warning": 0, "note": 37}
    assert len(told["findings"]) == 37 and len(told["classes"]) == 40
    assert told["splits"]["train"]["sizes"] == [[72, 96, 40]]


def test_the_line_of_a_file_that_cannot_be_parsed_is_its_record():
    ledger = Ledger(collects=True)
    ledger.fault(DataError("a/b.xml:7: expected XML, found a fault in column 3: no element found"), "a/b.xml")
    [finding] = ledger_findings("train", ledger, 0.01)
    assert (finding.file, finding.record) == ("a/b.xml", "line 7")
    assert finding.message == "expected XML, found a fault in column 3: no element found"


def test_warnings_in_brief():
    warnings = [
        Finding(severity="warning", kind="picture-blank", message="m", split="train", picture=f"{i}.png")
        for i in range(3)
    ]
    note = Finding(severity="note", kind="picture-turned", message="m", split="train")
    alike = Finding(severity="warning", kind="class-names-alike", message="found a and A")
    assert warnings_in_brief([*warnings, note, alike]) == [
        "train: picture-blank, 3 (first: 0.png)",
        "class-names-alike, 1 (first: found a and A)",
    ]
