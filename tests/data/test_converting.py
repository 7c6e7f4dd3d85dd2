"""Every format of every task into every other: the same pictures, the same truth, the same AP."""

import errno
import hashlib
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from visiontasks.config_files import parse_config, section_model
from visiontasks.data import converting
from visiontasks.data.converting import convert
from visiontasks.data.opening import open_data, open_raw
from visiontasks.data.shapes import draw_shapes
from visiontasks.detection.types import Detections
from visiontasks.errors import DataError, RunError, UsageError
from visiontasks.io.files import read_yaml, write_json
from visiontasks.ledger import Ledger
from visiontasks.tasks import TASKS, load_task
from visiontasks.types import ImageInfo

ALL = [load_task(name) for name in TASKS]
PAIRS = [(task.name, one, two) for task in ALL for one, two in itertools.product(task.data.writers, repeat=2)]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """{task: a drawn data set}."""
    root = tmp_path_factory.mktemp("drawn")
    for task in ALL:
        draw_shapes(root / task.name, task.name, 18, 0, size=(48, 64))
    return {task.name: root / task.name for task in ALL}


def opened_again(converted, task):
    """{split: source} as a run would open the data that was written."""
    values, lines = read_yaml(converted.config)
    section = parse_config(section_model(task.config, "data"), values, file="data.yaml", lines=lines)
    train = task.open_source(section, "train", Ledger(strict=True), None)
    rest = {split: task.open_source(section, split, Ledger(), train.classes) for split in ("val", "test")}
    return {"train": train, **rest}


def in_words(target, classes):
    """A truth as what does not depend on the order of classes."""
    names = np.array(classes.names)
    if isinstance(target, int | np.integer):
        return names[target]
    if isinstance(target, np.ndarray):
        return {name: np.packbits(target == i).tobytes() for i, name in enumerate(names)}
    rows = zip(names[target.labels].tolist(), target.boxes.round(3).tolist(), strict=True)
    return sorted(map(repr, rows))


def content(sources):
    """{(split, hash of the picture's file): its truth}."""
    found = {}
    for split, source in sources.items():
        for place, file in enumerate(source.files):
            digest = hashlib.sha256((source.root / file).read_bytes()).hexdigest()
            found[split, digest] = in_words(source[place].target, source.classes)
    return found


def test_every_task_has_formats_to_write():
    assert {name for name, *_ in PAIRS} == set(TASKS)


@pytest.mark.parametrize(("name", "one", "two"), PAIRS)
def test_pictures_and_truth_survive_two_formats(drawn, tmp_path, name, one, two):
    task = load_task(name)
    data = open_data(drawn[name], [task])
    first = convert(data, tmp_path / "one", one)
    second = convert(open_data(first.config, [task]), tmp_path / "two", two)
    expected = content(data.sources)
    assert len(expected) == 18
    for done in (first, second):
        assert content(opened_again(done, task)) == expected
        assert done.pictures == {split: len(source) for split, source in data.sources.items()}
        assert str(done.root) in done.config.read_text()
    marker = json.loads((second.root / "converted.json").read_text())
    assert (marker["task"], marker["format"], marker["pictures"]) == (name, two, second.pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]  # nothing temporary


@pytest.mark.parametrize("to", load_task("detection").data.writers)
def test_average_precision_is_the_same_on_converted_boxes(drawn, tmp_path, to):
    task = load_task("detection")
    data = open_data(drawn["detection"], [task])
    converted = opened_again(convert(data, tmp_path / "out", to), task)
    numbers = [precision(task, source) for source in (data.sources["test"], converted["test"])]
    assert 0.01 < numbers[0]["AP"] < 0.99
    for metric in ("AP", "AP50", "AP75"):
        assert numbers[1][metric] == pytest.approx(numbers[0][metric], abs=1e-6)


def precision(task, source):
    """Numbers of predictions that depend on a picture's bytes and the names of classes alone."""
    evaluator, names = task.build_evaluator(source.classes), sorted(source.classes.names)
    for place, file in enumerate(source.files):
        sample = source[place]
        digest = hashlib.sha256((source.root / file).read_bytes()).digest()
        rng = np.random.default_rng(list(digest[:8]))
        order = np.lexsort(sample.target.boxes.T)
        boxes = sample.target.boxes[order] + rng.normal(0, 2, (len(order), 4))
        labels = [source.classes.names[label] for label in sample.target.labels[order]]
        labels = [name if rng.random() < 0.8 else names[rng.integers(len(names))] for name in labels]
        indices = np.array([source.classes.index(name) for name in labels], dtype=np.int64)
        scores = np.sort(rng.random(len(order)))[::-1]
        height, width = sample.image.shape[:2]
        info = ImageInfo(place, height, width, height, width)
        evaluator.update([Detections(boxes, indices, scores)], [sample.target], [info])
    return evaluator.compute()


