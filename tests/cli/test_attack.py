"""`visiontasks attack` on every task: pictures, and the curve over a data set."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.contracts.drawn import QUICK, draw
from visiontasks import api
from visiontasks.errors import UsageError
from visiontasks.explain.attack import Attack
from visiontasks.io.images import read_image
from visiontasks.ops.pictures import resize
from visiontasks.tasks import TASKS

LONGER = {**QUICK, "train.epochs": 5, "train.batch_size": 4, "train.optimizer.lr": 0.01}
STRENGTHS = Attack(epsilons=(0, 2, 8))


@pytest.fixture(scope="module", params=list(TASKS))
def run(request, tmp_path_factory):
    """The last weights of a few epochs on drawn shapes."""
    root = tmp_path_factory.mktemp(request.param)
    path = draw(root / "shapes", request.param, 24)
    return api.train(path, LONGER, out=root / "run", no_check=True) / "weights" / "last.safetensors"


@pytest.fixture
def attack(call, run):
    """Run `attack` in an empty folder. Gives (exit code, stdout, stderr)."""
    return lambda *arguments: call("attack", *arguments, "-w", run, "--precision", "fp32")


def picture_of(run):
    folder = run.parents[2] / "shapes"
    found = sorted(p for p in folder.rglob("*") if "test" in p.parts and p.suffix in (".jpg", ".png"))
    return next(p for p in found if "masks" not in p.parts)


def same(first, second):
    """Whether two predictions are equal, whatever their task."""
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in type(first).__dataclass_fields__
    )


def test_a_picture_is_changed_within_epsilon_and_read_back(run):
    model = api.load(run, precision="fp32", device="cpu")
    picture = picture_of(run)
    for method in ("fgsm", "pgd"):
        found = api.attack(model, picture, Attack(method, (0, 2, 8), steps=3))
        size = found.clean.shape[:2]
        assert np.array_equal(found.clean, resize(read_image(picture), size))
        assert same(found.prediction, model(picture))
        still, *others = found.attacked
        assert np.array_equal(still.image, found.clean) and same(still.prediction, found.prediction)
        assert still.loss == pytest.approx(found.loss)
        for one in others:
            change = one.image.astype(int) - found.clean
            assert np.abs(change).max() == one.epsilon and (change != 0).mean() > 0.2
        assert max(one.loss for one in others) > found.loss
        again = api.attack(model, read_image(picture), Attack(method, (0, 2, 8), steps=3))
        assert method == "pgd" or all(
            a.png == b.png for a, b in zip(found.attacked, again.attacked, strict=True)
        )


def test_a_detection_or_mask_counts_as_the_truth_of_its_picture(run):
    model = api.load(run, precision="fp32", device="cpu")
    source = model.task.open_source(api.data_section(model, None, {}), "test", api.Ledger(), model.classes)
    truth = type(source[0].target)
    prediction = model(picture_of(run))
    assert isinstance(prediction.as_truth(), truth)
    evaluator = model.task.build_evaluator(model.classes)
    example = model.task.build_transform(model.opened.input, None, model.classes, None)(source[0], None, None)
    evaluator.update([prediction], [prediction.as_truth()], [example.info])
    value = evaluator.compute()[model.task.headline]
    assert np.isnan(value) or value == 1  # nan: nothing was found, so nothing is true


def test_what_is_written_is_what_was_said(run, attack):
    picture = picture_of(run)
    code, stdout, stderr = attack(picture, "--epsilon", "8,0", "-o", "out")
    assert code == 0, stderr
    content = json.loads(Path("out/attack.json").read_text(encoding="utf-8"))
    assert content["method"] == "fgsm" and content["epsilons"] == [0, 8]
    (record,) = content["images"]
    lines = stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"{picture}  epsilon ") for line in lines)
    model = api.load(run, precision="fp32", device="cpu")
    clean, attacked = record["attacks"]
    assert clean["after"] == record["before"] in lines[0]
    for row, line in zip(record["attacks"], lines, strict=True):
        read = read_image(Path("out") / row["picture"])
        assert model.task.describe(model(read), model.classes) == row["as_file"]
        assert row["after"] in line
        difference = read_image(Path("out") / row["difference"])
        unchanged = read_image(Path("out") / clean["picture"])
        expected = np.clip(128 + row["gain"] * (read.astype(int) - unchanged), 0, 255)
        assert np.array_equal(difference, expected)
    assert attacked["loss"] > clean["loss"]
    assert read_image(Path("out") / f"{picture.stem}.png").shape[1] > 3 * 256
    assert attack(picture, "--epsilon", "2", "-o", "out")[0] == 0  # earlier results are replaced


def test_strength_0_gives_the_clean_numbers_and_a_curve(run, attack):
    model = api.load(run, precision="fp32")
    clean = api.measure(model, "test", workers=0)[0]
    found = api.robustness(model, STRENGTHS, workers=0)
    headline = model.task.headline
    assert list(found.numbers) == [0, 2, 8] and found.images == len(list_of(run))
    for name, value in found.numbers[0].items():
        assert value == clean[name] or np.isnan(value), name
    if clean[headline] > 0.3:  # it learnt something
        assert found.numbers[8][headline] < clean[headline]
    alone = api.robustness(model, Attack(epsilons=(0,)), workers=0, batch_size=1)
    assert alone.numbers[0] == pytest.approx(dict(found.numbers[0]), nan_ok=True)
    code, stdout, stderr = attack("--epsilon", "8,0", "-o", "curve", "--workers", "0")
    assert code == 0, stderr
    assert [line.split()[:3] for line in stdout.splitlines()] == [
        ["epsilon", str(epsilon), headline] for epsilon in (0, 8)
    ]
    rows = list(csv.DictReader(Path("curve/robustness.csv").open(encoding="utf-8")))
    assert [int(row["epsilon"]) for row in rows] == [0, 8] and list(rows[0])[1] == headline
    for row in rows:
        assert float(row[headline]) == found.numbers[int(row["epsilon"])][headline]
    content = json.loads(Path("curve/attack.json").read_text(encoding="utf-8"))
    assert (content["task"], content["split"], content["of"]) == (model.task.name, "test", found.images)
    assert "seed" not in content  # nothing was drawn
    assert content["protocol"] == found.protocol and content["pictures"] == found.images
    assert read_image(Path("curve/robustness.png")).shape[2] == 3


def list_of(run):
    model = api.load(run)
    return model.task.open_source(api.data_section(model, None, {}), "test", api.Ledger(), model.classes)


def test_some_pictures_of_a_data_file(run, attack, tmp_path):
    section = yaml.safe_load((run.parents[1] / "config.yaml").read_text())["data"]
    data = tmp_path / "data.yaml"
    data.write_text(yaml.safe_dump(section))
    arguments = ("--data", data, "--max-images", 2, "--method", "pgd", "--steps", 1, "--epsilon", "1")
    code, stdout, stderr = attack(*arguments, "--workers", 0, "--json")
    assert code == 0, stderr
    content = json.loads(stdout)
    assert content["pictures"] == 2 and content["steps"] == 1 and len(content["robustness"]) == 1
    assert Path("runs/attack/001/robustness.csv").exists()


def test_a_picture_that_cannot_be_read_is_skipped(run, attack):
    Path("broken.png").write_bytes(b"no picture")
    code, stdout, stderr = attack("broken.png", picture_of(run), "--epsilon", "1", "--json", "-o", "out")
    assert code == 1 and "skipped: broken.png" in stderr and "1 picture, skipped 1" in stderr
    content = json.loads(stdout)
    assert [one["file"] for one in content["skipped"]] == ["broken.png"] and len(content["images"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-images", "3"), "expected pictures or a data set, found pictures and --max-images"),
        (("--seed", "3"), "expected --seed beside --method pgd or --max-images, found it alone"),
        (("--steps", "3"), "expected --steps beside --method pgd, found it beside fgsm"),
        (("--epsilon", "1.5"), "whole numbers from 0 to 255, for instance 0,1,2,4,8, found '1.5'"),
    ],
)
def test_flags_that_do_not_fit_are_refused(run, attack, arguments, message):
    code, _, error = attack(picture_of(run), *arguments)
    assert code == 2 and message in error and not Path("runs").exists()


def test_inputs_are_never_written_over(run, attack, monkeypatch):
    picture = picture_of(run)
    monkeypatch.chdir(picture.parent)
    before = picture.read_bytes()
    assert attack(picture.name, "-o", ".")[0] == UsageError.exit_code
    assert picture.read_bytes() == before


def test_gradients_are_left_out_of_the_network(run):
    model = api.load(run, precision="fp32")
    api.attack(model, picture_of(run), Attack("pgd", (4,), steps=1))
    assert all(parameter.grad is None for parameter in model.opened.network.parameters())
    assert not model.opened.network.training and torch.is_grad_enabled()


def test_a_limit_of_pixels_is_for_pictures_alone(run, attack):
    code, _, error = attack("--max-pixels", "9")
    assert code == 2 and "expected pictures beside --max-pixels, found none; data sets have" in error
    code, _, error = attack(picture_of(run), "--max-pixels", "9")
    assert code == 1 and "skipped: " in error
