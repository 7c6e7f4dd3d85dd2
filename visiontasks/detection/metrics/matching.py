"""Which detection belongs to which true box: COCO's greedy matching, all pictures and thresholds at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visiontasks.detection.metrics.results import Results
from visiontasks.detection.types import Flags, Floats, Ints

MOST_PAIRS = 1 << 20  # that are compared at a time


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Detections by class and score. A group is one class on one picture.

    by_score: (D,) detections by class, then falling score; equal scores in the order of pictures and records.
    by_group: (D,) detections by group, then falling score.
    rank: (D,) place of each detection in its group, 0 the best.
    """

    by_score: Ints
    by_group: Ints
    rank: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Detections and true boxes of one class and picture that overlap enough.

    detection: (P,) in the order of `Ranking.by_group`. truth: (P,), ascending within a detection.
    overlap: (P,) intersection over union; over the detection's area where the true box is a crowd.
    """

    detection: Ints
    truth: Ints
    overlap: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What was matched under A sets of ignored boxes and T thresholds.

    detection: (C,) detections that overlap anything, in the order of `Ranking.by_group`.
    truth: (A, T, C) the true box of each, -1 for none.
    """

    detection: Ints
    truth: NDArray[np.int32]


def groups_of(picture: Ints, labels: Ints, num_classes: int) -> Ints:
    """One number for each picture and class, by picture."""
    return picture * num_classes + labels


def rank_detections(results: Results) -> Ranking:
    """Sort the detections as pycocotools does (stable)."""
    order = np.argsort(-results.scores, kind="stable")
    groups = groups_of(results.picture, results.labels, results.num_classes)
    by_group = order[np.argsort(groups[order], kind="stable")]
    sorted_groups = groups[by_group]
    place = np.arange(len(order))
    starts_here = np.ones(len(order), np.bool_)
    starts_here[1:] = sorted_groups[1:] != sorted_groups[:-1]
    rank = np.empty(len(order), np.int64)
    rank[by_group] = place - np.maximum.accumulate(np.where(starts_here, place, 0))
    small = np.int16 if results.num_classes < 1 << 15 else np.int64  # 16 bits are sorted many times as fast
    by_score = order[np.argsort(results.labels[order].astype(small), kind="stable")]
    return Ranking(by_score, by_group, rank)


def find_pairs(results: Results, by_group: Ints, least: float) -> Pairs:
    """The pairs that overlap by `least` (above 0) or more.

    Args:
        by_group: (D',) the detections to look at, in the order of `Ranking.by_group`.
    """
    true_groups = groups_of(results.true_picture, results.true_labels, results.num_classes)
    by_true_group = np.argsort(true_groups, kind="stable")
    groups = groups_of(results.picture[by_group], results.labels[by_group], results.num_classes)
    low = np.searchsorted(true_groups[by_true_group], groups, side="left")
    high = np.searchsorted(true_groups[by_true_group], groups, side="right")
    with_truth = np.flatnonzero(high > low)
    low, counts = low[with_truth], (high - low)[with_truth]
    ends = np.cumsum(counts)
    parts: list[tuple[Ints, Ints, Floats]] = []
    begin = 0
    while begin < len(counts):
        done = int(ends[begin] - counts[begin])
        stop = max(begin + 1, int(np.searchsorted(ends, done + MOST_PAIRS, side="right")))
        part = slice(begin, stop)
        detection = by_group[np.repeat(with_truth[part], counts[part])]
        within = np.arange(done, ends[stop - 1]) - np.repeat(ends[part] - counts[part], counts[part])
        truth = by_true_group[np.repeat(low[part], counts[part]) + within]
        overlap = _overlaps(results, detection, truth)
        kept = overlap >= least
        parts.append((detection[kept], truth[kept], overlap[kept]))
        begin = stop
    none = np.zeros(0, np.int64)
    detection, truth, overlap = (
        np.concatenate(column) for column in zip((none, none, np.zeros(0)), *parts, strict=True)
    )
    return Pairs(detection, truth, overlap)


