"""A training run: what it is made of, how far it has come, and the state that a resume takes up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from visiontasks.config import TrainConfig
from visiontasks.engine.checkpoint import RunFolder, save_state
from visiontasks.engine.distributed import Group
from visiontasks.engine.infer import Setting
from visiontasks.engine.log import Report
from visiontasks.engine.optim import MovingAverage, build_optimizer
from visiontasks.engine.signals import Stop
from visiontasks.types import Infer, Source, Task, Transform


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of; nothing in it changes while it runs.

    val: None = no validation, the last weights are best.
    transforms(memory): the training transform of each epoch; memory: what the task's `refresh` found.
    refresh(epoch, memory, infer): the task's, for this config; None where it has none.
    sample_weights: (N,) chance of each training picture to be drawn, summing to 1; None = each once an epoch.
    export(network, name, numbers): writes the weights `name` ("best", "last") as a one-file model.
    """

    task: Task[Any, Any]
    config: TrainConfig
    seed: int
    folder: RunFolder
    setting: Setting
    train: Source[Any]
    val: Source[Any] | None
    transforms: Callable[[Any], Callable[[int], Transform[Any]]]
    refresh: Callable[[int, Any, Infer], Any | None] | None
    val_transform: Transform[Any]
    sample_weights: NDArray[np.float64] | None
    export: Callable[[nn.Module, str, Mapping[str, float]], None]
    group: Group
    stop: Stop
    report: Report

    @property
    def fingerprints(self) -> dict[str, str]:
        """{split: fingerprint} of the data."""
        sources = {"train": self.train, "val": self.val}
        return {split: source.fingerprint for split, source in sources.items() if source is not None}


@dataclass(slots=True)
class Position:
    """How far a run has come. `step` counts within `epoch`; sums are over this epoch's pictures so far."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    best: float = -math.inf
    best_epoch: int = -1
    evaluations_since_best: int = 0


class Run:
    """What changes while a run runs: all of it is its state."""

    def __init__(self, plan: Plan, network: nn.Module) -> None:
        self.plan, self.network = plan, network
        self.optimizer = build_optimizer(network, plan.config.optimizer)
        self.average = MovingAverage(network, plan.config.ema) if plan.config.ema else None
        self.scaler = torch.amp.GradScaler(
            plan.setting.device.device.type, enabled=plan.setting.device.precision == "fp16"
        )
        self.position = Position()
        self.memory: Any = None  # what the task keeps from epoch to epoch, and the epoch that it is for
        self.refreshed = 0
        self.saved_at = time.monotonic()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is measured and exported: the moving average where there is one."""
        return self.average.network if self.average else self.network

    def state_dict(self) -> dict[str, Any]:
        position = self.position
        return {
            "fingerprints": self.plan.fingerprints,
            "classes": list(self.plan.train.classes.names),
            "file_ids": list(self.plan.train.classes.file_ids),
            "memory": self.memory,
            "refreshed": self.refreshed,
            "position": {name: getattr(position, name) for name in Position.__slots__},
            "network": self.network.state_dict(),
            "average": self.average and self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = Position(**state["position"])
        self.memory, self.refreshed = state["memory"], state["refreshed"]
        if (
            not self.plan.group.leads
        ):  # the sums are over all processes' pictures when the first saved its own
            self.position.loss_sums, self.position.images = {}, 0
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def save(self) -> None:
        if self.plan.group.leads:
            save_state(self.plan.folder, self.state_dict())
        self.saved_at = time.monotonic()
