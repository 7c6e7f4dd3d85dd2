import logging
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.contracts.data_files import BUILDERS, TRUTH
from tests.data.pictures import save_folders
from visiontasks.data.opening import open_data
from visiontasks.errors import ConfigError, DataError, UsageError
from visiontasks.tasks import TASKS, load_task

ALL = [load_task(name) for name in TASKS]
COUNTS = {"train": {"cat": 3, "dog": 2}, "val": {"cat": 1, "dog": 1}}


def write(path, values):
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", BUILDERS)
def test_a_section_of_every_format_opens(tmp_path, name):
    task, data_format = name.split(",")[0].split("/")
    values = BUILDERS[name](tmp_path / "data", TRUTH)
    section = {"format": data_format, "root": str(tmp_path / "data"), **values}
    opened = open_data(write(tmp_path / "DATA.yaml", section), ALL, task=task)
    assert "train" not in opened.failed
    assert (opened.task.name, opened.config.format) == (task, data_format)
    assert len(opened.sources["train"]) == len(TRUTH)
    assert opened.how.startswith(f"{task}, format {data_format}: DATA.yaml says so")
    assert opened.size is None


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("detection/coco", "detection"),
        ("segmentation/coco", "segmentation"),
        ("classification/csv", "classification"),
        ("detection/csv", "detection"),
        ("detection/voc", "detection"),
        ("segmentation/voc", "segmentation"),
    ],
)
def test_a_format_of_two_tasks_is_read_for_the_one_that_can_use_it(tmp_path, name, task):
    values = BUILDERS[name](tmp_path / "data", TRUTH)
    section = {"format": name.split("/")[1], "root": str(tmp_path / "data"), **values}
    assert open_data(write(tmp_path / "DATA.yaml", section), ALL).task.name == task


def test_a_run_s_config_opens_with_its_input_size(tmp_path):
    root = save_folders(tmp_path / "data", COUNTS)
    config = {
        "task": "classification",
        "name": "pets",
        "data": {"format": "folder", "root": str(root), "train": "train", "val": "val"},
        "input": {"size": [40, 48]},
    }
    opened = open_data(write(tmp_path / "pets.yaml", config), ALL)
    assert opened.size == (40, 48)
    assert {split: len(source) for split, source in opened.sources.items()} == {"train": 5, "val": 2}
    del config["task"]
    with pytest.raises(ConfigError, match=r"pets\.yaml: missing key 'task'"):
        open_data(write(tmp_path / "pets.yaml", config), ALL)


def test_a_split_that_cannot_be_read_leaves_the_others(tmp_path, caplog):
    root = save_folders(tmp_path / "data", {**COUNTS, "test": {"bird": 1}})
    section = {"format": "folder", "root": str(root), "train": "train", "val": "valid", "test": "test"}
    with caplog.at_level(logging.WARNING):
        opened = open_data(write(tmp_path / "d.yaml", section), ALL)
    assert set(opened.sources) == {"train", "test"}
    assert "valid" in str(opened.failed["val"])
    assert opened.sources["test"].classes.names == ("bird",)  # its own: nothing is joined
    assert not caplog.records
    assert logging.getLogger("visiontasks").level == logging.NOTSET


def test_what_is_held_out_is_opened_with_the_rest(tmp_path):
    root = save_folders(tmp_path / "data", {"train": {"cat": 4, "dog": 4}})
    section = {"format": "folder", "root": str(root), "train": "train", "holdout": "0.5"}
    opened = open_data(write(tmp_path / "d.yaml", section), ALL)
    assert {split: len(source) for split, source in opened.sources.items()} == {"train": 8}


def test_a_folder_is_recognised_and_said(tmp_path):
    root = save_folders(tmp_path / "data", COUNTS)
    opened = open_data(root, ALL)
    assert (opened.task.name, opened.config.format) == ("classification", "folder")
    assert opened.how.startswith("classification, format folder: ")
    assert {split: len(source) for split, source in opened.sources.items()} == {"train": 5, "val": 2}


def test_the_likeliest_format_wins_and_the_others_are_said(tmp_path):
    save_folders(tmp_path, COUNTS)
    classify, detect, segment = ALL

    def sees(task, *found):
        recognised = [
            replace(one, certainty=certainty, why=f"seen by {task.name}")
            for one in classify.data.recognise(tmp_path)[:1]
            for certainty in found
        ]
        return replace(classify, name=task.name, data=replace(classify.data, recognise=lambda _: recognised))

    opened = open_data(tmp_path, [sees(classify, 1), sees(detect, 3, 2), sees(segment, 3)])
    assert opened.task.name == "detection"
    assert opened.how.startswith(
        "detection, format folder: seen by detection; or, with --task and --format: "
    )
    assert "segmentation folder (seen by segmentation)" in opened.how


def test_nothing_recognised_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(
        DataError, match=r"expected a data set in a known format .*detection: coco.*notes\.md"
    ):
        open_data(tmp_path, ALL)
    with pytest.raises(DataError, match=r"in yolo .*found a file of another kind"):
        open_data(tmp_path / "notes.md", ALL, data_format="yolo")


def test_pictures_without_labels_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"found an empty folder$"):
        open_data(tmp_path, ALL)
    for name in ("a.png", "b.JPG"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"found 2 pictures without labels; sort them into a folder a class, "
    ):
        open_data(tmp_path, ALL)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "detekt"}, UsageError, "unknown task 'detekt'; did you mean 'detect'?"),
        ({"data_format": "cocoo"}, UsageError, "unknown format 'cocoo'; did you mean 'coco'?"),
        ({"data_format": "nope"}, UsageError, "coco, colour, crops, csv, folder"),
        ({"task": "classify", "data_format": "yolo"}, UsageError, "unknown format 'yolo'"),
    ],
)
def test_unknown_names(tmp_path, options, error, message):
    with pytest.raises(error) as raised:
        open_data(tmp_path, ALL, **options)
    assert message in str(raised.value)


def test_faults_of_a_data_yaml(tmp_path):
    path = write(tmp_path / "d.yaml", {"format": "cocoo", "root": "."})
    with pytest.raises(ConfigError, match=r"d\.yaml: format: unknown format 'cocoo'; did you mean 'coco'\?"):
        open_data(path, ALL)
    path = write(tmp_path / "d.yaml", {"format": "yolo", "root": ".", "trian": "train"})
    with pytest.raises(ConfigError, match=r"d\.yaml:3: unknown key 'trian'; did you mean 'train'\?"):
        open_data(path, ALL)


def test_a_place_where_nothing_is(tmp_path):
    (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match=r"expected a data set at .*cars, found nothing \(.* holds: pets/\)"):
        open_data(Path(tmp_path / "cars"), ALL)
