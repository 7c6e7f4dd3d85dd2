"""`visiontasks explain` of the network itself on a tiny model: filters, patches, dissection, maximisation."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from visiontasks import api
from visiontasks.cli import visiontasks
from visiontasks.cli.explain_network import OPTIONS_OF, parse_units
from visiontasks.data.shapes import draw_shapes
from visiontasks.errors import DataError, RunError, UsageError, VisionTasksError
from visiontasks.io.images import read_image

QUICK = {"train.epochs": 1, "train.batch_size": 6, "train.workers": 0, "train.precision": "fp32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small network that has seen drawn shapes for an epoch."""
    root = tmp_path_factory.mktemp("shapes") / "data"
    path = draw_shapes(root, "classification", 18, 0, size=(48, 64)).config
    small = {"backbone": "small", "options": {"stem": 4, "widths": [4, 8]}}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "model": small}))
    return api.train(path, QUICK, out=tmp_path_factory.mktemp("runs") / "run")


def explain(run, out, *arguments):
    result = CliRunner().invoke(
        visiontasks, ["explain", "-w", str(run), "-o", str(out), "--device", "cpu", *arguments]
    )
    if isinstance(result.exception, Exception):
        raise result.exception
    return result, json.loads((out / "explanation.json").read_text())


def test_filters(run, tmp_path):
    result, record = explain(run, tmp_path / "out", "--method", "filters")
    assert record["first"] == "backbone.stem.0" and "4 filters 3x3 of 3 channels" in result.output
    assert list(record["layers"].values()).count("8 filters 3x3 of 8 channels") == 1
    for name in ("filters.png", "layers.png"):
        assert read_image(tmp_path / "out" / name).ndim == 3


def test_gabor_functions_of_too_small_filters_are_refused(run, tmp_path):
    with pytest.raises(VisionTasksError, match=r"at least 4x4 weights, found 3x3"):
        explain(run, tmp_path / "out", "--method", "filters", "--gabor")


def test_gabor_table(tmp_path):
    from visiontasks.cli.explain_network import _gabors
    from visiontasks.explain.gabor import gabor_functions

    plane = gabor_functions(np.array([[1.0, 0.1, 0.05, 0.5, 1.2, 0.3, 0.0, 0.0]]), (7, 7))
    record = _gabors(plane[:, None].repeat(3, axis=1), "mean", tmp_path)
    with open(tmp_path / "gabor.csv") as file:
        (row,) = csv.DictReader(file)
    assert float(row["explained"]) == pytest.approx(1, abs=1e-6) and float(row["in_plane"]) == pytest.approx(
        1
    )
    assert record["median"] == pytest.approx(1, abs=1e-6) and 0 < record["noise"] < 0.5
    assert record["above_noise"] == 1 and (tmp_path / "gabor.png").exists()


def test_top_patches(run, tmp_path):
    arguments = ["--method", "top-patches", "--layer", "stages.0", "--patches", "3", "--split", "val"]
    arguments += ["--workers", "0", "--max-skip", "0.5"]
    result, record = explain(run, tmp_path / "out", *arguments, "--units", "0-1,3")
    assert [unit["unit"] for unit in record["units"]] == [0, 1, 3]
    assert record["receptive_field"] == [10, 10] and record["sheets"] == ["top-patches-000.png"]
    assert "3 units of stages.0, which see 10x10 network pixels" in result.output
    for unit in record["units"]:
        scores = [patch["score"] for patch in unit["patches"]]
        assert scores == sorted(scores, reverse=True) and len({p["file"] for p in unit["patches"]}) == len(
            scores
        )
    assert read_image(tmp_path / "out" / "top-patches-000.png").ndim == 3


def test_top_patches_of_data_with_other_classes(run, tmp_path):
    section = yaml.safe_load(
        draw_shapes(tmp_path / "data", "classification", 18, 0, size=(48, 64)).config.read_text()
    )["data"]
    for folder in list((tmp_path / "data").rglob("circle")):
        folder.rename(folder.with_name("blob"))
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(section))
    model = api.load(run, device="cpu")
    top, _, source = api.top_patches(model, "stages.0", 2, data=tmp_path / "data.yaml", workers=0)
    assert "blob" in source.classes.names and (top.pictures >= 0).all()


def test_top_patches_where_no_picture_can_be_read(run, tmp_path):
    section = yaml.safe_load(
        draw_shapes(tmp_path / "data", "classification", 18, 0, size=(48, 64)).config.read_text()
    )["data"]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(section))
    for path in (path for path in (tmp_path / "data").rglob("*.*") if "test" in path.parts):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="--max-skip"):
        api.top_patches(api.load(run), "stages.0", 2, data=tmp_path / "data.yaml", workers=0)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """The DATA.yaml of drawn shapes with masks."""
    root = tmp_path_factory.mktemp("masks")
    config = yaml.safe_load(
        draw_shapes(root / "data", "segmentation", 18, 0, size=(48, 64)).config.read_text()
    )
    (root / "data.yaml").write_text(yaml.safe_dump(config["data"]))
    return root / "data.yaml"


