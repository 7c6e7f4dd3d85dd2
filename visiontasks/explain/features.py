"""What a layer of a network says of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from visiontasks.errors import UsageError
from visiontasks.explain.grad_cam import find_layer
from visiontasks.ops.layers import LayerRow, layer_table
from visiontasks.types import Batch, ImageInfo


class _Reached(Exception):
    """The layer has run; what comes after it is not needed."""

    def __init__(self, output: Any) -> None:
        self.output = output


def features_at(network: nn.Module, layer: str, batch: Batch) -> Tensor:
    """The output of a layer, (B, C, h, w) or (B, C), when it first runs; later layers are not computed.

    Gradients reach the pictures unless they are switched off.

    Args:
        layer: dotted name, as `visiontasks inspect` prints it; see `find_layer`.
        batch: on the network's device, normalised.

    Raises:
        UsageError: no such layer, it does not run, or its output is no feature map.
    """

    def stop(module: nn.Module, arguments: Any, output: Any) -> None:
        raise _Reached(output)

    hook = find_layer(network, layer)[1].register_forward_hook(stop)
    try:
        network(batch)
    except _Reached as reached:
        output = reached.output
    else:
        raise UsageError(f"expected a layer that runs on pictures, found '{layer}', which does not")
    finally:
        hook.remove()
    if not isinstance(output, Tensor) or output.ndim not in (2, 4) or len(output) != len(batch.images):
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"expected a layer whose output is (pictures, channels, height, width) or (pictures, channels), "
            f"found {found} at '{layer}'; choose another of `visiontasks inspect`"
        )
    return output


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
    for row in layer_table(network, size, lambda images: Batch(images, [info])):
        first.setdefault(row.name, row)  # a network may see a picture, then its mirror image
    rows: Sequence[LayerRow] = [
        row for name, row in first.items() if name == path or name.startswith(f"{path}.")
    ]
    if not rows:
        raise UsageError(f"expected a layer that runs on pictures, found '{layer}', which does not")
    return first.get(path, rows[-1])
