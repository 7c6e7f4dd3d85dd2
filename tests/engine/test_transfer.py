"""Transfer learning: what is frozen stays, what is copied is listed."""

import re

import pytest
import torch
from safetensors.torch import load_file

from visiontasks import api
from visiontasks.classification import TASK
from visiontasks.engine.model_files import initialise
from visiontasks.errors import ConfigError, UsageError, WeightsError


def weights(run, which="last"):
    return load_file(run / "weights" / f"{which}.safetensors")


@pytest.fixture
def trained(write_config, tmp_path):
    return api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "first")


def test_feature_extraction_changes_no_tensor_of_the_backbone(write_config, tmp_path, trained):
    settings = {"model.weights": str(trained), "train.transfer": "feature_extraction", "train.epochs": 2}
    run = api.train(write_config(), settings, out=tmp_path / "second")
    before, after = weights(trained, "best"), weights(run)
    backbone = [name for name in before if name.startswith("backbone.")]
    assert any("running_mean" in name for name in backbone)
    assert [name for name in backbone if not torch.equal(before[name], after[name])] == []
    assert not torch.equal(before["head.fc.weight"], after["head.fc.weight"])


def test_fine_tuning_changes_the_backbone_less_with_a_small_rate(write_config, tmp_path, trained):
    moved = []
    for rate in (0.01, 1.0):
        settings = {
            "model.weights": str(trained),
            "train.transfer": "fine_tune",
            "train.optimizer.backbone_lr": rate,
            "train.ema": 0,
        }
        run = api.train(write_config(), settings, out=tmp_path / str(rate))
        before, after = weights(trained, "best"), weights(run)
        name = next(
            n for n in before if n.startswith("backbone.") and n.endswith("weight") and before[n].ndim == 4
        )
        moved.append((after[name] - before[name]).norm().item())
    assert 0 < moved[0] < 0.2 * moved[1]


def test_the_receipt_says_what_was_taken(trained):
    model = api.load(trained).opened
    torch.manual_seed(1)
    fresh = api.load(trained).opened.network
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter)
    line = initialise(fresh, str(trained), TASK, model.classes, model.input)
    count = len(model.network.state_dict())
    assert line.endswith(f"{count} tensors matched")
    assert all(
        torch.equal(a, b)
        for a, b in zip(fresh.state_dict().values(), model.network.state_dict().values(), strict=True)
    )
    renamed = model.classes.renamed({"circle": "disc"})
    line = initialise(fresh, str(trained), TASK, renamed, model.input)
    assert "2 missing" in line
    assert "the head starts anew" in line


def test_weights_of_another_backbone_are_refused(write_config, tmp_path, trained):
    settings = {"model.weights": str(trained), "model.backbone": "resnet18", "model.options": {}}
    with pytest.raises(WeightsError, match=r"missing or of another shape .* set in `model:` .*\"small\""):
        api.train(write_config(), settings, out=tmp_path / "second")


def test_weights_of_other_widths_are_refused_though_their_first_layers_fit(write_config, tmp_path, trained):
    settings = {"model.weights": str(trained), "model.options.widths": [8, 16, 24]}
    with pytest.raises(WeightsError, match=r"expected all tensors of this backbone, .*\[\"8\", "):
        api.train(write_config(), settings, out=tmp_path / "second")


def test_weights_that_expect_other_pixel_values_are_told_of(trained):
    model = api.load(trained).opened
    other = model.input.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    line = initialise(model.network, str(trained), TASK, model.classes, other)
    assert re.search(r"; warning: they expect input.mean \[.*\], found \[0.5, 0.5, 0.5\]$", line)


@pytest.mark.parametrize(
    ("transfer", "weights", "expected"),
    [
        ("scratch", "tiny-imagenet", "train.transfer: fine_tune or feature_extraction with model.weights"),
        ("fine_tune", None, "model.weights with train.transfer: fine_tune, found null"),
        ("feature_extraction", None, "model.weights with train.transfer: feature_extraction, found null"),
    ],
)
def test_a_way_of_transfer_that_contradicts_the_start_is_refused(write_config, transfer, weights, expected):
    with pytest.raises(ConfigError, match=f": expected {expected}"):
        api.load_config(write_config(), {"train.transfer": transfer, "model.weights": weights})


def test_weights_are_fine_tuned_unless_something_else_is_said(write_config):
    for weights, expected in ((None, "scratch"), ("null", "scratch"), ("tiny-imagenet", "fine_tune")):
        _, config = api.load_config(write_config(), {"model.weights": weights})
        assert config.train.transfer == expected


def test_weights_that_do_not_exist_are_named(write_config, tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.safetensors"):
        api.train(write_config(), {"model.weights": "nowhere.safetensors"}, out=tmp_path / "run")