def _overlaps(results: Results, detection: Ints, truth: Ints) -> Floats:
    """Overlap of each pair, (P,), by the very steps of pycocotools' `bbIou`: equal to the last bit."""
    found, true = results.boxes[detection], results.true_boxes[truth]
    size = np.minimum(found[:, :2] + found[:, 2:], true[:, :2] + true[:, 2:])
    size -= np.maximum(found[:, :2], true[:, :2])
    shared = np.where((size > 0).all(axis=1), size[:, 0] * size[:, 1], 0.0)
    own = found[:, 2] * found[:, 3]
    union = np.where(results.crowd[truth], own, own + true[:, 2] * true[:, 3] - shared)
    result: Floats = np.divide(shared, union, out=np.zeros(len(shared)), where=shared > 0)
    return result


def match(results: Results, pairs: Pairs, ignored: Flags, thresholds: Floats) -> Matches:
    """Give each detection, best first, the free true box that it overlaps most.

    A box that is not ignored goes before any that is; of equal overlaps the later box is taken; a crowd
    takes any number of detections. Works on the n-th detections of all groups together.

    Source: pycocotools, `COCOeval.evaluateImg`.

    Args:
        ignored: (A, M) true boxes that count neither as found nor as missed. thresholds: (T,) least overlaps.
    """
    starts_here = np.ones(len(pairs.detection), np.bool_)
    starts_here[1:] = pairs.detection[1:] != pairs.detection[:-1]
    detection = pairs.detection[starts_here]  # (C,)
    owner = np.cumsum(starts_here) - 1  # (P,) place in `detection`
    turn = _turns(groups_of(results.picture[detection], results.labels[detection], results.num_classes))
    order = np.lexsort((pairs.truth, pairs.overlap, owner, turn[owner]))
    owner, truth = owner[order], pairs.truth[order]
    # of a detection's free pairs the last is the best
    preferred = len(order)
    value = np.arange(len(order)) + np.where(ignored[:, truth], 0, preferred)  # (A, P)
    reach = pairs.overlap[order] >= np.minimum(thresholds, 1 - 1e-10)[:, None]  # (T, P)
    num_sets, num_thresholds = len(ignored), len(thresholds)
    taken = np.zeros((num_sets, num_thresholds, ignored.shape[1]), np.bool_)
    matched: NDArray[np.int32] = np.full((num_sets, num_thresholds, len(detection)), -1, np.int32)
    edges = np.searchsorted(turn[owner], np.arange(np.max(turn, initial=-1) + 2))
    for begin, stop in pairwise(edges.tolist()):
        part = slice(begin, stop)
        free = reach[:, part] & ~taken[:, :, truth[part]]  # (A, T, p)
        starts = np.flatnonzero(np.diff(owner[part], prepend=-1))
        best = np.maximum.reduceat(np.where(free, value[:, None, part], -1), starts, axis=2)  # (A, T, d)
        sets, levels, places = np.nonzero(best >= 0)
        chosen = truth[best[sets, levels, places] % preferred]
        matched[sets, levels, owner[part][starts][places]] = chosen
        taken[sets, levels, chosen] = ~results.crowd[chosen]
    return Matches(detection, matched)


def find_owners(results: Results, ranking: Ranking, ignored: Flags, overlap: float) -> Ints:
    """The true box that each detection gets at one least overlap, all areas: (N,), -1 for none.

    -1 is also the place behind the last box: what is appended there stands for the background.

    Args:
        ranking: of the results. ignored: (M,) true boxes that count neither as found nor as missed.
    """
    pairs = find_pairs(results, ranking.by_group, overlap)
    matches = match(results, pairs, ignored[None], np.array([overlap]))
    owner = np.full(len(results.labels), -1, np.int64)
    owner[matches.detection] = matches.truth[0, 0]
    return owner


def _turns(groups: Ints) -> Ints:
    """(C,) ascending groups -> each one's place in its group."""
    place = np.arange(len(groups))
    starts_here = np.diff(groups, prepend=-1) != 0
    return place - np.maximum.accumulate(np.where(starts_here, place, 0))
