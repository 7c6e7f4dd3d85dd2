"""What one operation on feature maps does to receptive field and stride, and what it costs.

Reads the calls of PyTorch's functions (`conv2d`, `max_pool2d`, ...); `layers.py` follows a network with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from visiontasks.ops.convolution import Pair, convolution_macs

Steps = tuple[float, float]  # (vertical, horizontal)


@dataclass(frozen=True, slots=True)
class Field:
    """What the positions of a tensor see of the picture, in pixels.

    extent: height and width of the receptive field; None = the whole picture.
    step: pixels between the fields of neighbouring positions; None where positions are gone.
    start: top and left of the field of position (0, 0), negative where it begins in padding.
    """

    extent: Steps | None
    step: Steps | None
    start: Steps = (0, 0)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, read from its call.

    span: input positions that one output position sees, along each axis.
    hop: input positions from one output to the next; below 1 where the operation enlarges.
    lead: input positions that the span of output (0, 0) begins before input (0, 0).
    kernel, stride, padding: for the table, where the operation has them.
    macs: multiplications with addition.
    mixes: each output sees every position.
    joins: several feature maps become one of more channels.
    """

    span: Steps = (1, 1)
    hop: Steps = (1, 1)
    lead: Steps = (0, 0)
    kernel: Pair | None = None
    stride: Pair | None = None
    padding: Pair | None = None
    macs: int = 0
    mixes: bool = False
    joins: bool = False

    @property
    def counts(self) -> bool:
        """Whether the operation deserves a line of its own in a table."""
        windowed = (self.span, self.hop) != ((1, 1), (1, 1))
        return windowed or self.macs > 0 or self.mixes or self.joins


Call = tuple[Sequence[Any], Mapping[str, Any]]
Reader = Callable[[Call, Tensor], Operation]

CONVOLUTION: Final = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED: Final = (
    "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
)  # fmt: skip
POOL: Final = ("input", "kernel_size", "stride", "padding")
JOINS: Final = {"cat", "concat", "concatenate"}
REDUCTIONS: Final = {"mean", "sum", "amax", "amin", "max", "min", "std", "var", "logsumexp", "norm"}


def read_operation(
    name: str, call: Call, output: Tensor, sources: Sequence[tuple[Tensor, Field]]
) -> Operation:
    """What a call did.

    Args:
        name: of the PyTorch function or method.
        call: its positional and named arguments.
        output: the (first) tensor that it returned.
        sources: the tensors among its arguments that depend on the picture.
    """
    if name in READERS:
        return READERS[name](call, output)
    if name in {"matmul", "__matmul__", "__rmatmul__", "bmm", "mm"}:
        inner = call[0][0].shape[-1]
        return Operation(
            macs=output.numel() * inner, mixes=len(sources) > 1
        )  # attention; else a linear layer
    forgets = any(_forgets_positions(name, tensor, output) for tensor, _ in sources)
    return Operation(mixes=forgets, joins=name in JOINS)


def apply(operation: Operation, output: Tensor, sources: Sequence[tuple[Tensor, Field]]) -> Field:
    """The field of an operation's output. Where several inputs meet, the largest counts."""
    step = _step(output, sources)
    extents = [field.extent for _, field in sources]
    if step is not None:
        before, step = step, (step[0] * operation.hop[0], step[1] * operation.hop[1])
    else:
        before = (0.0, 0.0)
    positions = output.dim() > 2 and output.shape[2:].numel() > 1
    kept = step if positions or not operation.mixes else None
    known = [(extent, field.start) for extent, (_, field) in zip(extents, sources, strict=True) if extent]
    if operation.mixes or len(known) < len(extents):
        return Field(None, kept)
    widest = [max(known, key=lambda item: item[0][axis]) for axis in (0, 1)]
    height, width = (widest[axis][0][axis] + (operation.span[axis] - 1) * before[axis] for axis in (0, 1))
    top, left = (widest[axis][1][axis] - operation.lead[axis] * before[axis] for axis in (0, 1))
    return Field((height, width), kept, (top, left))


def _step(output: Tensor, sources: Sequence[tuple[Tensor, Field]]) -> Steps | None:
    """The step of the inputs: of those of the output's size, if any (a number a channel has none)."""
    same = [field.step for tensor, field in sources if tensor.shape[2:] == output.shape[2:] and field.step]
    steps = same or [field.step for _, field in sources if field.step]
    return max(steps, default=None)


def _forgets_positions(name: str, tensor: Tensor, output: Tensor) -> bool:
    """Whether positions end up in one vector: flattening, or a mean over all of them."""
    before = tensor.shape[2:].numel() if tensor.dim() > 2 else 1
    if before == 1:
        return False
    if output.dim() <= 2:
        return True
    return name in REDUCTIONS and output.dim() == 4 and output.shape[2:].numel() < before


