"""A run that was interrupted and resumed equals one that was not, to the bit (traps 44 to 46)."""

import json
import shutil
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file

import visiontasks.classification
from visiontasks import api
from visiontasks.data.shapes import draw_shapes
from visiontasks.engine import train as train_module
from visiontasks.engine.loader import Batches, epoch_order
from visiontasks.engine.signals import Stop
from visiontasks.errors import ConfigError, DataError, Interrupted, UsageError
from visiontasks.io.weights import read_record


class StopAfter(Stop):
    """Looks like a SIGTERM from the n-th look on."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def signum(self) -> int:
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else 0


def interrupt_after(monkeypatch, looks):
    @contextmanager
    def stop_signals():
        yield StopAfter(looks)

    monkeypatch.setattr(train_module, "stop_signals", stop_signals)


def tensors_of(run):
    return {which: load_file(run / "weights" / f"{which}.safetensors") for which in ("best", "last")}


def rows_of(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def assert_same_run(first, second):
    assert rows_of(first) == rows_of(second)
    ours, theirs = tensors_of(first), tensors_of(second)
    for which in ours:
        assert ours[which].keys() == theirs[which].keys()
        for name, tensor in ours[which].items():
            assert torch.equal(tensor, theirs[which][name]), f"{which}: {name}"


# an epoch has 5 steps and 1 batch of validation: looks 1-5, 6, 7-11, 12, ...
@pytest.mark.parametrize("looks", [0, 2, 5, 6, 8, 11], ids=lambda n: f"after-look-{n}")
def test_row_45_interrupted_and_resumed_equals_uninterrupted(looks, write_config, tmp_path, monkeypatch):
    config = write_config()
    whole = api.train(config, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, looks)
        with pytest.raises(Interrupted) as stopped:
            api.train(config, out=tmp_path / "parts")
    assert stopped.value.exit_code == 143
    assert "--resume" in str(stopped.value)
    parts = api.train(config, out=tmp_path / "parts", resume=True)
    assert_same_run(whole, parts)


def test_a_resumed_run_knows_the_ids_of_the_files(tmp_path, monkeypatch):
    root = tmp_path / "masks"
    draw_shapes(root, "segmentation", 18, 0, size=(32, 32))
    data = yaml.safe_load((root / "segmentation.yaml").read_text())["data"]
    values = {
        "task": "segmentation",
        "name": "masks",
        "data": data,
        "model": {"name": "naive", "width": 4, "depth": 1},
    }
    config = tmp_path / "masks.yaml"
    config.write_text(yaml.safe_dump({**values, "train": {"epochs": 1, "batch_size": 4, "workers": 0}}))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(Interrupted):
            api.train(config, out=tmp_path / "run")
    run = api.train(config, out=tmp_path / "run", resume=True)
    record = read_record(run / "weights" / "best.safetensors")
    assert record.file_ids == tuple(range(len(record.classes)))


def test_number_of_workers_changes_nothing(write_config, tmp_path):
    runs = [
        api.train(write_config(), {"train.workers": workers, "train.epochs": 2}, out=tmp_path / str(workers))
        for workers in (0, 2)
    ]
    assert_same_run(*runs)


def test_resuming_a_finished_run_changes_nothing(write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    before = (rows_of(run), tensors_of(run))
    api.train(out=run, resume=True)
    assert rows_of(run) == before[0]
    assert all(torch.equal(tensors_of(run)["last"][name], t) for name, t in before[1]["last"].items())


def test_a_finished_run_can_be_made_longer(write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    api.train(settings={"train.epochs": 2}, out=run, resume=True)
    assert [row["epoch"] for row in rows_of(run)] == [1, 2]


def test_resume_refuses_another_config_and_names_the_key(write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    with pytest.raises(ConfigError) as caught:
        api.train(
            write_config(), {"train.epochs": 1, "train.optimizer.lr": 0.5, "seed": 3}, out=run, resume=True
        )
    message = str(caught.value)
    assert "expected train.optimizer.lr = 0.05 as the run began, found 0.5" in message
    assert "expected seed = 0" in message
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_row_46_resume_refuses_changed_data(split, write_config, tmp_path, shapes):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    config = write_config(data={"root": str(data)})
    run = api.train(config, {"train.epochs": 1}, out=tmp_path / "run")
    picture = next((data / split / "circle").iterdir())
    picture.rename(data / split / "square" / f"moved{picture.suffix}")  # one label edited
    with pytest.raises(DataError, match=f"labels or classes in {split}; .*--allow-data-change"):
        api.train(config, {"train.epochs": 2}, out=run, resume=True)
    api.train(config, {"train.epochs": 2}, out=run, resume=True, allow_data_change=True)
    assert [row["epoch"] for row in rows_of(run)] == [1, 2]


def test_an_existing_run_is_refused_and_a_foreign_folder_never_emptied(write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        api.train(write_config(), out=run)
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not overwritten"):
        api.train(write_config(), out=foreign, overwrite=True)
    assert (foreign / "holiday.txt").read_text() == "keep me"
    with pytest.raises(UsageError, match="found none"):
        api.train(write_config(), out=tmp_path / "nowhere", resume=True)


def test_order_of_an_epoch_is_a_permutation_and_differs_between_epochs():
    first, second = epoch_order(0, 0, 50, None), epoch_order(0, 1, 50, None)
    assert sorted(first) == sorted(second) == list(range(50))
    assert list(first) != list(second)
    assert list(first) == list(epoch_order(0, 0, 50, None))


def test_batches_of_several_processes_make_up_those_of_one():
    one = Batches(23, 6, seed=1)
    two = [Batches(23, 6, seed=1, rank=rank, world=2) for rank in range(2)]
    for batches in (one, *two):
        batches.set(epoch=3, start=1)
    for whole, *parts in zip(one, *two, strict=True):
        assert sorted(whole) == sorted(key for part in parts for key in part)
    assert len(list(one)) == 2


class Darkened:
    """A transform that halves the pictures whose ids it is told."""

    def __init__(self, inner, ids):
        self.inner, self.ids = inner, ids

    def __call__(self, sample, rng, fetch):
        example = self.inner(sample, rng, fetch)
        return replace(example, image=example.image // 2) if sample.image_id in self.ids else example


@pytest.fixture
def calls(monkeypatch):
    """Classification with a memory: the pictures that it got wrong. Gives (epoch, what was known) a call."""
    task, seen = visiontasks.classification.TASK, []

    def refresh(config, epoch, memory, infer):
        seen.append((epoch, None if memory is None else len(memory["wrong"])))
        wrong = [info.image_id for prediction, truth, info in infer() if prediction.best != truth]
        return {"wrong": wrong, "epoch": torch.tensor(epoch)} if epoch != 1 else None

    def build_transform(input, augment, classes, memory):
        inner = task.build_transform(input, augment, classes, None)
        return Darkened(inner, memory["wrong"]) if memory else inner

    changed = replace(task, refresh=refresh, build_transform=build_transform)
    monkeypatch.setattr(visiontasks.classification, "TASK", changed)
    return seen


def test_refresh_is_called_between_epochs_with_what_it_returned_last(calls, write_config, tmp_path):
    api.train(write_config(), {"train.epochs": 4}, out=tmp_path / "run")
    assert [epoch for epoch, _ in calls] == [0, 1, 2]
    assert calls[0][1] is None and calls[1][1] == calls[2][1] > 0  # None changes nothing


# 4 epochs of 5 steps and 1 batch of validation, refreshed (42 pictures, 6 batches) before each but the first
@pytest.mark.parametrize("looks", [6, 9, 12, 14, 22, 27], ids=lambda n: f"after-look-{n}")
def test_an_interrupted_run_remembers_the_same(calls, looks, write_config, tmp_path, monkeypatch):
    config = write_config(train={"epochs": 4})
    whole = api.train(config, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, looks)
        with pytest.raises(Interrupted, match="--resume"):
            api.train(config, out=tmp_path / "parts")
    assert_same_run(whole, api.train(config, out=tmp_path / "parts", resume=True))


def test_workers_are_told_what_was_learned(calls, write_config, tmp_path):
    runs = [
        api.train(write_config(), {"train.workers": workers}, out=tmp_path / str(workers))
        for workers in (0, 2)
    ]
    assert_same_run(*runs)
