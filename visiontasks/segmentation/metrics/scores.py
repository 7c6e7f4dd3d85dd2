"""The numbers of segmentation as functions of counts; each equals scikit-learn's where it has one."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from visiontasks.ops.statistics import RESAMPLES, mean_present

KINDS = 6  # hits, truth, predicted; then the same near contours

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def class_scores(counts: Ints) -> dict[str, Floats]:
    """IoU, Acc, Dice and BIoU of each class, (..., K), in [0, 1].

    A class in neither truth nor predictions has nan; one in only one of them has 0.

    Args:
        counts: (..., 6, K) pixels that are right, true, predicted; and the same three near contours.
    """
    hits, truth, predicted = (counts[..., kind, :] for kind in range(3))
    near_hits, near_truth, near_predicted = (counts[..., kind, :] for kind in range(3, KINDS))
    absent = truth + predicted == 0
    return {
        "IoU": iou(hits, truth, predicted),
        "Acc": _ratio(hits, truth, absent),
        "Dice": _ratio(2 * hits, truth + predicted, absent),
        "BIoU": _ratio(near_hits, near_truth + near_predicted - near_hits, absent),
    }


def iou(hits: Ints, truth: Ints, predicted: Ints) -> Floats:
    """Intersection over union; nan for a class in neither. Args: pixels that are right, true, predicted."""
    return _ratio(hits, truth + predicted - hits, truth + predicted == 0)


def summary(counts: Ints) -> dict[str, Floats]:
    """mIoU, mAcc, aAcc, fwIoU, mDice, mBIoU: (...), nan where nothing is counted.

    Args:
        counts: (..., 6, K) as for `class_scores`.
    """
    scores, truth = class_scores(counts), counts[..., 1, :]
    total = truth.sum(axis=-1)
    nothing = total == 0
    weighted = np.where(truth > 0, truth * scores["IoU"], 0.0).sum(axis=-1)
    return {
        "mIoU": mean_present(scores["IoU"]),
        "mAcc": mean_present(scores["Acc"]),
        "aAcc": _ratio(counts[..., 0, :].sum(axis=-1), total, nothing),
        "fwIoU": _ratio(weighted, total, nothing),
        "mDice": mean_present(scores["Dice"]),
        "mBIoU": mean_present(scores["BIoU"]),
    }


def _ratio(part: Ints | Floats, whole: Ints, absent: NDArray[np.bool_]) -> Floats:
    result: Floats = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole != 0)
    return np.where(absent, np.nan, result)


def resample_weights(image_id: str) -> Ints:
    """How often a picture is drawn in each resample: (1000,), Poisson of mean 1, from its id alone.

    Resampled sums can so be kept while pictures pass by, in any order and on any number of machines.

    Source: Hanley & MacGibbon 2006, "Creating non-parametric bootstrap samples using Poisson frequencies".
    """
    seed = int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    return np.random.default_rng(seed).poisson(1.0, RESAMPLES).astype(np.int64)
