"""Losses of dense classification: a class for each pixel, some pixels ignored.

All take log-probabilities, `torch.log_softmax(logits, 1)`, so that several share one softmax. All are
means over the batch's counted pixels or classes; where nothing is counted they are 0, with a gradient of 0.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE: Final = 255  # the target of a pixel that counts nowhere
BITS_OF_ONE: Final = 0x3F800000  # 1.0 in IEEE 754 single precision


def cross_entropy(log_probabilities: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of -log p(target) over the counted pixels, each with the weight of its class.

    Args:
        log_probabilities: (B, K, H, W) float.
        targets: (B, H, W) int64, classes or 255.
        weights: (K,) weight of each class; None = 1.
    """
    total = F.nll_loss(log_probabilities, targets, weights, ignore_index=IGNORE, reduction="sum")
    return total / _total_weight(log_probabilities, targets, weights)


def focal(
    log_probabilities: Tensor, targets: Tensor, weights: Tensor | None = None, *, gamma: float
) -> Tensor:
    """Mean of -(1 - p)^gamma log p, p the probability of the target: easy pixels count less.

    Args:
        log_probabilities, targets, weights: as for `cross_entropy`, which gamma = 0 gives.
        gamma: >= 0.

    Source: Lin et al. 2017 (arXiv 1708.02002, eq. 5, alpha being the weights).
    """
    counted = targets != IGNORE
    classes = targets.masked_fill(~counted, 0)
    log_p = log_probabilities.gather(1, classes[:, None])[:, 0]  # (B, H, W)
    misses = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)  # 1 - p; a root of 0 has no slope
    losses = -(misses**gamma) * log_p
    factors = counted.to(losses.dtype) if weights is None else weights[classes] * counted
    return (losses * factors).sum() / _total_weight(log_probabilities, targets, weights)


def dice(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - Dice of the probabilities, 2 sum(p t) / (sum p + sum t), mean over the classes in the targets.

    Args:
        log_probabilities: (B, K, H, W) float.
        targets: (B, H, W) int64, classes or 255.

    Source: Milletari et al. 2016 (arXiv 1606.04797, section 3), without the squares, over the whole batch.
    """
    num_classes = log_probabilities.shape[1]
    counted = targets != IGNORE
    classes = targets.masked_fill(~counted, 0)
    probabilities = log_probabilities.exp() * counted[:, None]  # (B, K, H, W)
    of_target = probabilities.gather(1, classes[:, None])  # (B, 1, H, W), 0 where ignored
    shared = probabilities.new_zeros(num_classes).index_add(0, classes.flatten(), of_target.flatten())
    counts = _class_counts(targets, num_classes).to(probabilities.dtype)
    sizes = probabilities.sum((0, 2, 3)) + counts
    present = counts > 0
    losses = (1 - 2 * shared / sizes.clamp(min=torch.finfo(sizes.dtype).tiny)) * present
    return losses.sum() / present.sum().clamp(min=1)


def lovasz_softmax(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """A convex surrogate of 1 - IoU, mean over the classes in the targets; the batch is one picture.

    Args:
        log_probabilities: (B, K, H, W) float.
        targets: (B, H, W) int64, classes or 255.

    Source: Berman et al. 2018 (arXiv 1705.08790, eq. 9 and 11 and algorithm 1).
    """
    num_classes = log_probabilities.shape[1]
    counted = (targets != IGNORE).flatten()
    classes = targets.flatten()[counted]  # (P,)
    total = log_probabilities.new_zeros(()) + log_probabilities[:, :, :0].sum()  # 0, with a gradient
    present = _class_counts(targets, num_classes).nonzero().flatten().tolist()
    for index in present:
        probabilities = log_probabilities[:, index].flatten()[counted].exp()  # (P,)
        is_class = classes == index
        errors = (is_class.to(probabilities.dtype) - probabilities).abs()
        order = _from_largest(errors.detach())
        total = total + errors[order] @ _jaccard_steps(is_class[order]).to(errors.dtype)
    return total / max(1, len(present))


def _from_largest(errors: Tensor) -> Tensor:
    """The places of errors (P,), in [0, 1], from the largest down.

    The bits of positive floats, read as integers, have the same order; CPUs sort integers by radix, 4 to 9
    times as fast.
    """
    if errors.dtype != torch.float32:
        return errors.argsort(descending=True)
    return (BITS_OF_ONE - errors.view(torch.int32)).argsort()


def _jaccard_steps(is_class: Tensor) -> Tensor:
    """By how much 1 - IoU grows with each pixel (P,) that goes wrong, in the order given (algorithm 1)."""
    missed = is_class.cumsum(0)  # int64: floats stop counting at 16 million
    size = missed[-1]
    losses = 1 - (size - missed) / (size + (~is_class).cumsum(0))
    return torch.cat([losses[:1], losses.diff()])


def _class_counts(targets: Tensor, num_classes: int) -> Tensor:
    """Pixels of each class (K,) int64; the ignored are in none."""
    return torch.bincount(targets.flatten(), minlength=IGNORE + 1)[:num_classes]


def _total_weight(log_probabilities: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of the counted pixels' weights, above 0 so that it can divide."""
    counts = _class_counts(targets, log_probabilities.shape[1]).to(log_probabilities.dtype)
    total = counts.sum() if weights is None else counts @ weights.to(counts.dtype)
    return total.clamp(min=torch.finfo(counts.dtype).tiny)