def _convolution(call: Call, output: Tensor) -> Operation:
    arguments = _named(CONVOLUTION, call)
    weight: Tensor = arguments["weight"]
    kernel, stride = _pair(weight.shape[2:]), _pair(arguments.get("stride", 1))
    dilation, padding = _pair(arguments.get("dilation", 1)), arguments.get("padding", 0)
    groups = arguments.get("groups", 1)
    span = _span(kernel, dilation)
    if isinstance(padding, str):
        padding = [(length - 1) // 2 if padding == "same" else 0 for length in span]
    return Operation(
        span=span,
        hop=stride,
        lead=_pair(padding),
        kernel=kernel,
        stride=stride,
        padding=_pair(padding),
        macs=convolution_macs(
            kernel, weight.shape[1] * groups, weight.shape[0], _pair(output.shape[2:]), groups=groups
        ),
    )


def _transposed_convolution(call: Call, output: Tensor) -> Operation:
    """Each output position is reached by the kernels of ceil(M / S) input positions."""
    arguments = _named(TRANSPOSED, call)
    image, weight = arguments["input"], arguments["weight"]
    kernel, stride = _pair(weight.shape[2:]), _pair(arguments.get("stride", 1))
    span, padding = _span(kernel, _pair(arguments.get("dilation", 1))), _pair(arguments.get("padding", 0))
    return Operation(
        span=(math.ceil(span[0] / stride[0]), math.ceil(span[1] / stride[1])),
        hop=(1 / stride[0], 1 / stride[1]),
        lead=((span[0] - 1 - padding[0]) // stride[0], (span[1] - 1 - padding[1]) // stride[1]),
        kernel=kernel,
        stride=stride,
        padding=padding,
        macs=weight.numel() * image.shape[2:].numel(),
    )


def _pool(call: Call, output: Tensor) -> Operation:
    arguments = _named(POOL, call)
    kernel = _pair(arguments["kernel_size"])
    stride = _pair(arguments.get("stride") or kernel)
    return Operation(
        span=_span(kernel, _pair(arguments.get("dilation", 1))),
        hop=stride,
        lead=_pair(arguments.get("padding", 0)),
        kernel=kernel,
        stride=stride,
        padding=_pair(arguments.get("padding", 0)),
    )


def _adaptive_pool(call: Call, output: Tensor) -> Operation:
    """Output i averages the positions from floor(i * in / out) to ceil((i + 1) * in / out)."""
    image: Tensor = _named(("input",), call)["input"]
    sizes = list(zip(image.shape[2:], output.shape[2:], strict=True))
    if all(after == 1 for _, after in sizes):
        return Operation(mixes=image.shape[2:].numel() > 1)
    spans = [
        max(math.ceil((i + 1) * before / after) - i * before // after for i in range(after))
        for before, after in sizes
    ]
    return Operation(span=(spans[0], spans[1]), hop=_ratios(image, output))


def _resize(call: Call, output: Tensor) -> Operation:
    """Interpolation between 1, 2 or 4 neighbours along each axis."""
    arguments = _named(("input", "size", "scale_factor", "mode"), call)
    mode = arguments.get("mode", "nearest")
    if mode == "area":
        return _adaptive_pool(call, output)
    taps = {"bilinear": 2, "bicubic": 4}.get(mode, 1)
    return Operation(span=(taps, taps), hop=_ratios(arguments["input"], output), lead=((taps - 1) / 2,) * 2)


def _pad(call: Call, output: Tensor) -> Operation:
    """`F.pad`: (left, right, top, bottom, ...); positions move, what each sees does not."""
    margins = list(_named(("input", "pad"), call)["pad"])
    left, _, top, _ = [*margins, 0, 0, 0, 0][:4]
    return Operation(lead=(top, left))


def _rearrange(call: Call, output: Tensor) -> Operation:
    return Operation(hop=_ratios(_named(("input",), call)["input"], output))


def _linear(call: Call, output: Tensor) -> Operation:
    return Operation(macs=output.numel() * _named(("input",), call)["input"].shape[-1])


def _attention(call: Call, output: Tensor) -> Operation:
    query, key, value = (_named(("query", "key", "value"), call)[name] for name in ("query", "key", "value"))
    products = query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    return Operation(macs=products, mixes=True)


READERS: Final[dict[str, Reader]] = {
    "conv2d": _convolution,
    "conv_transpose2d": _transposed_convolution,
    "max_pool2d": _pool,
    "max_pool2d_with_indices": _pool,
    "avg_pool2d": _pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "adaptive_max_pool2d_with_indices": _adaptive_pool,
    "interpolate": _resize,
    "pad": _pad,
    "max_unpool2d": _rearrange,
    "pixel_shuffle": _rearrange,
    "pixel_unshuffle": _rearrange,
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
}


def _named(names: Sequence[str], call: Call) -> dict[str, Any]:
    positional, named = call
    return {**dict(zip(names, positional, strict=False)), **named}


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    first, last = value[0], value[-1]
    return int(first), int(last)


def _span(kernel: Pair, dilation: Pair) -> Pair:
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def _ratios(image: Tensor, output: Tensor) -> Steps:
    return image.shape[-2] / output.shape[-2], image.shape[-1] / output.shape[-1]
