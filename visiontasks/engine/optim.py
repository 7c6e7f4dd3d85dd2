"""What changes the weights: parameter groups, the learning rate over time, the moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from visiontasks.config import OptimizerConfig, ScheduleConfig


def parameter_groups(network: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Trainable parameters, grouped by place (backbone or not) and by whether they decay.

    Biases and the parameters of norm layers (one dimension) do not decay. Source: He et al. 2019
    (arXiv 1812.01187, section 3.1).
    Each group's `lr_factor` multiplies the scheduled learning rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            lr_factor = config.backbone_lr if name.startswith("backbone.") else 1.0
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((lr_factor, decay), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": lr_factor, "weight_decay": decay}
        for (lr_factor, decay), parameters in groups.items()
    ]


def _sgd(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)


def _adamw(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999))


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimizerConfig], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over a network's trainable parameters."""
    return OPTIMIZERS[config.name](parameter_groups(network, config), config)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def learning_rate_factor(epoch: float, epochs: int, config: ScheduleConfig) -> float:
    """The learning rate at a moment of the run, as a factor on its peak. A pure function: nothing to save.

    Args:
        epoch: epochs done, a real number in [0, epochs].
        epochs: length of the run.
        config: the schedule.

    Source: cosine from Loshchilov & Hutter 2017 (arXiv 1608.03983, eq. 5); one_cycle from Smith 2018
        (arXiv 1708.07120), linear up and linear down; trapezoid with a fall of 1 - sqrt from Hagele et al.
        2024 (arXiv 2405.18392, eq. 1).
    """
    if epoch < config.warmup:
        return max(epoch, 1e-3 * config.warmup) / config.warmup
    progress = (epoch - config.warmup) / max(epochs - config.warmup, 1e-9)  # 0 to 1 after the warm-up
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        return config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
    if config.name == "trapezoid":
        falling = 1 - math.sqrt(max(0.0, 1 - (epochs - epoch) / max(config.cooldown, 1e-9)))
    else:
        falling = 1 - progress if config.name == "one_cycle" else (1 + math.cos(math.pi * progress)) / 2
    return config.final + (1 - config.final) * falling


class MovingAverage:
    """An exponential moving average of a network's weights and batch statistics, which is what is measured.

    The decay grows from 0.1 to its value, (1 + n) / (10 + n) at update n: early weights are forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        ours, theirs = self.network.state_dict().values(), network.state_dict().values()
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updates = state["updates"]
        self.network.load_state_dict(state["network"])
