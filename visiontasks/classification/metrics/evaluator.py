"""The evaluator of classification: gathers one small row a picture, and computes at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap, join_classes
from visiontasks.classification.metrics import scores
from visiontasks.classification.types import Classification
from visiontasks.errors import DataError
from visiontasks.ops.statistics import interval, mean_present, or_none
from visiontasks.types import ImageInfo

TOP = 5
SUM_TOLERANCE = 0.01  # half-precision probabilities do not sum to 1 exactly
BOOTSTRAP_SEED = 0

PROTOCOL = (
    "one label a picture; topk: the true class is among the k most probable (of equal ones the lower index "
    "first), top5 undefined below 5 classes; precision, recall and F1 of a class: 0 where undefined, nan for "
    "a class in neither truth nor predictions; macro_: their mean without nan; ECE: 15 bins of equal width, "
    "(m-1)/15 < p <= m/15; log_loss: nats, probabilities clipped at 1.2e-7; @low, @high: 95% percentile "
    "bootstrap over pictures, 1000 resamples"
)

ROW = np.dtype(
    [
        ("truth", np.int32),
        ("predicted", np.int32),  # -1: no prediction, which is wrong
        ("in_top5", np.float32),  # 1 or 0; nan where unknown, as below
        ("truth_probability", np.float32),
        ("confidence", np.float32),  # probability of the predicted class
    ]
)
Rows = NDArray[np.void]  # (N,) of ROW


class ClassificationEvaluator:
    """Numbers of one run over a data set; 20 bytes and an id a picture are kept, not all probabilities.

    A number is nan where it is undefined, without pictures, or needs what a results file left out (scores).
    """

    protocol = PROTOCOL

    def __init__(self, classes: ClassMap) -> None:
        self.classes = classes
        self._ids: dict[str, None] = {}
        self._parts: list[Rows] = []

    def __len__(self) -> int:
        return len(self._ids)

    def update(
        self, predictions: Sequence[Classification], truths: Sequence[int], infos: Sequence[ImageInfo]
    ) -> None:
        """Take in a batch; entry i of each argument belongs to one picture.

        Raises: DataError for a picture that was there before, and for probabilities that are none.
        """
        assert len(predictions) == len(truths) == len(infos)
        if not predictions:
            return
        ids = [str(info.image_id) for info in infos]
        probabilities = np.stack([prediction.probabilities for prediction in predictions])  # (B, K)
        assert probabilities.shape[1] == len(self.classes)
        _check_probabilities(probabilities, ids)
        self.add(ids, rows_of(probabilities, np.asarray(truths, dtype=np.int64)))

    def add(self, ids: Sequence[str], rows: Rows) -> None:
        """Take in rows (N,) of ROW, class indices 0..K-1. Raises: DataError for a known id."""
        assert len(ids) == len(rows)
        assert not len(rows) or 0 <= rows["truth"].min() <= rows["truth"].max() < len(self.classes)
        for image_id in ids:
            if image_id in self._ids:
                raise DataError(
                    f"expected each picture once in an evaluation, found {image_id} twice; remove one"
                )
            self._ids[image_id] = None
        self._parts.append(rows)

    def merge(self, other: Self) -> None:
        """Take over what another process gathered. Raises: DataError for a picture that both have."""
        join_classes(self.classes, other.classes, ours_name="one evaluator", theirs_name="another")
        assert self.classes.names == other.classes.names
        self.add(list(other._ids), np.concatenate([np.empty(0, ROW), *other._parts]))

    def compute(self) -> dict[str, float]:
        """top1, top5, macro_F1 with intervals, macro_precision, macro_recall, ECE, log_loss; each class's."""
        _, rows = self._sorted()
        truths, predicted = rows["truth"].astype(np.int64), rows["predicted"].astype(np.int64)
        correct = truths == predicted
        matrix, unpredicted = self._counts(truths, predicted)
        precision, recall, f1 = scores.class_scores(
            matrix.diagonal(), matrix.sum(axis=1) + unpredicted, matrix.sum(axis=0)
        )
        numbers = {
            "top1": _mean(correct),
            "top5": self._top5(rows),
            "macro_F1": float(mean_present(f1)),
        }
        numbers = self._with_intervals(numbers, matrix, unpredicted)
        numbers["macro_precision"] = float(mean_present(precision))
        numbers["macro_recall"] = float(mean_present(recall))
        numbers["ECE"] = scores.expected_calibration_error(rows["confidence"].astype(np.float64), correct)
        numbers["log_loss"] = scores.log_loss(rows["truth_probability"].astype(np.float64))
        for name, values in (("precision", precision), ("recall", recall), ("F1", f1)):
            numbers.update(
                {f"{name}/{cls}": float(value) for cls, value in zip(self.classes.names, values, strict=True)}
            )
        return numbers

    def tables(self) -> dict[str, Any]:
        """JSON-ready detail; None stands for unknown.

        confusion: `counts` (K x K, rows truth); `unpredicted`, a class's pictures without a prediction.
        reliability: one row a bin of confidence; no rows where confidences are unknown.
        pictures: one row each: `id`, `truth`, `prediction`, `score`.
        """
        ids, rows = self._sorted()
        truths, predicted = rows["truth"].astype(np.int64), rows["predicted"].astype(np.int64)
        matrix, unpredicted = self._counts(truths, predicted)
        names = [*self.classes.names, None]  # index -1: no prediction
        return {
            "confusion": {
                "classes": list(self.classes.names),
                "counts": matrix.tolist(),
                "unpredicted": unpredicted.tolist(),
            },
            "reliability": _reliability_table(rows["confidence"].astype(np.float64), truths == predicted),
            "pictures": [
                {
                    "id": image_id,
                    "truth": names[truth],
                    "prediction": names[best],
                    "score": or_none(score),
                }
                for image_id, truth, best, score in zip(
                    ids, truths.tolist(), predicted.tolist(), rows["confidence"].tolist(), strict=True
                )
            ],
        }

    def _sorted(self) -> tuple[list[str], Rows]:
        """Ids and rows by id: sums over them do not depend on the order or place of their arrival."""
        ids = list(self._ids)
        order = sorted(range(len(ids)), key=ids.__getitem__)
        rows = np.concatenate([np.empty(0, ROW), *self._parts])
        return [ids[i] for i in order], rows[order]

    def _counts(self, truths: scores.Ints, predicted: scores.Ints) -> tuple[scores.Ints, scores.Ints]:
        """Confusion matrix (K, K), and pictures of each class without a prediction (K,)."""
        unpredicted = np.bincount(truths[predicted < 0], minlength=len(self.classes)).astype(np.int64)
        return scores.confusion_matrix(truths, predicted, len(self.classes)), unpredicted

    def _top5(self, rows: Rows) -> float:
        return _mean(rows["in_top5"].astype(np.float64)) if len(self.classes) >= TOP else math.nan

    def _with_intervals(
        self, numbers: dict[str, float], matrix: scores.Ints, unpredicted: scores.Ints
    ) -> dict[str, float]:
        """The headline numbers, each followed by its @low and @high."""
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        samples = {name: np.empty(0) for name in numbers}
        if len(self):
            samples["top1"], samples["macro_F1"] = scores.bootstrap_confusion(matrix, unpredicted, rng)
            if not math.isnan(numbers["top5"]):
                hits = round(numbers["top5"] * len(self))
                samples["top5"] = scores.bootstrap_mean(hits, len(self), rng)
        result: dict[str, float] = {}
        for name, value in numbers.items():
            low, high = interval(samples[name])
            result |= {name: value, f"{name}@low": low, f"{name}@high": high}
        return result


