"""The contract on class names: wherever two lists meet, the user sees how they differ, and the way out."""

import json
import re

import pytest
import torch
import yaml
from data_files import BUILDERS, TRUTH, mask_of, picture_bytes, save

from visiontasks import api
from visiontasks.classes import MOST_NAMES, ClassMap, difference, join_classes
from visiontasks.classification.config import InputConfig
from visiontasks.data.shapes import draw_shapes
from visiontasks.engine import evaluate, model_files
from visiontasks.errors import DataError, UsageError
from visiontasks.io.images import encode_mask
from visiontasks.io.weights import ModelRecord
from visiontasks.ledger import Ledger
from visiontasks.tasks import TASKS, load_task

MAP = "--map-class old=new"

every_format = pytest.mark.parametrize("case", BUILDERS)
every_task = pytest.mark.parametrize("name", TASKS)
PLAIN = {  # task -> a format of it
    "classification": "classification/folder",
    "detection": "detection/coco",
    "segmentation": "segmentation/masks",
}


def section_of(case, values, root):
    task = load_task(case.partition("/")[0])
    written = {"format": case.partition("/")[2].partition(",")[0], "root": str(root), **values}
    return task, task.config.model_fields["data"].annotation.model_validate(written)


def written(case, root, truth=TRUTH):
    """Write a data set of cats and dogs; its data section without root."""
    root.mkdir(parents=True, exist_ok=True)
    return BUILDERS[case](root, truth)


def renamed(names, **mapping):
    return ClassMap(tuple(mapping.get(name, name) for name in names))


