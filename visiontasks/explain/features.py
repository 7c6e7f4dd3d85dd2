"""What a layer of a network says of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from visiontasks.errors import UsageError
from visiontasks.explain.grad_cam import find_layer
from visiontasks.explain.growing import batch_of
from visiontasks.ops.layers import LayerRow, layer_table
from visiontasks.types import Batch, ImageInfo


class _Reached(Exception):
    """The layers have run; what comes after them is not needed."""


def features_at(network: nn.Module, layer: str, batch: Batch) -> Tensor:
    """The output of a layer, (B, C, h, w) or (B, C), when it first runs; later layers are not computed.

    Gradients reach the pictures unless they are switched off.

    Args:
        layer: dotted name, as `visiontasks inspect` prints it; see `find_layer`.
        batch: on the network's device, normalised.

    Raises:
        UsageError: no such layer, it does not run, or its output is no feature map.
    """
    return _outputs(network, [layer], batch.images, lambda: network(batch))[0]


def features_of_picture(network: Any, layers: Sequence[str], images: Tensor) -> list[Tensor]:
    """As `features_at`, of several layers in one pass.

    The backbone runs alone where it has all of the layers, so that they see the picture as it is: a detector
    or a mirrored network may begin with a part of it, or pad it.

    Args:
        network: in evaluation mode. layers: dotted names.
        images: (1, 3, H, W), normalised.

    Raises:
        UsageError: as `features_at`. DataError: the picture is too small for the backbone.
    """
    parts = set(network.backbone.modules())
    if all(find_layer(network, layer)[1] in parts for layer in layers):
        return _outputs(network, layers, images, lambda: network.backbone(images))
    return _outputs(network, layers, images, lambda: network(batch_of(images)))


def _outputs(
    network: nn.Module, layers: Sequence[str], images: Tensor, run: Callable[[], Any]
) -> list[Tensor]:
    """What the layers give when they first run.

    Raises: UsageError, see `features_at`.
    """
    outputs: dict[nn.Module, Any] = {}
    wanted = {find_layer(network, layer)[1]: layer for layer in layers}

    def keep(module: nn.Module, arguments: Any, output: Any) -> Any:
        """What follows gets a copy, since a ReLU may work in place."""
        outputs.setdefault(module, output)
        if len(outputs) == len(wanted):
            raise _Reached
        return output.clone() if isinstance(output, Tensor) else output

    hooks = [module.register_forward_hook(keep) for module in wanted]
    try:
        run()
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    for module, layer in wanted.items():
        if module not in outputs:
            raise UsageError(f"expected a layer that runs on pictures, found '{layer}', which does not")
        output = outputs[module]
        if not isinstance(output, Tensor) or output.ndim not in (2, 4) or len(output) != len(images):
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(
                f"expected a layer whose output is (pictures, channels, height, width) or (pictures, "
                f"channels), found {found} at '{layer}'; choose another of `visiontasks inspect`"
            )
    return [outputs[find_layer(network, layer)[1]] for layer in layers]


def receptive_field(network: nn.Module, layer: str, size: tuple[int, int]) -> LayerRow:
    """The row of the layer table that says what a layer sees; a block's is that of the last layer in it.

    Args:
        layer: dotted name. size: (height, width) of the network's pictures, pixels.

    Raises:
        UsageError: no such layer, or it does not run. DataError: the pictures are too small.
    """
    wanted = find_layer(network, layer)[1]
    path = next(path for path, module in network.named_modules() if module is wanted)
    info = ImageInfo("picture", *size, *size)
    first: dict[str, LayerRow] = {}
    device = str(next(network.parameters()).device)
    for row in layer_table(network, size, lambda images: Batch(images, [info]), device=device):
        first.setdefault(row.name, row)  # a network may see a picture, then its mirror image
    rows: Sequence[LayerRow] = [
        row for name, row in first.items() if name == path or name.startswith(f"{path}.")
    ]
    if not rows:
        raise UsageError(f"expected a layer that runs on pictures, found '{layer}', which does not")
    return first.get(path) or max(rows, key=_sees)


def _sees(row: LayerRow) -> float:
    """How much of a picture a layer sees; a block's shortcut, which may run last, sees less than its end."""
    return math.inf if row.receptive_field is None else math.prod(row.receptive_field)
