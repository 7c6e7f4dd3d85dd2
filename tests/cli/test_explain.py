"""`visiontasks explain IMAGE`: the files, the line, and the messages."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from visiontasks import api
from visiontasks.cli import visiontasks
from visiontasks.data.shapes import draw_shapes
from visiontasks.errors import RunError, UsageError
from visiontasks.io.images import read_image

QUICK = {"train.epochs": 1, "train.workers": 0, "train.precision": "fp32", "model.options.widths": [4, 8]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(weights, a picture of 40 x 56 pixels)."""
    root = tmp_path_factory.mktemp("explain")
    config = draw_shapes(root / "shapes", "classification", 18, 0, size=(40, 56)).config
    run = api.train(config, {**QUICK, "model.backbone": "small"}, out=root / "run")
    return run, min((root / "shapes" / "test").rglob("*.*"))


def explain(*arguments):
    return CliRunner().invoke(visiontasks, ["explain", *map(str, arguments)])


@pytest.mark.parametrize("method", [None, "hires-cam", "integrated-gradients"])
def test_a_picture_its_map_and_a_line(trained, tmp_path, method):
    run, picture = trained
    chosen = [] if method is None else ["--method", method]
    result = explain(picture, "-w", run, "-o", tmp_path / "out", "--json", *chosen)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record == json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert record["method"] == (method or "grad-cam")
    assert np.load(tmp_path / "out" / record["map"]).shape == (40, 56)
    drawn = read_image(tmp_path / "out" / record["picture"])
    assert drawn.shape[1] == 5 * 56 and drawn.shape[0] > 5 * 40
    assert len(result.stderr.splitlines()) == 1 and f"of {record['target']} (logit" in result.stderr
    again = explain(picture, "-w", run, "-o", tmp_path / "out", *chosen)  # its own results are replaced
    assert again.exit_code == 0 and again.stdout.startswith(str(picture))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "sircle"], r"unknown class 'sircle'; did you mean 'circle'"),
        (["--layer", "stages.9"], r"unknown layer 'stages\.9'; did you mean 'stages"),
        (["--layer", "stages.1", "--method", "saliency"], "--layer with --method grad-cam or hires-cam"),
        (["--steps", "3"], "expected --steps with --method integrated-gradients.*, found --method grad-cam"),
        (["--method", "occlusion", "--patch", "5000"], "a patch of at most .* found 5000"),
        (["--target", "#1"], "expected a class as the target of a classifier, found detection #1"),
        (["--conf", "0.5"], "expected an option of classification .*found 'confidence'"),
    ],
)
def test_a_wrong_option_is_one_line(trained, tmp_path, arguments, message):
    run, picture = trained
    result = explain(picture, "-w", run, "-o", tmp_path / "out", *arguments)
    with pytest.raises(UsageError, match=message):
        raise result.exception


def test_without_memory_there_is_one_line(trained, monkeypatch):
    run, picture = trained
    model = api.load(run)

    def forward(batch):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(model.opened.network, "forward", forward)
    with pytest.raises(RunError, match="memory ran out; take a smaller picture, or lower --batch-size where"):
        model.explain(picture)
