"""What is added to each class's scores so that mIoU is best on pictures that were not trained on.

A loss in which rare classes count more makes a network name them too often, and other pictures than those of
the training call for other classes. One number a class corrects both: a class wins a pixel where its score
and its offset together beat all others. Imports no torch.

Source: adjusting logits by class as Menon et al. 2021 (arXiv 2007.07314); theirs follow from the classes'
frequencies, these are fitted to the metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.ops.statistics import mean_present
from visiontasks.segmentation.metrics.scores import iou
from visiontasks.segmentation.types import IGNORE, Mask
from visiontasks.types import ImageInfo

if TYPE_CHECKING:
    from torch import Tensor

    from visiontasks.segmentation.models.segmenter import Segmenter

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]
Ints = NDArray[np.int64]

LEAST_PICTURES: Final = 20  # of fewer the offsets would say more about them than about the network
LEAST_OF_A_CLASS: Final = 5  # pictures that show it
PIXELS: Final = 8192  # looked at of each picture, at most
VALUES: Final = 1 << 23  # scores looked at, at most: 32 MiB
GRID: Final = np.round(np.linspace(-3, 3, 61), 1)  # what an offset can be
PENALTY: Final = 0.033  # of a class's IoU, for each squared offset: a large one has to be worth it
SWEEPS: Final = 10  # over the classes; two or three change something


def adjust(
    network: Segmenter,
    outputs: Iterable[tuple[Tensor, Sequence[Mask], Sequence[ImageInfo]]],
    classes: ClassMap,
    count: int,
) -> str | None:
    """Set a network's offsets to those that suit pictures best; the same outputs give the same.

    Args:
        network: changed in place.
        outputs: a network's raw output for a batch of pictures, their masks, and where they lie in it; drawn
            from after the network's offsets have been set to 0.
        classes: of the network. count: of the pictures.

    Returns:
        What it is good for; None, and no offsets, for fewer than 20 pictures, or where none helps.
    """
    network.offsets.zero_()
    if count < LEAST_PICTURES or not network.with_offsets:
        return None
    scores, pictures = _some_pixels(network, outputs, VALUES // (len(classes) * count))
    truths = np.concatenate([np.empty(0, dtype=np.int64), *pictures])
    shown = np.bincount(np.concatenate([truths[:0], *map(np.unique, pictures)]), minlength=len(classes))
    if len(pictures) < LEAST_PICTURES:
        return None
    offsets = best_offsets(scores, truths, np.flatnonzero(shown >= LEAST_OF_A_CLASS))
    before, after = (mean_iou(scores, truths, chosen) for chosen in (np.zeros(len(classes)), offsets))
    if not after > before:
        return None
    network.offsets.copy_(network.offsets.new_tensor(offsets))
    named = ", ".join(f"{classes.names[i]} {offsets[i]:+.1f}" for i in np.flatnonzero(offsets))
    return f"class offsets {named} (mIoU {before:.3f} -> {after:.3f} on {len(truths)} pixels)"


def _some_pixels(
    network: Segmenter, outputs: Iterable[tuple[Tensor, Sequence[Mask], Sequence[ImageInfo]]], most: int
) -> tuple[Scores, list[Ints]]:
    """Scores (K, N) of pixels drawn at random, `most` of a picture, and each picture's true classes (n,)."""
    rng = np.random.default_rng(0)
    most = min(max(most, 1), PIXELS)
    scores = [np.empty((network.offsets.numel(), 0), dtype=np.float32)]
    truths = []
    for raw, masks, infos in outputs:
        for i, mask in enumerate(masks):
            (logits,) = network.scores(raw[i : i + 1], infos[i : i + 1])
            counted = np.flatnonzero(mask != IGNORE)
            places = rng.choice(counted, min(most, len(counted)), replace=False)
            scores.append(logits.flatten(1)[:, places].float().cpu().numpy())  # (K, n)
            truths.append(mask.ravel()[places].astype(np.int64))
    return np.concatenate(scores, axis=1), truths


def best_offsets(scores: Scores, truths: Ints, chosen: Ints) -> Floats:
    """The offsets (K,) with the largest mIoU less their penalty, by search along one class at a time.

    Args:
        scores: (K, N). truths: (N,) class indices; the mean is over the classes that are true somewhere.
        chosen: the classes that get an offset.
    """
    offsets = np.zeros(len(scores))
    penalty = PENALTY / max(1, len(np.unique(truths))) * GRID**2
    for _ in range(SWEEPS):
        before = offsets.copy()
        for k in chosen:
            worth = mean_ious(scores, truths, offsets, int(k)) - penalty
            now = int(np.searchsorted(GRID, offsets[k]))
            best = int(np.argmax(worth))
            offsets[k] = GRID[best if worth[best] > worth[now] else now]
        if np.array_equal(offsets, before):
            break
    return offsets


def mean_ious(scores: Scores, truths: Ints, offsets: Floats, k: int) -> Floats:
    """MIoU (G,) for each offset of the grid that class k may have, the others' being what they are.

    Class k wins a pixel where its offset exceeds the lead of the best other class, or equals it and k is the
    lower index: sorted into the grid once, the leads give all the counts.

    Args: scores, truths, offsets: as `best_offsets`, offsets (K,).
    """
    num_classes, count = scores.shape
    others = scores + offsets[:, None].astype(np.float32)  # (K, N)
    others[k] = -np.inf
    rival = np.argmax(others, axis=0)  # (N,)
    lead = (others[rival, np.arange(count)] - scores[k]).astype(np.float64)
    ways: tuple[Literal["left", "right"], ...] = ("left", "right")
    ties, wins = (np.searchsorted(GRID, lead, side=way) for way in ways)
    step = np.where(k < rival, ties, wins)  # the first of the grid at which class k has the pixel

    def table(chosen: NDArray[np.bool_]) -> Ints:
        """(K, G) how many of the chosen pixels have each class, by class k's offset."""
        cells = np.bincount(
            rival[chosen] * (len(GRID) + 1) + step[chosen], minlength=num_classes * (len(GRID) + 1)
        ).reshape(num_classes, -1)  # (K, G + 1)
        lost = np.cumsum(cells, axis=1)[:, :-1]
        left: Ints = cells.sum(axis=1, keepdims=True) - lost
        return left

    predicted, hits = table(np.ones(count, dtype=np.bool_)), table(rival == truths)
    own = truths == k
    predicted[k] = count - predicted.sum(axis=0)
    hits[k] = np.count_nonzero(own) - table(own).sum(axis=0)
    true = np.bincount(truths, minlength=num_classes)[:, None]  # (K, 1)
    mean: Floats = np.mean(iou(hits, true, predicted)[true[:, 0] > 0], axis=0)
    return mean


def mean_iou(scores: Scores, truths: Ints, offsets: Floats) -> float:
    """The mIoU of the classes that are true or predicted somewhere, nan for none. Args: as `mean_ious`."""
    best = np.argmax(scores + offsets[:, None].astype(np.float32), axis=0)  # (N,)
    num_classes = len(scores)
    true, predicted, hits = (
        np.bincount(values, minlength=num_classes) for values in (truths, best, truths[best == truths])
    )
    return float(mean_present(iou(hits, true, predicted)))
