"""Activation maximisation: the picture, grown from noise, that a unit or a class answers to most.

The gradient of a score alone gives high frequencies that no photograph has. Three priors hold them down: the
picture is moved by a few pixels before each step (jitter), blurred now and then, and its total variation
costs. Source: Yosinski et al. 2015, arXiv:1506.06579, section 3 (blur); Mahendran & Vedaldi 2016,
arXiv:1512.02017, sections 3.3 (total variation, with beta = 2) and 3.4 (jitter, range).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from visiontasks.classes import ClassMap
from visiontasks.explain.features import features_at
from visiontasks.explain.growing import (
    Objective,
    ascent,
    batch_of,
    grey_noise,
    normaliser,
    slope_of,
    to_image,
    to_pixels,
)
from visiontasks.explain.target import ask, parse_aim
from visiontasks.explain.top_patches import check_unit
from visiontasks.types import Image, Task

BLUR_EVERY: Final = 4  # steps, as Yosinski et al.


@dataclass(frozen=True, slots=True)
class Priors:
    """How a picture is grown.

    steps: gradient steps. rate: root mean square of a step, of the range of a pixel (1 = black to white).
    jitter: largest move before a step, pixels. blur: standard deviation of the blur of each fourth step,
    pixels; 0 = none. variation: weight of the total variation against the score's gradient; 0 = none.
    """

    steps: int = 256
    rate: float = 0.02
    jitter: int = 4
    blur: float = 0.5
    variation: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Maximised:
    """image: (H, W, 3) uint8. score: of that picture, 8 bits as it is saved. scores: before each step, of the
    picture as it was moved and blurred.
    """

    image: Image
    score: float
    scores: tuple[float, ...]


def unit_objective(network: nn.Module, layer: str, unit: int) -> Objective:
    """The mean of a layer's channel over its positions.

    Args:
        network: in evaluation mode.
        layer: dotted name. unit: a channel of it.

    Raises (when called): UsageError: no such layer or unit.
    """

    def score(images: Tensor) -> Tensor:
        features = features_at(network, layer, batch_of(images))
        check_unit(unit, features.shape[1])
        return features[0, unit].float().mean()

    return score


def target_objective(
    task: Task[Any, Any],
    network: Any,
    target: str | None,
    size: tuple[int, int],
    options: Mapping[str, float],
    classes: ClassMap,
    *,
    device: torch.device | None = None,
) -> Objective:
    """What a task's explanations are about: for a classifier the logit of the class.

    Args:
        task: what the network does. network: in evaluation mode.
        target: see `parse_aim`; settled on a grey picture of `size` (height, width). A class without a place
            is looked for in the middle by a detector, everywhere by a segmentation.
        options: the operating point. classes: of the network.

    Raises:
        UsageError: no such target; a detection or region that a grey picture does not have.
    """
    aim = parse_aim(target, classes)
    if aim.class_index is not None and aim.detection is None and aim.point is None:
        aim = replace(aim, place=task.targets().anywhere(size))
    grey = batch_of(torch.zeros(1, 3, *size, device=device))
    subject = ask(task, network, grey, aim, options, classes)

    def score(images: Tensor) -> Tensor:
        return subject.score(images)[0]

    return score


def maximise(
    objective: Objective,
    size: tuple[int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int = 0,
    priors: Priors | None = None,
    device: torch.device | None = None,
) -> Maximised:
    """Grow a picture from noise by gradient ascent; on one device the same seed gives the same picture.

    Each step is x <- clip(x + rate * (g / rms(g) - variation * d TV / dx)), where g is the gradient of the
    score at the moved picture and TV half the sum of squared differences of neighbours. The rate falls
    linearly to a tenth; the last quarter is not blurred, so that what is found comes out sharp.

    Args:
        objective: what shall be large.
        size: (height, width), pixels.
        mean, std: normalisation of the pictures, a number a channel, fractions of 255.
        seed: of the noise and the jitter. priors: None = the defaults. device: where the network is.

    Raises:
        RunError: the score does not depend on the picture, or is not finite.
    """
    priors = priors or Priors()
    device = device or torch.device("cpu")
    rng = torch.Generator().manual_seed(seed)
    normalise = normaliser(mean, std, device)
    slope = slope_of(objective, normalise)
    pixels = grey_noise(size, rng).to(device)
    scores = []
    for step, rate in enumerate(_rates(priors)):
        score, uphill = ascent(slope, pixels, (priors.jitter, priors.jitter), rng, step)
        scores.append(score)
        pixels = (pixels + rate * (uphill - priors.variation * variation_gradient(pixels))).clamp(0, 1)
        if priors.blur > 0 and (step + 1) % BLUR_EVERY == 0 and 4 * step < 3 * priors.steps:
            pixels = gaussian_blur(pixels, [2 * int(3 * priors.blur + 0.5) + 1] * 2, [priors.blur] * 2)
    image = to_image(pixels)
    with torch.no_grad():
        final = float(objective(normalise(to_pixels(image, device))))
    return Maximised(image, final, tuple(scores))


def _rates(priors: Priors) -> Iterator[float]:
    for step in range(priors.steps):
        yield priors.rate * (1 - 0.9 * step / max(1, priors.steps - 1))


def variation_gradient(pixels: Tensor) -> Tensor:
    """The gradient of half the sum of squared differences of neighbours: (B, C, H, W) of the same shape."""
    gradient = torch.zeros_like(pixels)
    for axis in (2, 3):
        ends = pixels.shape[axis] - 1
        steps = pixels.diff(dim=axis)
        gradient.narrow(axis, 1, ends).add_(steps)
        gradient.narrow(axis, 0, ends).sub_(steps)
    return gradient
