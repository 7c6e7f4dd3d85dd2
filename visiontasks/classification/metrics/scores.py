"""The numbers of classification as functions of arrays; each equals scikit-learn's where it has one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visiontasks.ops.statistics import RESAMPLES, mean_present

CALIBRATION_BINS = 15
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)  # a certain miss costs 15.9 nats, not infinity
CHUNK_CELLS = 1_000_000  # numbers that one part of the resampling may hold

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def confusion_matrix(truths: Ints, predicted: Ints, num_classes: int) -> Ints:
    """Counts by class: (K, K) int64, rows truth, columns prediction.

    Args:
        truths: (N,) class indices.
        predicted: (N,) class indices; a picture with -1 (no prediction) is left out.
        num_classes: K.
    """
    given = predicted >= 0
    cells = truths[given] * num_classes + predicted[given]
    counts = np.bincount(cells, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def class_scores(hits: Ints, truths: Ints, predicted: Ints) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each class, float64 of the shape of the arguments, in [0, 1].

    A class in neither truth nor predictions has nan; one in only one of them has 0.

    Args:
        hits, truths, predicted: (..., K) counts of right predictions, pictures and predictions of a class.
    """
    absent = (truths == 0) & (predicted == 0)

    def ratio(part: Ints, whole: Ints) -> Floats:
        result: Floats = np.divide(part, whole, out=np.zeros(hits.shape), where=whole != 0)
        result[absent] = np.nan
        return result

    return ratio(hits, predicted), ratio(hits, truths), ratio(2 * hits, truths + predicted)


def log_loss(truth_probabilities: Floats) -> float:
    """Mean of -ln(probability of the true class), nats. Probabilities are clipped at float32's epsilon.

    Args:
        truth_probabilities: (N,) in [0, 1]; nan where unknown, which makes the result nan.
    """
    if not len(truth_probabilities):
        return float("nan")
    return float(-np.log(np.clip(truth_probabilities, SMALLEST_PROBABILITY, 1.0)).mean())


def reliability(confidences: Floats, correct: NDArray[np.bool_]) -> tuple[Ints, Floats, Floats]:
    """Pictures, mean confidence and accuracy in bins of equal width ((m-1)/15, m/15]; nan in empty bins.

    Args:
        confidences: (N,) probability of the predicted class, in [0, 1].
        correct: (N,) whether it is the true one.

    Returns:
        Three arrays (15,): counts, mean confidences, accuracies.
    """
    edges = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS
    bins = np.searchsorted(edges, confidences, side="left")
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    empty = np.full(CALIBRATION_BINS, np.nan)
    confidence = np.bincount(bins, weights=confidences, minlength=CALIBRATION_BINS)
    accuracy = np.bincount(bins, weights=correct, minlength=CALIBRATION_BINS)
    return (
        counts.astype(np.int64),
        np.divide(confidence, counts, out=empty.copy(), where=counts > 0),
        np.divide(accuracy, counts, out=empty.copy(), where=counts > 0),
    )


def expected_calibration_error(confidences: Floats, correct: NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability`, weighted by their pictures.

    Source: Guo et al. 2017 (arXiv 1706.04599, eq. 3).

    Args:
        confidences: (N,) probability of the predicted class; a nan (unknown) makes the result nan.
        correct: (N,) whether it is the true one.
    """
    if not len(confidences) or np.isnan(confidences).any():
        return float("nan")
    counts, confidence, accuracy = reliability(confidences, correct)
    filled = counts > 0
    return float(np.sum((counts * np.abs(confidence - accuracy))[filled])) / int(np.sum(counts))


def bootstrap_confusion(matrix: Ints, unpredicted: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Accuracy and macro F1 of data sets drawn with replacement from the pictures: two arrays (1000,).

    Both depend on the pictures only through the number in each cell of the confusion matrix, and those of a
    resample are multinomial: the cells are drawn instead of the pictures, whose order does not matter.

    Args:
        matrix: (K, K) counts, rows truth. unpredicted: (K,) pictures of each class without a prediction.
        rng: source of the draws.
    """
    num_classes = len(matrix)
    table = np.concatenate([matrix, unpredicted[:, None]], axis=1)  # (K, K + 1)
    rows, columns = np.nonzero(table)
    counts = table[rows, columns]
    is_hit = rows == columns
    parts = max(1, -(-RESAMPLES * max(len(counts), 3 * num_classes) // CHUNK_CELLS))
    accuracies, scores = [], []
    for size in np.full(parts, RESAMPLES // parts) + (np.arange(parts) < RESAMPLES % parts):
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size=int(size))  # (R, cells)
        truths = _sum_groups(draws, rows, num_classes)
        predicted = _sum_groups(draws, columns, num_classes + 1)[:, :num_classes]
        hits = _sum_groups(draws[:, is_hit], rows[is_hit], num_classes)
        accuracies.append(hits.sum(axis=1) / counts.sum())
        scores.append(mean_present(class_scores(hits, truths, predicted)[2]))
    return np.concatenate(accuracies), np.concatenate(scores)


def _sum_groups(draws: Ints, groups: Ints, num_groups: int) -> Ints:
    """Sums of columns that share a group: (R, M) -> (R, num_groups)."""
    flat = (np.arange(len(draws))[:, None] * num_groups + groups).ravel()  # (R * M,)
    sums = np.bincount(flat, weights=draws.ravel(), minlength=len(draws) * num_groups)
    return sums.reshape(len(draws), num_groups).astype(np.int64)


def bootstrap_mean(hits: int, total: int, rng: np.random.Generator) -> Floats:
    """Shares of hits in data sets drawn with replacement from `total` pictures with `hits`: (1000,)."""
    return rng.binomial(total, hits / total, size=RESAMPLES) / total