def test_some_splits_and_links(drawn, tmp_path):
    task = load_task("segmentation")
    data = open_data(drawn["segmentation"], [task])
    done = convert(data, tmp_path / "out", "masks", splits=["val"], link=True)
    assert done.pictures == {"val": 6}
    assert read_yaml(done.config)[0].keys() & {"train", "val", "test"} == {"val"}
    copies = sorted((done.root / "images").rglob("*.jpg"))
    assert all(os.stat(path).st_nlink == 2 for path in copies)


def test_a_class_that_one_split_alone_has_is_there(tmp_path):
    draw_shapes(tmp_path / "shapes", "classification", 18, 0, size=(32, 32))
    (tmp_path / "shapes" / "train" / "star").rename(tmp_path / "star")
    task = load_task("classification")
    data = open_data(tmp_path / "shapes", [task])
    done = convert(data, tmp_path / "out", "folder")
    section = data.config.model_copy(update={"root": str(done.root), "format": "folder"})
    assert "star" in open_raw(task, section, "val", Ledger()).classes.names


def test_what_is_held_out_stays_held_out(drawn, tmp_path):
    section = {"format": "folder", "root": str(drawn["classification"]), "train": "train"}
    write_json(tmp_path / "data.yaml", {**section, "holdout": 0.5, "seed": 3})  # JSON is YAML
    task = load_task("classification")
    done = convert(open_data(tmp_path / "data.yaml", [task]), tmp_path / "out", "csv")
    values, _ = read_yaml(done.config)
    assert (values["holdout"], values["seed"], values.get("val")) == ("0.5", "3", None)


REFUSED = {
    "unknown format": ({"to": "yollo"}, "unknown format to write detection data in 'yollo'"),
    "unknown split": ({"splits": ["training"]}, "unknown split 'training'"),
    "over the data": ({"out": "."}, "expected a folder apart from the data in {root}, found {root}"),
    "inside the data": ({"out": "new"}, "expected a folder apart from the data in {root}, found {root}/new"),
    "around the data": ({"out": ".."}, "expected a folder apart from the data in {root}, found {root}/.."),
    "a file": ({"out": "../file"}, "expected a folder to write, found the file {root}/../file"),
    "other files": ({"out": "../full"}, "expected an empty folder, found {root}/../full with other files"),
    "overwriting them": (
        {"out": "../full", "overwrite": True},
        "expected an empty folder, found {root}/../full with other files",
    ),
}


@pytest.mark.parametrize(("how", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_say_what_and_change_nothing(drawn, tmp_path, how, message):
    root = tmp_path / "data"
    draw_shapes(root, "detection", 18, 0, size=(32, 32))
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    how = {"to": "voc", "out": "../out", **how}
    with pytest.raises(UsageError) as caught:
        convert(open_data(root, [load_task("detection")]), root / how.pop("out"), how.pop("to"), **how)
    assert message.format(root=root) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_earlier_conversion_is_replaced_when_asked(drawn, tmp_path):
    data = open_data(drawn["classification"], [load_task("classification")])
    convert(data, tmp_path / "out", "csv")
    with pytest.raises(UsageError, match=r"out with converted data; choose another, or --overwrite"):
        convert(data, tmp_path / "out", "folder")
    done = convert(data, tmp_path / "out", "folder", overwrite=True)
    assert json.loads((done.root / "converted.json").read_text())["format"] == "folder"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_faults_are_listed_and_nothing_is_written(tmp_path):
    root = tmp_path / "data"
    draw_shapes(root, "detection", 18, 0, size=(32, 32))
    document = json.loads((root / "annotations" / "val.json").read_text())
    document["annotations"][2]["bbox"] = [1, 2, 3]
    (root / "annotations" / "val.json").write_text(json.dumps(document))
    (root / "images" / "test" / "000003.jpg").unlink()
    with pytest.raises(DataError) as caught:
        convert(open_data(root, [load_task("detection")]), tmp_path / "out", "yolo")
    first, *faults = str(caught.value).splitlines()
    assert first == "expected data without faults to convert, found 2; mend these first:"
    assert "val.json" in faults[0] and "annotations[2]" in faults[0]
    assert faults[1] == f"{root}/images/test/000003.jpg: expected a picture, found no such file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_conversion_that_fails_leaves_the_earlier_one(drawn, tmp_path, monkeypatch):
    data = open_data(drawn["classification"], [load_task("classification")])
    convert(data, tmp_path / "out", "csv")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(converting.shutil, "copyfile", full)
    with pytest.raises(RunError, match=r"out: could not be written \(No space left on device\)"):
        convert(data, tmp_path / "out", "folder", overwrite=True)
    assert json.loads((tmp_path / "out" / "converted.json").read_text())["format"] == "csv"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_where_there_are_no_hard_links(drawn, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(converting.os, "link", refuse)
    data = open_data(drawn["classification"], [load_task("classification")])
    with pytest.raises(RunError, match="hard links to the pictures, found: Invalid cross-device link; leave"):
        convert(data, tmp_path / "out", "csv", link=True)
    assert not Path(tmp_path / "out").exists()
