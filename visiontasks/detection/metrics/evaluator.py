"""The evaluator of detection: gathers the boxes of each picture, matches and measures at the end."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np

from visiontasks.classes import BACKGROUND, ClassMap, join_classes
from visiontasks.detection.metrics import coco
from visiontasks.detection.metrics.confusion import CONFIDENCE, OVERLAP, confuse
from visiontasks.detection.metrics.matching import Pairs, Ranking, find_pairs, rank_detections
from visiontasks.detection.metrics.results import Results, join_results, pack_results, sort_pictures
from visiontasks.detection.metrics.voc import voc_average_precision
from visiontasks.detection.types import Boxes, Detections, Floats
from visiontasks.errors import DataError
from visiontasks.ops.statistics import INTERVAL, RESAMPLES, or_none
from visiontasks.types import ImageInfo

BOOTSTRAP_SEED: Final = 0

_log = logging.getLogger(__name__)


class DetectionEvaluator:
    """Numbers of one run over a data set; keeps every box until the end (88 bytes a detection).

    max_detections: how many of the best detections of each class on each picture COCO's numbers look at.
    """

    def __init__(self, classes: ClassMap, max_detections: int = coco.MAX_DETECTIONS) -> None:
        self.classes = classes
        self.max_detections = max_detections
        self.protocol = _protocol(max_detections)
        self._ids: dict[int | str, None] = {}
        self._parts: list[Results] = []
        self._measured: tuple[coco.Matched, Ranking, Pairs] | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def update(
        self, predictions: Sequence[Detections], truths: Sequence[Boxes], infos: Sequence[ImageInfo]
    ) -> None:
        """Take in some pictures. Raises: DataError for a number that is not finite, or a known picture."""
        for found, info in zip(predictions, infos, strict=True):
            if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
                raise DataError(
                    f"expected finite boxes and scores, found nan or inf for {info.image_id}; the network "
                    "diverged, or its weights are damaged"
                )
        self.add([info.image_id for info in infos], pack_results(predictions, truths, len(self.classes)))

    def add(self, ids: Sequence[int | str], results: Results) -> None:
        """Take in packed pictures, one a name. Raises: DataError for a known one."""
        assert len(ids) == results.num_pictures
        assert results.num_classes == len(self.classes)
        for labels in (results.labels, results.true_labels):
            assert not len(labels) or 0 <= np.min(labels) <= np.max(labels) < len(self.classes)
        for image_id in ids:
            if image_id in self._ids:
                raise DataError(
                    f"expected each picture once in an evaluation, found {image_id} twice; remove one"
                )
            self._ids[image_id] = None
        self._parts.append(results)
        self._measured = None

    def merge(self, other: Self) -> None:
        """Take over what another process gathered. Raises: DataError for a picture that both have."""
        join_classes(self.classes, other.classes, ours_name="one evaluator", theirs_name="another")
        assert self.classes.names == other.classes.names
        if other._parts:
            self.add(list(other._ids), join_results(other._parts))

    def compute(self) -> dict[str, float]:
        """COCO's twelve numbers, VOC07 and VOC12, each class's AP; AP, AP50 and classes with intervals."""
        matched, ranking, pairs = self._match()
        self._warn(matched.results)
        numbers = coco.coco_numbers(matched, max_detections=self.max_detections)
        by_eleven, by_all = voc_average_precision(matched.results, ranking, pairs)
        numbers |= {"VOC07": coco.mean(by_eleven), "VOC12": coco.mean(by_all)}
        curves = coco.build_curves(matched, 0)
        of_classes = coco.average_precision(curves).mean(axis=0)
        numbers |= {
            f"AP/{name}": float(value) for name, value in zip(self.classes.names, of_classes, strict=True)
        }
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        samples = (
            coco.bootstrap(curves, len(self), rng) if len(self) else np.empty((0, 2 + len(self.classes)))
        )
        sampled = ("AP", "AP50", *(f"AP/{name}" for name in self.classes.names))
        intervals = {
            name: _interval(numbers[name], column) for name, column in zip(sampled, samples.T, strict=True)
        }
        result: dict[str, float] = {}
        for name, value in numbers.items():
            result[name] = value
            if name in intervals:
                result[f"{name}@low"], result[f"{name}@high"] = intervals[name]
        return result

    def matched(self) -> coco.Matched:
        """Which detection belongs to which box, the pictures sorted by id."""
        return self._match()[0]

    def tables(self) -> dict[str, Any]:
        """JSON-ready detail; None stands for undefined.

        curves: `recall` (101 values), `precision` of each class at an overlap of 0.5 and 0.75, interpolated.
        overlaps: AP at each threshold. confusion: `counts` (K + 1 x K + 1, rows truth), the last of `classes`
        is the background. pictures: one row each: `id`, boxes `found` and `missed`, `false` detections.
        """
        matched = self.matched()
        curves = coco.build_curves(matched, 0)
        precision = coco.precision_at_recalls(curves)  # (T, K, 101)
        by_overlap = [coco.mean(values) for values in coco.average_precision(curves)]
        names = self.classes.names
        confusion = confuse(matched.results)
        counted = zip(
            self._sorted_ids(),
            confusion.found.tolist(),
            confusion.missed.tolist(),
            confusion.false.tolist(),
            strict=True,
        )
        return {
            "curves": {
                "recall": coco.RECALLS.tolist(),
                "precision50": dict(zip(names, map(_list_of, precision[coco.AT_50]), strict=True)),
                "precision75": dict(zip(names, map(_list_of, precision[coco.AT_75]), strict=True)),
            },
            "overlaps": {
                "iou": coco.THRESHOLDS.tolist(),
                "AP": [or_none(value) for value in by_overlap],
            },
            "confusion": {"classes": [*names, BACKGROUND], "counts": confusion.counts.tolist()},
            "pictures": [
                {"id": image_id, "found": found, "missed": missed, "false": false}
                for image_id, found, missed, false in counted
            ],
        }

    def _sorted_ids(self) -> list[int | str]:
        """Numbers first: equal scores are ordered by picture, so the order must not depend on arrival."""
        return sorted(self._ids, key=lambda ident: (isinstance(ident, str), ident))

    def _match(self) -> tuple[coco.Matched, Ranking, Pairs]:
        """The pictures by id, matched; all detections ranked; all pairs that overlap by half."""
        if self._measured is None:
            place = {image_id: index for index, image_id in enumerate(self._ids)}
            order = np.array([place[image_id] for image_id in self._sorted_ids()], dtype=np.int64)
            results = join_results([pack_results([], [], len(self.classes)), *self._parts])
            results = sort_pictures(results, order)
            ranking = rank_detections(results)
            pairs = find_pairs(results, ranking.by_group, float(coco.THRESHOLDS[0]))
            matched = coco.match_coco(results, ranking, pairs, max_detections=self.max_detections)
            self._measured = matched, ranking, pairs
        return self._measured

    def _warn(self, results: Results) -> None:
        if not len(results.true_labels):
            _log.warning("no true boxes: every number is undefined")
        crowded = np.bincount(results.true_picture, minlength=1)
        most = int(np.max(crowded))
        if most > self.max_detections:
            _log.warning(
                "%d pictures have more than %d objects (%s has %d): of each class on a picture only the "
                "best %d detections are looked at, as COCO does",
                np.count_nonzero(crowded > self.max_detections),
                self.max_detections,
                self._sorted_ids()[int(np.argmax(crowded))],
                most,
                self.max_detections,
            )


def _protocol(max_detections: int) -> str:
    return (
        "COCO (as pycocotools): AP: mean of 101-point interpolated precision over IoU 0.50:0.05:0.95 and "
        f"classes, the best {max_detections} detections of a class on a picture; s, m, l: true boxes below "
        "32^2, up to 96^2, above (px^2); AR1, AR10: the best 1, 10; crowds are ignored; a class without true "
        "boxes has no AP and is in no mean; VOC07, VOC12: mean AP at IoU 0.5 by 11 points and by all, all "
        "detections, difficult boxes and crowds ignored; @low, @high: 95% bootstrap over pictures, "
        f"percentiles of {RESAMPLES} resamples moved to have the number as their mean; confusion, "
        f"pictures (tables): score and IoU from {CONFIDENCE}, {OVERLAP}"
    )


def _interval(number: float, values: Floats) -> tuple[float, float]:
    """Percentiles of resampled values (R,), moved so that their mean is the number; undefined ones left out.

    Interpolated precision takes the best of what follows, so it gains from noise, and pictures that are
    drawn twice are noise: with 80 classes on 300 pictures the plain percentiles leave out the number itself
    19 times of 20. Moved, they cover what other pictures give (simulated, 3 to 80 classes: 88 to 100%).
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.clip(np.percentile(values, INTERVAL) - values.mean() + number, 0, 1)
    return float(low), float(high)


def _list_of(values: Floats) -> list[float | None]:
    """For JSON."""
    return [or_none(value) for value in values.tolist()]
