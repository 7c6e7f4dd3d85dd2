"""Choosing a backbone: names, options and their errors, all without torch."""

import importlib.util
import subprocess
import sys

import pytest

from visiontasks.backbones import (
    build_backbone,
    check_backbone,
    family_of,
    names,
    parse_options,
    torchvision_names,
)
from visiontasks.backbones.official import normalisation, renamed_tensors
from visiontasks.errors import ConfigError, UsageError


def test_names_cost_no_torch():
    code = (
        "import sys; from visiontasks import backbones; backbones.names();"
        "backbones.check_backbone('resnet18');"
        "backbones.parse_options('resnet18', {'stem': 'small'}); import visiontasks.backbones.official;"
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name():
    message = r"unknown backbone 'resnt18'; did you mean 'resnet18'\? choices: alexnet, "
    with pytest.raises(UsageError, match=message):
        build_backbone("resnt18")


def test_options_are_converted_from_text():
    options = parse_options("small", {"stem": "8", "widths": ["16", "32"]})
    assert (options.stem, options.widths) == (8, (16, 32))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"stm": "small"}, r"'resnet18': unknown key 'stm'; did you mean 'stem'\?"),
        ("resnet18", {"stem": "tiny"}, r"'resnet18': stem: expected 'standard' or 'small', found 'tiny'"),
        ("small", {"widths": []}, r"'small': widths: .*found \[\]"),
        ("vgg11", {"stem": "small"}, r"'vgg11': unknown key 'stem'"),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(name, **options)


def test_timm_needs_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"package timm for the backbone 'timm/resnet10t'.*pip install timm"):
        check_backbone("timm/resnet10t")
    assert check_backbone("resnet18") == "resnet18"
    assert family_of("timm/resnet10t") == "timm_nets"


def test_torchvision_names():
    assert set(names()) - set(torchvision_names()) == {"small", "alexnet_lrn"}


def test_renamed_tensors():
    official = {"layer1.0.conv1.weight": 1, "fc.bias": 2, "classifier.0.weight": 3, "aux1.fc1.weight": 4}
    assert renamed_tensors(official) == {
        "backbone.layer1.0.conv1.weight": 1,
        "head.fc.bias": 2,
        "head.classifier.0.weight": 3,
    }


def test_normalisation_of_the_official_weights():
    assert normalisation("googlenet") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalisation("resnet18")[0] == (0.485, 0.456, 0.406)
