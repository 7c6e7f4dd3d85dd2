"""From a classifier of one window to a network that gives the score of every window in one pass.

The first fully connected layer becomes a convolution as large as the window's features, the others become
1x1 convolutions, and global pooling becomes pooling of that size: on a picture of exactly one window the
result is 1x1, on a larger one there is one position a window.
Source: slides 2, "Sliding windows"; Sermanet et al. 2014, "OverFeat" (arXiv 1312.6229, section 3.5).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from visiontasks.backbones.heads import ClassifierHead
from visiontasks.backbones.levels import BackboneModule
from visiontasks.backbones.small import ScaledLinear
from visiontasks.errors import ConfigError, DataError, UsageError

Pair = tuple[int, int]  # (height, width)


@torch.no_grad()
def feature_size(backbone: BackboneModule, window: Pair) -> Pair:
    """(height, width) of the last level of a picture of exactly one window.

    Raises: ConfigError when the window is too small for the backbone.
    """
    state = backbone.training
    try:
        parameter = next(backbone.parameters())
        levels = backbone.eval()(parameter.new_zeros(1, 3, *window))
    except DataError as error:
        raise ConfigError([f"model.window: {error}"]) from None
    finally:
        backbone.train(state)
    height, width = levels[-1].shape[2:]
    return height, width


def make_dense(head: ClassifierHead, size: Pair) -> nn.Sequential:
    """A classifier's layers as ones that work at every position of a feature map.

    Args:
        head: reads the last level of a backbone and gives K logits; its weights are copied.
        size: (height, width) of that level for one window.

    Returns:
        Layers: (B, C, h, w) -> (B, K, h - height + 1, w - width + 1); of `size` itself (B, K, 1, 1), equal to
        the head's logits. The last of them is a convolution.

    Raises:
        UsageError: the head has a layer that cannot work at every position.
    """
    layers: list[nn.Module] = []
    pooled: tuple[Tensor, Tensor] | None = None  # averages on the way to a fully connected layer
    for layer in _leaves(head):
        if isinstance(layer, nn.AdaptiveAvgPool2d) and _is_global(layer):
            layers.append(nn.AvgPool2d(size, stride=1))
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            rows, columns = _both(layer.output_size)
            pooled = averaging_matrix(size[0], rows), averaging_matrix(size[1], columns)
        elif isinstance(layer, nn.AdaptiveMaxPool2d) and _is_global(layer):
            layers.append(nn.MaxPool2d(size, stride=1))
        elif isinstance(layer, nn.Linear):
            layers.append(_convolution(layer, pooled))
            pooled = None
        elif isinstance(layer, nn.Dropout | nn.ReLU | nn.Hardswish | nn.GELU | nn.LayerNorm):
            layers.append(layer)  # of torchvision's, a LayerNorm after pooling normalises channels
        elif not isinstance(layer, nn.Flatten):
            raise UsageError(
                f"expected a head whose layers work at every position, found {type(layer).__name__}; "
                "use model.head: linear"
            )
    return nn.Sequential(*layers)


def averaging_matrix(inputs: int, outputs: int) -> Tensor:
    """Adaptive average pooling along one axis as a matrix (outputs, inputs) whose rows sum to 1.

    Output i is the mean of the inputs from floor(i * inputs / outputs) to ceil((i + 1) * inputs / outputs).
    """
    place = torch.arange(outputs)
    first, last = place * inputs // outputs, -(-(place + 1) * inputs // outputs)
    inside = (torch.arange(inputs) >= first[:, None]) & (torch.arange(inputs) < last[:, None])
    return inside / inside.sum(dim=1, keepdim=True)


@torch.no_grad()
def _convolution(layer: nn.Linear, pooled: tuple[Tensor, Tensor] | None) -> nn.Conv2d:
    """A fully connected layer as a convolution; the averages before it become part of its weights."""
    weight, device = layer.weight, layer.weight.device
    if isinstance(layer, ScaledLinear):
        weight = weight * layer.scale
    outputs = len(weight)
    if pooled is None:
        weight = weight[:, :, None, None]  # (O, C, 1, 1)
    else:
        rows, columns = (matrix.to(device) for matrix in pooled)
        weight = weight.view(outputs, -1, len(rows), len(columns))  # (O, C, n, m)
        weight = torch.einsum("ocnm,nh,mw->ochw", weight, rows, columns)
    height, width = weight.shape[2:]
    convolution = nn.Conv2d(weight.shape[1], outputs, (height, width), device=device)
    convolution.weight.copy_(weight)
    assert convolution.bias is not None
    convolution.bias.copy_(layer.bias if layer.bias is not None else torch.zeros(outputs, device=device))
    return convolution


def _leaves(head: nn.Module) -> Iterator[nn.Module]:
    """The layers in the order in which they run; a LayerNorm of torchvision's is one, not a container."""
    children = list(head.children())
    if not children:
        yield head
    for child in children:
        yield from _leaves(child)


def _both(size: int | tuple[int | None, int | None] | None) -> Pair:
    height, width = size if isinstance(size, tuple) else (size, size)
    assert height is not None and width is not None
    return height, width


def _is_global(layer: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) -> bool:
    return _both(layer.output_size) == (1, 1)
