"""Bundled models: each is small, measured and described; a made one shows that the checks can fail."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from torchvision import models as torchvision_models

from visiontasks import api, bundled, bundling
from visiontasks.bundled import DEFAULTS, TO_DO, find_faults, notes_of
from visiontasks.cli import visiontasks
from visiontasks.cli.predict import default_model
from visiontasks.data.shapes import draw_shapes
from visiontasks.engine.log import Report
from visiontasks.errors import UsageError, WeightsError
from visiontasks.io import weights
from visiontasks.io.download_sizes import DOWNLOAD_MB
from visiontasks.io.weights import bundled_weights, read_record, save_weights
from visiontasks.tasks import TASKS, load_task

NAME = DEFAULTS["classification"]
ABOUT = bundling.About("6 drawn shapes", "Shapes", "CC0: for any use", "configs/shapes.yaml")
BACKBONE = {"backbone": "small", "options": {"stem": 4, "widths": [4, 8, 8]}}
HEADS = {
    "detection": {"pyramid": {"channels": 8}, "head": {"widths": [16]}},
    "segmentation": {"widths": [8, 4]},
}
QUICK = {"epochs": 1, "batch_size": 6, "workers": 0, "precision": "fp32"}


def test_every_bundled_model_is_small_measured_and_described():
    assert find_faults(bundled_weights()) == []


def test_every_bundled_model_is_of_its_recipe():
    for file in bundled_weights().values():
        notes = notes_of(read_record(file), file)
        assert bundling.matching_recipe(notes.config, notes.recipe)  # it raises where they differ


def test_the_defaults_are_models_of_their_tasks():
    files = bundled_weights()
    assert DEFAULTS.keys() == bundled.ALTERNATIVES.keys() == TASKS.keys()
    assert {task: read_record(files[name]).task for task, name in DEFAULTS.items() if name in files} == {
        task: task for task, name in DEFAULTS.items() if name in files
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of bundled models, what `bundle` made, the run) of drawn shapes."""
    place = tmp_path_factory.mktemp("place")
    patch = pytest.MonkeyPatch()
    patch.setattr("visiontasks.classification.operating_point.LEAST_PICTURES", 1)
    patch.setenv("VISIONTASKS_DATA", str(place))
    patch.chdir(place)
    values = yaml.safe_load(
        draw_shapes(place / "shapes", "classification", 120, 0, size=(32, 32)).config.read_text()
    )
    data = {**values["data"], "root": "shapes"}
    values |= {
        "data": data,
        "input": {"size": [32, 32], "resize": "stretch"},
        "model": BACKBONE,
        "train": QUICK,
    }
    Path("configs").mkdir()
    Path(ABOUT.recipe).write_text(yaml.safe_dump(values))
    run = api.train(ABOUT.recipe, {"data.root": str(place / "shapes"), "train.workers": 0}, out=place / "run")
    folder = place / "weights"
    result = bundling.bundle(run, NAME, ABOUT, folder=folder, report=Report(speaks=False))
    card = bundling.write_card(result)
    result.file.with_suffix(".md").write_text(card.replace(TO_DO, "nothing serious"))
    yield folder, result, run
    patch.undo()


@pytest.fixture
def in_the_box(made, monkeypatch, tmp_path):
    """A copy of the made model, bundled; gives its file."""
    shutil.copytree(made[0], tmp_path / "box")
    monkeypatch.setattr(weights, "BUNDLED", tmp_path / "box")
    return tmp_path / "box" / f"{NAME}.safetensors"


def test_a_made_model_has_no_faults(in_the_box):
    assert find_faults(bundled_weights()) == []


def test_weights_are_halved_and_norm_layers_are_not(made):
    _, result, run = made
    full, half = load_file(run / "weights" / "best.safetensors"), load_file(result.file)
    assert full.keys() == half.keys()
    for name, tensor in half.items():
        assert tensor.dtype == (torch.float16 if full[name].ndim >= 2 else full[name].dtype), name
    assert {tensor.dtype for tensor in half.values()} >= {torch.float16, torch.float32}


