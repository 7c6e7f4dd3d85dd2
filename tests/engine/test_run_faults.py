import pytest
import torch

from visiontasks import api
from visiontasks.classification.models.classifier import Classifier
from visiontasks.engine.faults import run_faults
from visiontasks.errors import RunError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory ran out; lower it"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory ran out; lower it"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory ran out; lower it"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "pictures ended: DataLoader worker",
        ),
    ],
)
def test_what_torch_says_becomes_one_line(error, words):
    with pytest.raises(RunError) as caught, run_faults("lower it"):
        raise error
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_of_ours_is_not_dressed_up():
    with pytest.raises(RuntimeError, match="stack expects"), run_faults("lower it"):
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0. stack expects each tensor")


def test_memory_that_runs_out_while_predicting_is_one_line(write_config, tmp_path, shapes, monkeypatch):
    run = api.train(write_config(), {"train.epochs": 1}, out=tmp_path / "run")
    model = api.load(run)

    def forward(self, batch):
        raise MemoryError

    monkeypatch.setattr(Classifier, "forward", forward)
    for use in (lambda: list(model.predict(shapes / "test")), lambda: api.measure(model)):
        with pytest.raises(RunError, match="memory ran out; lower --batch-size"):
            use()
