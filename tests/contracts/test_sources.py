"""What every adapter of every task must keep; a new format is tested by existing: it wants a builder.

Rows are those of the table of faults: what is an error, what is skipped, what is repaired.
"""

import importlib
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import typing

import numpy as np
import pytest
from data_files import (
    BUILDERS,
    HEIGHT,
    NAMES,
    PLACES,
    SHOWN,
    STORED,
    TEXTS,
    TRUTH,
    WIDTH,
    edit_texts,
    encoded,
    header_of,
    name_of,
    number_of,
    path_of,
    picture,
    picture_bytes,
    save,
    tree,
    turned_bytes,
)

from visiontasks.classes import ClassMap
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger
from visiontasks.tasks import TASKS, load_task

SCANNED = {  # these list folders; what texts say of paths decides nothing
    "classification/folder",
    "detection/voc, a folder",
    "detection/yolo",
    "detection/crops",
    "segmentation/masks",
    "segmentation/colour",
    "segmentation/cityscapes",
}
SEEDS = 5
READ_ALL = """
import json, sys
from visiontasks.tasks import load_task
from visiontasks.ledger import Ledger
for task, values in json.loads(sys.argv[1]):
    task = load_task(task)
    config = task.config.model_fields["data"].annotation.model_validate(values)
    source = task.open_source(config, "train", Ledger(strict=True), None)
    print(source.classes.names, source.fingerprint, [source[i].image_id for i in range(len(source))])
print("torch" in sys.modules)
"""

every_format = pytest.mark.parametrize("case", BUILDERS)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "příliš žluťoučký, kůň"
    folder.mkdir()
    return folder


def values_of(case, root, truth=TRUTH):
    """Write a data set; its data section."""
    data_format = case.partition("/")[2].partition(",")[0]
    return {"format": data_format, "root": str(root), **BUILDERS[case](root, truth)}


def open_values(case, values, *, strict=True, classes=None):
    task = load_task(case.partition("/")[0])
    config = task.config.model_fields["data"].annotation.model_validate(values)
    return task.open_source(config, "train", Ledger(strict), classes)


def open_case(case, root, truth=TRUTH, *, classes=None):
    return open_values(case, values_of(case, root, truth), classes=classes)


def samples_of(source):
    return [source[i] for i in range(len(source))]


def ids_of(source):
    return [sample.image_id for sample in samples_of(source)]


def shown_by(case, source):
    """{name: the class and place that its sample shows}"""
    show = SHOWN[case.partition("/")[0]]
    return {name_of(s.image): show(s.target, source.classes) for s in samples_of(source)}


def expected(case, truth=TRUTH):
    place = PLACES.get(case, PLACES[case.partition("/")[0]])
    return {name: (label, place) for name, label in truth.items()}


def test_every_format_has_a_builder():
    formats = set()
    for name in TASKS:
        readers = importlib.import_module(f"visiontasks.{name}.datasets").FORMATS
        section = load_task(name).config.model_fields["data"].annotation
        assert set(typing.get_args(section.model_fields["format"].annotation)) == set(readers)
        formats.update(f"{name}/{data_format}" for data_format in readers)
    assert len(formats) >= 14
    assert formats == {case.partition(",")[0] for case in BUILDERS}
    assert set(TASKS) == set(SHOWN)


@every_format
def test_samples_are_pictures_with_their_truth(case, root):
    source = open_case(case, root)
    assert len(source) == 3
    for sample in samples_of(source):
        assert sample.image.dtype == np.uint8
        assert sample.image.shape == (HEIGHT, WIDTH, 3)
    assert shown_by(case, source) == expected(case)
    assert [name for name in source.classes.names if name in ("cat", "dog")] == ["cat", "dog"]
    assert not source.ledger.entries


@every_format
def test_ids_are_paths_below_the_root_or_numbers_of_the_file(case, root):
    samples = samples_of(open_case(case, root))
    assert len({sample.image_id for sample in samples}) == 3
    for sample in samples:
        name = name_of(sample.image)
        if case == "detection/coco":
            assert sample.image_id == number_of(name)
        else:
            assert sample.image_id == path_of(root, name).relative_to(root).as_posix()


@every_format
def test_opening_twice_gives_the_same(case, root):
    one, other = open_case(case, root), open_case(case, root)
    assert one.fingerprint == other.fingerprint
    assert ids_of(one) == ids_of(other)


