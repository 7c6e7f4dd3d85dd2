"""A frozen module stays as it is: weights, batch statistics, mode."""

import copy

import pytest
import torch
from torch import nn

from visiontasks.backbones import build_backbone, freeze


def classifier():
    torch.manual_seed(0)
    backbone = build_backbone("small", stem=4, widths=(4, 8))
    return nn.Sequential(backbone, nn.Identity())


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def put_in_training_mode(model, how):
    if how == "whole":
        model.train()
    elif how == "each":
        for module in list(model.modules()):
            module.train()
    elif how == "explicit":
        model[0].train(True)
    else:
        model.eval()
        model.train(mode=True)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("how", ["whole", "each", "explicit", "back and forth"])
def test_frozen_in_training_mode(how, copied):
    model = classifier()
    freeze(model[0])
    if copied:
        model = copy.deepcopy(model)
    put_in_training_mode(model, how)
    before = snapshot(model)
    levels = model(torch.randn(4, 3, 16, 16))
    assert not any(level.requires_grad for level in levels)
    assert not any(module.training for module in model[0].modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_copy_is_frozen_on_its_own():
    """A deep copy's mode is bound to the copy, not to the original."""
    model = classifier()
    freeze(model[0])
    twin = copy.deepcopy(model[0])
    assert twin.train() is twin
    assert twin.stem.train() is twin.stem


def test_without_freezing_the_statistics_move():
    """Guards the test above: the same run without `freeze` does change batch norm."""
    model = classifier().train()
    before = snapshot(model)
    model(torch.randn(4, 3, 16, 16))
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)]
    assert any(name.endswith("running_mean") for name in changed)


def test_training_a_head_moves_only_the_head():
    backbone, head = build_backbone("small", stem=4, widths=(4, 8)), nn.Linear(8, 3)
    freeze(backbone)
    model = nn.ModuleDict({"backbone": backbone, "head": head}).train()
    before = snapshot(model)
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    for _ in range(3):
        logits = head(backbone(torch.randn(4, 3, 16, 16))[-1].amax((2, 3)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)]
    assert changed == ["head.weight", "head.bias"]
