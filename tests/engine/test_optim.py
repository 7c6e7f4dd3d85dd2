import math

import pytest
import torch
from torch import nn

from visiontasks.config import OptimizerConfig, ScheduleConfig
from visiontasks.engine.optim import (
    MovingAverage,
    build_optimizer,
    learning_rate_factor,
    parameter_groups,
    set_learning_rate,
)


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


def test_biases_and_norm_layers_do_not_decay_and_the_backbone_has_its_own_rate():
    network = TwoParts()
    groups = parameter_groups(network, OptimizerConfig(weight_decay=0.1, backbone_lr=0.5))
    seen = {}
    for group in groups:
        for parameter in group["params"]:
            seen[id(parameter)] = (group["weight_decay"], group["lr_factor"])
    assert seen[id(network.backbone[0].weight)] == (0.1, 0.5)
    assert seen[id(network.backbone[0].bias)] == (0.0, 0.5)
    assert seen[id(network.backbone[1].weight)] == (0.0, 0.5)
    assert seen[id(network.head.weight)] == (0.1, 1.0)
    assert seen[id(network.head.bias)] == (0.0, 1.0)


def test_frozen_parameters_are_in_no_group():
    network = TwoParts()
    network.backbone.requires_grad_(False)
    parameters = [p for group in parameter_groups(network, OptimizerConfig()) for p in group["params"]]
    assert {id(p) for p in parameters} == {id(network.head.weight), id(network.head.bias)}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_learning_rate_reaches_each_group_by_its_factor(name):
    optimizer = build_optimizer(TwoParts(), OptimizerConfig(name=name, lr=1.0, backbone_lr=0.1))
    set_learning_rate(optimizer, 0.5)
    rates = {group["lr_factor"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {0.1: 0.05, 1.0: 0.5}


@pytest.mark.parametrize(
    ("schedule", "epoch", "factor"),
    [
        (ScheduleConfig(name="constant"), 7, 1.0),
        (ScheduleConfig(name="constant", warmup=4), 1, 0.25),
        (ScheduleConfig(name="cosine"), 0, 1.0),
        (ScheduleConfig(name="cosine"), 5, 0.5),
        (ScheduleConfig(name="cosine"), 10, 0.0),
        (ScheduleConfig(name="cosine", final=0.1), 10, 0.1),
        (ScheduleConfig(name="cosine", warmup=2), 6, 0.5),
        (ScheduleConfig(name="step", milestones=(3, 6), gamma=0.1), 2.99, 1.0),
        (ScheduleConfig(name="step", milestones=(3, 6), gamma=0.1), 3, 0.1),
        (ScheduleConfig(name="step", milestones=(3, 6), gamma=0.1), 9, 0.01),
        (ScheduleConfig(name="one_cycle", warmup=2), 1, 0.5),
        (ScheduleConfig(name="one_cycle", warmup=2), 2, 1.0),
        (ScheduleConfig(name="one_cycle", warmup=2), 6, 0.5),
        (ScheduleConfig(name="trapezoid", warmup=2, cooldown=4), 1, 0.5),
        (ScheduleConfig(name="trapezoid", warmup=2, cooldown=4), 6, 1.0),
        (ScheduleConfig(name="trapezoid", warmup=2, cooldown=4), 7, 0.5),
        (ScheduleConfig(name="trapezoid", warmup=2, cooldown=4, final=0.1), 10, 0.1),
        (ScheduleConfig(name="trapezoid"), 9, 1.0),
    ],
)
def test_schedules_by_hand(schedule, epoch, factor):
    assert math.isclose(learning_rate_factor(epoch, 10, schedule), factor, abs_tol=1e-12)


def test_first_step_of_a_warm_up_moves_the_weights():
    assert learning_rate_factor(0, 10, ScheduleConfig(warmup=2)) > 0


def test_moving_average_follows_the_formula_and_includes_batch_statistics():
    network = nn.BatchNorm1d(1)
    average = MovingAverage(network, decay=0.5)
    expected_weight, expected_mean = 1.0, 0.0
    for update in range(3):
        with torch.no_grad():
            network.weight.fill_(2.0 + update)
            network.running_mean.fill_(10.0)
        average.update(network)
        decay = min(0.5, (1 + update) / (10 + update))
        expected_weight = decay * expected_weight + (1 - decay) * (2.0 + update)
        expected_mean = decay * expected_mean + (1 - decay) * 10.0
    assert average.network.weight.item() == pytest.approx(expected_weight)
    assert average.network.running_mean.item() == pytest.approx(expected_mean)
    assert not average.network.weight.requires_grad


def test_moving_average_state_goes_through_a_round_trip():
    network = nn.Linear(2, 2)
    first, second = MovingAverage(network, 0.9), MovingAverage(nn.Linear(2, 2), 0.9)
    first.update(network)
    second.load_state_dict(first.state_dict())
    assert second.updates == 1
    assert torch.equal(second.network.weight, first.network.weight)