@every_format
def test_the_order_of_records_does_not_matter(case, root, tmp_path):
    source = open_case(case, root)
    turned = open_case(case, tmp_path / "other", dict(reversed(TRUTH.items())))
    assert turned.fingerprint == source.fingerprint
    assert ids_of(turned) == ids_of(source)


class Entries:
    """What `os.scandir` gives, in an order of our own."""

    def __init__(self, entries):
        self.entries = iter(entries)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    close = __exit__


@every_format
def test_the_order_of_the_file_system_does_not_matter(case, root, monkeypatch):
    values = values_of(case, root)
    scandir, listdir = os.scandir, os.listdir
    found = []
    for turn in (False, True):
        monkeypatch.setattr(os, "listdir", lambda path=".", turn=turn: sorted(listdir(path), reverse=turn))

        def turned(path=".", turn=turn):
            with scandir(path) as entries:
                return Entries(sorted(entries, key=lambda entry: entry.name, reverse=turn))

        monkeypatch.setattr(os, "scandir", turned)
        source = open_values(case, values)
        found.append((source.fingerprint, source.classes, ids_of(source)))
    assert found[0] == found[1]


def test_the_same_under_every_hash_seed_and_without_torch(root):
    sections = [
        (case.partition("/")[0], values_of(case, root / str(number))) for number, case in enumerate(BUILDERS)
    ]
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", READ_ALL, json.dumps(sections)],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for seed in range(SEEDS)
    ]
    outputs = [program.communicate()[0] for program in programs]
    assert [program.returncode for program in programs] == [0] * SEEDS
    (only,) = set(outputs)
    *lines, has_torch = only.splitlines()
    assert len(lines) == len(BUILDERS)
    assert has_torch == "False"