def test_a_bundled_model_measures_what_its_record_says(made, in_the_box):
    notes = notes_of(read_record(in_the_box), in_the_box)
    assert notes.measured.keys() == {"val", "test"}
    for split, figures in notes.measured.items():
        numbers = api.evaluate(api.load(NAME), split)
        assert figures.metrics.items() <= {k: v if v == v else None for k, v in numbers.items()}.items()
    assert notes.config["data"]["root"] == "shapes" and str(made[0].parent) not in notes.model_dump_json()
    assert read_record(in_the_box).options["temperature"] != 1.0
    assert notes.parameters == sum(p.numel() for p in api.load(NAME).opened.network.parameters())


def test_the_card_says_how_calibration_was_chosen_and_what_is_to_do(made):
    card = bundling.write_card(made[1])
    assert card.count(TO_DO) == 2
    assert "not a stranger's judgement" in card.split("On test")[0]
    assert "not a stranger's judgement" not in card.split("On test")[1]
    for label in made[1].record.classes:
        assert card.count(f"\n| {label} | ") == 2  # val and test


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("CC0: for any use", "", "expected 'CC0: for any use', not found"),
        ("Shapes", "Something", "expected 'Shapes', not found"),
        ("visiontasks train configs", "train configs", "expected 'visiontasks train configs/shapes.yaml'"),
        ("## Must not be used for", "## Fine for", "expected '## Must not be used for', not found"),
        ("| top1 | 0.", "| top1 | 0.9", r"expected '\| top1 \| 0\.\d+ \(.*\) \|', not found"),
        ("nothing serious", TO_DO, "expected all of it written, found 'TO DO'"),
    ],
)
def test_a_card_that_leaves_out_or_changes_something(in_the_box, old, new, fault):
    card = in_the_box.with_suffix(".md")
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(AssertionError, match=fault):
        assert find_faults(bundled_weights()) == []


def test_other_faults_of_bundled_models(in_the_box, monkeypatch):
    record = read_record(in_the_box)
    notes = record.provenance

    def faults(**changes):
        save_weights(in_the_box, {}, record.model_copy(update={"provenance": {**notes, **changes}}))
        return "\n".join(find_faults(bundled_weights()))

    assert "no path of a machine, found /data/x" in faults(config={"data": {"root": "/data/x"}})
    assert "no path of a machine, found ~/x" in faults(config={"model": {"weights": "~/x"}, "list": ["a/b"]})
    assert "in provenance.minutes: Input should be greater than 0" in faults(minutes=0)
    assert "in provenance.measured: Dictionary should have at least 1 item" in faults(measured={})
    measured = {split: {**figures, "full_precision": 2.0} for split, figures in notes["measured"].items()}
    assert "expected at most 0.002 lost by fp16, found top1 2.0000 -> 0." in faults(measured=measured)
    in_the_box.with_suffix(".md").unlink()
    assert faults() == f"{NAME}: expected a card, found no {NAME}.md"
    monkeypatch.setattr(bundled, "MOST_MB", 0.001)
    monkeypatch.setattr(bundled, "MOST_MB_TOGETHER", 0.002)
    found = faults()
    assert "expected at most 0.001 MB, found 0.0" in found and "0.002 MB of bundled models" in found


def test_a_run_of_another_recipe_is_not_bundled(made, tmp_path):
    _, _, run = made
    recipe = yaml.safe_load(Path(ABOUT.recipe).read_text())
    for section, change, message in (
        ("train", {"batch_size": 7}, "found another; train.batch_size: recipe 7, run 6$"),
        ("model", {"weights": "tiny-imagenet"}, "model.weights: recipe 'tiny-imagenet', run None$"),
        ("data", {"root": "/elsewhere"}, r"expected paths relative to the data, found /elsewhere$"),
    ):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**recipe, section: {**recipe[section], **change}}))
        with pytest.raises(UsageError, match=message):
            bundling.bundle(
                run, NAME, replace(ABOUT, recipe=str(path)), folder=tmp_path, report=Report(speaks=False)
            )
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_model_that_is_too_large_is_not_bundled(made, tmp_path, monkeypatch):
    monkeypatch.setattr(bundling, "MOST_MB", 0.001)
    with pytest.raises(UsageError, match=r"expected at most 0\.001 MB, found 0\.0"):
        bundling.bundle(made[2], NAME, ABOUT, folder=tmp_path, report=Report(speaks=False))
    assert not list(tmp_path.iterdir())


def call(*arguments):
    result = CliRunner().invoke(
        visiontasks, [str(argument) for argument in arguments], catch_exceptions=False
    )
    return result.exit_code, result.stdout, result.stderr


