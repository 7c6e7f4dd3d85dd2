"""Parts of a network that training leaves as they are (transfer learning by feature extraction)."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def freeze(module: nn.Module) -> None:
    """Keep a module exactly as it is: no gradients, and evaluation mode for good.

    Without the second, batch norm goes on adapting its running mean and variance to the new data whenever
    the whole model is put in training mode, and the "frozen" features drift; dropout and stochastic depth
    stay off too. Holds for each submodule, however `train()` is called, and for deep copies (a moving
    average of weights).
    """
    module.requires_grad_(False)
    module.eval()
    for part in module.modules():
        vars(part)["train"] = types.MethodType(_stay_in_eval, part)


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return type(module).train(module, False)