def rows_of(probabilities: NDArray[np.float32], truths: scores.Ints) -> Rows:
    """What is kept of a batch: (B,) of ROW.

    Args:
        probabilities: (B, K) in [0, 1], rows summing to 1.
        truths: (B,) class indices.
    """
    batch = np.arange(len(truths))
    of_truth = probabilities[batch, truths][:, None]  # (B, 1)
    is_earlier = np.arange(probabilities.shape[1])[None, :] < truths[:, None]  # (B, K)
    ahead = (probabilities > of_truth) | ((probabilities == of_truth) & is_earlier)
    rows = np.empty(len(truths), ROW)
    rows["truth"] = truths
    rows["predicted"] = probabilities.argmax(axis=1)
    rows["in_top5"] = ahead.sum(axis=1) < TOP
    rows["truth_probability"] = of_truth[:, 0]
    rows["confidence"] = probabilities.max(axis=1)
    return rows


def _check_probabilities(probabilities: NDArray[np.float32], ids: Sequence[str]) -> None:
    """Raises: DataError naming the first picture with nan, inf, or what is no distribution."""
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        raise DataError(
            f"expected finite probabilities, found nan or inf for {ids[int(np.argmin(finite))]}; "
            "the network diverged, or its weights are damaged"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    fair = (probabilities.min(axis=1) >= 0) & (np.abs(sums - 1) <= SUM_TOLERANCE)
    if not fair.all():
        first = int(np.argmin(fair))
        raise DataError(
            f"expected probabilities from 0 up that sum to 1, found a sum of {sums[first]:.4g}, a least of "
            f"{probabilities[first].min():.4g} for {ids[first]}; apply softmax to scores first"
        )


def _reliability_table(confidences: scores.Floats, correct: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """One row a bin; none where a confidence is unknown."""
    if np.isnan(confidences).any():
        return []
    bins = scores.CALIBRATION_BINS
    columns = (column.tolist() for column in scores.reliability(confidences, correct))
    return [
        {
            "low": m / bins,
            "high": (m + 1) / bins,
            "count": count,
            "confidence": or_none(confidence),
            "accuracy": or_none(accuracy),
        }
        for m, (count, confidence, accuracy) in enumerate(zip(*columns, strict=True))
    ]


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else math.nan
