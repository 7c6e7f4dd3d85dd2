"""Pascal VOC's protocol: average precision at an overlap of one half, by 11 points (2007) or by all (2012).

Source: Everingham et al. 2010 ("The PASCAL Visual Object Classes Challenge", section 4.2) and VOCevaldet.m of
the development kits of 2007 and 2012.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from visiontasks.detection.metrics.matching import Pairs, Ranking
from visiontasks.detection.metrics.results import Results
from visiontasks.detection.types import Flags, Floats, Ints

THRESHOLD: Final = 0.5
ELEVEN: Final = np.arange(11) / 10  # recalls


def voc_average_precision(results: Results, ranking: Ranking, pairs: Pairs) -> tuple[Floats, Floats]:
    """Average precision of each class by 11 points and by all points, (K,) each; nan without boxes to find.

    Each detection goes to the box that it overlaps most, whether that one is taken or not: a second detection
    of a box is a false alarm. Difficult boxes and crowds are neither hits nor misses. All detections count.

    Args:
        ranking: of `results`. pairs: of all detections, at an overlap of `THRESHOLD` or less.
    """
    ignored = results.difficult | results.crowd
    is_hit, counts = _judge(results, ranking.by_score, pairs, ignored)
    labels = results.labels[ranking.by_score][counts]
    is_hit = is_hit[counts]
    edges = np.searchsorted(labels, np.arange(results.num_classes + 1))
    totals = np.bincount(results.true_labels[~ignored], minlength=results.num_classes)
    by_eleven, by_all = np.full(results.num_classes, np.nan), np.full(results.num_classes, np.nan)
    for label in np.flatnonzero(totals).tolist():
        part = is_hit[edges[label] : edges[label + 1]]
        found = np.cumsum(part)
        precision = found / np.arange(1, len(part) + 1)
        best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        reached = np.searchsorted(found / totals[label], ELEVEN)
        by_eleven[label] = best_from_here[reached].mean()
        by_all[label] = best_from_here[:-1][part].sum() / totals[label]  # recall rises at hits alone
    return by_eleven, by_all


def _judge(results: Results, by_score: Ints, pairs: Pairs, ignored: Flags) -> tuple[Flags, Flags]:
    """Whether each detection is a hit, and whether it counts at all: (D,) in the order of `by_score`."""
    near = np.flatnonzero(pairs.overlap >= THRESHOLD)
    order = near[np.lexsort((pairs.truth[near], -pairs.overlap[near], pairs.detection[near]))]
    detection, truth = pairs.detection[order], pairs.truth[order]
    is_best = np.diff(detection, prepend=-1) != 0
    owner = np.full(len(results.labels), -1)
    owner[detection[is_best]] = truth[is_best]
    owner = owner[by_score]
    owned = np.flatnonzero(owner >= 0)
    _, first = np.unique(owner[owned], return_index=True)
    is_hit = np.zeros(len(owner), np.bool_)
    is_hit[owned[first]] = True
    counts = np.ones(len(owner), np.bool_)
    counts[owned] = ~ignored[owner[owned]]
    return is_hit & counts, counts
