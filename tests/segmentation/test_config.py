import pytest
import yaml

from visiontasks.config_files import parse_config, to_yaml
from visiontasks.errors import ConfigError
from visiontasks.segmentation.config import SegmentationConfig


def read(**sections):
    values = {"name": "run", "data": {"root": "here"}, **sections}
    return parse_config(SegmentationConfig, values, file="run.yaml")


def data_of(**values):
    return read(data={"root": "here", **values}).data


def test_values_of_masks_are_read_from_text():
    data = data_of(ids={"sky": "0", "being": ["24", "25"], "no": "7"}, ignore=["255", "void", "#000000"])
    assert data.ids == {"sky": (0,), "being": (24, 25), "no": (7,)}
    assert data.ignore == (255, "void", "#000000")
    assert data_of(ids=["no", "yes"]).ids == ("no", "yes")
    assert data_of(ids="null").ids is None


def test_colours_are_numbers_or_hexadecimal():
    data = data_of(
        colours={"sky": ["128", "128", "128"], "road": "#80C080", "car": ["#000001", ["0", "0", "2"]]}
    )
    assert data.colours == {
        "sky": ((128, 128, 128),),
        "road": ((128, 192, 128),),
        "car": ((0, 0, 1), (0, 0, 2)),
    }
    assert data_of(colours="class_dict.csv").colours == "class_dict.csv"


@pytest.mark.parametrize("data_format", ["voc", "cityscapes"])
def test_known_layouts_have_their_splits(data_format):
    data = data_of(format=data_format)
    assert (data.train, data.val) == ("train", "val")
    assert data_of(format=data_format, holdout="0.1").val is None
    assert data_of(format=data_format, train="trainval").train == "trainval"


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"root": "a", "ids": {"sky": 0, "road": [1, 2]}, "ignore": [255, "sky"]}},
        {"data": {"root": "a", "format": "colour", "colours": {"sky": "#010203"}, "key": r"(\d+)"}},
        {"input": {"size": [64, 96], "resize": "fit"}, "augment": {"scale": [0.5, 2], "rotate": 10}},
    ],
)
def test_a_resolved_config_reads_back_to_itself(sections):
    config = read(**sections)
    assert (
        parse_config(SegmentationConfig, yaml.load(to_yaml(config), yaml.BaseLoader), file="again") == config
    )


FAULTS = {
    "value twice": (
        {"data": {"root": "a", "ids": {"a": 1, "b": [0, 1]}}},
        r"data\.ids: expected each value once",
    ),
    "value too large": ({"data": {"root": "a", "ids": {"a": 65536}}}, r"data\.ids.*found 65536"),
    "no value": ({"data": {"root": "a", "ids": {"a": []}}}, "a value for each name"),
    "name twice": ({"data": {"root": "a", "ids": ["a", "a"]}}, r"each value once \(a comes twice\)"),
    "colour": ({"data": {"root": "a", "colours": {"a": [1, 2, 256]}}}, r"data\.colours.*found 256"),
    "colour twice": (
        {"data": {"root": "a", "colours": {"a": [1, 2, 3], "b": "#010203"}}},
        r"each value once \(#010203 comes twice\)",
    ),
    "pattern": ({"data": {"root": "a", "key": "(a"}}, r"data\.key: expected a regular expression"),
    "pattern without group": ({"data": {"root": "a", "key": "abc"}}, r"one group.*\(0 groups\)"),
    "format": ({"data": {"root": "a", "format": "mask"}}, r"data\.format: expected 'masks'"),
    "resize": (
        {"input": {"resize": "crop"}},
        r"input\.resize: expected 'none', 'fit', 'shorter' or 'stretch'",
    ),
    "scale": ({"augment": {"scale": [2, 1]}}, r"augment\.scale: expected \[min, max\]"),
    "scale of nothing": ({"augment": {"scale": [0, 1]}}, r"augment\.scale: expected \[min, max\]"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_wrong_value_is_named_with_its_key(case):
    sections, message = FAULTS[case]
    with pytest.raises(ConfigError, match=message):
        read(**sections)
