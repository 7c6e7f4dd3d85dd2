"""COCO's protocol: average precision and recall over ten thresholds, four bands of area; bootstrap intervals.

Source: cocodataset.org/#detection-eval, as pycocotools 2.0 computes it; equal to 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visiontasks.detection.metrics.matching import Pairs, Ranking, match
from visiontasks.detection.metrics.results import Results
from visiontasks.detection.types import Flags, Floats, Ints
from visiontasks.ops.statistics import RESAMPLES

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of overlap
RECALLS = np.linspace(0.0, 1.0, 101)  # where precision is read off
AREAS = {
    "": (0.0, 1e10),
    "s": (0.0, 32.0**2),
    "m": (32.0**2, 96.0**2),
    "l": (96.0**2, 1e10),
}  # px^2, inclusive
MAX_DETECTIONS = 100
AT_50, AT_75 = 0, 5  # places in THRESHOLDS


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What matching found, at each band of area: all that numbers and intervals need.

    ignored: (A, M) true boxes that do not count.
    detections: (D',) the detections that take part, by class, then falling score. area: (D',) px^2.
    class_starts: (K,) where each class begins among them.
    place: (C,) the detections that overlap anything: their places in `detections`, ascending.
    rank: (C,) of each on its picture and in its class. truth: (A, T, C) its true box, -1 for none.
    """

    results: Results
    ignored: Flags
    detections: Ints
    area: Floats
    class_starts: Ints
    place: Ints
    rank: Ints
    truth: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Precision over recall of one band, as its steps: each match, by threshold, then class, then score.

    Prepared so that the curves of a resampled data set are a few passes over E numbers.

    segment: (E,) threshold * K + class. label: (E,). first: (E,) where the entry's segment begins.
    hit: (E,) 1, or 0 for a match with an ignored box. picture: (E,). rank: (E,) of the detection on its
        picture and in its class.
    surplus: (E,) 1 for a hit outside the band, which counts though its like without a match do not;
        -1 for a match with an ignored box that would else be a false alarm.
    base: (B,) pictures of the detections that count unless matched, by class and score.
    before: (E,) how many of `base` there are up to the entry, itself included; class_start: (E,) those of
        the classes before.
    true_picture: (G,) pictures of the boxes to be found, by class; class_edges: (K + 1,) where classes begin.
    """

    num_classes: int
    segment: Ints
    label: Ints
    first: Ints
    hit: Floats
    picture: Ints
    rank: Ints
    surplus: Floats
    base: Ints
    before: Ints
    class_start: Ints
    true_picture: Ints
    class_edges: Ints


def match_coco(results: Results, ranking: Ranking, pairs: Pairs, *, max_detections: int) -> Matched:
    """Match within each class and picture; of each the `max_detections` best detections take part."""
    bands = np.array(list(AREAS.values()))
    outside = (results.area < bands[:, :1]) | (results.area > bands[:, 1:])  # (A, M)
    ignored = outside | results.crowd
    takes_part = ranking.rank < max_detections
    kept = takes_part[pairs.detection]
    pairs = Pairs(pairs.detection[kept], pairs.truth[kept], pairs.overlap[kept])
    matches = match(results, pairs, ignored, THRESHOLDS)
    detections = ranking.by_score[takes_part[ranking.by_score]]
    places = np.empty(len(results.labels), np.int64)
    places[detections] = np.arange(len(detections))
    order = np.argsort(places[matches.detection])
    return Matched(
        results=results,
        ignored=ignored,
        detections=detections,
        area=results.boxes[detections, 2] * results.boxes[detections, 3],
        class_starts=np.searchsorted(results.labels[detections], np.arange(results.num_classes)),
        place=places[matches.detection][order],
        rank=ranking.rank[matches.detection][order],
        truth=matches.truth[:, :, order],
    )


def build_curves(matched: Matched, band: int) -> Curves:
    """The curves of one band of `AREAS`, by its place."""
    results, ignored, place = matched.results, matched.ignored[band], matched.place
    low, high = list(AREAS.values())[band]
    in_band = (matched.area >= low) & (matched.area <= high)  # (D',)
    counts = np.concatenate([[0], np.cumsum(in_band)])
    truth = matched.truth[band]  # (T, C)
    levels, entries = np.nonzero(truth >= 0)
    hit = ~ignored[truth[levels, entries]]
    detection = matched.detections[place]
    label = results.labels[detection][entries]
    segment = levels * results.num_classes + label
    to_find = np.flatnonzero(~ignored)
    to_find = to_find[np.argsort(results.true_labels[to_find], kind="stable")]
    return Curves(
        num_classes=results.num_classes,
        segment=segment,
        label=label,
        first=np.searchsorted(segment, segment),
        hit=hit.astype(np.float64),
        picture=results.picture[detection][entries],
        rank=matched.rank[entries],
        surplus=hit.astype(np.float64) - in_band[place][entries],
        base=results.picture[matched.detections[in_band]],
        before=counts[place + 1][entries],
        class_start=counts[matched.class_starts][label],
        true_picture=results.true_picture[to_find],
        class_edges=np.searchsorted(results.true_labels[to_find], np.arange(results.num_classes + 1)),
    )


def positives(curves: Curves, weights: Floats | None = None) -> Floats:
    """How many boxes there are to find of each class, (K,); with `weights` (N,), so many of each picture."""
    if weights is None:
        return np.diff(curves.class_edges).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(weights[curves.true_picture])])
    result: Floats = np.diff(sums[curves.class_edges])
    return result


def average_precision(curves: Curves, weights: Floats | None = None) -> Floats:
    """Mean of the interpolated precision at 101 recalls, (T, K); nan for a class without boxes to find.

    Args:
        weights: (N,) how often each picture is taken, as whole numbers; by default once.
    """
    total = positives(curves, weights)
    precision, reached = _interpolate(curves, total, weights)
    is_first = curves.first == np.arange(len(curves.first))
    steps = np.diff(reached, prepend=0)
    steps[is_first] = reached[is_first]  # each curve begins anew
    size = len(THRESHOLDS) * curves.num_classes
    sums = np.bincount(curves.segment, weights=precision * steps, minlength=size)
    result: Floats = (sums / len(RECALLS)).reshape(-1, curves.num_classes)  # (T, K)
    result[:, total == 0] = np.nan
    return result


def precision_at_recalls(curves: Curves) -> Floats:
    """Interpolated precision of each threshold and class at `RECALLS`, (T, K, 101); nan where undefined."""
    total = positives(curves)
    precision, reached = _interpolate(curves, total, None)
    width = len(RECALLS) + 1
    size = len(THRESHOLDS) * curves.num_classes
    wanted = np.arange(size)[:, None] * width + np.arange(1, width)  # (T * K, 101)
    place = np.searchsorted(curves.segment * width + reached, wanted)
    inside = place < np.searchsorted(curves.segment, np.arange(size), side="right")[:, None]
    result = np.where(inside, np.append(precision, 0.0)[np.where(inside, place, -1)], 0.0)
    result = result.reshape(-1, curves.num_classes, len(RECALLS))  # (T, K, 101)
    result[:, total == 0] = np.nan
    return result


def recall(curves: Curves, max_detections: int) -> Floats:
    """The share of boxes found by the best so many detections of a picture and class, (T, K)."""
    hits = curves.segment[(curves.hit > 0) & (curves.rank < max_detections)]
    found = np.bincount(hits, minlength=len(THRESHOLDS) * curves.num_classes).reshape(-1, curves.num_classes)
    total = positives(curves)
    result: Floats = np.divide(found, total, out=np.full(found.shape, np.nan), where=total > 0)
    return result


def _interpolate(curves: Curves, total: Floats, weights: Floats | None) -> tuple[Floats, Ints]:
    """At each entry: the best precision from there on, and how many of `RECALLS` are reached, (E,) each."""

    def summed(values: Floats) -> Floats:
        """(E,) -> sums within the segments, each entry included."""
        sums = np.cumsum(values)
        result: Floats = sums - (sums - values)[curves.first]
        return result

    if weights is None:
        seen = (curves.before - curves.class_start).astype(np.float64)
        hits, surplus = curves.hit, curves.surplus
    else:
        counts = np.zeros(len(curves.base) + 1)
        np.cumsum(weights[curves.base], out=counts[1:])
        seen = counts[curves.before] - counts[curves.class_start]
        weight = weights[curves.picture]
        hits, surplus = curves.hit * weight, curves.surplus * weight
    found = summed(hits)
    precision = found / (seen + summed(surplus) + np.spacing(1))
    # one pass for all curves: each is lifted above those behind it, which costs 1e-12 of precision
    lift = -2.0 * curves.segment
    precision = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
    share = found / np.maximum(total, 1)[curves.label]
    nearest = np.rint(share * (len(RECALLS) - 1)).astype(np.int64)
    return precision, nearest + (RECALLS[nearest] <= share)


def coco_numbers(matched: Matched, *, max_detections: int) -> dict[str, float]:
    """AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl, in [0, 1]; nan where there is nothing to find."""
    curves = {name: build_curves(matched, band) for band, name in enumerate(AREAS)}
    precisions = {name: average_precision(curve) for name, curve in curves.items()}
    numbers = {"AP": mean(precisions[""])}
    numbers["AP50"], numbers["AP75"] = mean(precisions[""][AT_50]), mean(precisions[""][AT_75])
    numbers |= {f"AP{name}": mean(precisions[name]) for name in "sml"}
    for most in (1, 10, max_detections):
        numbers[f"AR{most}"] = mean(recall(curves[""], most))
    return numbers | {f"AR{name}": mean(recall(curves[name], max_detections)) for name in "sml"}


def mean(values: Floats) -> float:
    """Mean of what is defined; nan where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def bootstrap(curves: Curves, num_pictures: int, rng: np.random.Generator) -> Floats:
    """AP, AP50 and each class's AP of data sets drawn with replacement from the pictures: (R, 2 + K).

    Nothing is matched again: a picture that is drawn twice counts twice. Its detections of equal score stand
    together, copy by copy, so the result is that of a data set that holds the picture twice.

    Args:
        curves: of the whole range of areas. rng: source of the draws.
    """
    samples = np.empty((RESAMPLES, 2 + curves.num_classes))
    for sample in samples:
        drawn = rng.integers(0, num_pictures, num_pictures)
        weights = np.bincount(drawn, minlength=num_pictures).astype(np.float64)
        precision = average_precision(curves, weights)
        sample[0], sample[1] = mean(precision), mean(precision[AT_50])
        sample[2:] = precision.mean(axis=0)  # a class without boxes is nan at each threshold
    return samples