def message_of(error, function, *arguments, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# A model, or the training split, and data in any format


@every_format
def test_data_against_the_classes_wanted(case, tmp_path):
    values = written(case, tmp_path)
    task, section = section_of(case, values, tmp_path)
    names = task.open_source(section, "train", Ledger(), None).classes.names
    model = renamed(names, dog="hound")
    for split in ("train", "test"):
        _, section = section_of(case, {**values, split: values["train"]}, tmp_path)
        message = message_of(DataError, task.open_source, section, split, Ledger(), model)
        assert "unknown class 'dog'" in message
        assert re.search(r"(; without (pictures|boxes|a value): |choices: .*)hound", message)
        assert f"data.classes: {{old: new}} (to evaluate: {MAP})" in message
    already = values.get("classes") if isinstance(values.get("classes"), dict) else {}
    mapping = {**{old: "hound" if new == "dog" else new for old, new in already.items()}, "dog": "hound"}
    mapping = {old: new for old, new in mapping.items() if old != "dog" or not already}
    _, section = section_of(case, {**values, "classes": mapping}, tmp_path)
    assert task.open_source(section, "train", Ledger(strict=True), model).classes.names == model.names


@pytest.mark.parametrize(
    "case", ["classification/folder", "classification/csv", "detection/csv", "detection/crops"]
)
def test_validation_against_training(case, tmp_path):
    places = {"train": TRUTH, "val": {**TRUTH, "hen.png": "hound"}}
    values = {
        split: f"{split}/{written(case, tmp_path / split, truth)['train']}" for split, truth in places.items()
    }
    task, section = section_of(case, values, tmp_path)
    classes = task.open_source(section, "train", Ledger(), None).classes
    for wanted in (classes, None):
        message = message_of(DataError, task.open_source, section, "val", Ledger(), wanted)
        assert str(tmp_path / "val") in message
        assert "unknown class 'hound'; choices: cat, dog" in message
        assert "data.classes: {old: new}" in message


@every_task
def test_data_against_the_order_in_the_config(name, tmp_path):
    case = PLAIN[name]
    values = written(case, tmp_path)
    task, section = section_of(case, {**values, "classes": ["cat", "hound"]}, tmp_path)
    message = message_of(DataError, task.open_source, section, "train", Ledger(), None)
    assert "unknown class" in message and "choices: cat, hound" in message
    names = [*task.open_source(section_of(case, values, tmp_path)[1], "train", Ledger(), None).classes.names]
    _, section = section_of(case, {**values, "classes": [*names, "yak"]}, tmp_path)
    message = message_of(DataError, task.open_source, section, "train", Ledger(), None)
    assert "found none" in message and "1: yak; " in message
    assert "take them out of data.classes" in message


@every_task
def test_data_against_the_renaming_in_the_config(name, tmp_path):
    case = PLAIN[name]
    task, section = section_of(case, {**written(case, tmp_path), "classes": {"dg": "hound"}}, tmp_path)
    message = message_of(DataError, task.open_source, section, "train", Ledger(), None)
    assert message.startswith(
        "data.classes or --map-class: unknown class 'dg'; did you mean 'dog'? choices: "
    )


# Splits joined by +


@pytest.mark.parametrize("case", ["classification/folder", "detection/csv", "detection/crops"])
def test_joined_splits_have_the_classes_of_all(case, tmp_path):
    for split, labels in (("a", {"hen.png": "yak", "bee.png": "cat"}), ("b", {"doe.png": "dog"})):
        values = written(case, tmp_path / split, labels)
    train = f"a/{values['train']}+b/{values['train']}"
    task, section = section_of(case, {"train": train}, tmp_path)
    source = task.open_source(section, "train", Ledger(strict=True), None)
    assert source.classes.names == ("cat", "dog", "yak")
    assert len(source) == 3


def test_joined_masks_have_the_same_classes(tmp_path):
    written("segmentation/coco", tmp_path)
    text = (tmp_path / "annotations" / "train.json").read_text()
    (tmp_path / "annotations" / "more.json").write_text(text.replace('"dog"', '"hound"'))
    both = "annotations/train.json + annotations/more.json"
    task, section = section_of("segmentation/coco", {"train": both}, tmp_path)
    message = message_of(DataError, task.open_source, section, "train", Ledger(), None)
    assert "only in the first: dog; only in another: hound; mend the lists" in message


# A model and the data it is fine-tuned on, measured on, resumed on


def receipt(monkeypatch, task, names, classes):
    """What is said when a network of `classes` begins with the weights of a classifier of `names`."""
    record = ModelRecord(task=task, model={}, input={}, classes=list(names))
    tensors = {"backbone.weight": torch.zeros(1, 1), "head.weight": torch.zeros(2, 1)}
    monkeypatch.setattr(model_files, "read_model", lambda name, official, *, task: (tensors, record))
    network = torch.nn.ModuleDict(
        {"backbone": torch.nn.Linear(1, 1, bias=False), "head": torch.nn.Linear(1, 2, bias=False)}
    )
    ours = load_task("classification"), ClassMap(classes), InputConfig()
    line = model_files.initialise(network, "old.safetensors", *ours)
    return line, bool((network["head"].weight == 0).all())


def test_weights_against_the_data_they_are_fine_tuned_on(monkeypatch):
    line, kept = receipt(monkeypatch, "classification", ("cat", "dog"), ("cat", "dog"))
    assert kept and "anew" not in line
    line, kept = receipt(monkeypatch, "classification", ("cat", "dog"), ("cat", "hound"))
    assert (
        line.endswith("the head starts anew (only in the data: hound; only in the weights: dog)") and not kept
    )
    line, kept = receipt(monkeypatch, "classification", ("cat", "dog"), ("dog", "cat"))
    assert "another order; to keep it, list them in data.classes" in line and not kept
    line, kept = receipt(monkeypatch, "detection", ("cat", "dog"), ("cat", "dog"))
    assert line.endswith("the head starts anew (the weights are for detection)") and not kept


class Reached(Exception):
    """The data fits the model."""


@every_task
def test_a_model_against_the_data_it_is_measured_on(name, tmp_path, monkeypatch):
    case = PLAIN[name]
    values = written(case, tmp_path)
    task, section = section_of(case, values, tmp_path)
    names = task.open_source(section, "train", Ledger(), None).classes.names
    classes, input = renamed(names, dog="hound"), task.config.model_fields["input"].default
    setting = model_files.setting_of(task, input, torch.device("cpu"), {})
    record = ModelRecord(task=task.name, model={}, input={}, classes=classes.names)
    opened = model_files.OpenModel(task, None, classes, input, setting, record)
    model = api.Model("m.safetensors", opened)
    data = {"format": case.partition("/")[2], "root": str(tmp_path), **values, "test": values["train"]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))

    def measure(**options):
        api.measure(model, "test", data=tmp_path / "data.yaml", **options)

    def reached(task, network, source, *arguments, **options):
        raise Reached(source.classes.names)

    monkeypatch.setattr(evaluate, "evaluate", reached)
    message = message_of(DataError, measure)
    assert "unknown class 'dog'" in message and "hound" in message
    assert MAP in message
    with pytest.raises(Reached, match="hound"):
        measure(map_class={"dog": "hound"})
    message = message_of(DataError, measure, map_class={"dog": "hund"})
    assert message.startswith("--map-class: unknown class 'hund'; ")
    message = message_of(DataError, measure, map_class={"dgo": "hound"})
    assert "unknown class 'dgo'; did you mean 'dog'?" in message or "unknown class 'dog'" in message


