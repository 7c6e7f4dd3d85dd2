"""Which boxes a network learns from: each is matched with the truth, then some are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from visiontasks.detection.region_sections import SamplingConfig
from visiontasks.detection.types import BoxTarget
from visiontasks.ops.boxes import iou_matrix

IGNORED, NEGATIVE, POSITIVE = -1, 0, 1  # what a box is to the loss


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true boxes of B pictures as one tensor, padded to the most of one picture, at least 1.

    boxes: (B, M, 4) float32 xyxy, network px. labels: (B, M) int64. present: (B, M), False where padding.
    """

    boxes: Tensor
    labels: Tensor
    present: Tensor


def pack_truth(targets: Sequence[BoxTarget]) -> Truth:
    """The targets of a batch, of which any number may be empty."""
    boxes = pad_sequence([target.boxes.float() for target in targets], batch_first=True)
    labels = pad_sequence([target.labels for target in targets], batch_first=True)
    counts = torch.tensor([len(target.labels) for target in targets], device=boxes.device)
    if boxes.shape[1] == 0:
        boxes, labels = boxes.new_zeros(len(targets), 1, 4), labels.new_zeros(len(targets), 1)
    present = torch.arange(boxes.shape[1], device=boxes.device) < counts[:, None]  # (B, M)
    return Truth(boxes, labels, present)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What N boxes of each of B pictures are to the truth.

    kind: (B, N) int64 POSITIVE, NEGATIVE or IGNORED. truth: (B, N) index of the true box that each overlaps
    most.
    """

    kind: Tensor
    truth: Tensor


def match(
    candidates: Tensor, truth: Truth, config: SamplingConfig, usable: Tensor, *, keep_best: bool = False
) -> Matches:
    """Compare boxes with the truth.

    Source: Ren et al. 2015 (section 3.1.2): positive are those of much overlap and, with `keep_best`, of
    the most overlap that a true box has with any, however little that is.

    Args:
        candidates: (B, N, 4) xyxy, or (N, 4) for all pictures. usable: (B, N), False = ignore.
        config: the thresholds.
    """
    overlap = iou_matrix(truth.boxes, candidates)  # (B, M, N)
    overlap = torch.where(truth.present[:, :, None], overlap, 0.0)
    most, index = overlap.max(dim=1)  # (B, N)
    low, high = config.negative_iou
    kind = torch.full_like(index, IGNORED)
    kind[(most >= low) & (most < high)] = NEGATIVE
    positive = most >= config.positive_iou
    if keep_best:
        usable_overlap = torch.where(usable[:, None], overlap, 0.0)  # (B, M, N)
        best = usable_overlap.amax(dim=2, keepdim=True)
        positive |= ((usable_overlap == best) & (best > 0)).any(dim=1)
    kind[positive & (most > 0)] = POSITIVE
    kind[~usable] = IGNORED
    return Matches(kind, index)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The S boxes of each picture that were drawn.

    index: (B, S) int64, which boxes; each once. used: (B, S), False where there were not enough.
    positive: (B, S), of the used ones.
    """

    index: Tensor
    used: Tensor
    positive: Tensor


def sample(kind: Tensor, config: SamplingConfig, generator: torch.Generator | None = None) -> Samples:
    """Draw boxes at random: positive ones up to their share, then negative ones.

    Source: Ren et al. 2015, section 3.1.3; Girshick 2015, section 2.3.

    Args:
        kind: (B, N) POSITIVE, NEGATIVE or IGNORED. config: counts.
        generator: of the CPU; None = torch's own.
    """
    size = min(config.samples, kind.shape[1])
    quota = min(int(config.samples * config.positive_share), size)
    draw = torch.rand(kind.shape, generator=generator).to(kind.device)  # [0, 1), each box's own lot
    rank = torch.where(kind == POSITIVE, draw, -1.0)
    lots = torch.where(kind == NEGATIVE, draw, -1.0)
    if quota:
        last = rank.topk(quota, dim=1).values[:, -1:]  # the lot that the last positive one must have
        lots = torch.where((rank >= last) & (rank >= 0), 1 + draw, lots)  # before all negative ones
    drawn, index = lots.topk(size, dim=1)
    return Samples(index, used=drawn >= 0, positive=drawn >= 1)


def fixed_draw() -> torch.Generator:
    """Random numbers that are the same at every validation, and leave torch's own alone."""
    return torch.Generator().manual_seed(0)


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each picture: values (B, N, ...), index (B, S) -> (B, S, ...)."""
    rows = torch.arange(len(index), device=index.device)[:, None]  # (B, 1)
    taken: Tensor = values[rows, index]
    return taken
