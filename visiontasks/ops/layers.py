"""The layer table of a network: sizes, parameters, receptive fields and cost, without computing anything.

The network runs once on PyTorch's meta device, where tensors have shapes but no values. Each tensor is
followed through each operation, so that branches are known as they are.

Receptive field: what an output *can* see of the picture, zero padding included, in pixels. Where branches
meet (residual sums, concatenations, skips) the largest counts, as if their centres coincided. An operation
that mixes all positions (global pooling, a fully connected layer over positions, attention) makes it the
whole picture, and so it stays: squeeze-excitation multiplies each position by a number that all positions
went into.
Source: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from visiontasks.ops.convolution import Pair
from visiontasks.ops.geometry import Field, Operation, apply, read_operation


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer as it ran. Pairs are (height, width), in pixels; batch size 1.

    name: dotted name in the network, or the operation's where no layer of its own does it.
    kind: the layer's class; a block has a row only where it has parameters besides its layers'.
    output: (C, H, W), or (K,) behind the last spatial layer.
    kernel, stride, padding: of convolutions and pools; None for others.
    parameters: weights of its own; 0 when the layer runs again.
    receptive_field: None = the whole picture.
    cumulative_stride: pixels of the picture between neighbouring outputs; None when positions are gone.
    field_start: top and left of the receptive field of the first output, negative where it begins in
        padding; None where the field is the whole picture. Exact for convolutions and pools.
    macs: multiplications with addition, of convolutions and matrix products.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    kernel: Pair | None
    stride: Pair | None
    padding: Pair | None
    parameters: int
    receptive_field: Pair | None
    cumulative_stride: tuple[float, float] | None
    field_start: tuple[float, float] | None
    macs: int


@dataclass(frozen=True, slots=True)
class LayerTable:
    """The layers in the order in which they ran, and the totals.

    size: (height, width) of the picture.
    parameters: of the whole network; layers that did not run are included.
    receptive_field: the largest that is not the whole picture; None where there is none.
    global_from: name of the first layer that sees the whole picture; None where none does.
    """

    size: Pair
    rows: tuple[LayerRow, ...]
    parameters: int
    macs: int
    receptive_field: Pair | None
    global_from: str | None

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        """The table as JSON; a receptive field of the whole picture is "global"."""
        rows = [asdict(row) | {"receptive_field": row.receptive_field or "global"} for row in self.rows]
        return asdict(self) | {"rows": rows}


def layer_table(
    network: nn.Module, size: Pair, wrap: Callable[[Tensor], Any] | None = None, *, device: str = "meta"
) -> LayerTable:
    """Follow a picture through a network, layer by layer, as a rule without computing.

    Args:
        network: takes (1, 3, H, W) float32; on any device, in any mode, left as it was. The products inside
            a `nn.MultiheadAttention` are not counted.
        size: (height, width) of the picture, in pixels.
        wrap: makes the network's argument of the picture's tensor, where it takes something else.
        device: the network's own, to compute with a black picture: the way through a detector depends on
            values.

    Raises:
        DataError: the picture is too small for the network.
    """
    images = torch.zeros(1, 3, *size, device=device)
    weights = {
        name: torch.empty_like(tensor, device=device) if device == "meta" else tensor
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]
    }
    modes = {module: module.training for module in network.modules()}
    trace = _Trace(images)
    hooks = [hook for name, module in network.named_modules() for hook in trace.watch(name, module)]
    try:
        for module in modes:
            module.training = False  # batch norm at a single position has no statistics to learn
        with torch.no_grad(), torch.device(device), trace:
            functional_call(network, weights, (images if wrap is None else wrap(images),))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return _totals(size, trace.rows, sum(weight.numel() for weight in network.parameters()))


def _totals(size: Pair, rows: Sequence[LayerRow], parameters: int) -> LayerTable:
    extents = [row.receptive_field for row in rows if row.receptive_field is not None]
    return LayerTable(
        size=size,
        rows=tuple(rows),
        parameters=parameters,
        macs=sum(row.macs for row in rows),
        receptive_field=max(extents, default=None),
        global_from=next((row.name for row in rows if row.receptive_field is None), None),
    )


@dataclass(slots=True)
class _OpenLayer:
    """A module that is running: what its own operations did so far."""

    name: str
    module: nn.Module
    window: Operation | None = None
    macs: int = 0

    @property
    def is_leaf(self) -> bool:
        return not any(True for _ in self.module.children())


class _Trace(TorchFunctionMode):
    """Sees each call of a PyTorch function, keeps the field of each tensor, writes a row for each layer."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.rows: list[LayerRow] = []
        self._open: list[_OpenLayer] = []
        self._counted: set[nn.Module] = set()
        self._fields = {id(images): (images, Field((1, 1), (1, 1)))}  # holds the tensors: ids stay unique

    def watch(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        """Have a module tell when it starts and ends; returns the hooks, to be removed."""

        def start(module: nn.Module, arguments: Any) -> None:
            self._open.append(_OpenLayer(name or type(module).__name__, module))

        def end(module: nn.Module, arguments: Any, output: Any) -> None:
            self._close(self._open.pop(), output)

        return [module.register_forward_pre_hook(start), module.register_forward_hook(end)]

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        outputs = list(_tensors(result))
        sources = [self._fields[id(t)] for t in _tensors([args, kwargs or {}]) if id(t) in self._fields]
        if outputs and sources:
            name = getattr(function, "__name__", "")
            operation = read_operation(name, (args, kwargs or {}), outputs[0], sources)
            field = apply(operation, outputs[0], sources)
            for tensor in outputs:
                self._fields[id(tensor)] = tensor, field
            if operation.counts:
                self._note(name, operation, outputs[0])
        return result

    def _note(self, name: str, operation: Operation, output: Tensor) -> None:
        """Book an operation on the layer that runs it; a block's own operation gets a row of its own."""
        layer = self._open[-1] if self._open else None
        if layer is not None and layer.is_leaf:
            layer.macs += operation.macs
            layer.window = operation if operation.kernel is not None else layer.window
        else:
            prefix = f"{layer.name}." if layer is not None and len(self._open) > 1 else ""
            self._write(f"{prefix}{name}", name, output, operation, operation.macs, 0)

    def _close(self, layer: _OpenLayer, output: Any) -> None:
        tensor = next(_tensors(output), None)
        own = sum(weight.numel() for weight in layer.module.parameters(recurse=False))
        if tensor is None or not (layer.is_leaf or own):
            return
        parameters = 0 if layer.module in self._counted else own
        self._counted.add(layer.module)
        kind = type(layer.module).__name__
        self._write(layer.name, kind, tensor, layer.window or Operation(), layer.macs, parameters)

    def _write(
        self, name: str, kind: str, output: Tensor, operation: Operation, macs: int, parameters: int
    ) -> None:
        if id(output) not in self._fields:
            return  # does not depend on the picture
        field = self._fields[id(output)][1]
        extent = None if field.extent is None else _rounded_up(field.extent)
        self.rows.append(
            LayerRow(
                name=name,
                kind=kind,
                output=tuple(output.shape[1:]),
                kernel=operation.kernel,
                stride=operation.stride,
                padding=operation.padding,
                parameters=parameters,
                receptive_field=extent,
                cumulative_stride=field.step,
                field_start=None if field.extent is None else field.start,
                macs=macs,
            )
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _rounded_up(extent: tuple[float, float]) -> Pair:
    """Whole pixels; a field that is whole up to rounding errors stays so."""
    return math.ceil(extent[0] - 1e-6), math.ceil(extent[1] - 1e-6)