def test_dissect(run, masks, tmp_path):
    """Twice, in batches of other sizes."""
    how = ["--method", "dissect", "--data", str(masks), "--layer", "stages.1", "--active", "0.1"]
    result, record = explain(run, tmp_path / "out", *how, "--split", "train")
    assert record["layer"] == "stages.1" and record["units"] == 8 and record["active"] == 0.1
    concepts = [one["concept"] for one in record["concepts"]]
    assert {"background", "circle", "square"} < set(concepts)
    assert sum(one["share"] for one in record["concepts"]) == pytest.approx(1)
    with open(tmp_path / "out" / "dissection.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["unit"]) for row in rows] == list(range(8))
    for row in rows:
        assert float(row["iou"]) == max(float(row[f"IoU/{name}"]) for name in concepts)
        assert row["iou"] == row[f"IoU/{row['concept']}"] and float(row["active"]) <= 0.1
    for one in record["concepts"]:
        values = [float(row[f"IoU/{one['concept']}"]) for row in rows]
        assert one["iou"] == max(values) == values[one["unit"]]
        assert f"{one['concept']}  {one['share']:.1%} of the pixels" in result.output
        own = {n for n, row in enumerate(rows) if row["concept"] == one["concept"]}
        assert set(one["detectors"]) == {n for n in own if float(rows[n]["iou"]) > 0.04}
    assert read_image(tmp_path / "out" / record["picture"]).ndim == 3
    explain(run, tmp_path / "again", *how, "--split", "train", "--batch-size", "1")
    with open(tmp_path / "again" / "dissection.csv") as file:
        again = [float(row["iou"]) for row in csv.DictReader(file)]
    assert again == pytest.approx([float(row["iou"]) for row in rows], abs=0.01)


def test_dissect_without_a_picture_that_cannot_be_read(run, masks, tmp_path):
    section = yaml.safe_load(masks.read_text())
    shutil.copytree(section["root"], tmp_path / "data")
    copied = tmp_path / "copied.yaml"
    copied.write_text(yaml.safe_dump({**section, "root": str(tmp_path / "data")}))
    model = api.load(run, device="cpu", precision="fp32")
    how = {"data": copied, "share": 0.1, "workers": 0, "batch_size": 4}
    whole, layer, look = api.dissect(model, None, "test", **how)
    assert layer == "stages.1"
    pixels, features = look(0)
    assert pixels.dtype == np.uint8 and features.shape[0] == 8 and pixels.ndim == 3
    broken = next(path for path in (tmp_path / "data").rglob("*.*") if "test" in path.parts)
    broken.write_bytes(b"no picture")
    found, _, _ = api.dissect(model, None, "test", max_skip=0.9, **how)
    count = whole.present.sum() // 32**2
    assert found.present.sum() * count == whole.present.sum() * (count - 1)
    with pytest.raises(DataError, match="to be unusable, found 1"):
        api.dissect(model, None, "test", **how)


@pytest.mark.parametrize(
    "aim", [("--layer", "stages.1", "--unit", "2"), ("--target", "circle")], ids=["unit", "class"]
)
def test_maximise(run, tmp_path, aim):
    _, record = explain(
        run, tmp_path / "out", "--method", "maximise", *aim, "--steps", "12", "--size", "40x48"
    )
    assert read_image(tmp_path / "out" / record["picture"]).shape == (40, 48, 3)
    assert len(record["scores"]) == 12 and record["score"] > record["scores"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "top-patches"], "expected --layer with --method top-patches, found none"),
        (["--method", "filters", "--unit", "3"], "expected --unit with maximise, found --method filters"),
        (["--method", "filters", "--plane", "mean"], "expected --plane beside --gabor"),
        (
            ["--method", "dissect"],
            "expected data of a segmentation, whose classes are the concepts, found none",
        ),
        (
            ["--method", "filters", "--active", "0.1"],
            "expected --active with dissect, found --method filters",
        ),
        (["--method", "maximise"], "either a layer with a unit or a target"),
        (["--method", "maximise", "--layer", "stages.0"], "either a layer with a unit or a target"),
        (["--method", "maximise", "--target", "sircle"], "did you mean 'circle'"),
        (["--method", "maximise", "--layer", "stages.9", "--unit", "0"], "unknown layer 'stages.9'"),
        (["--method", "top-patches", "--layer", "stages.0", "--units", "4"], "0 to 3, found 4"),
        (["photo.jpg", "--method", "filters"], "expected no picture with --method filters, found photo.jpg"),
        (["--method", "grad-cam"], "expected a picture for --method grad-cam, found none"),
        (["photo.jpg", "--gabor"], "expected --gabor with --method filters, found --method grad-cam"),
        (["photo.jpg", "--data", "x"], "expected --data with --method top-patches or dissect, found"),
    ],
)
def test_faults_are_the_users(run, tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        explain(run, tmp_path / "out", *arguments)


USES = {  # of a model (with data of a segmentation); each needs the network
    "attack": lambda model, masks: api.attack(model, np.zeros((48, 64, 3), np.uint8)),
    "robustness": lambda model, masks: api.robustness(model, workers=0),
    "top_patches": lambda model, masks: api.top_patches(model, "stages.1", workers=0),
    "dissect": lambda model, masks: api.dissect(model, "stages.1", data=masks, workers=0),
    "maximise": lambda model, masks: api.maximise(model, target="circle"),
}


@pytest.mark.parametrize("use", USES)
def test_without_memory_there_is_one_line(run, masks, monkeypatch, use):
    model = api.load(run, device="cpu", precision="fp32")

    def forward(batch):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to")

    monkeypatch.setattr(model.opened.network, "forward", forward)
    with pytest.raises(RunError) as caught:
        USES[use](model, masks)
    assert str(caught.value).startswith("memory ran out; ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "units"), [("3", [3]), ("0-2, 7", [0, 1, 2, 7]), ("2,1-3", [2, 1, 3])])
def test_units(text, units):
    assert parse_units(text) == units


@pytest.mark.parametrize("text", ["", "a", "1-", "-3", "1,,2", "1-2-3", "5-3"])
def test_units_that_are_none(text):
    with pytest.raises(UsageError, match="numbers and ranges"):
        parse_units(text)


def test_every_option_says_whose_it_is():
    from visiontasks.cli.explain import command

    help_of = {option.name: getattr(option, "help", None) for option in command.params}
    for name in OPTIONS_OF:
        assert help_of[name], name
