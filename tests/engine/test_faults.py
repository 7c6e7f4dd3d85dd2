"""What can go wrong in a run, and what the user reads (traps 30, 47, 48; design promise 1)."""

import json
import os
import shutil
import signal

import pytest
import torch
from torch import nn

from visiontasks import api
from visiontasks.classification.datasets import labelled_images
from visiontasks.classification.models.classifier import Classifier
from visiontasks.engine.checkpoint import RunFolder, read_metrics
from visiontasks.engine.faults import lost_worker
from visiontasks.engine.fit import _use_batch_statistics
from visiontasks.errors import DataError, RunError, UsageError, WeightsError


def test_row_47_a_loss_that_is_not_finite_stops_with_the_pictures_and_keeps_the_weights(
    write_config, tmp_path, monkeypatch
):
    config = write_config()
    original, calls = Classifier.loss, []

    def loss(self, raw, batch):
        calls.append(1)
        terms = original(self, raw, batch)
        return {name: value * (float("nan") if len(calls) == 9 else 1) for name, value in terms.items()}

    monkeypatch.setattr(Classifier, "loss", loss)
    with pytest.raises(RunError) as caught:
        api.train(config, out=tmp_path / "run")
    message = str(caught.value)
    assert "the loss became nan in epoch 2, step 2 (pictures: train/" in message
    assert "\n" not in message
    assert caught.value.exit_code == 4
    monkeypatch.undo()
    assert all(bool(torch.isfinite(p).all()) for p in api.load(tmp_path / "run").opened.network.parameters())


@pytest.mark.timeout(60)
def test_row_48_a_killed_worker_ends_the_run_with_its_cause(write_config, tmp_path, monkeypatch):
    parent, read = os.getpid(), labelled_images.read_image

    def read_or_die(path, **options):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, **options)

    monkeypatch.setattr(labelled_images, "read_image", read_or_die)
    with pytest.raises(
        RunError, match=r"a process that prepares pictures ended: .*(killed by signal|exited unexpectedly)"
    ):
        api.train(write_config(), {"train.workers": 1}, out=tmp_path / "run")


def test_memory_that_runs_out_is_one_line_with_batch_and_size(write_config, tmp_path, monkeypatch):
    def forward(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "forward", forward)
    with pytest.raises(
        RunError, match=r"memory ran out; a step has 8 pictures of 32x32: raise train.accumulate"
    ):
        api.train(write_config(), out=tmp_path / "run")


@pytest.fixture
def broken_data(shapes, tmp_path):
    """The drawn data with one truncated training picture."""
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    picture = sorted((data / "train" / "circle").iterdir())[0]
    picture.write_bytes(picture.read_bytes()[:200])
    return data, picture


def test_row_30_a_few_unreadable_pictures_are_replaced_and_listed(
    write_config, tmp_path, broken_data, capsys
):
    data, picture = broken_data
    config = write_config(data={"root": str(data)})
    run = api.train(
        config, {"train.max_skip": 0.1, "train.epochs": 1, "train.workers": 1}, out=tmp_path / "run"
    )
    assert (run / "weights" / "best.safetensors").exists()
    said = capsys.readouterr().err
    assert "skipped 1:" in said
    assert picture.name in said


def test_too_many_unreadable_pictures_stop_the_run(write_config, tmp_path, broken_data):
    data, _ = broken_data
    with pytest.raises(DataError, match=r"expected at most 1.0% of \d+ pictures to be unusable, found 1"):
        api.train(write_config(data={"root": str(data)}), out=tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"PK", b"no state"], ids=repr)
def test_row_42_a_damaged_state_is_one_line(content, write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    (run / "state" / "last.pt").write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"last\.pt: expected a run's state, found a damaged file \(.+\); start"
    ):
        api.train(out=run, resume=True)


def test_rows_that_are_none_are_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_bytes(b'{"epoch": 1}\n[1]\n{"epoch": 2}\n')
    assert read_metrics(folder) == [{"epoch": 1}]
    folder.metrics.write_bytes(b'{"epoch": 1}\n{"epoch": "\xff"}\n')
    assert read_metrics(folder) == [{"epoch": 1}]


