"""The evaluator of segmentation: sums counts of pixels as pictures pass by, and computes at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from visiontasks.classes import ClassMap, join_classes
from visiontasks.errors import DataError
from visiontasks.ops.statistics import RESAMPLES, interval, or_none
from visiontasks.segmentation.metrics import scores
from visiontasks.segmentation.metrics.boundary import boundary_counts
from visiontasks.segmentation.metrics.confusion import confusion_counts
from visiontasks.segmentation.types import Mask, SegmentationMap
from visiontasks.types import ImageInfo

PROTOCOL = (
    "one class a pixel, in original pixels; pixels whose truth is 255 count nowhere, pixels without a "
    "prediction are wrong; counts are summed over all pictures, then IoU = hits / (true + predicted - hits), "
    "Acc = hits / true, Dice = 2 hits / (true + predicted); m: mean over the classes that are in truth or "
    "predictions (one that is only predicted scores 0, one in neither is null and left out); aAcc: share of "
    "pixels that are right; fwIoU: IoU weighted by the class's share of the true pixels; BIoU: IoU of the "
    "pixels at most 2% of the picture's diagonal from a contour, ignored pixels cut out of both masks; "
    "@low, @high: 95% percentile Poisson bootstrap over pictures, 1000 resamples"
)


class SegmentationEvaluator:
    """Numbers of one run over a data set. No mask is kept: of a picture only its id and two numbers."""

    protocol = PROTOCOL

    def __init__(self, classes: ClassMap) -> None:
        num_classes = len(classes)
        self.classes = classes
        self._pictures: dict[str, tuple[float, float]] = {}  # id -> aAcc, mIoU of the picture
        self._table = np.zeros((num_classes, num_classes + 1), dtype=np.int64)  # truth, prediction or none
        self._counts = np.zeros((scores.KINDS, num_classes), dtype=np.int64)
        self._samples = np.zeros((RESAMPLES, scores.KINDS, num_classes), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._pictures)

    def update(
        self, predictions: Sequence[SegmentationMap], truths: Sequence[Mask], infos: Sequence[ImageInfo]
    ) -> None:
        """Take in a batch; entry i of each argument belongs to one picture.

        Raises: DataError for a picture that was there before, a mask of another size, or unknown values.
        """
        for prediction, truth, info in zip(predictions, truths, infos, strict=True):
            self.add(str(info.image_id), truth, prediction.mask)

    def add(self, image_id: str, truth: Mask, predicted: Mask) -> None:
        """Take in one pair of masks (H, W) uint8, 255 for ignored or not predicted. Raises: as `update`."""
        self._check_new(image_id)
        table = confusion_counts(truth, predicted, len(self.classes), image_id)
        counts = np.empty_like(self._counts)
        counts[:3] = table.diagonal(), table.sum(axis=1), table[:, :-1].sum(axis=0)
        counts[3:] = boundary_counts(truth, predicted, len(self.classes))
        numbers = scores.summary(counts)
        self._pictures[image_id] = float(numbers["aAcc"]), float(numbers["mIoU"])
        self._table += table
        self._counts += counts
        shown = np.flatnonzero(counts.any(axis=0))
        drawn = scores.resample_weights(image_id)[:, None, None]  # (R, 1, 1)
        self._samples[:, :, shown] += drawn * counts[:, shown]

    def merge(self, other: Self) -> None:
        """Take over what another process gathered. Raises: DataError for a picture that both have."""
        join_classes(self.classes, other.classes, ours_name="one evaluator", theirs_name="another")
        assert self.classes.names == other.classes.names
        for image_id in other._pictures:
            self._check_new(image_id)
        self._pictures |= other._pictures
        self._table += other._table
        self._counts += other._counts
        self._samples += other._samples

    def _check_new(self, image_id: str) -> None:
        if image_id in self._pictures:
            raise DataError(
                f"expected each picture once in an evaluation, found {image_id} twice; remove one"
            )

    def compute(self) -> dict[str, float]:
        """mIoU, mAcc, aAcc, fwIoU, mDice and mBIoU with intervals; IoU, Acc and BIoU of each class."""
        samples = scores.summary(self._samples)
        numbers: dict[str, float] = {}
        for name, value in scores.summary(self._counts).items():
            low, high = interval(samples[name])
            numbers |= {name: float(value), f"{name}@low": low, f"{name}@high": high}
        of_classes = scores.class_scores(self._counts)
        for name in ("IoU", "Acc", "BIoU"):
            values = zip(self.classes.names, of_classes[name].tolist(), strict=True)
            numbers |= {f"{name}/{class_name}": value for class_name, value in values}
        return numbers

    def tables(self) -> dict[str, Any]:
        """JSON-ready detail; None stands for undefined.

        confusion: `counts` of pixels (K x K, rows truth); `unpredicted`, a class's without a prediction.
        classes: one row each: `class`, `pixels` (true), `predicted`, `IoU`, `Acc`, `Dice`, `BIoU`.
        absent: the classes in neither truth nor predictions, which no mean includes.
        pictures: one row each: `id`, `aAcc`, `mIoU`.
        """
        names = self.classes.names
        columns = scores.class_scores(self._counts)
        rows: list[dict[str, Any]] = [
            {"class": name, "pixels": true, "predicted": predicted}
            for name, true, predicted in zip(
                names, self._counts[1].tolist(), self._counts[2].tolist(), strict=True
            )
        ]
        for column, values in columns.items():
            for row, value in zip(rows, values.tolist(), strict=True):
                row[column] = or_none(value)
        return {
            "confusion": {
                "classes": list(names),
                "counts": self._table[:, :-1].tolist(),
                "unpredicted": self._table[:, -1].tolist(),
            },
            "classes": rows,
            "absent": [row["class"] for row in rows if row["IoU"] is None],
            "pictures": [
                {"id": image_id, "aAcc": or_none(accuracy), "mIoU": or_none(iou)}
                for image_id, (accuracy, iou) in sorted(self._pictures.items())
            ],
        }
