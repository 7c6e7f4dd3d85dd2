"""`visiontasks explain --worst` on every task."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.contracts.drawn import QUICK, draw
from visiontasks import api
from visiontasks.errors import Interrupted
from visiontasks.explain.picture import Method
from visiontasks.io.images import read_image
from visiontasks.tasks import TASKS


@pytest.fixture(scope="module", params=list(TASKS))
def run(request, tmp_path_factory):
    """A network that has seen drawn shapes for an epoch: it makes errors."""
    root = tmp_path_factory.mktemp(request.param)
    path = draw(root / "shapes", request.param, 24)
    return api.train(path, QUICK, out=root / "run", no_check=True) / "weights" / "last.safetensors"


@pytest.fixture
def explain(call, run):
    return lambda *arguments: call("explain", "-w", run, "--device", "cpu", *arguments)


def test_what_is_printed_is_what_is_written(run, explain):
    code, stdout, stderr = explain("--worst", 4, "--workers", 0, "-o", "out")
    assert code == 0, stderr
    content = json.loads(Path("out/worst.json").read_text())
    model = api.load(run)
    assert content["task"] == model.task.name and content["split"] == "test" and content["skipped"] == []
    assert 1 <= len(content["errors"]) <= 4 and len(stdout.splitlines()) == len(content["errors"])
    costs = [error["cost"] for error in content["errors"]]
    assert costs == sorted(costs, reverse=True) and costs[-1] > 0
    source = model.task.open_source(api.data_section(model, None, {}), "test", api.Ledger(), model.classes)
    for number, (line, error) in enumerate(zip(stdout.splitlines(), content["errors"], strict=True), start=1):
        assert line.split()[0] == str(number) and error["file"] in line and error["kind"] in line
        assert error["file"] in source.files
        assert {one["target"] for one in error["maps"]} == {error["predicted"], error["truth"]} - {None}
    assert content["cost"] in stderr and content["pictures"] == len(source)
    assert read_image(Path("out/worst.png")).shape[2] == 3
    assert explain("--worst", 1, "--workers", 0, "-o", "out")[0] == 0  # earlier results are replaced


def test_more_are_not_worse_and_batches_do_not_matter(run):
    model = api.load(run, precision="fp32")
    few, many = (api.worst(model, n, workers=0, batch_size=size) for n, size in ((2, 1), (5, 8)))
    for one, other in zip(few.errors, many.errors, strict=False):
        for name in ("file", "kind", "predicted", "truth"):
            assert one[name] == other[name]
        assert one["cost"] == pytest.approx(other["cost"], rel=1e-3)
    assert np.array_equal(few.rows[0].cells[0], many.rows[0].cells[0])


def test_some_pictures_of_a_data_file_and_another_method(run, explain, tmp_path):
    data = tmp_path / "data.yaml"
    data.write_text(yaml.safe_dump(yaml.safe_load((run.parents[1] / "config.yaml").read_text())["data"]))
    arguments = ("--worst", 2, "--data", data, "--split", "val", "--max-images", 2, "--workers", 0)
    code, stdout, stderr = explain(*arguments, "--method", "saliency", "--json")
    assert code == 0, stderr
    content = json.loads(stdout)
    assert content["pictures"] == 2 and content["split"] == "val"
    assert {one["method"] for error in content["errors"] for one in error["maps"]} <= {"saliency"}
    assert Path("runs/explain/001/worst.json").exists()


def test_a_picture_that_cannot_be_read_is_counted_and_listed(run, explain):
    model = api.load(run)
    source = model.task.open_source(api.data_section(model, None, {}), "test", api.Ledger(), model.classes)
    path = source.root / source.files[0]
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 3])
    try:
        code, _, stderr = explain("--worst", 2, "--workers", 0, "--max-skip", 0.9, "-o", "out")
        refused = explain("--worst", 2, "--workers", 0)
    finally:
        path.write_bytes(before)
    assert code == 0, stderr
    content = json.loads(Path("out/worst.json").read_text())
    assert [Path(one["file"]) for one in content["skipped"]] == [path] and "skipped 1" in stderr
    assert content["pictures"] == len(source) - 1
    assert refused[0] == 3 and source.files[0] in refused[2] and "--max-skip" in refused[2]


@pytest.mark.parametrize("at", [1, 2])
def test_a_signal_stops_it_before_anything_is_written(run, tmp_path, monkeypatch, at):
    """The first while pictures are predicted, the second while they are explained."""
    model = api.load(run)
    decode, calls = model.opened.network.decode, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return decode(*arguments)

    monkeypatch.setattr(model.opened.network, "decode", interrupted)
    with pytest.raises(Interrupted):
        api.worst(model, 3, workers=0, batch_size=100, out=tmp_path / "out", method=Method("saliency"))
    assert not (tmp_path / "out" / "worst.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photo.jpg", "--worst", 3), "expected no picture with --worst, found photo.jpg"),
        (("--worst", 3, "--target", "circle"), "expected no --target with --worst"),
        (("--worst", 3, "--max-pixels", 9), "expected no --max-pixels with --worst"),
        (("--worst", 3, "--units", "0-3"), "expected no --units with --worst"),
        (("--worst", 3, "--method", "filters"), "a method for pictures with --worst, found filters"),
        (("--worst", 3, "--patch", 8), "expected --patch with --method occlusion, found --method grad-cam"),
        (("--max-images", 3), "expected --max-images with --worst N, found --method grad-cam"),
        (("--method", "filters", "--max-skip", 0.1), "expected --max-skip with top-patches or dissect"),
        (("photo.jpg", "--batch-size", 2), "expected --batch-size with --method integrated-gradients or"),
        (("--worst", 3, "--split", "tset"), "tset"),
    ],
)
def test_flags_that_do_not_fit_are_refused(run, explain, arguments, message):
    code, _, error = explain(*arguments)
    assert code in (2, 3) and message in error
