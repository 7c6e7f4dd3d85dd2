"""Several processes as one run, under PyTorch's own launcher (`torchrun`); one process needs none of this."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from visiontasks.errors import UsageError

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a run. `rank` 0 writes files and speaks; every process computes."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def any(self, flag: int) -> int:
        """The largest flag of all processes: they agree on stopping at the same step."""
        if self.world == 1:
            return flag
        shared = torch.tensor(flag)
        dist.all_reduce(shared, dist.ReduceOp.MAX, group=_cpu_group())
        return int(shared)

    def gather(self, value: V) -> list[V]:
        """The value of each process, in the order of ranks; known to all."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=_cpu_group())
        return values

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the batch statistics of the first, so that all of them measure one model."""
        if self.world > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.gather(None)


_control: list[Any] = []


def _cpu_group() -> Any:
    return _control[0]


@contextmanager
def processes(device_type: str) -> Iterator[Group]:
    """Join the run that torchrun started, or be the only process.

    Flags and Python objects travel over gloo on the CPU; gradients over NCCL between GPUs, else over gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Group()
        return
    group = Group(int(os.environ["RANK"]), world, int(os.environ["LOCAL_RANK"]))
    if device_type == "cuda":
        if group.local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"expected a GPU a process, found {torch.cuda.device_count()}; lower --nproc_per_node"
            )
        torch.cuda.set_device(group.local_rank)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    _control.append(dist.new_group(backend="gloo"))
    try:
        yield group
    finally:
        _control.clear()
        dist.destroy_process_group()
