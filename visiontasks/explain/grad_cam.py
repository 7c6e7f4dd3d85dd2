"""Class activation maps: which places of a layer the score rests on, by the gradient at its units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.errors import UsageError, unknown_name
from visiontasks.explain.target import Score

UNITS: Final = 4  # of a layer along the side of a place, at least, for a map of it


@dataclass(slots=True)
class _Passes:
    """What was seen while the network ran: the backbone's inputs, and the layer's outputs.

    inputs: of each pass of the backbone, (1, 3, h, w), with the way back to the network's input.
    outputs: (pass, (1, C, h', w')) of each run of the layer.
    """

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[tuple[int, Tensor]] = field(default_factory=list)
    entry: nn.Module | None = None

    def enter(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """The first module of the backbone that runs begins each pass (SegNet calls its layers itself)."""
        self.entry = self.entry or module
        if module is self.entry:
            self.inputs.append(arguments[0])

    def keep(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Begin the gradient here; what follows gets a copy, since a ReLU may work in place."""
        if not isinstance(output, Tensor):
            return output
        kept = output.detach().requires_grad_()
        self.outputs.append((len(self.inputs) - 1, kept))
        return kept.clone()


def find_layer(network: nn.Module, name: str) -> tuple[str, nn.Module]:
    """A layer by its dotted name, of which `backbone.` may be left out.

    Raises: UsageError naming the nearest layers.
    """
    layers = {path: layer for path, layer in network.named_modules() if path}
    path = name if name in layers else f"backbone.{name}"
    if path not in layers:
        raise UsageError(
            unknown_name("layer", name, [path.removeprefix("backbone.") for path in layers])
            + "; visiontasks inspect lists them"
        )
    return path.removeprefix("backbone."), layers[path]


def fitting_layer(network: Any, where: Tensor | None = None) -> str:
    """The layer of the backbone's last level, or the last whose units are small beside a place.

    At most a quarter of its side, the root of its area: a small object leaves no trace in the last layer.
    Where no level is so fine, the finest. What counts is what leaves a level, not its last convolution (as in
    Selvaraju 2017, for VGG): in a residual block that holds what is added to the shortcut, before the norm. A
    level that is but the level before it, pooled (VGG, AlexNet), is passed over.

    where: a box (4,) xyxy or a mask (H, W), network pixels.
    """
    backbone = network.backbone
    levels: list[tuple[str, int]] = [
        (name, stride)
        for name, stride in zip(backbone.ends, backbone.strides, strict=True)
        if not isinstance(backbone.get_submodule(name), nn.MaxPool2d)
    ]
    if where is None:
        return levels[-1][0]
    area = torch.prod((where[2:] - where[:2]).clamp(min=0)) if where.ndim == 1 else where.sum()
    limit = max(float(area) ** 0.5 / UNITS, levels[0][1])
    return [name for name, stride in levels if stride <= limit][-1]


