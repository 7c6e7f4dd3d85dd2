"""Attacks: pictures that look the same and that a network gets wrong, a few steps up its own loss.

Pixels are float32 in [0, 255] and at the network's size; `epsilon` is the largest change of a value, in the
same unit: 8 is 8/255 of the range. Gradients are computed in float32, whatever the network predicts in.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.errors import RunError, UsageError, unknown_name
from visiontasks.types import Batch, ImageInfo

Loss = Callable[[Tensor], Tensor]  # pixels (B, 3, H, W) float32 in [0, 255] -> a number
Predict = Callable[[Batch], Sequence[Any]]  # a batch of uint8 pictures -> a prediction each

LARGEST: Final = 255
STEP: Final = 0.25  # of epsilon, that each step of PGD goes


@dataclass(frozen=True, slots=True)
class Attack:
    """How pictures are changed, and how much.

    method: see `METHODS`. epsilons: whole numbers in [0, 255], ascending, each once.
    steps, seed: of PGD, and of its random start.

    Raises: UsageError for values that there are not.
    """

    method: str = "fgsm"
    epsilons: tuple[int, ...] = (0, 1, 2, 4, 8)
    steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(unknown_name("method", self.method, METHODS))
        if not self.epsilons or list(self.epsilons) != sorted(
            {e for e in self.epsilons if 0 <= e <= LARGEST}
        ):
            found = ", ".join(map(str, self.epsilons)) or "none"
            raise UsageError(
                f"expected epsilons from 0 to {LARGEST} (in 1/255 of the range), ascending and each once, "
                f"for instance 0, 2, 4, 8; found {found}"
            )
        if self.steps < 1:
            raise UsageError(f"expected at least 1 step, found {self.steps}")


def normalised(
    pixels: Tensor, infos: Sequence[ImageInfo], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """What a network is fed with, as a differentiable function of its pixels.

    Args:
        pixels: (B, 3, H, W) float32 in [0, 255].
        infos: which part of each picture is no padding.
        mean, std: a number a channel, as fractions of 255.

    Returns:
        (B, 3, H, W) float32, (pixel / 255 - mean) / std; 0, without a gradient, where there is only padding.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=pixels.device).view(3, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=pixels.device)
    is_picture = torch.zeros_like(pixels[:, :1], dtype=torch.bool)
    for shown, info in zip(is_picture, infos, strict=True):
        rows, columns = shown_part(info)
        shown[:, rows, columns] = True
    return (pixels * scale + shift.view(3, 1, 1)).where(is_picture, 0.0)


def shown_part(info: ImageInfo) -> tuple[slice, slice]:
    """The rows and the columns of network pixels that show the picture; the rest is padding."""
    bottom, right = info.pad_top + info.resized_height, info.pad_left + info.resized_width
    return slice(max(0, info.pad_top), bottom), slice(max(0, info.pad_left), right)


def pixel_loss(network: Any, batch: Batch, mean: Sequence[float], std: Sequence[float]) -> Loss:
    """The sum of a network's own loss terms as a function of the pixels.

    A detector's is that of a validation: of the anchors and regions that a fixed draw picks.

    Args:
        network: in evaluation mode.
        batch: its targets, infos and proposals; on the network's device.
        mean, std: see `normalised`.
    """

    def loss(pixels: Tensor) -> Tensor:
        seen = replace(batch, images=normalised(pixels, batch.infos, mean, std))
        return torch.stack(list(network.loss(network(seen), seen).values())).sum()

    return loss


def gradient(loss: Loss, pixels: Tensor) -> Tensor:
    """The loss's derivative by each pixel value, (B, 3, H, W) as `pixels`.

    Raises: RunError when it is not finite.
    """
    pixels = pixels.detach().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(loss(pixels), pixels)
    if not bool(torch.isfinite(found).all()):
        raise RunError(
            "expected a finite gradient of the loss, found nan or inf; the network diverged, or its weights "
            "are damaged"
        )
    return found


def fgsm(pixels: Tensor, loss: Loss, attack: Attack, infos: Sequence[ImageInfo]) -> Iterator[Tensor]:
    """X + epsilon * sign(gradient), cut to [0, 255], for each epsilon; one gradient for all of them.

    Source: Goodfellow et al. 2015 (arXiv 1412.6572, section 4), the fast gradient sign method.
    """
    direction = gradient(loss, pixels).sign()
    for epsilon in attack.epsilons:
        yield (pixels + epsilon * direction).clamp(0, LARGEST)


def pgd(pixels: Tensor, loss: Loss, attack: Attack, infos: Sequence[ImageInfo]) -> Iterator[Tensor]:
    """Steps of epsilon / 4 along the gradient's sign, each put back into [x - epsilon, x + epsilon].

    The start is drawn from there uniformly, by the seed and the picture's id, whatever the batch.

    Source: Madry et al. 2018 (arXiv 1706.06083, section 2.1), projected gradient descent.
    """
    start = torch.stack([_random_start(pixels.shape[1:], info, attack.seed) for info in infos])
    start = start.to(pixels.device)
    for epsilon in attack.epsilons:
        changed = _projected(pixels + epsilon * start, pixels, epsilon)
        for _ in range(attack.steps if epsilon else 0):
            step = STEP * epsilon * gradient(loss, changed).sign()
            changed = _projected(changed + step, pixels, epsilon)
        yield changed


def _random_start(shape: Sequence[int], info: ImageInfo, seed: int) -> Tensor:
    """float32 of that shape, in [-1, 1)."""
    rng = np.random.default_rng([seed, zlib.crc32(str(info.image_id).encode("utf-8", "surrogatepass"))])
    return torch.from_numpy(2 * rng.random(tuple(shape), dtype=np.float32) - 1)


def _projected(changed: Tensor, pixels: Tensor, epsilon: int) -> Tensor:
    """The nearest values that differ by at most epsilon and lie in [0, 255]."""
    near = torch.minimum(torch.maximum(changed, pixels - epsilon), pixels + epsilon)
    return near.clamp(0, LARGEST)


METHODS: Final[Mapping[str, Callable[[Tensor, Loss, Attack, Sequence[ImageInfo]], Iterator[Tensor]]]] = {
    "fgsm": fgsm,
    "pgd": pgd,
}


def attack_batch(
    network: Any, batch: Batch, mean: Sequence[float], std: Sequence[float], attack: Attack
) -> Iterator[Batch]:
    """The batch once for each epsilon, its pictures changed and rounded to 8 bits.

    The gradient is that of the batch's loss, a mean over its pictures.

    Args:
        network: in evaluation mode.
        batch: images (B, 3, H, W) uint8, with targets: away from these the network is led.
        mean, std: see `normalised`.
        attack: what is done.

    Returns:
        Batches on the network's device, images uint8; with epsilon 0 the same values.
    """
    batch = batch.to(next(network.parameters()).device)
    pixels = batch.images.to(torch.float32)
    loss = pixel_loss(network, batch, mean, std)
    for changed in METHODS[attack.method](pixels, loss, attack, batch.infos):
        yield replace(batch, images=changed.round().to(torch.uint8))
