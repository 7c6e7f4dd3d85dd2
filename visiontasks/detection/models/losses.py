"""What region proposals and regions are told: four terms, each a mean over the batch's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from visiontasks.detection.config import LossConfig
from visiontasks.detection.models.box_deltas import decode_boxes, encode_boxes
from visiontasks.detection.models.region_head import NamedRegions
from visiontasks.detection.models.sampling import Matches, Samples, Truth, take


def proposal_losses(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    matches: Matches,
    drawn: Samples,
    truth: Truth,
    config: LossConfig,
) -> dict[str, Tensor]:
    """How far the region proposal network is from the truth. Source: Ren et al. 2015, eq. 1.

    Both terms are divided by the anchors that were drawn.

    Args:
        scores: (B, N) logits. deltas: (B, N, 4). anchors: (N, 4) xyxy, px.
        matches, drawn: what the anchors are to the truth, and which of them count.
    """
    counts = drawn.used.sum(dim=1).clamp(min=1)
    errors = F.binary_cross_entropy_with_logits(
        take(scores, drawn.index), drawn.positive.float(), reduction="none"
    )
    objectness = _mean_over_pictures(errors, drawn.used, counts)
    matched = take(truth.boxes, take(matches.truth, drawn.index))  # (B, S, 4)
    references = anchors[drawn.index]
    targets = encode_boxes(torch.where(drawn.positive[..., None], matched, references), references)
    found = take(deltas, drawn.index)
    errors = F.smooth_l1_loss(found, targets, beta=config.beta, reduction="none").sum(dim=-1)
    edges = _mean_over_pictures(errors, drawn.positive, counts)
    return {"objectness": config.objectness * objectness, "proposal_boxes": config.proposal_boxes * edges}


def region_losses(found: NamedRegions, box_weights: Sequence[float], config: LossConfig) -> dict[str, Tensor]:
    """How far the head is from the truth. Source: Girshick 2015, eq. 1 to 3.

    Both terms are divided by the regions that were drawn.

    Args:
        found: with samples. box_weights: scales of the deltas.
    """
    samples = found.samples
    assert samples is not None  # the batch has targets
    counts = samples.used.sum(dim=1).clamp(min=1)
    drawn = take(found.logits, samples.index)  # (B, S, K + 1)
    errors = F.cross_entropy(drawn.flatten(0, 1), samples.labels.flatten(), reduction="none")  # (B * S,)
    classes = _mean_over_pictures(errors.view(samples.labels.shape), samples.used, counts)
    column = samples.labels.clamp(max=found.deltas.shape[2] - 1)  # a background's is not looked at
    deltas = take(found.deltas, samples.index)  # (B, S, K, 4)
    deltas = deltas.gather(2, column[..., None, None].expand(*column.shape, 1, 4))[:, :, 0]  # (B, S, 4)
    references = take(found.regions, samples.index)
    references = torch.where(samples.positive[..., None], references, references.new_tensor([0, 0, 1, 1]))
    targets = torch.where(samples.positive[..., None], samples.boxes, references)  # (B, S, 4)
    if config.box_loss == "giou":
        errors = 1 - giou(decode_boxes(deltas, references, box_weights), targets)
    else:
        wanted = encode_boxes(targets, references, box_weights)
        errors = F.smooth_l1_loss(deltas, wanted, beta=config.beta, reduction="none").sum(dim=-1)
    edges = _mean_over_pictures(errors, samples.positive, counts)
    return {"classification": config.classification * classes, "boxes": config.boxes * edges}


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of pairs: boxes and others (..., 4) xyxy -> (...) in [-1, 1].

    Source: Rezatofighi et al. 2019 (arXiv 1902.09630, algorithm 1).
    """
    low, high = boxes[..., :2].maximum(others[..., :2]), boxes[..., 2:].minimum(others[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    union = _area(boxes) + _area(others) - shared
    low, high = boxes[..., :2].minimum(others[..., :2]), boxes[..., 2:].maximum(others[..., 2:])
    around = (high - low).prod(dim=-1)
    return shared / union - (around - union) / around


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


def _mean_over_pictures(errors: Tensor, counted: Tensor, counts: Tensor) -> Tensor:
    """The errors (B, S) that count, summed over each picture, divided by counts (B,), averaged."""
    return (torch.where(counted, errors, 0.0).sum(dim=1) / counts).mean()