@every_format
def test_row_24_marks_and_carriage_returns_change_nothing(case, root):
    values = values_of(case, root)
    source = open_values(case, values)
    edited = edit_texts(root, lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert edited == any(path.suffix in TEXTS for path in tree(root))
    again = open_values(case, values)
    assert again.fingerprint == source.fingerprint
    assert again.classes == source.classes
    assert shown_by(case, again) == expected(case)


@every_format
def test_an_edited_label_changes_the_fingerprint(case, root, tmp_path):
    truth = {**TRUTH, "hen.png": "cat"}
    edited = open_case(case, tmp_path / "other", truth)
    assert shown_by(case, edited) == expected(case, truth)
    assert open_case(case, root).fingerprint != edited.fingerprint


@every_format
def test_an_edited_picture_changes_the_fingerprint(case, root):
    values = values_of(case, root)
    before = open_values(case, values).fingerprint
    path_of(root, "hen.png").write_bytes(encoded(picture("hen.png"), compress_level=0))
    assert open_values(case, values).fingerprint != before


@every_format
def test_inputs_are_not_modified(case, root):
    values = values_of(case, root)
    before, times = tree(root), {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    samples_of(open_values(case, values))
    assert tree(root) == before
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times


@every_format
def test_a_source_travels_to_other_processes(case, root):
    source = open_case(case, root)
    copy = pickle.loads(pickle.dumps(source))
    assert ids_of(copy) == ids_of(source)
    assert copy.classes == source.classes
    assert copy.fingerprint == source.fingerprint
    assert shown_by(case, copy) == expected(case)


@every_format
def test_indices_are_those_of_the_classes_asked_for(case, root):
    names = open_case(case, root).classes.names
    turned = ClassMap(tuple(reversed(names)))
    source = open_case(case, root, classes=turned)
    assert source.classes.names == turned.names
    assert shown_by(case, source) == expected(case)
    other = ClassMap(tuple("dogs" if name == "dog" else name for name in names))
    with pytest.raises(DataError, match=r"unknown class 'dog'; did you mean 'dogs'\?"):
        open_case(case, root, classes=other)


DAMAGE = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "text": lambda data: b"no picture",
    "header": lambda data: data[:33],
    "cut": lambda data: data[: len(data) * 2 // 3],
}


@every_format
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("when", ["before it is opened", "afterwards"])
def test_rows_30_31_a_picture_that_cannot_be_read_is_an_image_error(case, root, damage, when):
    values = values_of(case, root)
    path = path_of(root, "hen.png")
    source = None if when.startswith("before") else open_values(case, values, strict=False)
    content = DAMAGE[damage](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    source = source or open_values(case, values, strict=False)
    unread, read = [], set()
    for i in range(len(source)):
        try:
            read.add(name_of(source[i].image))
        except ImageError as error:
            unread.append(str(error))
    assert read == set(TRUTH) - {"hen.png"}
    if damage == "missing" and when.startswith("before") and case in SCANNED and not unread:
        return  # nothing says that it was ever there
    (message,) = unread
    named = str(path.with_suffix("")) if damage == "missing" else str(path)
    assert named in message


@every_format
def test_row_33_a_wrong_extension_is_noted_and_strict_refuses_it(case, root):
    values = values_of(case, root)
    path = path_of(root, "hen.png")
    path.write_bytes(encoded(picture("hen.png"), "JPEG"))
    source = open_values(case, values, strict=False)
    assert len(samples_of(source)) == 3
    (entry,) = source.ledger.entries
    assert entry.action == "repaired"
    assert entry.file == str(path)
    with pytest.raises(DataError, match=r"hen.*\.png.*strict"):
        samples_of(open_values(case, values, strict=True))


@every_format
def test_row_29_the_truth_is_that_of_the_upright_picture(case, root):
    values = values_of(case, root)
    path = path_of(root, "hen.png")
    for orientation in STORED:
        path.write_bytes(turned_bytes("hen.png", orientation))
        assert shown_by(case, open_values(case, values)) == expected(case)


@every_format
def test_row_34_a_picture_over_the_pixel_cap_is_an_image_error_before_it_is_decoded(case, root):
    values = values_of(case, root)
    small = open_values(case, {**values, "max_pixels": HEIGHT * WIDTH - 1})
    for i in range(len(TRUTH)):
        with pytest.raises(ImageError, match=re.escape(str(root)) + r".*\.png.*at most 34 pixels"):
            small[i]
    names = [name_of(sample.image) for sample in samples_of(open_values(case, values))]
    path = path_of(root, "hen.png")
    path.write_bytes(header_of(60_000, 60_000))
    source = open_values(case, values, strict=False)
    with pytest.raises(ImageError, match=re.escape(str(path)) + ".*at most 100,000,000 pixels"):
        source[names.index("hen.png")]


@every_format
@pytest.mark.parametrize("way", ["../", "../../", "pictures/../../", "{outside}/"])
def test_row_36_written_paths_that_lead_out_are_refused(case, tmp_path, way):
    root = tmp_path / "folder" / "data"
    values = values_of(case, root)
    for parent, suffix in itertools.product(root.parents[:2], (".png", ".txt", ".xml")):
        save(parent / f"canary{suffix}", picture_bytes("doe.png"))
    written = way.format(outside=tmp_path).encode() + b"canary"
    is_written = edit_texts(root, lambda data: re.sub(rb"[\w./]*hen", written, data))
    if case in SCANNED:
        assert set(shown_by(case, open_values(case, values))) == set(TRUTH)
        return
    assert is_written, "a format that writes no paths is to be listed in SCANNED"
    with pytest.raises(DataError, match=r"expected (a path|the name of a picture).*canary"):
        open_values(case, values, strict=False)


@every_format
def test_row_36_links_that_lead_out_are_refused(case, root, tmp_path):
    """Of a picture, its folder, and all texts: names of classes, lists, labels."""
    values, outside = values_of(case, root), tmp_path / "canary"
    texts = [path for path in root.rglob("*") if path.suffix in (".csv", ".json", ".txt", ".xml", ".yaml")]
    picture = path_of(root, "hen.png")
    for path in (picture, picture.parent, *texts):
        path.rename(outside)
        path.symlink_to(outside, target_is_directory=outside.is_dir())
        with pytest.raises(DataError, match="link"):
            open_values(case, values)
        path.unlink()
        outside.rename(path)


@every_format
def test_row_36_splits_outside_the_root_are_refused(case, root):
    values = values_of(case, root)
    (root / "inner").mkdir()
    for way in ("..", root):
        with pytest.raises(DataError):
            open_values(case, {**values, "root": str(root / "inner"), "train": f"{way}/{values['train']}"})


def test_each_name_has_a_picture_of_its_own():
    assert len({picture_bytes(name) for name in NAMES}) == len(NAMES)
