"""What the gradient at the pixels says: saliency, and the gradient along a way from the mean colour."""

from __future__ import annotations

import torch
from torch import Tensor

from visiontasks.explain.target import Score


def pixel_gradient(score: Score, images: Tensor) -> Tensor:
    """D score / d pixel: (B, 3, H, W) float32, of pictures (B, 3, H, W) that do not influence each other."""
    pixels = images.detach().requires_grad_()
    with torch.enable_grad():
        total = score(pixels).sum()
    (gradient,) = torch.autograd.grad(total, pixels)
    return gradient


def saliency(score: Score, image: Tensor) -> Tensor:
    """How much the score changes with each pixel: (H, W), the largest |gradient| of the three channels.

    Source: Simonyan et al. 2014 (arXiv 1312.6034, section 3.1).

    Args:
        score: see `Score`. image: (1, 3, H, W), normalised.
    """
    return pixel_gradient(score, image)[0].abs().amax(dim=0)


def integrated_gradients(
    score: Score, image: Tensor, *, steps: int, batch_size: int, baseline: Tensor | None = None
) -> Tensor:
    """Each pixel's share of the difference between the score of the picture and that of the baseline: (H, W).

    The integral is summed by the midpoint rule; summed over the channels.
    Source: Sundararajan et al. 2017 (arXiv 1703.01365, equations 1 and 3).

    Args:
        score: see `Score`. image: (1, 3, H, W), normalised.
        steps: points on the way. batch_size: points that are computed at once.
        baseline: (1, 3, H, W); None = the mean colour, which is 0.
    """
    start = torch.zeros_like(image) if baseline is None else baseline
    shares = (torch.arange(steps, device=image.device) + 0.5) / steps
    total = torch.zeros_like(image)
    for part in torch.split(shares, batch_size):
        between = start + part.view(-1, 1, 1, 1) * (image - start)  # (b, 3, H, W)
        total += pixel_gradient(score, between).sum(dim=0, keepdim=True)
    return ((image - start) * total / steps)[0].sum(dim=0)
