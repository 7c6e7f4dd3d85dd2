"""What a network misses when a patch of the picture is covered."""

from __future__ import annotations

import torch
from torch import Tensor

from visiontasks.explain.target import Score


@torch.no_grad()
def occlusion(
    score: Score,
    image: Tensor,
    *,
    patch: int,
    stride: int,
    batch_size: int,
    frame: tuple[slice, slice] = (slice(None), slice(None)),
) -> Tensor:
    """By how much the score falls when a pixel is covered: (H, W), the mean over the patches that cover it.

    Source: Zeiler and Fergus 2014 (arXiv 1311.2901, section 4.2); patches of the mean colour, which is 0.

    Args:
        score: see `Score`. image: (1, 3, H, W), normalised.
        patch: side of the square, pixels, cut at the right and lower edge. stride: from one to the next.
        batch_size: patches that are tried at once.
        frame: rows and columns that are covered; 0 elsewhere.
    """
    height, width = image.shape[-2:]
    top, bottom, _ = frame[0].indices(height)
    left, right, _ = frame[1].indices(width)
    places = [
        (slice(y, min(y + patch, bottom)), slice(x, min(x + patch, right)))
        for y in _starts(top, bottom, patch, stride)
        for x in _starts(left, right, patch, stride)
    ]
    whole = float(score(image)[0])
    falls, covers = torch.zeros(height, width), torch.zeros(height, width)
    for first in range(0, len(places), batch_size):
        part = places[first : first + batch_size]
        covered = image.repeat(len(part), 1, 1, 1)
        for picture, (rows, columns) in zip(covered, part, strict=True):
            picture[:, rows, columns] = 0
        for value, (rows, columns) in zip(score(covered).tolist(), part, strict=True):
            falls[rows, columns] += whole - value
            covers[rows, columns] += 1
    return falls / covers.clamp(min=1)


def _starts(low: int, high: int, patch: int, stride: int) -> range:
    """Where patches begin: the last one reaches the end."""
    steps = -(-max(0, high - low - patch) // stride)
    return range(low, low + steps * stride + 1, stride)
