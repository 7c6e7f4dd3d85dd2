"""A weights file of a stranger describes a network: none is built before its tensors are the file's."""

import pytest
import torch

import visiontasks as vt
from visiontasks.errors import ConfigError, WeightsError
from visiontasks.io.weights import ModelRecord, save_weights

CASES = {  # what the record asks for -> the line
    "more than any machine has": ({"name": "unet", "widths": [10**6] * 4}, "expected the tensors of its own"),
    "more than can be counted": (
        {"name": "naive", "width": 10**10},
        "expected a record of a network that can",
    ),
    "a width of no machine's integer": ({"name": "naive", "width": 10**30}, "expected a record of a network"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_giant_is_refused_in_one_line(case, tmp_path):
    model, line = CASES[case]
    file = tmp_path / "giant.safetensors"
    record = ModelRecord(task="segmentation", model=model, input={}, classes=("a", "b"))
    save_weights(file, {"a": torch.zeros(1)}, record)
    with pytest.raises(WeightsError, match=rf"giant\.safetensors: {line}"):
        vt.load(file)


RECORDS = {  # what else a record may hold -> the line
    "an unknown option": ({"options": {"speed": 1.0}}, "expected an option of classification .*'speed'"),
    "no temperature": ({"options": {"temperature": 0.0}}, "expected temperature above 0, found 0.0"),
    "a negative one": ({"options": {"temperature": -1.0}}, "expected temperature above 0, found -1.0"),
    "an unknown task": ({"task": "counting"}, "expected a model of .*, found one of 'counting'"),
    "a file to read": (
        {"input": {"proposals": {"file": "canary.json"}}},
        "expected a model that is whole in itself, found that its record names a file",
    ),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_is_refused_with_the_files_name(case, tmp_path):
    changes, line = RECORDS[case]
    file = tmp_path / "odd.safetensors"
    record = ModelRecord(task="classification", model={}, input={}, classes=("a", "b"))
    save_weights(file, {"a": torch.zeros(1)}, record.model_copy(update=changes))
    with pytest.raises(WeightsError, match=rf"odd\.safetensors: {line}"):
        vt.load(file)


def test_so_is_a_network_of_millions_of_layers(tmp_path):
    file = tmp_path / "deep.safetensors"
    model = {"name": "naive", "depth": 10**9}
    save_weights(file, {}, ModelRecord(task="segmentation", model=model, input={}, classes=("a", "b")))
    with pytest.raises(
        ConfigError,
        match=r"deep\.safetensors: .*depth: expected less than or equal to 1000, found 1000000000",
    ):
        vt.load(file)
