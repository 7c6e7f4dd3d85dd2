"""RoIAlign on a pyramid: the features of each region as a small square, whatever the region's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from visiontasks.detection.region_sections import HeadConfig
from visiontasks.ops.boxes import box_area


def choose_levels(regions: Tensor, strides: Sequence[int], canonical: float) -> Tensor:
    """The level of a pyramid that each region is read from: large regions from coarse levels.

    Level k, of stride 2^k, with k = floor(4 + log2(sqrt(w h) / 224)).
    Source: Lin et al. 2017 (arXiv 1612.03144, eq. 1).

    Args:
        regions: (..., 4) xyxy, px. strides: of the levels, px, ascending.
        canonical: 224 in the paper.

    Returns:
        (...) int64 indices into strides; of equal strides the first.
    """
    depths = torch.tensor(strides, device=regions.device).log2().round()
    wanted = (4 + (box_area(regions).sqrt() / canonical).log2() + 1e-6).floor()
    return torch.searchsorted(depths, wanted.clamp(depths[0], depths[-1]))


def align_regions(
    levels: Sequence[Tensor], strides: Sequence[int], regions: Tensor, config: HeadConfig
) -> Tensor:
    """The features of regions: each cell of a pooled x pooled grid is a mean of bilinear samples.

    Every cell is a weighted sum of a few positions of one level, so all levels of all pictures become one
    table of rows, and all cells of all regions one sum over rows of it (`embedding_bag`). Equal to
    torchvision's `roi_align`, whose sums run channel by channel.
    Source: He et al. 2017 (arXiv 1703.06870, section 3).

    Args:
        levels: (B, C, h_i, w_i), finest first. strides: of the levels, px.
        regions: (B, R, 4) float32 xyxy, px of the network's input.
        config: pooled, points, aligned, canonical.

    Returns:
        (B * R, C, pooled, pooled) float32 in channels_last order.
    """
    table = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]) for level in levels])  # (n, C)
    pictures, device = len(regions), regions.device
    sizes = torch.tensor([level.shape[-2:] for level in levels], device=device)  # (L, 2)
    areas = sizes.prod(dim=1)
    starts = pictures * (areas.cumsum(0) - areas)  # first row of each level in the table
    level = choose_levels(regions, strides, config.canonical)  # (B, R)
    scaled = regions / torch.tensor(strides, device=device)[level][..., None]  # (B, R, 4)
    first = (
        starts[level] + areas[level] * torch.arange(pictures, device=device)[:, None]
    )  # (B, R), row of pixel (0, 0)
    x, x_weights = _axis(scaled[..., 0], scaled[..., 2], sizes[level][..., 1], config)  # (B, R, P, 2S)
    y, y_weights = _axis(scaled[..., 1], scaled[..., 3], sizes[level][..., 0], config)
    y = first[..., None, None] + y * sizes[level][..., 1, None, None]  # (B, R, P, 2S)
    rows = y[..., :, None, :, None] + x[..., None, :, None, :]  # (B, R, P, P, 2S, 2S)
    weights = y_weights[..., :, None, :, None] * x_weights[..., None, :, None, :]
    corners = (2 * config.points) ** 2
    sums = F.embedding_bag(
        rows.reshape(-1, corners),  # (B * R * P * P, 2S * 2S)
        table.float(),
        per_sample_weights=weights.reshape(-1, corners),
        mode="sum",
    )  # (B * R * P * P, C)
    return sums.view(-1, config.pooled, config.pooled, table.shape[1]).permute(0, 3, 1, 2)  # (B * R, C, P, P)


def _axis(low: Tensor, high: Tensor, length: Tensor, config: HeadConfig) -> tuple[Tensor, Tensor]:
    """Where the samples of regions fall along one axis, and what each position counts.

    Args:
        low, high: (B, R) edges of the regions, in positions of their level. length: (B, R) of that level.

    Returns:
        positions, weights: (B, R, P, 2S): for each of P cells the neighbours of its S samples.
    """
    if config.aligned:
        low, high = low - 0.5, high - 0.5  # value i of a level stands for its cell's centre, i + 0.5
        extent = high - low
    else:
        extent = (high - low).clamp(min=1)
    points = config.pooled * config.points
    steps = (torch.arange(points, device=low.device) + 0.5) / points
    samples = low[..., None] + extent[..., None] * steps  # (B, R, P * S)
    last = (length - 1)[..., None]  # (B, R, 1)
    inside = (samples >= -1) & (samples <= length[..., None])
    samples = samples.clamp(min=0).minimum(last)
    before = samples.floor().minimum((last - 1).clamp(min=0))
    after = (before + 1).minimum(last)
    share = samples - before
    positions = torch.stack([before, after], dim=-1).long()
    weights = torch.stack([1 - share, share], dim=-1) * inside[..., None] / config.points  # (B, R, P * S, 2)
    shape = (*low.shape, config.pooled, 2 * config.points)
    return positions.reshape(shape), weights.reshape(shape)  # (B, R, P, 2S) each
