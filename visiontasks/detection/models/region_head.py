"""The second stage, common to Fast and Faster R-CNN: regions in, named and corrected boxes out.

Source: Girshick 2015, arXiv:1504.08083.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.detection.models.fpn import convolution
from visiontasks.detection.models.roi import align_regions
from visiontasks.detection.models.sampling import Truth, fixed_draw, match, sample, take
from visiontasks.detection.region_sections import HeadConfig

SHORTCUT_POINTS: Final = 4  # samples along each side of a region that the shortcut averages


@dataclass(frozen=True, slots=True, eq=False)
class RegionSamples:
    """Which regions the loss is of, and what they should have been; B pictures with S samples each.

    index: (B, S) int64 into the regions. used: (B, S), False where there were fewer.
    labels: (B, S) class index, K for the background. boxes: (B, S, 4) the true box of a positive one.
    positive: (B, S).
    """

    index: Tensor
    used: Tensor
    labels: Tensor
    boxes: Tensor
    positive: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class NamedRegions:
    """What the second stage says of R regions of B pictures; K classes.

    regions: (B, R, 4) float32 xyxy, network px. valid: (B, R), False where there were fewer.
    logits: (B, R, K + 1) float32, the background last. deltas: (B, R, K, 4) float32, for each class; a view
    of (B, R, 1, 4) from a class-agnostic head.
    samples: which regions the loss is of; None without truth.
    """

    regions: Tensor
    valid: Tensor
    logits: Tensor
    deltas: Tensor
    samples: RegionSamples | None


class RegionHead(nn.Module):
    """Features of regions -> a score for each class and the background, and box deltas for each class or all.

    Convolutions, fully connected layers, two linear outputs; with a shortcut from the backbone's last level.

    channels, strides: of the pyramid's levels that regions are read from.
    deepest: channels and stride of the backbone's last level, which the shortcut reads.
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[int],
        num_classes: int,
        config: HeadConfig,
        deepest: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.strides, self.num_classes = config, strides, num_classes
        self.convolutions = nn.Sequential(
            *(
                convolution(channels, channels, 3, config.norm, nn.ReLU(inplace=True))
                for _ in range(config.convolutions)
            )
        )
        widths = [channels * config.pooled**2, *config.widths]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(config.dropout))
                for before, after in itertools.pairwise(widths)
            )
        )
        self.classes = nn.Linear(widths[-1], num_classes + 1)
        self.deltas = nn.Linear(widths[-1], 4 if config.class_agnostic else 4 * num_classes)
        for layer, spread in ((self.classes, 0.01), (self.deltas, 0.001)):  # Girshick 2015, section 2.3
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)
        self.shortcut: nn.Linear | None = None
        if config.shortcut:
            assert deepest is not None
            self.deepest_stride = deepest[1]
            self.shortcut = nn.Linear(deepest[0], num_classes)
            nn.init.zeros_(self.shortcut.weight)
            nn.init.zeros_(self.shortcut.bias)

    def forward(
        self,
        levels: Sequence[Tensor],
        regions: Tensor,
        valid: Tensor,
        truth: Truth | None,
        deepest: Tensor | None = None,
    ) -> NamedRegions:
        """Look at regions.

        Args:
            levels: (B, C, h_i, w_i) of the pyramid, finest first; those beyond `strides` are not read.
            regions: (B, R, 4) xyxy, px. valid: (B, R), False where there is none.
            truth: None to predict.
            deepest: (B, C', h, w) the backbone's last level, for the shortcut.
        """
        samples = None
        if truth is not None:
            regions, valid, samples = self.choose(regions, valid, truth)
        levels = levels[: len(self.strides)]
        features = self.convolutions(align_regions(levels, self.strides, regions, self.config))
        vectors = self.layers(features.permute(0, 2, 3, 1).flatten(1))  # (B * R, pooled * pooled * C)
        logits = self.classes(vectors).float().view(*valid.shape, -1)  # (B, R, K + 1)
        if self.shortcut is not None:
            assert deepest is not None
            logits = logits + F.pad(self.average(deepest, regions), (0, 1))  # of the background nothing
        deltas = self.deltas(vectors).float().view(*valid.shape, -1, 4).expand(-1, -1, self.num_classes, -1)
        return NamedRegions(regions, valid, logits, deltas, samples)

    def average(self, deepest: Tensor, regions: Tensor) -> Tensor:
        """What the shortcut says: (B, R, K) float32."""
        assert self.shortcut is not None
        config = self.config.model_copy(update={"pooled": 1, "points": SHORTCUT_POINTS})
        means = align_regions([deepest], (self.deepest_stride,), regions, config).flatten(1)  # (B * R, C')
        scores: Tensor = self.shortcut(means).float().view(*regions.shape[:2], -1)  # (B, R, K)
        return scores

    def choose(self, regions: Tensor, valid: Tensor, truth: Truth) -> tuple[Tensor, Tensor, RegionSamples]:
        """Which regions to look at, and which of them the loss is of.

        In training only those that the loss is of, with the true boxes among the candidates; else all, of
        which a validation's loss takes some, the same every time.
        """
        if not self.training:
            return regions, valid, self.draw(regions, valid, truth, fixed_draw())
        regions = torch.cat([truth.boxes, regions], dim=1)
        valid = torch.cat([truth.present, valid], dim=1)
        drawn = self.draw(regions, valid, truth, None)
        order = torch.arange(drawn.index.shape[1], device=regions.device).expand_as(drawn.index)  # (B, S)
        return take(regions, drawn.index), take(valid, drawn.index), replace(drawn, index=order)

    def draw(
        self, regions: Tensor, valid: Tensor, truth: Truth, generator: torch.Generator | None
    ) -> RegionSamples:
        """Draw the regions that the loss is of; `generator` None = torch's own."""
        matches = match(regions, truth, self.config.sampling, valid)
        drawn = sample(matches.kind, self.config.sampling, generator)
        matched = take(matches.truth, drawn.index)  # (B, S)
        labels = torch.where(drawn.positive, take(truth.labels, matched), self.num_classes)
        return RegionSamples(drawn.index, drawn.used, labels, take(truth.boxes, matched), drawn.positive)
