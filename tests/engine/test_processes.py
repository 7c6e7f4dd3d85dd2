"""Real processes: signals, kills while saving, and several processes as one run (traps 42, 44, 49)."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from visiontasks import api
from visiontasks.engine.checkpoint import RunFolder, load_state, save_state

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def start(*arguments, launcher=()):
    command = [sys.executable, *launcher, "-m", "visiontasks", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, start_new_session=True, **pipes)


def wait_for(condition, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def num_rows(run):
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_row_44_a_signal_in_training_saves_and_exits_with_its_code(signum, code, write_config, tmp_path):
    run = tmp_path / "run"
    process = start("train", write_config(train={"epochs": 1000}), "-o", run, "--set", "train.workers=1")
    wait_for(lambda: num_rows(run) >= 2, process)
    os.killpg(process.pid, signum)  # as launchers and terminals do: the workers hear it too
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said.splitlines()[-1].startswith("visiontasks: SIG")
    assert "--resume" in said.splitlines()[-1]
    done = num_rows(run)
    api.train(settings={"train.epochs": done + 1}, out=run, resume=True)
    assert num_rows(run) == done + 1


def test_row_44_a_signal_in_evaluation_exits_with_its_code(write_config, tmp_path):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    script = (
        "import os, signal; from visiontasks.classification.models.classifier import Classifier as C\n"
        "forward = C.forward\n"
        "def kick(self, batch): os.kill(os.getpid(), signal.SIGTERM); return forward(self, batch)\n"
        f"C.forward = kick; import sys; sys.argv[1:] = ['evaluate', {str(run)!r}, '--batch-size', '2']\n"
        "from visiontasks.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.splitlines()[-1] == "visiontasks: SIGTERM: evaluation stopped"


SAVE_FOREVER = """
import sys, pathlib, torch
from visiontasks.engine.checkpoint import RunFolder, save_state
folder, n = RunFolder(pathlib.Path(sys.argv[1])), 0
while True:
    n += 1
    save_state(folder, {"n": n, "weights": torch.full((400_000,), float(n))})
    print(n, flush=True)
"""


def test_row_42_killed_while_saving_the_last_checkpoint_loads(tmp_path):
    folder = RunFolder(tmp_path)
    folder.config.write_text("")
    save_state(folder, {"n": 0, "weights": torch.zeros(400_000)})
    command = [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.kill()
    last = int((process.communicate()[0].split() or ["1"])[-1])
    folder.open()
    state = load_state(folder)
    assert state["n"] >= last  # what was reported as saved is there, whole
    assert bool((state["weights"] == state["n"]).all())
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["last.pt"]


def test_row_49_two_processes_equal_one_on_uneven_shards(write_config, tmp_path):
    """Without batch statistics, dropout and mixup: the same losses; the same metrics to the digit."""
    settings = {
        "augment": {"mixup": 0},
        "model": {"backbone": "alexnet", "options": {}, "dropout": 0},
        "input": {"size": [64, 64]},
        "train": {"epochs": 2, "batch_size": 7, "ema": 0, "optimizer": {"name": "sgd", "lr": 0.01}},
    }
    config = write_config(**settings)
    one = api.train(config, out=tmp_path / "one")
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    process = start(
        "train",
        config,
        "-o",
        tmp_path / "two",
        launcher=launcher,
    )
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    first, second = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (one, tmp_path / "two")
    )
    assert len(first) == len(second) == 2
    for ours, theirs in zip(first, second, strict=True):
        assert theirs["train/loss"] == pytest.approx(ours["train/loss"], abs=1e-4)
        assert theirs["val/loss"] == pytest.approx(ours["val/loss"], abs=1e-4)
        assert theirs["val/top1"] == ours["val/top1"]
        assert theirs["val/macro_F1"] == ours["val/macro_F1"]
    weights = [load_file(run / "weights" / "last.safetensors") for run in (one, tmp_path / "two")]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])