def test_a_run_against_the_data_it_is_resumed_on(tmp_path):
    drawn = draw_shapes(tmp_path / "shapes", "classification", 36, 0, size=(32, 32))
    settings = {
        "model.options": {"stem": 4, "widths": [4, 4]},
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.workers": 0,
    }
    run = api.train(drawn.config, settings, out=tmp_path / "run")
    stars = tmp_path / "shapes" / "train" / "star"
    stars.rename(stars.with_name("stern"))
    message = message_of(DataError, api.train, run / "config.yaml", out=run, resume=True)
    assert "unknown class 'stern'; did you mean 'star'?" in message
    assert "; without pictures: star; rename it with data.classes: {old: new}" in message


# Files of truth and files of predictions


def write_classified(folder):
    save(folder / "truth.csv", "path,label\na.png,cat\nb.png,dog\n")
    save(folder / "found.csv", "path,label\na.png,cat\nb.png,hound\n")
    return folder / "truth.csv", folder / "found.csv", {}


def write_detected(folder):
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 9}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
        ],
    }
    found = {
        "task": "detection",
        "classes": ["cat", "hound"],
        "images": [
            {
                "file": "a.png",
                "width": 9,
                "height": 9,
                "detections": [{"label": "hound", "class": 1, "score": 0.5, "box": [1, 1, 5, 5]}],
            }
        ],
        "skipped": [],
    }
    save(folder / "truth.json", json.dumps(document))
    save(folder / "found.json", json.dumps(found))
    return folder / "truth.json", folder / "found.json", {}


def write_segmented(folder):
    save(folder / "truth" / "a.png", encode_mask(mask_of(1)))
    save(folder / "found" / "masks" / "a.png", encode_mask(mask_of(1)))
    save(folder / "a.png", picture_bytes("hen.png"))
    found = {
        "task": "segmentation",
        "classes": ["cat", "hound"],
        "images": [{"file": "a.png", "mask": "masks/a.png"}],
    }
    save(folder / "found" / "predictions.json", json.dumps(found))
    return folder / "truth", folder / "found", {"classes": ["cat", "dog"], "ignore": None}


FILES = {
    "classification": (write_classified, "top1"),
    "detection": (write_detected, "AP"),
    "segmentation": (write_segmented, "mIoU"),
}


@every_task
def test_truth_against_predictions(name, tmp_path):
    write, metric = FILES[name]
    truth, found, options = write(tmp_path)
    message = message_of(DataError, api.compare, name, truth, found, map_class={}, **options)
    assert str(found) in message or "predictions.json" in message
    assert "hound" in message and "dog" in message
    assert re.search(r"map (it|them) with --map-class (old=new|hound=dog)", message)
    numbers, _ = api.compare(name, truth, found, map_class={"hound": "dog"}, **options)
    assert numbers[metric] == 1
    message = message_of(
        (DataError, UsageError), api.compare, name, truth, found, map_class={"hound": "dgo"}, **options
    )
    assert "dgo" in message and "dog" in message


def test_merged_measurements_are_of_the_same_classes():
    for name in TASKS:
        build = load_task(name).build_evaluator
        one, other = build(ClassMap(("cat", "dog"))), build(ClassMap(("cat", "hound")))
        message = message_of(DataError, one.merge, other)
        assert "dog" in message and "hound" in message


# Names in a config


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_weights_of_classes_against_the_data(name, tmp_path):
    case = PLAIN[name]
    task, section = section_of(case, written(case, tmp_path), tmp_path)
    source = task.open_source(section, "train", Ledger(), None)
    loss = task.config.model_fields["loss"].annotation.model_validate({"class_weights": {"dgo": 2}})
    if name == "classification":
        from visiontasks.classification.datasets import class_weights
    else:
        from visiontasks.segmentation.class_weights import class_weights
    message = message_of(DataError, class_weights, loss, source)
    assert message.startswith("loss.class_weights: unknown class 'dgo'; did you mean 'dog'? choices: ")


# The difference itself


def test_long_differences_are_cut():
    ours = ClassMap(tuple(f"n{i:03}" for i in range(100)))
    theirs = ClassMap(("n000", "x"))
    shown = difference(ours, theirs, ours_name="the model", theirs_name="the data")
    assert shown == (
        f"only in the model: {', '.join(f'n{i:03}' for i in range(1, MOST_NAMES + 1))} and "
        f"{99 - MOST_NAMES} more; only in the data: x"
    )
    assert difference(ours, ours, ours_name="a", theirs_name="b") == ""
    message = message_of(DataError, join_classes, ours, theirs, ours_name="a", theirs_name="b")
    assert message.endswith("only in b: x; map them with --map-class x=n001")