def test_row_48_a_lost_worker_without_words_is_named_by_its_kind():
    assert "a process that prepares pictures ended: EOFError" in str(lost_worker(EOFError()))


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_stops_at_the_first_unreadable_picture(workers, write_config, tmp_path, broken_data):
    data, picture = broken_data
    with pytest.raises(DataError, match="--strict") as caught:
        api.train(
            write_config(data={"root": str(data)}),
            {"train.max_skip": 1, "train.workers": workers},
            out=tmp_path / "run",
            strict=True,
        )
    assert picture.name in str(caught.value)


def test_accumulated_gradients_equal_those_of_the_whole_batch(write_config, tmp_path):
    options = {
        "augment.mixup": 0,
        "model.backbone": "alexnet",  # no batch norm: its statistics would differ
        "model.options": {},
        "model.dropout": 0,
        "input.size": [64, 64],
        "train.epochs": 1,
    }
    losses = []
    for parts in (1, 3):
        run = api.train(write_config(), {**options, "train.accumulate": parts}, out=tmp_path / str(parts))
        losses.append(json.loads((run / "metrics.jsonl").read_text())["train/loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_one_picture_uses_running_statistics():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    _use_batch_statistics(network, False)
    before = network[1].running_mean.clone()
    network(torch.randn(1, 3, 1, 1))
    assert torch.equal(network[1].running_mean, before)
    _use_batch_statistics(network, True)
    network(torch.randn(4, 3, 1, 1))
    assert not torch.equal(network[1].running_mean, before)


def test_one_picture_a_step_trains(write_config, tmp_path):
    settings = {
        "train.batch_size": 1,
        "train.epochs": 1,
        "model.options": {"stem": 4, "widths": [4, 4, 4, 4, 4]},
    }
    run = api.train(write_config(), settings, out=tmp_path / "run")
    assert json.loads((run / "metrics.jsonl").read_text())["train/loss"] > 0


def test_early_stopping_and_monitoring_the_loss(write_config, tmp_path):
    settings = {
        "train.epochs": 9,
        "train.early_stopping": 2,
        "train.monitor": "loss",
        "train.optimizer.lr": 1e-9,
    }
    run = api.train(write_config(augment={"mixup": 0}), {**settings, "train.ema": 0}, out=tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["val/loss"] for row in rows]
    assert len(rows) == losses.index(min(losses)) + 3 < 9  # the best one, and two that were not better
    api.train(out=run, resume=True)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == len(rows)  # a resume does not train on
    with pytest.raises(UsageError, match="unknown metric 'top11'; did you mean 'top1'"):
        api.train(write_config(), {"train.monitor": "top11"}, out=tmp_path / "other")


def test_without_validation_the_last_weights_are_the_best(write_config, tmp_path):
    run = api.train(write_config(data={"val": None}), {"train.epochs": 2}, out=tmp_path / "run")
    best, last = ((run / "weights" / f"{name}.safetensors").read_bytes() for name in ("best", "last"))
    assert best == last
    assert not any(
        key.startswith("val/") for key in json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    )


def test_a_run_folder_holds_what_the_design_says(write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    expected = ["config.yaml", "classes.json", "env.json", "metrics.jsonl", "metrics.json", "state/last.pt"]
    expected += [
        "weights/best.safetensors",
        "weights/last.safetensors",
        "samples/train.png",
        "plots/curves.png",
    ]
    assert [name for name in expected if not (run / name).exists()] == []
    assert "top1" in json.loads((run / "metrics.json").read_text())


def test_progressive_resizing_changes_the_pictures_size(write_config, tmp_path, monkeypatch):
    sizes, original = [], Classifier.forward

    def forward(self, batch):
        if self.training:
            sizes.append(tuple(batch.images.shape[-2:]))
        return original(self, batch)

    monkeypatch.setattr(Classifier, "forward", forward)
    api.train(write_config(), {"train.resolutions": [[1, 16], [2, 24]]}, out=tmp_path / "run")
    assert sizes == [(16, 16)] * 5 + [(24, 24)] * 5 + [(32, 32)] * 5
