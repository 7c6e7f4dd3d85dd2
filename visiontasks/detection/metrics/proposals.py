"""How many objects a set of region proposals covers, whatever their class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visiontasks.detection.metrics.coco import THRESHOLDS
from visiontasks.detection.metrics.matching import find_pairs, match, rank_detections
from visiontasks.detection.metrics.results import pack_results
from visiontasks.detection.types import Boxes, Detections, Floats


def average_recall(
    proposals: Sequence[Floats], truths: Sequence[Boxes], limits: Sequence[int] = (10, 100, 300, 1000)
) -> dict[str, float]:
    """Average recall of the best so many proposals a picture; nan where there is nothing to find.

    Source: Hosang et al. 2015 (arXiv 1502.05082, section 5); equal to pycocotools' with `useCats = 0`.

    Args:
        proposals: of each picture (P, 4) float64 xyxy, original px, best first.
        truths: the boxes of each picture; crowds are left out.
        limits: numbers of proposals.

    Returns:
        `AR100`: recall of the best 100, mean over the overlaps 0.5 to 0.95; `recall50@100`: at 0.5 alone.
    """
    found = [
        Detections(boxes, np.zeros(len(boxes), np.int64), -np.arange(len(boxes), dtype=np.float64))
        for boxes in proposals
    ]
    results = pack_results(found, truths, 1).without_classes()
    ranking = rank_detections(results)
    by_group = ranking.by_group[ranking.rank[ranking.by_group] < max(limits)]
    pairs = find_pairs(results, by_group, THRESHOLDS[0])
    matches = match(results, pairs, results.crowd[None], THRESHOLDS)
    truth = matches.truth[0]  # (T, C)
    total = np.count_nonzero(~results.crowd)
    numbers: dict[str, float] = {}
    for limit in limits:
        within = truth[:, ranking.rank[matches.detection] < limit]
        hits = np.count_nonzero((within >= 0) & ~results.crowd[within], axis=1) if total else np.zeros(1)
        recall = hits / total if total else np.full(1, np.nan)
        numbers |= {f"AR{limit}": float(recall.mean()), f"recall50@{limit}": float(recall[0])}
    return numbers
