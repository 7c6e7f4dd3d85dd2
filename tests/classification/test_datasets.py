"""What holds for every format: opening, class order, splits, selection, faults of a location."""

import json
import logging
import os
import pickle
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.classification.config import ClassificationConfig, DataConfig, LossConfig
from visiontasks.classification.datasets import class_weights, open_source, sample_weights
from visiontasks.errors import DataError
from visiontasks.io.location import data_root
from visiontasks.ledger import Ledger
from visiontasks.splits import held_out


def add_pictures(folder, count, *, suffix=".png", start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        PIL.Image.new("RGB", (6, 4), (i % 256, 20, 30)).save(folder / f"{i:03}{suffix}")


@pytest.fixture
def root(tmp_path):
    """train: 12 cats, 6 dogs, 2 eels; test: 3 cats, 1 dog."""
    for name, count in (("cat", 12), ("dog", 6), ("eel", 2)):
        add_pictures(tmp_path / "train" / name, count)
    for name, count in (("cat", 3), ("dog", 1)):
        add_pictures(tmp_path / "test" / name, count)
    return tmp_path


def config_of(root, **values):
    return DataConfig.model_validate({"root": str(root), "train": "train", "test": "test", **values})


def ids_of(source):
    return [source.files[i] for i in range(len(source))]


def test_a_split_of_fewer_classes_has_the_training_splits_indices(root, caplog):
    (root / "test" / "cat").rename(root / "test" / "eel")
    with caplog.at_level(logging.WARNING):
        source = open_source(config_of(root), "test", Ledger())
    assert source.classes.names == ("cat", "dog", "eel")
    assert source.labels.tolist() == [1, 2, 2, 2]
    assert "no pictures of 1 of 3 classes: cat" in caplog.text


def test_a_class_that_training_does_not_have_is_an_error_with_its_picture(root):
    (root / "test" / "cat").rename(root / "test" / "catt")
    with pytest.raises(DataError) as caught:
        open_source(config_of(root), "test", Ledger())
    message = str(caught.value)
    assert f"{root / 'test'} (test/catt/000.png): unknown class 'catt'; did you mean 'cat'?" in message
    assert "without pictures: cat, eel; rename it with data.classes: {old: new}" in message


def test_the_classes_of_a_model_decide_the_indices(root):
    source = open_source(config_of(root, train=None), "test", Ledger(), ClassMap(("dog", "emu", "cat")))
    assert source.labels.tolist() == [2, 2, 2, 0]
    with pytest.raises(DataError, match=r"unknown class 'dog'; choices: bird, cat; without pictures: bird"):
        open_source(config_of(root, train=None), "test", Ledger(), ClassMap(("bird", "cat")))


def test_a_model_may_know_more_classes_than_the_pictures_show(root):
    classes = ClassMap(("ape", "cat", "dog", "eel"))
    assert set(open_source(config_of(root), "train", Ledger(), classes).labels) == {1, 2, 3}


def test_a_split_alone_has_its_own_classes(root):
    assert open_source(config_of(root, train=None), "test", Ledger()).classes.names == ("cat", "dog")


def test_the_config_can_order_the_classes(root):
    config = config_of(root, classes=["eel", "cat", "dog"])
    assert np.bincount(open_source(config, "train", Ledger()).labels).tolist() == [2, 12, 6]
    assert open_source(config, "test", Ledger()).labels.tolist() == [1, 1, 1, 2]


def test_the_config_can_rename_classes(root):
    config = config_of(root, classes={"cat": "moggy", "eel": "anguilla"})
    assert open_source(config, "train", Ledger()).classes.names == ("moggy", "dog", "anguilla")
    assert open_source(config, "test", Ledger()).labels.tolist() == [0, 0, 0, 1]  # without an eel


RENAMING_FAULTS = {
    "no such class": ({"cow": "ox"}, "unknown class 'cow'"),
    "two become one": ({"cat": "dog"}, "expected distinct class names, found twice: dog"),
    "list too short": (["cat", "dog"], "unknown class 'eel'"),
    "list too long": (["cat", "dog", "eel", "fox"], "expected pictures of each class, found none of 1: fox"),
}


@pytest.mark.parametrize("case", RENAMING_FAULTS)
def test_a_list_of_classes_must_fit_the_data(root, case):
    classes, message = RENAMING_FAULTS[case]
    with pytest.raises(DataError, match=message):
        open_source(config_of(root, classes=classes), "train", Ledger())


def test_class_names_are_compared_in_one_form(root):
    (root / "train" / "cat").rename(root / "train" / "cafe\u0301")  # as macOS writes it
    (root / "test" / "cat").rename(root / "test" / "caf\u00e9")
    assert open_source(config_of(root), "train", Ledger()).classes.names == ("caf\u00e9", "dog", "eel")
    assert open_source(config_of(root, classes=["caf\u00e9", "dog", "eel"]), "test", Ledger()).labels[0] == 0


def test_a_sample_is_its_picture_label_and_path(root):
    source = open_source(config_of(root), "test", Ledger())
    sample = source[3]
    assert (sample.target, sample.image_id) == (1, "test/dog/000.png")
    assert sample.image.shape == (4, 6, 3)
    assert sample.image[0, 0].tolist() == [0, 20, 30]
    assert isinstance(sample.target, int)
    assert [sample.target for sample in source] == source.labels.tolist()


def test_holdout_keeps_a_share_of_each_class(root):
    config = config_of(root, holdout=0.25)
    train, val = (open_source(config, split, Ledger()) for split in ("train", "val"))
    assert np.bincount(val.labels).tolist() == [3, 2, 1]
    assert np.bincount(train.labels).tolist() == [9, 4, 1]
    assert sorted(ids_of(train) + ids_of(val)) == ids_of(open_source(config_of(root), "train", Ledger()))
    assert train.fingerprint != val.fingerprint


def test_holdout_depends_on_a_pictures_path_and_the_seed_alone(root):
    before = ids_of(open_source(config_of(root, holdout=0.5), "val", Ledger()))
    assert before != ids_of(open_source(config_of(root, holdout=0.5, seed=1), "val", Ledger()))
    add_pictures(root / "train" / "yak", 4)
    after = ids_of(open_source(config_of(root, holdout=0.5), "val", Ledger()))
    assert [path for path in after if "yak" not in path] == before


@pytest.mark.parametrize(
    ("count", "share", "kept"), [(0, 0.5, 0), (1, 0.5, 0), (2, 0.01, 1), (10, 0.25, 3), (10, 0.99, 9)]
)
def test_holdout_leaves_something_to_train_and_to_validate(count, share, kept):
    assert held_out(np.array([count]), share).tolist() == [kept]


def test_per_class_takes_so_many_training_pictures(root):
    config = config_of(root, per_class=3, holdout=0.25)
    train = open_source(config, "train", Ledger())
    assert np.bincount(train.labels).tolist() == [3, 3, 1]
    assert len(open_source(config, "val", Ledger())) == 6
    more = open_source(config_of(root, per_class=4, holdout=0.25), "train", Ledger())
    assert set(ids_of(train)) < set(ids_of(more))
    assert set(ids_of(train)).isdisjoint(ids_of(open_source(config, "val", Ledger())))
    assert len(open_source(config, "test", Ledger())) == 4


def test_the_fingerprint_follows_the_data(root):
    config = config_of(root)
    first = open_source(config, "train", Ledger()).fingerprint
    assert open_source(config, "train", Ledger()).fingerprint == first
    assert open_source(config_of(root, classes=["dog", "cat", "eel"]), "train", Ledger()).fingerprint != first
    assert open_source(config_of(root, classes={"cat": "cow"}), "train", Ledger()).fingerprint != first
    (root / "train/cat/000.png").rename(root / "train/cat/x.png")
    renamed = open_source(config, "train", Ledger()).fingerprint
    (root / "train/cat/x.png").rename(root / "train/dog/x.png")
    relabelled = open_source(config, "train", Ledger()).fingerprint
    with (root / "train/dog/x.png").open("ab") as file:
        file.write(b"\0")
    assert len({first, renamed, relabelled, open_source(config, "train", Ledger()).fingerprint}) == 4


def test_a_source_travels_to_other_processes(root):
    source = open_source(config_of(root), "test", Ledger())
    copy = pickle.loads(pickle.dumps(source))
    assert ids_of(copy) == ids_of(source)
    assert np.array_equal(copy[2].image, source[2].image)
    assert len(pickle.dumps(open_source(config_of(root), "train", Ledger()))) < 3000


def test_an_index_beyond_the_pictures_is_refused(root):
    source = open_source(config_of(root), "test", Ledger())
    for index in (-1, 4):
        with pytest.raises(IndexError):
            source[index]


PRINT_CLASSES = """
import json, sys
from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets import open_source
from visiontasks.ledger import Ledger
for config in json.loads(sys.argv[1]):
    source = open_source(DataConfig(**config), "train", Ledger())
    print(source.classes.names, source.fingerprint)
assert "torch" not in sys.modules
"""


def test_class_order_is_the_same_under_any_hash_seed_and_torch_is_left_alone(root):
    names = ["zebra", "Ant", "bee", "ant", "10", "9", "é"]
    rows = "".join(f"train/cat/{i:03}.png,{name}\n" for i, name in enumerate(names))
    (root / "t.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    configs = [
        {"root": str(root), "train": "train"},
        {"root": str(root), "train": "t.csv", "format": "csv"},
    ]
    outputs = set()
    for seed in range(5):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", PRINT_CLASSES, json.dumps(configs)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        outputs.add(done.stdout)
    (output,) = outputs
    assert "('10', '9', 'Ant', 'ant', 'bee', 'zebra', 'é')" in output


def test_a_relative_root_lies_under_the_environments_folder_or_here(root, monkeypatch):
    monkeypatch.delenv("VISIONTASKS_DATA", raising=False)
    monkeypatch.chdir(root)
    assert data_root("train").resolve() == (root / "train").resolve()
    monkeypatch.setenv("VISIONTASKS_DATA", str(root / "train"))
    assert data_root("cat") == root / "train" / "cat"
    assert data_root(str(root)) == root
    monkeypatch.setenv("HOME", str(root))
    assert data_root("~/test") == root / "test"


def test_a_root_that_is_not_there_says_what_is(root, monkeypatch):
    monkeypatch.setenv("VISIONTASKS_DATA", str(root))
    with pytest.raises(DataError) as caught:
        data_root("cifar/x")
    message = str(caught.value)
    assert (
        f"expected a folder of data at {root}/cifar/x (data.root 'cifar/x' under VISIONTASKS_DATA" in message
    )
    assert f"found nothing ({root} holds: test/, train/); set data.root, or VISIONTASKS_DATA" in message


LOCATION_FAULTS = {
    "no such split": (
        {"train": "training"},
        "train",
        "found nothing (ROOT holds: test/, train/); set data.train",
    ),
    "split not set": (
        {"test": None},
        "test",
        "found data.test: null; take --split train, or set data.test (ROOT holds: test/, train/)",
    ),
    "val not set": (
        {},
        "val",
        "found data.val: null; take --split test or train, or set data.val, or data.holdout",
    ),
    "a file": (
        {"train": "test/cat/000.png"},
        "train",
        "expected a folder at ROOT/test/cat/000.png, found a file",
    ),
    "a folder as CSV": ({"format": "csv"}, "train", "expected a CSV file at ROOT/train, found a folder"),
    "outside": ({"train": "../x"}, "train", "expected a path inside this folder, found '../x'"),
    "absolute": ({"train": "/etc"}, "train", "expected a path relative to this folder, found '/etc'"),
}


@pytest.mark.parametrize("case", LOCATION_FAULTS)
def test_a_wrong_location_says_what_is_there(root, case):
    values, split, message = LOCATION_FAULTS[case]
    with pytest.raises(DataError) as caught:
        open_source(config_of(root, **values), split, Ledger())
    assert message.replace("ROOT", str(root)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_balanced_sampling_gives_each_class_the_same_chance(root):
    source = open_source(config_of(root), "train", Ledger())
    values = {"name": "run", "data": {"root": str(root)}, "sampling": "balanced"}
    chances = sample_weights(ClassificationConfig.model_validate(values), source)
    assert chances.sum() == pytest.approx(1)
    assert np.bincount(source.labels, weights=chances) == pytest.approx([1 / 3] * 3)
    shuffled = ClassificationConfig.model_validate({**values, "sampling": "shuffle"})
    assert sample_weights(shuffled, source) is None


def test_class_weights(root):
    source = open_source(config_of(root), "train", Ledger())
    assert class_weights(LossConfig(), source) is None
    balanced = class_weights(LossConfig(class_weights="balanced"), source)
    assert balanced == pytest.approx([20 / 3 / 12, 20 / 3 / 6, 20 / 3 / 2])
    assert balanced[source.labels].mean() == pytest.approx(1)
    assert class_weights(LossConfig(class_weights={"eel": 4.0}), source).tolist() == [1, 1, 4]
    with pytest.raises(DataError, match="unknown class 'cow'"):
        class_weights(LossConfig(class_weights={"cow": 2.0}), source)