def grad_cam(
    score: Score, network: Any, layer: nn.Module, image: Tensor, *, name: str, local: bool = False
) -> Tensor:
    """sum_k alpha_k A^(k), in the pixels of the network's input: (H, W), negative where it speaks against.

    A^(k) is channel k of the layer's output, alpha_k the mean over its units of d score / d a_ij^(k). The map
    is enlarged bilinearly. A layer that runs several times (for a mirrored view, a level of a pyramid) has a
    map each time; they are brought back to the picture and added.
    Source: slides 2, "Saliency maps"; Selvaraju et al. 2017 (arXiv 1610.02391, equations 1 and 2), where
    negative values are cut off.

    Args:
        score: of `network`, see `Score`. image: (1, 3, H, W), normalised.
        layer: part of the network; a convolution's output is its pre-activation. name: for messages.
        local: weigh each unit by its own gradient instead of its channel's mean, so that places that the
            score does not depend on are 0: of a detection, which looks at its region alone.
            Source: Draelos and Carin 2020 (arXiv 2011.08891, HiResCAM).

    Raises: UsageError for a layer without positions, or that the score does not depend on.
    """
    passes = _Passes()
    hooks = [
        module.register_forward_pre_hook(passes.enter)
        for module in network.get_submodule("backbone").modules()
    ]
    hooks.append(layer.register_forward_hook(passes.keep))
    pixels = image.detach().requires_grad_()
    try:
        with torch.enable_grad():
            value = score(pixels).sum()
    finally:
        for hook in hooks:
            hook.remove()
    maps = [output for _, output in passes.outputs]
    gradients: tuple[Tensor | None, ...] = ()
    if maps and value.requires_grad:
        gradients = torch.autograd.grad(value, maps, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise UsageError(
            f"expected a layer that the target depends on, found '{name}', which it does not; choose another"
        )
    total = torch.zeros(image.shape[-2:], device=image.device)
    strides: Sequence[int] = network.backbone.strides
    for (number, output), gradient in zip(passes.outputs, gradients, strict=True):
        if gradient is None:
            continue
        if output.dim() != 4 or len(output) != 1:
            raise UsageError(
                f"expected a layer with positions on the whole picture, (1, C, h, w), found '{name}' with "
                f"{tuple(output.shape)}; choose a convolution of the backbone"
            )
        weights = gradient if local else gradient.mean(dim=(2, 3), keepdim=True)  # (1, C, 1, 1)
        coarse = (weights * output.detach()).sum(dim=1, keepdim=True)  # (1, 1, h, w)
        total += _on_the_picture(coarse, passes.inputs[number], pixels, strides)
    return total


def _on_the_picture(coarse: Tensor, seen: Tensor, pixels: Tensor, strides: Sequence[int]) -> Tensor:
    """A layer's map in the pixels of the network's input, (H, W); 0 where the backbone did not see them.

    What lies between the two (padding, mirroring, shifting, a pyramid's scaling) is linear: its transpose
    takes the map back, and that of a map of ones says by which weights.

    Args:
        coarse: (1, 1, h', w'). seen: (1, 3, h, w), what the backbone saw. pixels: (1, 3, H, W).
        strides: of the backbone's levels.
    """
    size = (seen.shape[2], seen.shape[3])
    extent = [_extent(count, side, strides) for count, side in zip(coarse.shape[2:], size, strict=True)]
    fine = enlarge(coarse, size, (extent[0], extent[1])).expand(1, 3, -1, -1)  # (1, 3, h, w)
    if seen is pixels:
        return fine[0, 0]
    (moved,) = torch.autograd.grad(seen, pixels, fine, retain_graph=True)
    (weights,) = torch.autograd.grad(seen, pixels, torch.ones_like(fine), retain_graph=True)
    weights = weights.sum(dim=1)[0]
    return torch.where(weights > 0, moved.sum(dim=1)[0] / weights, 0.0)


def _extent(count: int, side: int, strides: Sequence[int]) -> int:
    """How many of a side's pixels a map's units stand on: all, but where layers lack padding.

    count: units along the side. side: pixels. strides: of which the nearest is taken for the units'.
    """
    stride = min(strides, key=lambda stride: abs(math.log(stride * count / side)))
    return count * stride if side - count * stride >= stride else side


def enlarge(maps: Tensor, size: tuple[int, int], extent: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w), bilinearly, on a picture of `size` (height, width): (B, C, *size).

    extent: pixels that the maps' units stand on. More of them than the picture has (a network that pads it)
        lie beyond its lower right edge; fewer (one without padding) in its middle, and the edges go on.
    """
    fine = F.interpolate(maps, extent, mode="bilinear", align_corners=False)[:, :, : size[0], : size[1]]
    missing = size[0] - fine.shape[2], size[1] - fine.shape[3]
    top, left = missing[0] // 2, missing[1] // 2
    return F.pad(fine, (left, missing[1] - left, top, missing[0] - top), mode="replicate")
