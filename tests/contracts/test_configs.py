"""Every recipe in configs/ is read, built and run one step, on small drawn data."""

from pathlib import Path

import pytest
import yaml

from visiontasks import api
from visiontasks.config_files import parse_config, to_yaml
from visiontasks.data.shapes import draw_shapes
from visiontasks.io.weights import bundled_weights
from visiontasks.tasks import TASKS

RECIPES = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


def test_there_are_recipes():
    assert len(RECIPES) >= 4


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The data section of small drawn data, by task."""
    sections = {}
    for task in TASKS:
        root = tmp_path_factory.mktemp("recipes") / task
        config = draw_shapes(
            root, task, 18, 0, size=(32, 32) if task == "classification" else (64, 96)
        ).config
        sections[task] = yaml.safe_load(config.read_text())["data"]
    return sections


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_how_and_runs_a_step(path, drawn, tmp_path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("visiontasks train" in line for line in header)
    assert any("minute" in line for line in header)
    recipe = yaml.safe_load(path.read_text())
    task = recipe["task"]
    small = {
        "data": drawn[task],
        "loss.class_weights": None,
        "train.epochs": 1,
        "train.batch_size": 2,
        "train.workers": 0,
        "train.schedule.warmup": 0,
    }
    if task == "detection":
        del small["loss.class_weights"]
    if max(recipe["input"]["size"]) > 64:
        small["input.size"] = [32, 32] if task == "classification" else [64, 96]
    if recipe["augment"].get("pad_crop"):
        small["augment.pad_crop"] = 2
    if not bundled_weights():  # before the models are trained that recipes start from
        small |= {"model.weights": None, "train.transfer": "scratch"}
    run = api.train(path, small, out=tmp_path / "run")
    assert (run / "weights" / "best.safetensors").exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_resolved_recipe_reads_back_to_itself(path):
    _, config = api.load_config(path, {})
    assert parse_config(type(config), yaml.load(to_yaml(config), yaml.BaseLoader), file="again") == config


def test_recipes_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task, config = api.load_config(Path("configs/classification/cifar10.yaml"), {})
    assert (task.name, config.name) == ("classification", "cifar10")
