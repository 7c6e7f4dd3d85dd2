"""Anchors: the boxes at fixed places that proposals are told relative to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Size = tuple[int, int]  # (height, width)


def anchor_sides(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """The anchors of one cell, around (0, 0).

    Source: Ren et al. 2015 (arXiv 1506.01497, section 3.1.1).

    Args:
        sizes: square roots of their areas, px. ratios: height / width.

    Returns:
        (len(ratios) * len(sizes), 4) float32 xyxy, px; all sizes of the first ratio come first.
    """
    size = torch.tensor(sizes, dtype=torch.float32)
    root = torch.tensor(ratios, dtype=torch.float32).sqrt()
    widths, heights = (1 / root[:, None] * size).flatten(), (root[:, None] * size).flatten()  # (A,) each
    return torch.stack([-widths, -heights, widths, heights], dim=1) / 2


def centred_anchors(sides: Tensor, grid: Size, stride: int) -> Tensor:
    """The anchors of a level, around the centres of its cells.

    Args:
        sides: (A, 4) xyxy around (0, 0), px. grid: cells of the level. stride: side of a cell, px.

    Returns:
        (height * width * A, 4) xyxy, px, row by row; a cell's anchors stand together.
    """
    centres = [(torch.arange(length, device=sides.device) + 0.5) * stride for length in grid]
    return _placed(sides, *centres)


def cornered_anchors(sides: Tensor, grid: Size, canvas: Size) -> Tensor:
    """`centred_anchors` as torchvision's weights expect them: around the cells' upper left corners.

    Corners are canvas / grid apart, rounded down (11 cells of 64 px on 672 px are taken for 61 px apart), and
    sides are rounded to even numbers of px.

    Args:
        sides, grid: as there. canvas: size of the pictures that the network was fed with, px.
    """
    corners = [
        torch.arange(cells, device=sides.device) * (length // cells)
        for cells, length in zip(grid, canvas, strict=True)
    ]
    return _placed(sides.round(), *corners)


def _placed(sides: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Anchors (A, 4) around each point of a grid, y of its rows (h,), x of its columns (w,)."""
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([x, y, x, y], dim=-1)  # (h, w, 4)
    return (points[:, :, None] + sides).reshape(-1, 4)  # (h * w * A, 4)
