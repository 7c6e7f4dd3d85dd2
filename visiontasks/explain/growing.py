"""What all pictures that are grown by gradients share: pixels in and out, noise, and one step up a slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.errors import RunError
from visiontasks.ops.pictures import to_tensor
from visiontasks.types import Batch, Image, ImageInfo

Objective = Callable[[Tensor], Tensor]  # pictures (1, 3, H, W), normalised float32 -> a scalar
Slope = Callable[[Tensor], tuple[float, Tensor]]  # pixels (1, 3, H, W) in [0, 1] -> a score and its gradient

NOISE: Final = 0.05  # standard deviation of a first picture about mid grey, of the range


@dataclass(frozen=True, slots=True)
class Moment:
    """A picture that grows, after a step.

    values: of the picture before the step.
    pixels: makes the picture as it is now, (1, 3, H, W) float32 in [0, 1].
    """

    values: Mapping[str, float]
    pixels: Callable[[], Tensor]


def to_pixels(image: Image, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1]."""
    return to_tensor(image)[None].to(device, torch.float32) / 255


def to_image(pixels: Tensor) -> Image:
    """(1, 3, H, W) -> (H, W, 3) uint8; what lies outside [0, 1] is cut off."""
    rounded = (255 * pixels[0].clamp(0, 1)).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).cpu().numpy())


def grey_noise(size: tuple[int, int], rng: torch.Generator) -> Tensor:
    """Mid grey and a little normal noise, (1, 3, H, W) float32 in [0, 1], on the CPU. size: (H, W)."""
    return (0.5 + NOISE * torch.randn((1, 3, *size), generator=rng)).clamp(0, 1)


def normaliser(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Pixels (B, 3, H, W) in [0, 1] -> what a network is fed with. mean, std: a number a channel."""
    shift, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return lambda pixels: (pixels - shift) / scale


def batch_of(images: Tensor) -> Batch:
    """Pictures without padding as a network's input. images: (1, 3, H, W), normalised."""
    height, width = images.shape[2:]
    return Batch(images, [ImageInfo("the picture", height, width, height, width)])


def slope_of(objective: Objective, normalise: Callable[[Tensor], Tensor]) -> Slope:
    """The score of a picture and its gradient by the pixels."""

    def slope(pixels: Tensor) -> tuple[float, Tensor]:
        pixels = pixels.detach().requires_grad_()
        score = objective(normalise(pixels))
        (gradient,) = torch.autograd.grad(score, pixels)
        return float(score.detach()), gradient

    return slope


def ascent(
    slope: Slope, pixels: Tensor, reach: tuple[int, int], rng: torch.Generator, step: int
) -> tuple[float, Tensor]:
    """The score of the picture, moved by a few pixels at random, and the gradient there, moved back.

    Source: Mordvintsev et al. 2015, the published DeepDream notebook (jitter, normalised gradients).

    Args:
        slope: what is climbed.
        pixels: (1, 3, H, W) in [0, 1]; what leaves at one edge comes in at the other.
        reach: the largest move (down, right), pixels. rng: draws the move.
        step: 0 = the first; for messages.

    Returns:
        The score; and the gradient, (1, 3, H, W), of root mean square 1, or 0 after the first step.

    Raises:
        RunError: the score is not finite, or does not depend on the first picture.
    """
    down, right = (int(torch.randint(-most, most + 1, (), generator=rng)) for most in reach)
    score, gradient = slope(pixels.roll((down, right), (2, 3)))
    gradient = gradient.roll((-down, -right), (2, 3))
    strength = gradient.square().mean().sqrt()
    if not math.isfinite(score) or not torch.isfinite(strength):
        raise RunError(f"expected a finite score, found {score} after {step} steps; lower the rate")
    if strength == 0 and step == 0:
        raise RunError(
            "expected a score that depends on the picture, found a gradient of 0 at the first one; choose "
            "another --seed or --unit, or a layer before its activation function (a convolution)"
        )
    return score, gradient / strength.clamp(min=torch.finfo(strength.dtype).tiny)
