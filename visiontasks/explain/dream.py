"""DeepDream: a picture changed so that a layer says more loudly what it already sees there.

Source: slides 2, "Synthetic images": the deltas of a layer are set equal to its activations, which is the
gradient of half the sum of their squares, and the picture takes small steps along the gradient at the pixels;
Mordvintsev et al. 2015, the published notebook: octaves, jitter, gradients of one size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from visiontasks.errors import UsageError
from visiontasks.explain.features import features_of_picture
from visiontasks.explain.growing import Moment, Slope, ascent
from visiontasks.explain.top_patches import check_unit

RATE: Final = 0.01  # root mean square of a step, of the range of a pixel
RATIO: Final = 1.4  # of the sides of two octaves
JITTER: Final = 32  # largest move before a step, pixels
TILE: Final = 512  # most pixels a side of what a network sees at once: memory does not grow with the picture


@dataclass(frozen=True, slots=True)
class Dreaming:
    """How a picture is dreamed.

    steps: gradient steps in each octave. octaves: sizes of the picture, each 1.4 times the one before.
    seed: of the jitter.

    Raises: UsageError for fewer than one.
    """

    steps: int = 20
    octaves: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.octaves < 1:
            raise UsageError(
                f"expected at least 1 step and 1 octave, found {self.steps} steps and {self.octaves} octaves"
            )


def mean_square(features: Tensor, unit: int | None = None) -> Tensor:
    """The mean of a layer's squared activations, a scalar.

    Args:
        features: (1, C, h, w) or (1, C). unit: of this channel alone.

    Raises: UsageError: no such unit.
    """
    if unit is not None:
        check_unit(unit, features.shape[1])
        features = features[:, unit]
    return features.float().square().mean()


def dream_slope(
    network: Any,
    layer: str,
    unit: int | None,
    normalise: Callable[[Tensor], Tensor],
    tile: int = TILE,
) -> Slope:
    """The mean square of a layer and its gradient, tile by tile where the picture is large.

    Args:
        network: in evaluation mode. layer: dotted name. unit: a channel of it; None = all.
        normalise: pixels in [0, 1] -> what the network is fed with.
        tile: most pixels a side that are seen at once.

    Raises (when called):
        UsageError: no such layer or unit. DataError: the picture is too small for the backbone.
    """

    def slope(pixels: Tensor) -> tuple[float, Tensor]:
        gradient = torch.zeros_like(pixels)
        total, area = 0.0, pixels.shape[2] * pixels.shape[3]
        for rows, columns in itertools.product(*(_parts(side, tile) for side in pixels.shape[2:])):
            part = pixels[:, :, rows, columns].detach().requires_grad_()
            score = mean_square(features_of_picture(network, [layer], normalise(part))[0], unit)
            share = part.shape[2] * part.shape[3] / area
            (found,) = torch.autograd.grad(share * score, part)
            gradient[:, :, rows, columns] = found
            total += share * float(score.detach())
        return total, gradient

    return slope


def _parts(side: int, most: int) -> list[slice]:
    """A side cut into parts of about one length, each at most `most`."""
    count = -(-side // most)
    ends = [side * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def octave_sizes(size: tuple[int, int], octaves: int, least: int) -> list[tuple[int, int]]:
    """(height, width) of each octave, coarsest first, `size` last; fewer where a side would be below `least`.

    >>> octave_sizes((140, 280), 3, 90)
    [(100, 200), (140, 280)]
    """
    sizes = [(round(size[0] / RATIO**octave), round(size[1] / RATIO**octave)) for octave in range(1, octaves)]
    return [*(found for found in reversed(sizes) if min(found) >= least), size]


def dream(slope: Slope, pixels: Tensor, how: Dreaming, least: int = 1, tile: int = TILE) -> Iterator[Moment]:
    """Climb in each octave, coarsest first; what was added is enlarged and goes on in the next.

    A step is x <- clip(x + 0.01 * g / rms(g)), g the gradient at the picture moved by up to 32 pixels; where
    it is seen in tiles, by up to half a tile, so that their seams fall elsewhere each time.

    Args:
        slope: see `dream_slope`; tile: its.
        pixels: (1, 3, H, W) float32 in [0, 1], on the network's device.
        how: steps, octaves, seed. least: shortest side that the network accepts, pixels.

    Returns:
        The picture after each step, at the full size; values: `score`.

    Raises: RunError: the score is not finite, or does not depend on the picture.
    """
    rng = torch.Generator().manual_seed(how.seed)
    sizes = octave_sizes((pixels.shape[2], pixels.shape[3]), how.octaves, least)
    added = torch.zeros_like(pixels)
    steps = itertools.count()
    for size in sizes:
        base = _scaled(pixels, size)
        reach = (_reach(size[0], tile), _reach(size[1], tile))
        dreamed = (base + _scaled(added, size)).clamp(0, 1)
        for step in itertools.islice(steps, how.steps):
            score, uphill = ascent(slope, dreamed, reach, rng, step)
            dreamed = (dreamed + RATE * uphill).clamp(0, 1)
            added = dreamed - base
            yield Moment({"score": score}, _at_full_size(pixels, added))


def _reach(side: int, tile: int) -> int:
    """The largest move along a side of the picture, pixels."""
    return JITTER if side <= tile else tile // 2


def _scaled(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    if pixels.shape[2:] == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


def _at_full_size(pixels: Tensor, added: Tensor) -> Callable[[], Tensor]:
    return lambda: (pixels + _scaled(added, (pixels.shape[2], pixels.shape[3]))).clamp(0, 1)
