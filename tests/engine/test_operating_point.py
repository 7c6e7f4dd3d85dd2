"""What a run's best weights are told to decode with: chosen on val, stored, and used from then on."""

import json

import pytest

from visiontasks import api
from visiontasks.classification import TASK
from visiontasks.classification.operating_point import TEMPERATURES
from visiontasks.io.weights import read_record

NOTHING_CHOSEN = dict(TASK.decode_options)


@pytest.fixture
def few_suffice(monkeypatch):
    monkeypatch.setattr("visiontasks.classification.operating_point.LEAST_PICTURES", 1)


def best(run):
    return read_record(run / "weights" / "best.safetensors")


def test_the_temperature_is_stored_and_measured_with(few_suffice, write_config, tmp_path, capfd):
    settings = {"train.epochs": 12, "train.ema": 0}
    run = api.train(write_config(), settings, out=tmp_path / "run")
    temperature = best(run).options["temperature"]
    assert TEMPERATURES[0] < temperature < TEMPERATURES[1] and temperature != 1.0
    assert f"operating point from val: temperature {temperature:.3g} (ECE " in capfd.readouterr().err
    written = json.loads((run / "metrics.json").read_text())
    measured = api.evaluate(api.load(run, precision="fp32"), "val")
    for name in ("top1", "ECE", "log_loss"):
        assert written[name] == pytest.approx(measured[name], abs=1e-6), name
        assert best(run).provenance["metrics"][name] == pytest.approx(measured[name], abs=1e-6), name
    for other in (1.0, 0.95 * temperature, 1.05 * temperature):  # it is the likeliest
        model = api.load(run, precision="fp32", options={"temperature": other})
        assert api.evaluate(model, "val")["log_loss"] > measured["log_loss"]


def test_a_longer_run_chooses_anew_from_the_task_s_own(few_suffice, write_config, tmp_path):
    first = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    once = best(first).options
    settings = {"train.epochs": 1, "train.early_stopping": 0}
    assert api.train(write_config(), settings, out=tmp_path / "run", resume=True) == first
    assert best(first).options == pytest.approx(once)  # nothing was trained: the same again, not twice


@pytest.mark.parametrize(
    "data",
    [{"val": "train"}, {"val": None}, {"val": "train", "train": "train+val"}],
    ids=["trained-on", "no-val", "part-trained-on"],
)
def test_nothing_is_chosen_on_pictures_that_were_trained_on(few_suffice, data, write_config, tmp_path, capfd):
    run = api.train(write_config(data=data), {"train.epochs": 1}, out=tmp_path / "run")
    assert best(run).options == NOTHING_CHOSEN
    assert "operating point" not in capfd.readouterr().err


def test_few_pictures_choose_nothing(write_config, tmp_path, capfd):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    assert best(run).options == NOTHING_CHOSEN
    assert "operating point" not in capfd.readouterr().err
