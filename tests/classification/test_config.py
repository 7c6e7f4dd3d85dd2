import pytest
import yaml

from visiontasks.classification.config import ClassificationConfig
from visiontasks.classification.datasets import FORMATS
from visiontasks.config_files import parse_config, to_yaml
from visiontasks.errors import ConfigError


def parse(**sections):
    values = {"name": "run", "data": {"root": "pictures"}}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return parse_config(ClassificationConfig, values, file="run.yaml")


def test_a_config_written_out_reads_back_the_same():
    config = parse(
        data={"classes": {"moggy": "cat"}, "train": "train", "holdout": "0.1"},
        augment={"crop_scale": ["0.3", "1"], "mixup": "0.2"},
        loss={"class_weights": {"cat": "2"}},
    )
    values = yaml.load(to_yaml(config), Loader=yaml.BaseLoader)
    assert parse_config(ClassificationConfig, values, file="again") == config


def test_class_names_stay_as_written():
    values = yaml.load("name: run\ndata: {root: x, classes: [no, yes, 1e3, null]}", Loader=yaml.BaseLoader)
    config = parse_config(ClassificationConfig, values, file="run.yaml")
    assert config.data.classes == ("no", "yes", "1e3", "null")


def test_the_layout_of_tiny_imagenet_names_its_splits():
    data = parse(data={"format": "tiny-imagenet"}).data
    assert (data.train, data.val, data.test) == ("train", "val", None)


def test_the_splits_of_tiny_imagenet_can_be_changed():
    data = parse(data={"format": "tiny-imagenet", "val": "null", "test": "val", "holdout": "0.1"}).data
    assert (data.train, data.val, data.test, data.holdout) == ("train", None, "val", 0.1)


def test_every_format_in_the_config_has_an_adapter():
    schema = ClassificationConfig.model_json_schema()
    assert set(schema["$defs"]["DataConfig"]["properties"]["format"]["enum"]) == set(FORMATS)


FAULTS = {
    "format": ({"data": {"format": "foldr"}}, "data.format: expected 'folder', 'csv' or 'tiny-imagenet'"),
    "root": ({"data": {"root": ""}}, "data.root: expected"),
    "classes as one word": ({"data": {"classes": "cat"}}, "data.classes: expected a list of class names"),
    "no classes": ({"data": {"classes": []}}, "data.classes: expected a list of class names"),
    "class twice": ({"data": {"classes": ["a", "a"]}}, "distinct class names ('a' comes twice)"),
    "two classes renamed to one": ({"data": {"classes": {"a": "c", "b": "c"}}}, "('c' comes twice)"),
    "val and holdout": (
        {"data": {"val": "v", "holdout": "0.1"}},
        "data.holdout: expected 0 where val is set (to 'v'), or val: null, found '0.1'",
    ),
    "holdout of all": ({"data": {"holdout": "1"}}, "data.holdout: expected less than 1, found '1'"),
    "per_class": ({"data": {"per_class": "0"}}, "data.per_class: expected greater than or equal to 1"),
    "mean in 0..255": (
        {"input": {"mean": ["123.7", "116.3", "103.5"]}},
        "input.mean: expected fractions of 255, from 0 to 1",
    ),
    "std of zero": ({"input": {"std": ["0", "0.2", "0.2"]}}, "input.std: expected fractions of 255, above 0"),
    "crop_scale upside down": (
        {"augment": {"crop_scale": ["1", "0.1"]}},
        "augment.crop_scale: expected [min, max] with 0 < min <= max, found ['1', '0.1']",
    ),
    "crop_scale over the picture": (
        {"augment": {"crop_scale": ["0.5", "1.5"]}},
        "augment.crop_scale: expected [min, max] with max at most 1",
    ),
    "two crops": (
        {"augment": {"crop_scale": ["0.5", "1"], "pad_crop": "4"}},
        "augment.pad_crop: expected 0 beside crop_scale: one random crop is enough, found '4'",
    ),
    "pad beyond the picture": (
        {"input": {"size": ["40", "32"]}, "augment": {"pad_crop": "32"}},
        "augment: expected pad_crop below the input's shorter side (32 pixels)",
    ),
    "cutout beyond the picture": (
        {"input": {"size": ["40", "32"]}, "augment": {"cutout": "40"}},
        "augment: expected cutout below the input's shorter side (32 pixels)",
    ),
    "backbone": ({"model": {"backbone": "resnt18"}}, "unknown backbone 'resnt18'; did you mean 'resnet18'?"),
    "option": (
        {"model": {"backbone": "resnet18", "options": {"stm": "small"}}},
        "options of backbone 'resnet18': unknown key 'stm'; did you mean 'stem'?",
    ),
    "smoothing of all": ({"loss": {"label_smoothing": "1"}}, "loss.label_smoothing: expected less than 1"),
    "weights as a word": (
        {"loss": {"class_weights": "inverse"}},
        "loss.class_weights: expected balanced, null, or {class name: factor}, found 'inverse'",
    ),
    "weight of zero": (
        {"loss": {"class_weights": {"cat": "0"}}},
        "loss.class_weights: expected a factor above 0 for each class",
    ),
    "balanced twice": (
        {"loss": {"class_weights": "balanced"}, "sampling": "balanced"},
        "sampling: expected shuffle beside loss.class_weights: balanced",
    ),
    "unknown key": ({"augment": {"flips": "1"}}, "unknown key 'augment.flips'; did you mean 'flip'?"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_line_that_names_the_key(case):
    sections, expected = FAULTS[case]
    with pytest.raises(ConfigError) as caught:
        parse(**sections)
    (fault,) = caught.value.faults
    assert fault.startswith("run.yaml: ")
    assert expected in fault


def test_all_faults_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        parse(data={"format": "zip"}, augment={"flip": "2"}, sampling="fair")
    assert [fault.split(": ")[1] for fault in caught.value.faults] == [
        "data.format",
        "augment.flip",
        "sampling",
    ]
