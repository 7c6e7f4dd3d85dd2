"""The temperature that makes a classifier's probabilities as likely as they can be. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classification.metrics import scores
from visiontasks.classification.types import Classification
from visiontasks.operating_point import OperatingPoint

LEAST_PICTURES: Final = 100  # fewer say too little: where all are right, the likeliest temperature is 0
TEMPERATURES: Final = (0.05, 20.0)
STEPS: Final = 100  # of the search; halving alone comes to rounding in 60
CHUNK: Final = 4096  # pictures whose probabilities are looked at together


def choose_operating_point(
    predictions: Sequence[Classification], truths: Sequence[int]
) -> OperatingPoint | None:
    """The likeliest temperature.

    Args:
        predictions: at temperature 1. truths: their classes.

    Returns:
        None for fewer than 100 pictures.
    """
    if len(predictions) < LEAST_PICTURES:
        return None
    probabilities = np.stack([prediction.probabilities for prediction in predictions])  # (N, K)
    classes = np.asarray(truths, dtype=np.int64)
    temperature = likeliest_temperature(probabilities, classes)
    before, after = (_calibration_error(probabilities, classes, value) for value in (1.0, temperature))
    return OperatingPoint({"temperature": temperature}, f"ECE {before:.3f} -> {after:.3f}")


def likeliest_temperature(probabilities: NDArray[np.float32], truths: scores.Ints) -> float:
    """The temperature T with the smallest mean of -ln(softmax(z / T) of the true class), in [0.05, 20].

    The logits z are taken to be ln(probabilities): they differ by a constant a picture, which softmax does
    not see. In b = 1/T the mean is convex, its slope the mean over pictures of E[z] - z of the true class
    under softmax(b z): the root is found by Newton's method, and by halving where that leaves the bracket.

    Source: Guo et al. 2017 (arXiv 1706.04599, section 4.2).

    Args:
        probabilities: (N, K) in [0, 1], at temperature 1, N > 0. truths: (N,) class indices.
    """
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if _slope(probabilities, truths, low)[0] >= 0:
        return TEMPERATURES[1]
    if _slope(probabilities, truths, high)[0] <= 0:
        return TEMPERATURES[0]
    sharpness = 1.0
    for _ in range(STEPS):
        slope, curvature = _slope(probabilities, truths, sharpness)
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        newton = sharpness - slope / curvature if curvature > 0 else low
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - sharpness) <= 1e-9 * sharpness:
            break
        sharpness = following
    return 1 / sharpness


def _slope(probabilities: NDArray[np.float32], truths: scores.Ints, sharpness: float) -> tuple[float, float]:
    """First and second derivative of the mean loss by 1/T."""
    first = second = 0.0
    for begin in range(0, len(truths), CHUNK):
        part = slice(begin, begin + CHUNK)
        logits = _logits(probabilities[part])  # (n, K)
        weights = _scaled(logits, sharpness)
        mean = np.sum(weights * logits, axis=1)  # (n,)
        own = logits[np.arange(len(logits)), truths[part]]
        first += float(np.sum(mean - own))
        second += float(np.sum(weights * (logits - mean[:, None]) ** 2))
    return first / len(truths), second / len(truths)


def _logits(probabilities: NDArray[np.float32]) -> scores.Floats:
    """What float32 rounds to 0 counts as its smallest number: -87."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny).astype(np.float64))


def _scaled(logits: scores.Floats, sharpness: float) -> scores.Floats:
    """softmax(logits * sharpness), (N, K)."""
    powers = np.exp(sharpness * (logits - np.max(logits, axis=1, keepdims=True)))
    result: scores.Floats = powers / np.sum(powers, axis=1, keepdims=True)
    return result


def _calibration_error(probabilities: NDArray[np.float32], truths: scores.Ints, temperature: float) -> float:
    confidences = [
        np.max(_scaled(_logits(probabilities[begin : begin + CHUNK]), 1 / temperature), axis=1)
        for begin in range(0, len(truths), CHUNK)
    ]
    return scores.expected_calibration_error(
        np.concatenate(confidences), np.argmax(probabilities, axis=1) == truths
    )
