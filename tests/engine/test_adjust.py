"""What a run's best weights are changed by at the end, to suit val: a segmentation's class offsets."""

import json

import pytest

from tests.contracts.drawn import QUICK, draw
from visiontasks import api
from visiontasks.io.weights import load_weights, read_record
from visiontasks.segmentation import class_offsets


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(class_offsets, "LEAST_PICTURES", 1)
    monkeypatch.setattr(class_offsets, "LEAST_OF_A_CLASS", 1)
    return draw(tmp_path / "shapes", "segmentation", 24)


def offsets_of(run):
    return load_weights(run / "weights" / "best.safetensors")[0]["offsets"]


def test_offsets_are_stored_and_measured_with_and_the_same_when_fitted_again(config, tmp_path, capfd):
    run = api.train(config, QUICK, out=tmp_path / "run")
    offsets = offsets_of(run)
    assert offsets.any()
    assert "adjusted to val: class offsets" in capfd.readouterr().err
    written = json.loads((run / "metrics.json").read_text())
    measured = api.evaluate(api.load(run, precision="fp32"), "val")
    assert written["mIoU"] == pytest.approx(measured["mIoU"], abs=1e-6)
    kept = read_record(run / "weights" / "best.safetensors").provenance["metrics"]["mIoU"]
    assert kept == pytest.approx(measured["mIoU"], abs=1e-6)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert measured["mIoU"] > last["val/mIoU"]
    settings = {**QUICK, "train.early_stopping": 0}
    api.train(config, settings, out=tmp_path / "run", resume=True)  # nothing is trained
    assert offsets_of(run).equal(offsets)


def test_a_further_training_starts_without_them(config, tmp_path):
    first = api.train(config, QUICK, out=tmp_path / "first")
    settings = {**QUICK, "model.weights": str(first), "model.offsets": False}
    run = api.train(config, settings, out=tmp_path / "run")
    assert offsets_of(first).any()
    assert not offsets_of(run).any()
    written = json.loads((run / "metrics.json").read_text())
    assert written["mIoU"] == pytest.approx(api.evaluate(api.load(run, precision="fp32"), "val")["mIoU"])


@pytest.mark.parametrize(
    "settings",
    [{"data.val": "train"}, {"model.offsets": False}],
    ids=["trained-on", "switched-off"],
)
def test_nothing_is_changed(config, settings, tmp_path, capfd):
    run = api.train(config, {**QUICK, **settings}, out=tmp_path / "run")
    assert not offsets_of(run).any()
    assert "adjusted" not in capfd.readouterr().err