def test_models_lists_what_is_bundled(in_the_box):
    code, said, _ = call("models")
    notes = notes_of(read_record(in_the_box), in_the_box)
    value = notes.measured["test"].metrics["top1"]
    row = " ".join(next(line for line in said.splitlines() if line.startswith(NAME)).split())
    assert code == 0
    assert row.startswith(f"{NAME} * classify 6 top1 {value:.3f} (test) {bundled.megabytes(in_the_box):.1f} ")
    assert "Shapes: CC0" in row
    found = json.loads(call("models", "--json")[1])
    entry = found["bundled"][NAME]
    assert entry["headline"] == {"split": "test", "metric": "top1", "value": value}
    assert entry["licence"] == ABOUT.licence and entry["measured"]["val"]["pictures"] > 0
    assert found["short"]["detect"]["coco"] == "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"


def test_models_refuses_a_file_that_was_not_made_with_bundle(in_the_box):
    record = read_record(in_the_box)
    save_weights(in_the_box, {}, record.model_copy(update={"provenance": {}}))
    with pytest.raises(
        WeightsError, match=r"record of a bundled model, found in provenance\.summary: Field req"
    ):
        call("models")


def test_sizes_of_downloads_are_those_that_torchvision_states():
    assert DOWNLOAD_MB.keys() == {name for task in TASKS for name in load_task(task).official}
    for name, size in DOWNLOAD_MB.items():
        stated = torchvision_models.get_model_weights(name).DEFAULT.meta["_file_size"]
        assert size == pytest.approx(stated, abs=0.06), name
    said = bundled.ALTERNATIVES
    assert f"a download of {DOWNLOAD_MB['mobilenet_v3_large']:.0f} MB" in said["classification"]
    for task in ("detection", "segmentation"):
        coco = weights.SHORT_NAMES["coco"][task].removeprefix("torchvision:")
        assert f"use -w coco, a download of {DOWNLOAD_MB[coco]:.0f} MB" in said[task]


def test_a_verb_without_weights_says_what_the_default_knows(in_the_box, made, tmp_path, monkeypatch):
    picture = next((made[0].parent / "shapes").rglob("*.png"))
    line = (
        f"{NAME}: 6 drawn shapes (data's terms: {ABOUT.licence}); for ImageNet's 1000 use "
        "-w torchvision:mobilenet_v3_large, a download of 21 MB; visiontasks models lists all"
    )
    for number, verb in enumerate(("classify", "explain", "attack")):
        code, said, errors = call(verb, picture, "-o", tmp_path / str(number))
        assert code == 0 and said, errors
        assert errors.splitlines()[0] == line
    given = call("classify", picture, "-w", NAME, "-o", tmp_path / "given")
    assert given[0] == 0 and "6 drawn shapes" not in given[2]


def test_without_the_default_a_verb_asks_for_weights(in_the_box):
    for task in ("detection", "segmentation"):
        with pytest.raises(
            UsageError, match=f"^no model for {task} is bundled with this version; say which with -w"
        ):
            default_model(task)


@pytest.mark.parametrize("task", list(TASKS))
def test_a_bundled_backbone_is_a_start_for_every_task(task, in_the_box, tmp_path, capfd):
    """Named in a config; with feature extraction the run ends with the very same backbone."""
    path = draw_shapes(tmp_path / "drawn", task, 18, 1, size=(48, 64)).config
    values = yaml.safe_load(path.read_text())
    values |= {"model": {**BACKBONE, **HEADS.get(task, {}), "weights": NAME}}
    values |= {"train": {**QUICK, "transfer": "feature_extraction"}}
    path.write_text(yaml.safe_dump(values))
    run = api.train(path, out=tmp_path / "run")
    receipt = next(line for line in capfd.readouterr().err.splitlines() if line.startswith("weights from"))
    assert receipt.startswith(f"weights from {NAME}: ")
    assert ("the head starts anew (the weights are for classification)" in receipt) == (
        task != "classification"
    )
    start, end = load_file(in_the_box), load_file(run / "weights" / "last.safetensors")
    backbone = [name for name in start if name.startswith("backbone.")]
    assert len(backbone) > 5
    for name in backbone:
        assert torch.equal(end[name], start[name].to(end[name].dtype)), name
    assert read_record(run / "weights" / "last.safetensors").provenance["config"]["model"]["weights"] == NAME
