"""Which data a command means: `--data` is a DATA.yaml or a config."""

import json
from types import SimpleNamespace

import pytest

from visiontasks.classes import ClassMap
from visiontasks.errors import ConfigError, UsageError
from visiontasks.model import data_section
from visiontasks.tasks import load_task


def test_a_config_stands_for_its_data_section_and_its_lines_are_told(tmp_path):
    section = {"root": str(tmp_path), "test": "train", "ids": ["sky", "road"]}
    (tmp_path / "config.yaml").write_text(json.dumps({"task": "segmentation", "data": section}))
    model = SimpleNamespace(name="a model", classes=ClassMap(("sky", "road")), task=load_task("segmentation"))
    assert data_section(model, tmp_path / "config.yaml", {}).test == "train"
    (tmp_path / "config.yaml").write_text("task: segmentation\ndata:\n  root: .\n  tset: train\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:4: unknown key 'tset'; did you mean 'test'\?"):
        data_section(model, tmp_path / "config.yaml", {})
    (tmp_path / "config.yaml").write_text("task: detection\ndata: {root: .}\n")
    with pytest.raises(UsageError, match="expected data for segmentation, found task: detection"):
        data_section(model, tmp_path / "config.yaml", {})
